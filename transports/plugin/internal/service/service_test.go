package service_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
	"github.com/gobackplane/backplane/transports/plugin/internal/exchange"
	"github.com/gobackplane/backplane/transports/plugin/internal/service"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host speaks the protocol by hand.
type host struct {
	pb.TransportServiceClient
	service *service.Service
}

func newHost(t testing.TB, factory transports.Factory) host {
	t.Helper()
	s := service.New(factory)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	server := grpc.NewServer()
	pb.RegisterTransportServiceServer(server, s)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		server.Stop()
		served.Wait()
		require.NoError(t, s.Shutdown())
	})
	return host{pb.NewTransportServiceClient(conn), s}
}

func openMemory(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	t, err := memory.Open(ctx, s)
	if err != nil {
		return nil, err
	}
	return t, nil
}

type exchanging = grpc.BidiStreamingClient[pb.ExchangeRequest, pb.ExchangeResponse]

// open opens node "n" and an exchange for it.
func (h host) open(t testing.TB) exchanging {
	t.Helper()
	response, err := h.Open(t.Context(), &pb.OpenRequest{Node: "n", Namespace: "test"})
	require.NoError(t, err)
	require.Nil(t, response.GetFault())
	return h.exchange(t, "n")
}

func (h host) exchange(t testing.TB, node string) exchanging {
	t.Helper()
	stream, err := h.Exchange(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&pb.ExchangeRequest{Node: node}))
	return stream
}

// ask sends requests and gives as many answers, by ID.
func ask(t testing.TB, stream exchanging, requests ...*pb.Request) map[uint64]*pb.Answer {
	t.Helper()
	require.NoError(t, stream.Send(&pb.ExchangeRequest{Requests: requests}))
	answers := map[uint64]*pb.Answer{}
	for len(answers) < len(requests) {
		m, err := stream.Recv()
		require.NoError(t, err)
		for _, a := range m.GetAnswers() {
			answers[a.GetId()] = a
		}
	}
	return answers
}

func set(id uint64, w *pb.Write) *pb.Request {
	return &pb.Request{Id: id, Call: &pb.Request_SetEntries{SetEntries: &pb.SetEntries{Writes: []*pb.Write{w}}}}
}

func get(id uint64, key string) *pb.Request {
	return &pb.Request{Id: id, Call: &pb.Request_GetEntries{GetEntries: &pb.GetEntries{Reads: []*pb.Read{{Key: []byte(key)}}}}}
}

func claim(id uint64) *pb.Request {
	return &pb.Request{Id: id, Call: &pb.Request_ClaimTasks{ClaimTasks: &pb.ClaimTasks{
		Worker: []byte("w"), Queues: [][]byte{[]byte("q")}, Max: 1, Wait: int64(time.Hour),
	}}}
}

// Requests that cannot be right are answered, and the exchange goes on.
func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	stream := newHost(t, openMemory).open(t)
	for name, c := range map[string]struct {
		request *pb.Request
		code    pb.Code
		says    string
	}{
		"a call of the future":         {&pb.Request{}, pb.Code_CODE_UNSUPPORTED, "older than its host"},
		"flags that are none":          {set(0, &pb.Write{Key: []byte("k"), Flags: 256}), pb.Code_CODE_INVALID, "flags"},
		"a condition of the future":    {set(0, &pb.Write{Key: []byte("k"), Condition: 77}), pb.Code_CODE_INVALID, "condition 77"},
		"a revision that is not there": {set(0, &pb.Write{Key: []byte("k"), Condition: pb.Condition_CONDITION_REVISION}), pb.Code_CODE_INVALID, "revision"},
		"what is not offered":          {&pb.Request{Call: &pb.Request_Listen{Listen: &pb.Listen{}}}, pb.Code_CODE_UNSUPPORTED, "RPC"},
		"a claim of nothing":           {&pb.Request{Call: &pb.Request_ClaimTasks{}}, pb.Code_CODE_INVALID, "worker"},
		"a subscription to nothing":    {&pb.Request{Call: &pb.Request_Subscribe{}}, pb.Code_CODE_INVALID, ""},
	} {
		c.request.Id = 7
		a := ask(t, stream, c.request)[7]
		require.Equal(t, c.code, a.GetFault().GetCode(), name)
		require.Contains(t, a.GetFault().GetMessage(), c.says, name)
		require.Nil(t, a.GetResult(), name)
	}

	outcome := &pb.Request{Id: 8, Call: &pb.Request_SettleTasks{SettleTasks: &pb.SettleTasks{
		Worker: []byte("w"), Number: 1, Items: []*pb.Settlement{{Ref: &pb.Ref{Queue: []byte("q"), Id: []byte("i")}, Outcome: 257}},
	}}}
	settled := ask(t, stream, outcome)[8].GetSettleTasks().GetResults()
	require.Len(t, settled, 1)
	require.Equal(t, pb.Code_CODE_INVALID, settled[0].GetFault().GetCode(), "257 is not 1")
}

