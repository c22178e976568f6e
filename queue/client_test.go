package queue_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

func TestEnqueueFillsInWhatATaskLeavesEmpty(t *testing.T) {
	s := newStore(t)
	before := time.Now()

	receipt, err := queue.Enqueue(t.Context(), queue.NewClient(s.backend(), queue.ClientOptions{}), work, 7)

	require.NoError(t, err)
	require.False(t, receipt.Duplicate)
	task := s.find(receipt.ID).Task
	id, err := uuid.Parse(task.ID)
	require.NoError(t, err)
	require.EqualValues(t, 7, id.Version())
	require.False(t, task.CallerID)
	require.Equal(t, "work", task.Kind)
	require.Equal(t, queue.DefaultQueue, task.Queue)
	require.Equal(t, "7", string(task.Payload))
	require.Equal(t, queue.DefaultMaxAttempts, task.MaxAttempts)
	require.Equal(t, queue.DefaultMaxLost, task.MaxLost)
	require.WithinRange(t, task.EnqueuedAt, before, time.Now())
	require.Zero(t, task.RunAt)
}

func TestOptionsOfTheCallOverrideThoseOfTheKind(t *testing.T) {
	s := newStore(t)
	c := queue.NewClient(s.backend(), queue.ClientOptions{})
	deadline := time.Now().Add(time.Hour)
	kind := queue.NewKind[string]("report", queue.OnQueue("slow"), queue.MaxAttempts(3), queue.Timeout(time.Minute), queue.Header("a", "kind"))

	receipt, err := queue.Enqueue(t.Context(), c, kind, "x", queue.OnQueue("fast"), queue.Priority(4), queue.ID("r1"), queue.Unique("u", time.Second),
		queue.MaxLost(2), queue.Deadline(deadline), queue.Retention(time.Hour), queue.Header("a", "call"), queue.At(deadline.Add(-time.Minute)))

	require.NoError(t, err)
	require.Equal(t, "r1", receipt.ID)
	task := s.find("r1").Task
	task.EnqueuedAt = time.Time{}
	require.Equal(t, queue.Task{ID: "r1", CallerID: true, Kind: "report", Queue: "fast", Priority: 4, Payload: []byte(`"x"`),
		Headers: map[string]string{"a": "call"}, RunAt: deadline.Add(-time.Minute), MaxAttempts: 3, MaxLost: 2, Timeout: time.Minute,
		Deadline: deadline, UniqueKey: "u", UniqueFor: time.Second, Retention: time.Hour}, task)
	again, err := queue.Enqueue(t.Context(), c, kind, "x", queue.ID("r1"))
	require.NoError(t, err)
	require.Equal(t, queue.Receipt{ID: "r1", Duplicate: true}, again)
	require.Equal(t, map[string]string{"a": "call"}, s.find("r1").Headers, "the second call must not have touched the first's headers")
}

func TestInReckonsFromNow(t *testing.T) {
	inTime(t, func(t *testing.T) {
		task, err := work.Task(1, queue.In(time.Hour))

		require.NoError(t, err)
		require.Equal(t, time.Now().Add(time.Hour), task.RunAt)
	})
}

func TestUniquePayloadTellsKindsAndPayloadsApart(t *testing.T) {
	key := func(kind string, payload int) string {
		task, err := queue.NewKind[int](kind).Task(payload, queue.UniquePayload(time.Second))
		require.NoError(t, err)
		require.Equal(t, time.Second, task.UniqueFor)
		return task.UniqueKey
	}

	require.Equal(t, key("a", 1), key("a", 1))
	require.NotEqual(t, key("a", 1), key("a", 2))
	require.NotEqual(t, key("a", 1), key("b", 1))
}

// picky is a codec that takes nothing.
type picky struct{ queue.Codec[string] }

func (picky) Encode(string) ([]byte, error) { return nil, errors.New("not that") }

