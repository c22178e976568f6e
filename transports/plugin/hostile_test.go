package plugin_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// liar is a plugin that says what a test wants it to.
type liar struct {
	pb.UnimplementedTransportServiceServer
	opened   *pb.OpenResponse
	respond  func(r *pb.Request) *pb.ExchangeResponse // to the first request
	attempts chan struct{}                            // one for each Open
}

var modest = &pb.OpenResponse{Kind: "liar", Capabilities: &pb.Capabilities{
	Cache:  &pb.CacheCapabilities{MaxKey: 100, MaxValue: 100, MaxBatch: 100},
	Queue:  &pb.QueueCapabilities{MaxPayload: 100, MaxBatch: 100, MaxClaim: 100, MaxName: 100},
	Pubsub: &pb.PubSubCapabilities{MaxPayload: 100, MaxSubject: 100, MaxBatch: 100},
}}

func (l *liar) Open(context.Context, *pb.OpenRequest) (*pb.OpenResponse, error) {
	select {
	case l.attempts <- struct{}{}:
	default:
	}
	return l.opened, nil
}

func (l *liar) Close(context.Context, *pb.CloseRequest) (*pb.CloseResponse, error) {
	return &pb.CloseResponse{}, nil
}

func (l *liar) Exchange(stream grpc.BidiStreamingServer[pb.ExchangeRequest, pb.ExchangeResponse]) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, r := range m.GetRequests() {
			if err := stream.Send(l.respond(r)); err != nil {
				return err
			}
		}
	}
}

// with opens a node in a plugin that lies.
func (l *liar) with(t *testing.T) transports.Transport {
	t.Helper()
	l.opened, l.attempts = modest, make(chan struct{}, 100)
	node, err := plugin.OpenOn(t.Context(), plugin.Always{ClientConn: dial(t, l)}, transports.Settings{Namespace: "test"})
	require.NoError(t, err)
	<-l.attempts
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}

func answer(a *pb.Answer) *pb.ExchangeResponse { return &pb.ExchangeResponse{Answers: []*pb.Answer{a}} }

// Answers that can be told to belong to a request are the fault of that request.
func TestAnswersThatMakeNoSenseAreCorrupt(t *testing.T) {
	got := func(results ...*pb.Got) func(*pb.Request) *pb.ExchangeResponse {
		return func(r *pb.Request) *pb.ExchangeResponse {
			return answer(&pb.Answer{Id: r.GetId(), Result: &pb.Answer_GetEntries{GetEntries: &pb.GetEntriesResult{Results: results}}})
		}
	}
	for name, respond := range map[string]func(*pb.Request) *pb.ExchangeResponse{
		"no result":       func(r *pb.Request) *pb.ExchangeResponse { return answer(&pb.Answer{Id: r.GetId()}) },
		"too few":         got(),
		"too many":        got(&pb.Got{}, &pb.Got{}),
		"flags too large": got(&pb.Got{Found: true, Flags: 256}),
		"another's result": func(r *pb.Request) *pb.ExchangeResponse {
			return answer(&pb.Answer{Id: r.GetId(), Result: &pb.Answer_ListKeys{ListKeys: &pb.ListKeysResult{}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			node := (&liar{respond: respond}).with(t)

			_, err := node.Cache().Get(t.Context(), []cache.Read{{Key: "k"}})

			require.ErrorIs(t, err, fault.Corrupt)
			require.ErrorContains(t, err, "does not keep to the protocol")
		})
	}
}

func TestEveryCallWithoutAResultIsCorrupt(t *testing.T) {
	node := (&liar{respond: func(r *pb.Request) *pb.ExchangeResponse { return answer(&pb.Answer{Id: r.GetId()}) }}).with(t)
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"keys":  func() error { _, err := node.Cache().Keys(ctx, cache.Page{}); return err },
		"claim": func() error { _, err := node.Queue().Claim(ctx, claimAll); return err },
		"publish": func() error {
			_, err := node.PubSub().Publish(ctx, []pubsub.Message{{Subject: "s"}})
			return err
		},
	} {
		require.ErrorIs(t, call(), fault.Corrupt, name)
	}
	require.Nil(t, node.Queue().Admin, "what is not declared is not offered")
	require.Nil(t, node.Cache().Lists)
	require.Nil(t, node.Cache().Watcher)
	require.Nil(t, node.RPC())
}

// What cannot be told to belong to a request ends the exchange, and the node is opened anew.
func TestAPluginThatBreaksTheProtocolIsBegunAnew(t *testing.T) {
	for name, respond := range map[string]func(*pb.Request) *pb.ExchangeResponse{
		"an answer to nothing": func(r *pb.Request) *pb.ExchangeResponse { return answer(&pb.Answer{Id: r.GetId() + 1}) },
		"parts that are no message": func(*pb.Request) *pb.ExchangeResponse {
			return &pb.ExchangeResponse{Part: &pb.Part{Data: []byte{0xff}, Last: true}}
		},
		"an answer given twice": func(r *pb.Request) *pb.ExchangeResponse {
			a := &pb.Answer{Id: r.GetId(), Result: &pb.Answer_Subscribe{Subscribe: &pb.SubscribeResult{}}}
			return &pb.ExchangeResponse{Answers: []*pb.Answer{a, a}}
		},
		"an event that is nothing": events(&pb.Event{}),
		"events without credit":    flood,
	} {
		t.Run(name, func(t *testing.T) {
			l := &liar{respond: respond}
			node := l.with(t)

			sub, err := node.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {})

			if err != nil {
				require.ErrorIs(t, err, fault.Unavailable)
			} else {
				defer func() { require.NoError(t, sub.Close()) }()
			}
			select {
			case <-l.attempts:
			case <-time.After(slow):
				require.FailNow(t, "the node was not opened again")
			}
		})
	}
}