// What cannot be answered ends the exchange, and nothing else.
func TestAHostThatBreaksTheProtocolLosesTheExchange(t *testing.T) {
	h := newHost(t, openMemory)
	h.open(t)
	for name, c := range map[string]struct {
		send *pb.ExchangeRequest
		code codes.Code
	}{
		"an ID twice":               {&pb.ExchangeRequest{Requests: []*pb.Request{claim(1), claim(1)}}, codes.InvalidArgument},
		"parts that are no message": {&pb.ExchangeRequest{Part: &pb.Part{Data: []byte{0xff}, Last: true}}, codes.InvalidArgument},
	} {
		stream := h.exchange(t, "n")
		require.NoError(t, stream.Send(c.send))
		var err error
		for err == nil {
			_, err = stream.Recv()
		}
		require.Equal(t, c.code, status.Code(err), name)
	}
	_, err := h.exchange(t, "unknown").Recv()
	require.Equal(t, codes.NotFound, status.Code(err))
	require.NotNil(t, ask(t, h.exchange(t, "n"), get(1, "k"))[1].GetGetEntries(), "the node is as it was")
}

func TestUnknownCreditsAndCancelsDoNothing(t *testing.T) {
	stream := newHost(t, openMemory).open(t)

	require.NoError(t, stream.Send(&pb.ExchangeRequest{
		Cancels: []uint64{1, 2}, Credits: []*pb.Credit{{Subscription: 3, Bytes: 1 << 63}}, Requests: []*pb.Request{get(1, "k")},
	}))

	_, err := stream.Recv()
	require.NoError(t, err)
	require.NotNil(t, ask(t, stream, &pb.Request{Id: 4, Call: &pb.Request_Unsubscribe{Unsubscribe: &pb.Unsubscribe{Subscription: 9}}})[4].GetUnsubscribe())
}

func TestWhatWaitsStopsNothingBehindIt(t *testing.T) {
	stream := newHost(t, openMemory).open(t)
	require.NoError(t, stream.Send(&pb.ExchangeRequest{Requests: []*pb.Request{claim(1)}}))

	require.NotNil(t, ask(t, stream, get(2, "k"))[2].GetGetEntries())

	require.NoError(t, stream.Send(&pb.ExchangeRequest{Cancels: []uint64{1}}))
	m, err := stream.Recv()
	require.NoError(t, err)
	require.EqualValues(t, 1, m.GetAnswers()[0].GetId())
	require.Nil(t, m.GetAnswers()[0].GetFault(), "a claim that is given up has no tasks, and no fault")
	budgeted := claim(3)
	budgeted.Budget = int64(time.Millisecond)
	require.Empty(t, ask(t, stream, budgeted)[3].GetClaimTasks().GetTasks())
}

// A feed brings what there is credit for, and counts what found no room.
func TestEventsWaitForCreditWithinBounds(t *testing.T) {
	h := newHost(t, openMemory)
	stream := h.open(t)
	subscribe := &pb.Request{Id: 1, Call: &pb.Request_Subscribe{Subscribe: &pb.Subscribe{Subject: []byte("s"), Credit: 1}}}
	require.NotNil(t, ask(t, stream, subscribe)[1].GetSubscribe())
	publisher := h.exchange(t, "n")
	const batches, each = 30, 1000
	for b := range batches {
		messages := make([]*pb.Message, each)
		for i := range messages {
			messages[i] = &pb.Message{Subject: []byte("s"), Payload: fmt.Appendf(nil, "%d", b*each+i)}
		}
		a := ask(t, publisher, &pb.Request{Id: uint64(b), Call: &pb.Request_PublishMessages{PublishMessages: &pb.PublishMessages{Messages: messages}}})
		require.Len(t, a[uint64(b)].GetPublishMessages().GetResults(), each)
	}

	events := receive(t, stream)
	require.Len(t, events, 1, "one event for a credit that is above 0")
	require.NoError(t, stream.Send(&pb.ExchangeRequest{Credits: []*pb.Credit{{Subscription: 1, Bytes: 1 << 30}}}))
	for accounted(events) < batches*each {
		events = append(events, receive(t, stream)...)
	}

	require.Equal(t, batches*each, accounted(events), "every message came, or was counted")
	require.Less(t, len(events), batches*each, "what is held is bounded")
	expected := 0
	for _, e := range events {
		if e.GetGap() == nil {
			require.Equal(t, fmt.Sprint(expected), string(e.GetMessage().GetPayload()))
		}
		expected += accounted([]*pb.Event{e})
	}
}