func TestWhatIsOverALimitIsRefusedBeforeAnythingIsSent(t *testing.T) {
	long := strings.Repeat("x", 257)
	for name, c := range map[string]struct {
		kind    queue.Kind[string]
		payload string
		option  queue.Option
		code    fault.Code
	}{
		"no kind":                 {kind: queue.NewKind[string](""), code: fault.Invalid},
		"long kind":               {kind: queue.NewKind[string](long), code: fault.Invalid},
		"long queue":              {option: queue.OnQueue(long), code: fault.Invalid},
		"empty ID":                {option: queue.ID(""), code: fault.Invalid},
		"long ID":                 {option: queue.ID(long), code: fault.Invalid},
		"long unique key":         {option: queue.Unique(long, 0), code: fault.Invalid},
		"priority too high":       {option: queue.Priority(10), code: fault.Invalid},
		"priority negative":       {option: queue.Priority(-1), code: fault.Invalid},
		"attempts negative":       {option: queue.MaxAttempts(-1), code: fault.Invalid},
		"lost leases negative":    {option: queue.MaxLost(-1), code: fault.Invalid},
		"timeout negative":        {option: queue.Timeout(-1), code: fault.Invalid},
		"retention negative":      {option: queue.Retention(-1), code: fault.Invalid},
		"unique for a negative":   {option: queue.Unique("u", -1), code: fault.Invalid},
		"payload too large":       {payload: strings.Repeat("x", 64<<10), code: fault.TooLarge},
		"headers too large":       {option: queue.Header("h", strings.Repeat("x", 64<<10)), code: fault.TooLarge},
		"payload not for a codec": {kind: queue.NewKind[string]("k").WithCodec(picky{}), code: fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if c.kind.Name == "" && name != "no kind" {
				c.kind.Name = "k"
			}
			options := []queue.Option{}
			if c.option != nil {
				options = append(options, c.option)
			}

			receipt, err := queue.Enqueue(t.Context(), queue.NewClient(s.backend(), queue.ClientOptions{}), c.kind, c.payload, options...)

			require.ErrorIs(t, err, c.code)
			require.Equal(t, err, receipt.Err)
			require.Zero(t, s.called("enqueue"))
		})
	}
}

func TestOneBadTaskDoesNotKeepTheOthersOut(t *testing.T) {
	s := newStore(t)
	c := queue.NewClient(s.backend(), queue.ClientOptions{})
	good, err := work.Task(1, queue.ID("good"))
	require.NoError(t, err)
	bad, err := work.Task(1, queue.ID("bad"), queue.Priority(99))
	require.NoError(t, err)

	receipts, err := c.Enqueue(t.Context(), bad, good, good)

	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, "1 of 3")
	require.ErrorIs(t, receipts[0].Err, fault.Invalid)
	require.Equal(t, []queue.Receipt{{ID: "good"}, {ID: "good", Duplicate: true}}, receipts[1:])
	require.Equal(t, 1, s.count(queue.Pending))
}

func TestABulkIsSentInBatchesThatTheTransportTakes(t *testing.T) {
	s := newStore(t)

	ids := enqueue(t, s, 2500)

	require.Equal(t, 3, s.called("enqueue"))
	require.Equal(t, 2500, s.count(queue.Pending))
	require.Equal(t, "2499", string(s.find(ids[2499]).Payload))
}

func TestABigBulkIsSentInSmallPieces(t *testing.T) {
	s := newStore(t)
	kind := queue.NewKind[[]byte]("raw").WithCodec(queue.Raw)

	_, err := queue.EnqueueMany(t.Context(), queue.NewClient(s.backend(), queue.ClientOptions{}), kind, make([][]byte, 3))
	require.NoError(t, err)
	require.Equal(t, 1, s.called("enqueue"))

	payloads := make([][]byte, 200)
	for i := range payloads {
		payloads[i] = make([]byte, 60<<10)
	}
	_, err = queue.EnqueueMany(t.Context(), queue.NewClient(s.backend(), queue.ClientOptions{}), kind, payloads)

	require.NoError(t, err)
	require.Equal(t, 1+3, s.called("enqueue"), "12 MiB in pieces of 4")
}

func TestAFailedCallIsToldAtEachReceiptWithTheIDThatWasTried(t *testing.T) {
	s := newStore(t)
	s.faulty(away("enqueue"), nil)

	receipts, err := queue.EnqueueMany(t.Context(), queue.NewClient(s.backend(), queue.ClientOptions{}), work, []int{1, 2})

	require.ErrorIs(t, err, fault.Unavailable)
	for _, r := range receipts {
		require.ErrorIs(t, r.Err, fault.Unavailable)
		require.NotEmpty(t, r.ID)
	}
}

func TestAClientWithoutAQueueAnswersUnsupported(t *testing.T) {
	c := queue.NewClient(nil, queue.ClientOptions{})

	receipt, err := queue.Enqueue(t.Context(), c, work, 1)

	require.ErrorIs(t, err, fault.Unsupported)
	require.ErrorIs(t, receipt.Err, fault.Unsupported)
	require.Zero(t, c.Capabilities())
	_, err = queue.NewWorker(nil, queue.WorkerOptions{})
	require.ErrorIs(t, err, fault.Unsupported)
}

