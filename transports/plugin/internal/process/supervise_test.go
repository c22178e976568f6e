package process_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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

func TestCrashLoopIsGivenUp(t *testing.T) {
	s, started := supervise(t, process.Supervision{
		Config: config(t, "good"), MaxFailures: 3, MinDelay: time.Millisecond, Stable: slow, // so that a busy machine is no excuse
	})

	for range 3 {
		_, err := tell(within(t), next(t, started), "exit")
		require.Error(t, err)
	}
	select {
	case <-s.Done():
	case <-time.After(slow):
		require.FailNow(t, "it goes on")
	}

	err := s.Err()
	require.ErrorIs(t, err, fault.Unavailable)
	require.ErrorContains(t, err, os.Args[0])
	require.ErrorContains(t, err, "failed 3 times in a row")
	require.ErrorContains(t, err, "exit status 7")
	require.ErrorContains(t, err, "told to exit")
	require.Equal(t, process.Failed, s.State().Phase)
	require.Empty(t, started)
	p, got := s.Process()
	require.Nil(t, p)
	require.Equal(t, err, got)
	require.NoError(t, s.Stop(within(t)), "there is nothing to stop")
	require.Equal(t, err, s.Err())
}

func TestProcessThatHasRunForLongStartsNoLoop(t *testing.T) {
	s, started := supervise(t, process.Supervision{
		Config: config(t, "good"), MaxFailures: 2, MinDelay: time.Millisecond, Stable: time.Millisecond,
	})
	for range 4 {
		p := next(t, started)
		_, err := tell(within(t), p, "exit")
		require.Error(t, err)
	}
	next(t, started)

	require.NoError(t, s.Err())
	require.NoError(t, s.Stop(within(t)))
}

func TestPluginThatHasChangedIsRefused(t *testing.T) {
	ctx := within(t)
	began := 0
	s, _ := supervise(t, process.Supervision{
		Config: config(t, "good"), MinDelay: time.Millisecond,
		Started: func(context.Context, *process.Process) error {
			if began++; began > 1 {
				return fault.New(fault.Unsupported, "it has no queue any more")
			}
			return nil
		},
	})
	p, err := s.Process()
	require.NoError(t, err)

	_, err = tell(ctx, p, "exit")
	require.Error(t, err)
	<-s.Done()

	require.ErrorIs(t, s.Err(), fault.Unsupported)
	require.ErrorContains(t, s.Err(), "it has no queue any more")
	require.Equal(t, 2, began, "it is not asked again")
}

func TestFirstStartThatIsRefusedIsTheCallersError(t *testing.T) {
	var p *process.Process
	_, err := process.Supervise(within(t), process.Supervision{
		Config: config(t, "good"),
		Started: func(_ context.Context, now *process.Process) error {
			p = now
			return fault.New(fault.Invalid, "it is none of mine")
		},
	})

	require.EqualError(t, err, "it is none of mine")
	require.NoError(t, ended(t, p), "it was stopped")
}

func TestProcessThatEndsWhileItIsTakenIsTheError(t *testing.T) {
	_, err := process.Supervise(within(t), process.Supervision{
		Config: config(t, "good"),
		Started: func(ctx context.Context, p *process.Process) error {
			_, err := tell(ctx, p, "exit")
			<-ctx.Done() // which tells that the process has ended
			return err
		},
	})

	require.ErrorContains(t, err, "exit status 7")
}

func TestWhileAPluginIsRestarted(t *testing.T) {
	ctx := within(t)
	s, started := supervise(t, process.Supervision{Config: config(t, "good"), MinDelay: time.Hour, MaxDelay: time.Hour})
	p := next(t, started)
	_, err := tell(ctx, p, "exit")
	require.Error(t, err)
	eventually(t, "restarting", func() bool { return s.State().Phase == process.Restarting })

	_, err = s.Process()

	require.ErrorIs(t, err, fault.Unavailable)
	require.True(t, fault.IsRetryable(err))
	require.ErrorContains(t, err, "is being restarted")
	require.ErrorContains(t, err, "exit status 7")
	require.Zero(t, s.State().PID)
	require.NoError(t, s.Stop(ctx), "and is not waited for")
	require.Equal(t, process.Stopped, s.State().Phase)
}

func TestProgramThatIsMissingForAMomentIsTriedAgain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a running program cannot be moved away")
	}
	ctx := within(t)
	path := filepath.Join(t.TempDir(), "plugin")
	own, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, own, 0o700))
	c := config(t, "good")
	c.Program = path
	s, started := supervise(t, process.Supervision{Config: c, MinDelay: 10 * time.Millisecond, MaxFailures: 1000})
	p := next(t, started)
	require.NoError(t, os.Rename(path, path+".old"))
	_, err = tell(ctx, p, "exit")
	require.Error(t, err)
	eventually(t, "it is missed", func() bool {
		err := s.State().LastError
		return err != nil && strings.Contains(err.Error(), "there is no such file")
	})

	require.NoError(t, os.Rename(path+".old", path))

	p = next(t, started)
	require.NoError(t, p.Ping(ctx))
	require.NoError(t, s.Stop(ctx))
}

func TestStopOfADeafPluginEndsWithItsContext(t *testing.T) {
	s, _ := supervise(t, process.Supervision{Config: config(t, "deaf")})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()

	require.ErrorIs(t, s.Stop(ctx), fault.DeadlineExceeded)
}

func TestSupervisionOfABadConfig(t *testing.T) {
	_, err := process.Supervise(within(t), process.Supervision{})
	require.ErrorIs(t, err, fault.Invalid)
}