func receive(t *testing.T, stream exchanging) []*pb.Event {
	t.Helper()
	m, err := stream.Recv()
	require.NoError(t, err)
	var all []*pb.Event
	for _, e := range m.GetEvents() {
		all = append(all, e.GetEvents()...)
	}
	return all
}

func accounted(events []*pb.Event) int {
	n := 0
	for _, e := range events {
		if g := e.GetGap(); g != nil {
			n += int(g.GetLost())
		} else {
			n++
		}
	}
	return n
}

func TestLargeAnswersComeInParts(t *testing.T) {
	stream := newHost(t, openMemory).open(t)
	value := make([]byte, 5<<20)
	value[0], value[len(value)-1] = 1, 2
	var sent exchangeSender = func(encoded []byte) error { return stream.SendMsg(exchange.Requests(encoded)) }
	sent.post(t, &pb.ExchangeRequest{Requests: []*pb.Request{set(1, &pb.Write{Key: []byte("k"), Value: value})}})
	m, err := stream.Recv()
	require.NoError(t, err)
	require.Nil(t, m.GetAnswers()[0].GetSetEntries().GetResults()[0].GetFault())
	require.NoError(t, stream.Send(&pb.ExchangeRequest{Requests: []*pb.Request{get(2, "k")}}))

	var parts exchange.Assembly
	whole, n := &pb.ExchangeResponse{}, 0
	for complete := false; !complete; n++ {
		m, err := stream.Recv()
		require.NoError(t, err)
		require.LessOrEqual(t, len(m.GetPart().GetData()), exchange.MaxPart)
		complete, err = parts.Add(m.GetPart(), whole)
		require.NoError(t, err)
	}

	require.Greater(t, n, 5)
	require.Equal(t, value, whole.GetAnswers()[0].GetGetEntries().GetResults()[0].GetValue())
}

// exchangeSender posts a message through an outbox that is its own.
type exchangeSender func(encoded []byte) error

func (s exchangeSender) post(t *testing.T, m *pb.ExchangeRequest) {
	t.Helper()
	out := exchange.NewOutbox(exchange.PartOfRequests, s)
	require.NoError(t, exchange.Post(out, m, false))
	out.Finish()
	out.Run()
}

func TestNodesAreOpenedAndClosed(t *testing.T) {
	h := newHost(t, openMemory)
	ctx := t.Context()
	for name, c := range map[string]struct {
		request *pb.OpenRequest
		code    pb.Code
		says    string
	}{
		"no ID":              {&pb.OpenRequest{Namespace: "test"}, pb.Code_CODE_INVALID, "ID has 0 bytes"},
		"a long ID":          {&pb.OpenRequest{Node: strings.Repeat("n", 65), Namespace: "test"}, pb.Code_CODE_INVALID, "ID has 65 bytes"},
		"no namespace":       {&pb.OpenRequest{Node: "n"}, pb.Code_CODE_INVALID, "no name"},
		"options not JSON":   {&pb.OpenRequest{Node: "n", Namespace: "test", Options: `{"password": "secret`}, pb.Code_CODE_INVALID, "not a JSON object"},
		"options no object":  {&pb.OpenRequest{Node: "n", Namespace: "test", Options: `"secret"`}, pb.Code_CODE_INVALID, "not a JSON object"},
		"options and more":   {&pb.OpenRequest{Node: "n", Namespace: "test", Options: `{} "secret"`}, pb.Code_CODE_INVALID, "follows"},
		"an unknown option":  {&pb.OpenRequest{Node: "n", Namespace: "test", Options: `{"colour": "red"}`}, pb.Code_CODE_INVALID, "colour"},
		"what is the plugin": {&pb.OpenRequest{Node: "n", Namespace: "test", Url: "redis:"}, pb.Code_CODE_INVALID, "memory"},
	} {
		response, err := h.Open(ctx, c.request)
		require.NoError(t, err)
		require.Equal(t, c.code, response.GetFault().GetCode(), name)
		require.Contains(t, response.GetFault().GetMessage(), c.says, name)
		require.NotContains(t, response.GetFault().GetMessage(), "secret", name)
	}

	response, err := h.Open(ctx, &pb.OpenRequest{Node: "n", Namespace: "test"})
	require.NoError(t, err)
	require.Nil(t, response.GetFault())
	require.Equal(t, memory.Kind, response.GetKind())
	response, err = h.Open(ctx, &pb.OpenRequest{Node: "n", Namespace: "test"})
	require.NoError(t, err)
	require.Equal(t, pb.Code_CODE_CONFLICT, response.GetFault().GetCode())
	healthy, err := h.Health(ctx, &pb.HealthRequest{Node: "n"})
	require.NoError(t, err)
	require.Nil(t, healthy.GetFault())
	for range 2 {
		closed, err := h.Close(ctx, &pb.CloseRequest{Node: "n"})
		require.NoError(t, err)
		require.Nil(t, closed.GetFault())
	}
	healthy, err = h.Health(ctx, &pb.HealthRequest{Node: "n"})
	require.NoError(t, err)
	require.Equal(t, pb.Code_CODE_CLOSED, healthy.GetFault().GetCode())
	erased, err := h.Erase(ctx, &pb.EraseRequest{Node: "n"})
	require.NoError(t, err)
	require.Equal(t, pb.Code_CODE_CLOSED, erased.GetFault().GetCode())
}