func TestEnqueueDoesNotBeginWithAContextThatHasEnded(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	receipts, err := queue.NewClient(s.backend(), queue.ClientOptions{}).Enqueue(ctx, queue.Task{Kind: "k"})

	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, receipts, 1)
	require.Zero(t, s.called("enqueue"))
}

func TestMiddlewareStandsAroundEnqueueInOrder(t *testing.T) {
	s := newStore(t)
	var seen []string
	layer := func(name string) queue.EnqueueMiddleware {
		return func(next queue.Enqueuer) queue.Enqueuer {
			return func(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
				seen = append(seen, name+" of "+tasks[0].Kind)
				tasks[0].Headers = map[string]string{"by": name}
				receipts, err := next(ctx, tasks)
				seen = append(seen, name+" back")
				return receipts, err
			}
		}
	}
	c := queue.NewClient(s.backend(), queue.ClientOptions{Middleware: []queue.EnqueueMiddleware{layer("outer"), layer("inner")}})
	task := queue.Task{Kind: "k"}

	receipts, err := c.Enqueue(t.Context(), task)

	require.NoError(t, err)
	require.Equal(t, []string{"outer of k", "inner of k", "inner back", "outer back"}, seen)
	require.Equal(t, "inner", s.find(receipts[0].ID).Headers["by"])
	require.Empty(t, task.ID, "the caller's task is not changed")
}

func TestMiddlewareMayRefuse(t *testing.T) {
	s := newStore(t)
	refused := errors.New("not on Sundays")
	c := queue.NewClient(s.backend(), queue.ClientOptions{Middleware: []queue.EnqueueMiddleware{func(queue.Enqueuer) queue.Enqueuer {
		return func(context.Context, []queue.Task) ([]queue.Receipt, error) { return nil, refused }
	}}})

	_, err := queue.Enqueue(t.Context(), c, work, 1)

	require.ErrorIs(t, err, refused)
}

const traceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestATraceTravelsFromTheCallerToTheHandler(t *testing.T) {
	s := newStore(t)
	trace := queue.Trace{Parent: traceParent, State: "vendor=1"}
	shared := map[string]string{"mine": "kept"}
	c := queue.NewClient(s.backend(), queue.ClientOptions{})

	receipts, err := c.Enqueue(queue.WithTrace(t.Context(), trace), queue.Task{Kind: "work", Payload: []byte("1"), Headers: shared})

	require.NoError(t, err)
	require.Equal(t, map[string]string{"mine": "kept", "traceparent": traceParent, "tracestate": "vendor=1"}, s.find(receipts[0].ID).Headers)
	require.Equal(t, map[string]string{"mine": "kept"}, shared)
	seen := make(chan queue.Trace, 1)
	start(t, newWorker(t, s, queue.WorkerOptions{}, func(ctx context.Context, _ *queue.Job[int]) error {
		seen <- queue.TraceOf(ctx)
		return nil
	}))
	require.Equal(t, trace, <-seen)
}

func TestTraceContextLeavesAloneWhatIsNoTrace(t *testing.T) {
	for _, parent := range []string{"", "x", traceParent[:54], "ff" + traceParent[2:], traceParent + "x", strings.ToUpper(traceParent), strings.ReplaceAll(traceParent, "-", "0")} {
		headers := map[string]string{}

		queue.TraceContext{}.Inject(queue.WithTrace(t.Context(), queue.Trace{Parent: parent}), headers)
		ctx := queue.TraceContext{}.Extract(t.Context(), map[string]string{"traceparent": parent})

		require.Empty(t, headers, parent)
		require.Zero(t, queue.TraceOf(ctx), parent)
	}
	later := strings.Replace(traceParent, "00", "01", 1) + "-more"
	require.Equal(t, later, queue.TraceOf(queue.TraceContext{}.Extract(t.Context(), map[string]string{"traceparent": later})).Parent)
}

func FuzzTraceContext(f *testing.F) {
	f.Add(traceParent, "a=b")
	f.Fuzz(func(t *testing.T, parent, state string) {
		headers := map[string]string{"traceparent": parent, "tracestate": state}
		ctx := queue.TraceContext{}.Extract(t.Context(), headers)
		again := map[string]string{}
		queue.TraceContext{}.Inject(ctx, again)
		if len(again) > 0 && state != "" && !maps.Equal(headers, again) {
			t.Errorf("%v became %v", headers, again)
		}
	})
}
