package service_test

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/gobackplane/backplane/transports/plugin/internal/service"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// script is a host that says some things, whatever is answered, and goes.
type script struct {
	grpc.ServerStream
	ctx   context.Context
	lines []*pb.ExchangeRequest
}

func (s *script) Context() context.Context { return s.ctx }

func (s *script) Recv() (*pb.ExchangeRequest, error) {
	if len(s.lines) == 0 {
		return nil, io.EOF
	}
	next := s.lines[0]
	s.lines = s.lines[1:]
	return next, nil
}

func (s *script) Send(m *pb.ExchangeResponse) error { return s.SendMsg(m) }
func (*script) SendMsg(any) error                   { return nil }

// FuzzExchange has a host say anything that decodes: the plugin goes on, and its node with it.
func FuzzExchange(f *testing.F) {
	for _, m := range []*pb.ExchangeRequest{
		{Requests: []*pb.Request{{}, set(1, &pb.Write{Key: []byte("k"), Flags: 300}), get(2, "k"), claim(3)}, Cancels: []uint64{3}},
		{Requests: []*pb.Request{
			{Id: 1, Call: &pb.Request_Subscribe{Subscribe: &pb.Subscribe{Subject: []byte(">"), Credit: 1 << 63}}},
			{Id: 2, Call: &pb.Request_WatchEntries{WatchEntries: &pb.WatchEntries{}}},
			{Id: 3, Call: &pb.Request_PublishMessages{PublishMessages: &pb.PublishMessages{Messages: []*pb.Message{{Subject: []byte("s")}}}}},
			{Id: 4, Call: &pb.Request_Unsubscribe{Unsubscribe: &pb.Unsubscribe{Subscription: 1}}},
		}, Credits: []*pb.Credit{{Subscription: 1, Bytes: 1}}},
		{Part: &pb.Part{Data: []byte{1, 2, 3}, Last: true}},
	} {
		data, err := proto.Marshal(m)
		require.NoError(f, err)
		f.Add(data)
	}
	s := service.New(openMemory)
	f.Cleanup(func() { require.NoError(f, s.Shutdown()) })
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &pb.ExchangeRequest{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		response, err := s.Open(t.Context(), &pb.OpenRequest{Node: "n", Namespace: "test"})
		require.NoError(t, err)
		require.Nil(t, response.GetFault())

		_ = s.Exchange(&script{ctx: t.Context(), lines: []*pb.ExchangeRequest{{Node: "n"}, m, m}})

		healthy, err := s.Health(t.Context(), &pb.HealthRequest{Node: "n"})
		require.NoError(t, err)
		require.Nil(t, healthy.GetFault())
		closed, err := s.Close(t.Context(), &pb.CloseRequest{Node: "n"})
		require.NoError(t, err)
		require.Nil(t, closed.GetFault())
	})
}
