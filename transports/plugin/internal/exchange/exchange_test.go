package exchange_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/gobackplane/backplane/transports/plugin/internal/exchange"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire keeps what was written, as a peer decodes it.
type wire struct {
	t        testing.TB
	messages []*pb.ExchangeRequest
}

func (w *wire) send(encoded []byte) error {
	// Through gRPC's codec, as on a stream.
	data, err := proto.Marshal(exchange.Requests(encoded))
	require.NoError(w.t, err)
	require.LessOrEqual(w.t, len(data), exchange.MaxMessage)
	m := &pb.ExchangeRequest{}
	require.NoError(w.t, proto.Unmarshal(data, m))
	require.Empty(w.t, m.ProtoReflect().GetUnknown())
	w.messages = append(w.messages, m)
	return nil
}

// requests are all requests that were written, in order.
func (w *wire) requests() []*pb.Request {
	var all []*pb.Request
	var parts exchange.Assembly
	for _, m := range w.messages {
		if p := m.GetPart(); p != nil {
			require.LessOrEqual(w.t, len(p.GetData()), exchange.MaxPart)
			require.Empty(w.t, m.GetRequests())
			m = &pb.ExchangeRequest{}
			complete, err := parts.Add(p, m)
			require.NoError(w.t, err)
			if !complete {
				continue
			}
		}
		all = append(all, m.GetRequests()...)
	}
	return all
}

func request(id uint64, bytes int) *pb.ExchangeRequest {
	return &pb.ExchangeRequest{Requests: []*pb.Request{{Id: id, Call: &pb.Request_SetEntries{SetEntries: &pb.SetEntries{
		Writes: []*pb.Write{{Key: []byte("k"), Value: make([]byte, bytes)}},
	}}}}}
}

func TestWhatIsHandedOverIsWrittenInOrder(t *testing.T) {
	w := &wire{t: t}
	out := exchange.NewOutbox(exchange.PartOfRequests, w.send)
	sizes := []int{1, 1, 100_000, 3 << 20, 2, 1 << 20, 1<<20 - 50, 5 << 20, 0, 40_000, 40_000}
	for i, size := range sizes {
		require.NoError(t, exchange.Post(out, request(uint64(i), size), false))
	}
	out.Finish()

	out.Run()

	got := w.requests()
	require.Len(t, got, len(sizes))
	for i, r := range got {
		require.EqualValues(t, i, r.GetId())
		require.Len(t, r.GetSetEntries().GetWrites()[0].GetValue(), sizes[i])
	}
}

func TestWhatIsSaidAtOneTimeIsWrittenTogether(t *testing.T) {
	w := &wire{t: t}
	out := exchange.NewOutbox(exchange.PartOfRequests, w.send)
	for i := range 100 {
		require.NoError(t, exchange.Post(out, request(uint64(i), 10), false))
	}
	out.Finish()

	out.Run()

	require.Len(t, w.messages, 1)
	require.Len(t, w.requests(), 100)
}

// An idle outbox is written by whoever has something to say, and Run is not needed for it.
func TestAnIdleOutboxIsWrittenAtOnce(t *testing.T) {
	w := &wire{t: t}
	out := exchange.NewOutbox(exchange.PartOfRequests, w.send)

	require.NoError(t, exchange.Post(out, request(1, 10), true))

	require.Len(t, w.requests(), 1)
	require.NoError(t, exchange.Post(out, request(2, 1<<20), true))
	require.Len(t, w.requests(), 1, "what might block is written by Run")
	out.Finish()
	out.Run()
	require.Len(t, w.requests(), 2)
}

func TestManyWritersLoseNothing(t *testing.T) {
	w := &wire{t: t}
	out := exchange.NewOutbox(exchange.PartOfRequests, w.send)
	var running, writers sync.WaitGroup
	running.Go(out.Run)
	const each = 500
	for g := range 8 {
		writers.Go(func() {
			for i := range each {
				_ = exchange.Post(out, request(uint64(g*each+i), (i%50)*1000), i%3 == 0)
			}
		})
	}
	writers.Wait()
	out.Finish()
	running.Wait()

	last := map[uint64]int{}
	for _, r := range w.requests() {
		g, i := r.GetId()/each, int(r.GetId()%each)
		require.Equal(t, last[g], i, "out of order")
		last[g] = i + 1
	}
	for g := range uint64(8) {
		require.Equal(t, each, last[g])
	}
}

func TestAWriteThatFailsEndsTheOutbox(t *testing.T) {
	broken := errors.New("broken")
	for _, direct := range []bool{true, false} {
		out := exchange.NewOutbox(exchange.PartOfRequests, func([]byte) error { return broken })
		require.NoError(t, exchange.Post(out, request(1, 1), direct))
		out.Run()
		require.NoError(t, exchange.Post(out, request(2, 1), direct), "what comes after the end is dropped")
		out.Finish()
		out.End()
	}
}

func TestWhatIsTooLargeIsRefused(t *testing.T) {
	w := &wire{t: t}
	out := exchange.NewOutbox(exchange.PartOfRequests, w.send)
	value := make([]byte, 32<<20)
	m := request(1, 0)
	for range exchange.MaxAssembled/len(value) + 1 {
		m.Requests[0].GetSetEntries().Writes = append(m.Requests[0].GetSetEntries().Writes, &pb.Write{Value: value})
	}

	require.ErrorContains(t, exchange.Post(out, m, true), "split it")
	require.Empty(t, w.messages)
}

func TestPartsWithoutEndAreRefused(t *testing.T) {
	var parts exchange.Assembly
	p := &pb.Part{Data: make([]byte, 32<<20)}
	for range exchange.MaxAssembled / len(p.Data) {
		complete, err := parts.Add(p, &pb.ExchangeRequest{})
		require.NoError(t, err)
		require.False(t, complete)
	}
	_, err := parts.Add(p, &pb.ExchangeRequest{})
	require.ErrorContains(t, err, "more than")
}

// FuzzParts cuts a message anywhere: it comes out whole, or it is none.
func FuzzParts(f *testing.F) {
	good, err := proto.Marshal(request(1, 1000))
	require.NoError(f, err)
	f.Add(good, 10)
	f.Add([]byte{0xff}, 1)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		at = min(max(at, 0), len(data))
		var parts exchange.Assembly
		got := &pb.ExchangeRequest{}
		complete, err := parts.Add(&pb.Part{Data: data[:at]}, got)
		require.NoError(t, err)
		require.False(t, complete)

		complete, err = parts.Add(&pb.Part{Data: data[at:], Last: true}, got)

		want := &pb.ExchangeRequest{}
		require.Equal(t, proto.Unmarshal(data, want) == nil, err == nil)
		require.Equal(t, err == nil, complete)
		if complete {
			require.True(t, proto.Equal(want, got))
		}
	})
}
