package service

import (
	"context"

	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// runBus sends what is to be sent by pub/sub or RPC. It answers false for any other call.
func runBus(ctx context.Context, t transports.Transport, r *pb.Request, a *pb.Answer) (bool, error) {
	switch call := r.GetCall().(type) {
	case *pb.Request_PublishMessages:
		b := t.PubSub()
		if b == nil {
			return true, missing("pub/sub")
		}
		results, err := batch(ctx, call.PublishMessages.GetMessages(), translate.FromMessage, b.Publish, translate.ToPublished)
		a.Result = &pb.Answer_PublishMessages{PublishMessages: &pb.PublishMessagesResult{Results: results}}
		return true, err
	case *pb.Request_SendFrames:
		b := t.RPC()
		if b == nil {
			return true, missing("RPC of its own")
		}
		results, err := batch(ctx, call.SendFrames.GetFrames(), translate.FromFrame, b.Send, translate.ToDone)
		a.Result = &pb.Answer_SendFrames{SendFrames: &pb.SendFramesResult{Results: results}}
		return true, err
	}
	return false, nil
}
