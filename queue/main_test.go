package queue_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// work is the kind that most tests use; its payload is a number.
var work = queue.NewKind[int]("work")

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// newWorker makes a worker with a handler of the kind work.
func newWorker(t *testing.T, s *store, o queue.WorkerOptions, handle func(context.Context, *queue.Job[int]) error, options ...queue.HandleOption) *queue.Worker {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	w, err := queue.NewWorker(s.backend(), o)
	require.NoError(t, err)
	require.NoError(t, queue.Handle(w, work, handle, options...))
	return w
}

// start starts a worker, and stops it with the test.
func start(t *testing.T, w *queue.Worker) {
	t.Helper()
	require.NoError(t, w.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, w.Stop(context.WithoutCancel(t.Context()))) })
}

// enqueue stores tasks of the kind work with the payloads 0 to n-1, and answers their IDs.
func enqueue(t *testing.T, s *store, n int, options ...queue.Option) []string {
	t.Helper()
	payloads := make([]int, n)
	for i := range payloads {
		payloads[i] = i
	}
	receipts, err := queue.EnqueueMany(t.Context(), queue.NewClient(s.backend(), queue.ClientOptions{}), work, payloads, options...)
	require.NoError(t, err)
	ids := make([]string, n)
	for i, r := range receipts {
		ids[i] = r.ID
	}
	return ids
}

// inTime runs a test on a clock that jumps whenever all goroutines wait.
func inTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// after lets time pass, and whatever happens meanwhile happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func succeed(context.Context, *queue.Job[int]) error { return nil }

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