func TestOptionsArriveAsAConfigFileHasThem(t *testing.T) {
	var got transports.Settings
	h := newHost(t, func(_ context.Context, s transports.Settings) (transports.Transport, error) {
		got = s
		return nil, fault.New(fault.Unavailable, "no")
	})

	_, err := h.Open(t.Context(), &pb.OpenRequest{
		Node: "n", Namespace: "test", Url: "u", Options: `{"n": 3, "f": 1.5, "s": "3s", "t": true, "list": ["a", 2], "map": {"x": 9007199254740993}}`,
	})

	require.NoError(t, err)
	require.Equal(t, "u", got.URL)
	require.Equal(t, map[string]any{
		"n": 3, "f": 1.5, "s": "3s", "t": true, "list": []any{"a", 2}, "map": map[string]any{"x": 9007199254740993},
	}, got.Options)
}

// panicking is a transport that panics in every call.
type panicking struct{ transports.Transport }

func (panicking) Cache() *cache.Backend        { return &cache.Backend{Driver: panickingDriver{}} }
func (panicking) Health(context.Context) error { panic("health") }
func (panicking) Close() error                 { panic("close") }

type panickingDriver struct{ cache.Driver }

func (panickingDriver) Get(context.Context, []cache.Read) ([]cache.Got, error) { panic("get") }

func TestAPanicIsAFaultOfItsCall(t *testing.T) {
	h := newHost(t, func(ctx context.Context, s transports.Settings) (transports.Transport, error) {
		if s.URL == "panic:" {
			panic("open")
		}
		inner, err := openMemory(ctx, s)
		t.Cleanup(func() { require.NoError(t, inner.Close()) })
		return panicking{inner}, err
	})
	response, err := h.Open(t.Context(), &pb.OpenRequest{Node: "p", Namespace: "test", Url: "panic:"})
	require.NoError(t, err)
	require.Equal(t, pb.Code_CODE_INTERNAL, response.GetFault().GetCode())

	stream := h.open(t)

	a := ask(t, stream, get(1, "k"))[1]
	require.Equal(t, pb.Code_CODE_INTERNAL, a.GetFault().GetCode())
	require.Contains(t, a.GetFault().GetMessage(), "panicked")
	healthy, err := h.Health(t.Context(), &pb.HealthRequest{Node: "n"})
	require.NoError(t, err)
	require.Equal(t, pb.Code_CODE_INTERNAL, healthy.GetFault().GetCode())
	closed, err := h.Close(t.Context(), &pb.CloseRequest{Node: "n"})
	require.NoError(t, err)
	require.Equal(t, pb.Code_CODE_INTERNAL, closed.GetFault().GetCode())
}

// Draining answers what is under way, and takes nothing more.
func TestDrainAnswersWhatIsUnderWay(t *testing.T) {
	h := newHost(t, openMemory)
	stream := h.open(t)
	require.NotNil(t, ask(t, stream, get(1, "k"))[1])
	require.NoError(t, stream.Send(&pb.ExchangeRequest{Requests: []*pb.Request{claim(2)}}))
	require.NotNil(t, ask(t, stream, get(3, "k"))[3], "the claim before it has been taken in by now")

	h.service.Drain(t.Context())

	m, err := stream.Recv()
	require.NoError(t, err)
	require.EqualValues(t, 2, m.GetAnswers()[0].GetId())
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
	response, err := h.Open(t.Context(), &pb.OpenRequest{Node: "m", Namespace: "test"})
	require.NoError(t, err)
	require.Equal(t, pb.Code_CODE_CLOSED, response.GetFault().GetCode())
}
