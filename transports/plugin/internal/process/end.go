package process

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// Kill ends the plugin and all that it has started, at once. Err will give the reason.
func (p *Process) Kill(reason error) {
	if reason == nil {
		reason = fault.New(fault.Unavailable, "was killed by its host")
	}
	if p.runner == nil {
		p.end(reason)
		return
	}
	p.runner.kill(reason)
}

// end notes that the end is wanted, and of a plugin that is attached to it is the end, with that reason. The first counts.
func (p *Process) end(reason error) {
	p.stop.Do(func() {
		if p.runner == nil {
			p.err = reason
		}
		close(p.stopped)
	})
}

// Stop asks the plugin to finish what it does and to end, kills it when it has not within Config.StopTimeout (or when
// ctx ends), and returns when nothing is left of it. The error says that it had to be killed. A plugin that is attached
// to is left running.
func (p *Process) Stop(ctx context.Context) error {
	p.end(nil)
	if p.runner == nil {
		<-p.done
		return p.err
	}
	p.runner.child.release()
	patience := time.NewTimer(p.config.StopTimeout)
	defer patience.Stop()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.abandon()
		<-p.done
		return p.err
	case <-patience.C:
	}
	// One that does not know what the end of its input means may know go-plugin's own call, which is abrupt. Go-plugin
	// gives the call no deadline.
	go p.killClient()
	last := time.NewTimer(shutdownGrace)
	defer last.Stop()
	select {
	case <-p.done:
	case <-ctx.Done():
	case <-last.C:
	}
	p.Kill(p.runner.deaf())
	<-p.done
	return p.err
}

// abandon ends a stop whose caller's context has ended.
func (p *Process) abandon() {
	p.Kill(fault.New(fault.DeadlineExceeded, "had not ended when the patience of the one who stopped it did, and was killed"))
}

// shutdownGrace is how long go-plugin's own way to the end may take; it kills two seconds after the plugin has answered.
const shutdownGrace = 3 * time.Second

// killClient has go-plugin close what it holds. It returns only when the plugin has ended; a second caller waits for the
// first.
func (p *Process) killClient() {
	if p.client != nil {
		p.killed.Do(p.client.Kill)
	}
}

// await is the owner of all that belongs to the process: it waits for its end and clears away.
func (p *Process) await() {
	defer close(p.done)
	<-p.runner.child.exited
	p.die()
	<-p.runner.child.drained
	p.killClient()
	p.runner.cleanUp()
	p.err = p.cause()
}

// cause is why the process ended, in words.
func (p *Process) cause() error {
	how, reason := p.runner.child.ending()
	f := &fault.Error{Code: fault.Unavailable, Op: "plugin: run", Subject: p.config.Program, Retryable: true}
	if !p.runner.served.Load() {
		f.Op = "plugin: start"
	}
	switch {
	case reason != nil:
		f.Err, f.Message = reason, reason.Error()
		if known := (*fault.Error)(nil); errors.As(reason, &known) {
			f.Code, f.Retryable = known.Code, known.Retryable
		}
	case p.isStopped():
		return nil // as it was asked to, whatever its exit status is
	case !p.runner.served.Load():
		f.Message = fmt.Sprintf("ended before it served (%s)", how)
		if strings.HasSuffix(how, "exit status 0") {
			f.Message += ": is it a Backplane plugin?"
		}
	default:
		f.Message = fmt.Sprintf("ended by itself after %s (%s)", time.Since(p.since).Round(time.Millisecond), how)
		if strings.Contains(how, "killed") {
			f.Message += ": somebody killed it, perhaps the system for want of memory"
		}
	}
	f.Message += said(p.output.lines())
	return f
}

func (p *Process) isStopped() bool {
	select {
	case <-p.stopped:
		return true
	default:
		return false
	}
}

// said shows the last lines of a plugin in an error.
func said(lines []string) string {
	if len(lines) == 0 {
		return "; it printed nothing"
	}
	return "; its last lines:\n\t" + strings.Join(lines, "\n\t")
}