// events sends events together with the answer to their request.
func events(all ...*pb.Event) func(*pb.Request) *pb.ExchangeResponse {
	return func(r *pb.Request) *pb.ExchangeResponse {
		m := answer(&pb.Answer{Id: r.GetId(), Result: &pb.Answer_Subscribe{Subscribe: &pb.SubscribeResult{}}})
		m.Events = []*pb.Events{{Subscription: r.GetId(), Events: all}}
		return m
	}
}

// flood sends three times what a subscription has credit for, in events of which none is too large.
func flood(r *pb.Request) *pb.ExchangeResponse {
	m := &pb.ExchangeResponse{}
	e := &pb.Event{Gap: &pb.Gap{Lost: 1}}
	for range 3 {
		all := make([]*pb.Event, r.GetSubscribe().GetCredit()/64+1) // what a gap weighs
		for i := range all {
			all[i] = e
		}
		m.Events = append(m.Events, &pb.Events{Subscription: r.GetId(), Events: all})
	}
	return m
}

var claimAll = queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: time.Hour}

func TestOpenRefusesAPluginThatNobodyCouldWorkWith(t *testing.T) {
	for name, c := range map[string]struct {
		opened *pb.OpenResponse
		code   fault.Code
		says   string
	}{
		"no room for keys": {&pb.OpenResponse{Capabilities: &pb.Capabilities{Cache: &pb.CacheCapabilities{MaxValue: 1, MaxBatch: 1}}}, fault.Invalid, "cache.max_key as 0"},
		"its own refusal": {&pb.OpenResponse{Fault: &pb.Fault{Code: pb.Code_CODE_UNAUTHENTICATED, Op: "liar: open", Message: "wrong password"}},
			fault.Unauthenticated, "liar: open: wrong password"},
		"a code of the future": {&pb.OpenResponse{Fault: &pb.Fault{Code: 99, Message: "what?"}}, fault.Internal, "what?"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := plugin.OpenOn(t.Context(), plugin.Always{ClientConn: dial(t, &liar{opened: c.opened})}, transports.Settings{Namespace: "test"})
			require.ErrorIs(t, err, c.code)
			require.ErrorContains(t, err, c.says)
		})
	}
	type silent struct {
		pb.UnimplementedTransportServiceServer
	}
	_, err := plugin.OpenOn(t.Context(), plugin.Always{ClientConn: dial(t, silent{})}, transports.Settings{Namespace: "test"})
	require.ErrorIs(t, err, fault.Unsupported)
	require.ErrorContains(t, err, "does not speak")
}

// A plugin that never answers holds nobody longer than his context.
func TestCallersLeaveAPluginThatDoesNotAnswer(t *testing.T) {
	node := (&liar{respond: func(*pb.Request) *pb.ExchangeResponse { return &pb.ExchangeResponse{} }}).with(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	ended := make(chan error, 3)
	go func() { _, err := node.Cache().Get(ctx, []cache.Read{{Key: "k"}}); ended <- err }()
	go func() {
		_, err := node.PubSub().Subscribe(ctx, pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {})
		ended <- err
	}()
	go func() {
		claimed, err := node.Queue().Claim(ctx, claimAll)
		if err == nil && len(claimed.Tasks) > 0 {
			err = errors.New("there are tasks")
		}
		ended <- err
	}()
	for range 3 {
		if err := next(t, ended); err != nil { // but for the claim, for which it is the end of the wait
			require.ErrorIs(t, err, fault.DeadlineExceeded)
		}
	}
}
