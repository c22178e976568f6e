package process_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

// supervise supervises a plugin until the test ends. Each process that it starts is sent to the channel.
func supervise(t *testing.T, o process.Supervision) (*process.Supervisor, chan *process.Process) {
	t.Helper()
	started := make(chan *process.Process, 10)
	if o.Started == nil {
		o.Started = func(_ context.Context, p *process.Process) error {
			started <- p
			return nil
		}
	}
	s, err := process.Supervise(within(t), o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop(context.Background()) }) // what it says is the test's to look at
	return s, started
}

func next(t *testing.T, started <-chan *process.Process) *process.Process {
	t.Helper()
	select {
	case p := <-started:
		return p
	case <-time.After(slow):
		require.FailNow(t, "no process was started")
		return nil
	}
}

func TestCrashedPluginIsReplaced(t *testing.T) {
	ctx := within(t)
	ends := make(chan error, 10)
	s, started := supervise(t, process.Supervision{
		Config: config(t, "good"), Ended: func(_ *process.Process, err error) { ends <- err },
	})
	first := next(t, started)
	require.Equal(t, process.Running, s.State().Phase)

	_, err := tell(ctx, first, "exit")
	require.Error(t, err)

	second := next(t, started)
	require.ErrorContains(t, <-ends, "exit status 7")
	require.NotEqual(t, first.PID(), second.PID())
	require.Eventually(t, func() bool { return s.State().Phase == process.Running }, slow, time.Millisecond)
	require.Equal(t, 1, s.State().Restarts)
	require.ErrorContains(t, s.State().LastError, "exit status 7")
	p, err := s.Process()
	require.NoError(t, err)
	require.Same(t, second, p)
	_, err = tell(ctx, p, "hello")
	require.NoError(t, err)

	require.NoError(t, s.Stop(ctx))
	require.NoError(t, <-ends)
	require.NoError(t, s.Err())
	require.Equal(t, process.Stopped, s.State().Phase)
	_, err = s.Process()
	require.ErrorIs(t, err, fault.Closed)
}
