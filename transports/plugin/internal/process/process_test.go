package process_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

func TestPluginIsStartedCalledAndStopped(t *testing.T) {
	ctx := within(t)
	p := start(t, config(t, "good"))

	require.NoError(t, p.Ping(ctx))
	answer, err := tell(ctx, p, "hello")
	require.NoError(t, err)
	require.Equal(t, "hello", answer)
	require.NoError(t, p.Err())
	require.NoError(t, p.Stop(ctx))

	require.NoError(t, ended(t, p), "a stop that was obeyed is no error")
	require.NoError(t, p.Stop(ctx), "twice is fine")
	require.ErrorIs(t, p.Ping(ctx), fault.Unavailable)
	_, err = tell(ctx, p, "hello")
	require.Error(t, err)
}

func TestCrashIsToldWithTheLastLines(t *testing.T) {
	ctx := within(t)
	p := start(t, config(t, "good"))

	_, err := tell(ctx, p, "panic")

	require.Error(t, err, "the call ends with the process")
	err = ended(t, p)
	require.ErrorIs(t, err, fault.Unavailable)
	require.True(t, fault.IsRetryable(err))
	require.ErrorContains(t, err, os.Args[0])
	require.ErrorContains(t, err, "exit status 2")
	require.ErrorContains(t, err, "panic: the plugin is broken")
	require.ErrorContains(t, err, "goroutine ")
}

func TestAnswerAfterTheDeadlineHarmsNobody(t *testing.T) {
	ctx := within(t)
	p := start(t, config(t, "good"))

	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err := tell(short, p, "late")

	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	answer, err := tell(ctx, p, "hello")
	require.NoError(t, err)
	require.Equal(t, "hello", answer)
}

func TestAnswersAreBounded(t *testing.T) {
	ctx := within(t)
	p := start(t, config(t, "good"))

	answer, err := tell(ctx, p, "size 4000000")
	require.NoError(t, err)
	require.Len(t, answer, 4_000_000)
	_, err = tell(ctx, p, "size 4200000")

	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	_, err = tell(ctx, p, "hello")
	require.NoError(t, err)
}

// underWay makes a call of the order and returns when the plugin is at it; the channel gives the answer, or the error.
func underWay(t *testing.T, mode, order string) (*process.Process, <-chan string) {
	t.Helper()
	ctx := within(t)
	c := config(t, mode)
	seen := newLog()
	c.Logger = slog.New(seen)
	p := start(t, c)
	answers := make(chan string, 1)
	go func() {
		answer, err := tell(ctx, p, order)
		if err != nil {
			answer = err.Error()
		}
		answers <- answer
	}()
	seen.find(t, "under way")
	return p, answers
}

func TestCallsUnderWayFinishBeforeAStop(t *testing.T) {
	p, answers := underWay(t, "draining", "until-drained")

	require.NoError(t, p.Stop(within(t)))

	require.Equal(t, "finished", <-answers)
}

func TestCallsThatDoNotFinishAreBrokenOff(t *testing.T) {
	p, answers := underWay(t, "hasty", "never")

	require.NoError(t, p.Stop(within(t)))

	require.Contains(t, <-answers, "Unavailable")
}

func TestPluginTakesAsLongToEndAsItsHostAllows(t *testing.T) {
	ctx := within(t)
	seen := newLog()
	c := config(t, "good")
	c.Logger, c.StopTimeout = slogOf(seen), 2*time.Second
	p := start(t, c)
	go func() { _, _ = tell(ctx, p, "never") }() // it is broken off
	seen.find(t, "under way")

	_ = p.Stop(ctx) // which may have had to kill it on a slow machine

	require.Equal(t, "1.6s", fmt.Sprint(time.Duration(seen.find(t, "calls were still under way").attrs["drain_timeout"].(int64))))
}

func TestPluginThatKnowsGoPluginAloneIsStopped(t *testing.T) {
	c := config(t, "plain go-plugin")
	c.StopTimeout = 100 * time.Millisecond
	p := start(t, c)

	err := p.Stop(within(t))

	require.NoError(t, err, "it ends at go-plugin's own call")
}

func TestPluginThatIgnoresAStopIsKilled(t *testing.T) {
	c := config(t, "deaf")
	c.StopTimeout = 100 * time.Millisecond
	p := start(t, c)

	err := p.Stop(within(t))

	require.ErrorIs(t, err, fault.DeadlineExceeded)
	require.ErrorContains(t, err, os.Args[0])
	require.ErrorContains(t, err, "stop_timeout")
	require.Equal(t, err, p.Err())
}

func TestStopEndsWithItsContext(t *testing.T) {
	p := start(t, config(t, "deaf"))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()

	err := p.Stop(ctx)

	require.ErrorIs(t, err, fault.DeadlineExceeded)
	require.NoError(t, within(t).Err(), "long before its stop_timeout")
}

func TestPluginIsNamedInTheErrorOfAKill(t *testing.T) {
	p := start(t, config(t, "good"))

	p.Kill(fault.New(fault.Corrupt, "sent rubbish"))

	err := ended(t, p)
	require.ErrorIs(t, err, fault.Corrupt)
	require.ErrorContains(t, err, os.Args[0])
	require.ErrorContains(t, err, "sent rubbish")
}
