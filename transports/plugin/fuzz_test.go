package plugin_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// FuzzResponse has a plugin say anything that decodes to a host with a call and a subscription of each kind under way: all
// calls end, and what ends the exchange is a fault.
func FuzzResponse(f *testing.F) {
	for _, m := range []*pb.ExchangeResponse{
		{Answers: []*pb.Answer{
			{Id: 1, Result: &pb.Answer_GetEntries{GetEntries: &pb.GetEntriesResult{Results: []*pb.Got{{Found: true, Flags: 300}}}}},
			{Id: 2}, {Id: 3, Fault: &pb.Fault{}}, {Id: 9},
		}},
		{Events: []*pb.Events{
			{Subscription: 2, Events: []*pb.Event{{}, {Gap: &pb.Gap{Lost: -9}}}},
			{Subscription: 3, Changes: []*pb.Change{{Resync: true}}, Frames: []*pb.Frame{{}}},
			{Subscription: 4, Frames: []*pb.Frame{{Gap: true}}},
		}},
		{Part: &pb.Part{Data: []byte{10, 0}, Last: true}},
	} {
		data, err := proto.Marshal(m)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &pb.ExchangeResponse{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		for _, err := range plugin.Say(m, m) {
			require.NotEqual(t, fault.Internal, fault.CodeOf(err), "%v", err)
		}
	})
}
