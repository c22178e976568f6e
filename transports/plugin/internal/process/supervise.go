package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/gobackplane/backplane/fault"
)

// Supervision says how a plugin is kept running. Only Config is needed.
type Supervision struct {
	Config Config

	// Started is called for each process before anybody gets it, the first one too. When it returns an error the process
	// is stopped; an error that is Invalid or Unsupported refuses the plugin for good (it is another one now), any other
	// counts as a crash. ctx ends when the process does.
	Started func(ctx context.Context, p *Process) error
	// Ended is called when a process that Started took has ended, before another is started. err is nil after Stop.
	Ended func(p *Process, err error)

	PingEvery   time.Duration // 0: 2 s
	PingTimeout time.Duration // for each of two attempts; 0: 4 s. A frozen plugin is killed after PingEvery + 2 PingTimeout
	MaxFailures int           // starts and crashes in a row after which the plugin is given up; 0: 5
	Stable      time.Duration // a process that has run for so long ends the row; 0: 1 s
	MinDelay    time.Duration // before the first restart; it doubles, with jitter; 0: 250 ms
	MaxDelay    time.Duration // 0: 15 s
}

// Phase is what a supervised plugin is doing.
type Phase string

// The phases.
const (
	Running    Phase = "running"
	Restarting Phase = "restarting"
	Failed     Phase = "failed"  // given up; see Err
	Stopped    Phase = "stopped" // by Stop
)

// State is what a health check wants to know of a supervised plugin.
type State struct {
	Phase     Phase
	Since     time.Time // of this phase
	PID       int       // 0 when none runs, or it is attached to
	Restarts  int       // how often it was replaced
	LastError error     // why the last one ended, or the last start failed
}

// Supervisor keeps one plugin running: it pings it, kills it when it is frozen, starts another when it has ended, one at
// a time and ever more slowly, and gives up when that does not help.
type Supervisor struct {
	options Supervision
	logger  *slog.Logger
	cancel  context.CancelFunc
	done    chan struct{}
	stopErr error // read it after done

	mu      sync.Mutex
	state   State
	process *Process // nil unless running
	err     error    // why it was given up
}

// Supervise starts a plugin and keeps it running until Stop. ctx bounds the first start alone, whose failure is
// returned: a plugin that has never worked is not tried again.
func Supervise(ctx context.Context, options Supervision) (*Supervisor, error) {
	options = options.withDefaults()
	config, err := options.Config.checked()
	if err != nil {
		return nil, err
	}
	options.Config = config
	s := &Supervisor{options: options, logger: config.Logger.With(pluginKey, config.short()), done: make(chan struct{})}
	p, err := s.start(ctx)
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		return nil, refused.error
	}
	if err != nil {
		return nil, err
	}
	s.running(p, false)
	s.logger.Info("plugin runs", "pid", p.PID())
	life, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.run(life, p)
	return s, nil
}

func (o Supervision) withDefaults() Supervision {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&o.PingEvery, 2 * time.Second}, {&o.PingTimeout, 4 * time.Second}, {&o.Stable, time.Second},
		{&o.MinDelay, 250 * time.Millisecond}, {&o.MaxDelay, 15 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.usual
		}
	}
	if o.MaxFailures <= 0 {
		o.MaxFailures = 5
	}
	return o
}

// Process is the one that runs. While there is none the error says so: Unavailable while it is restarted, the reason
// when it was given up, Closed after Stop.
func (s *Supervisor) Process() (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state.Phase {
	case Running:
		return s.process, nil
	case Failed:
		return nil, s.err
	case Stopped:
		return nil, fault.In(fault.New(fault.Closed, "the plugin was stopped"), "plugin: call", s.options.Config.name())
	}
	return nil, &fault.Error{
		Code: fault.Unavailable, Op: "plugin: call", Subject: s.options.Config.name(), Retryable: true, Err: s.state.LastError,
		Message: fmt.Sprintf("the plugin is being restarted, for %s: %v", time.Since(s.state.Since).Round(time.Millisecond), s.state.LastError),
	}
}

// State is how the plugin is doing now.
func (s *Supervisor) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Done is closed when the plugin was given up or stopped, and nothing of it is left.
func (s *Supervisor) Done() <-chan struct{} { return s.done }

// Err is why the plugin was given up; nil unless it was.
func (s *Supervisor) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stop stops the plugin and its supervision and waits for both; see [Process.Stop].
func (s *Supervisor) Stop(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.done:
		return s.stopErr
	case <-ctx.Done():
	}
	if p, _ := s.Process(); p != nil {
		p.abandon()
	}
	<-s.done // a start that was under way ends with the context, a process by being killed
	return s.stopErr
}

// run is the only one that starts and ends processes after the first.
func (s *Supervisor) run(ctx context.Context, p *Process) {
	defer close(s.done)
	defer s.cancel()
	failures := 0
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.MaxInterval, delays.Multiplier = s.options.MinDelay, s.options.MaxDelay, 2
	for {
		began := time.Now()
		err := s.watch(ctx, p)
		if s.options.Ended != nil {
			s.options.Ended(p, err)
		}
		if ctx.Err() != nil {
			s.stopErr = err
			s.ended(Stopped, err)
			return
		}
		if time.Since(began) >= s.options.Stable {
			failures = 0
			delays.Reset()
		}
		s.ended(Restarting, err)
		for p = nil; p == nil; {
			failures++
			s.logger.Error("plugin has failed", "failures", failures, "error", err)
			if refused := (*refusal)(nil); errors.As(err, &refused) {
				s.giveUp(refused.error)
				return
			}
			if failures >= s.options.MaxFailures && s.options.Config.Attach == "" {
				s.giveUp(fault.In(&fault.Error{
					Code: fault.Unavailable, Err: err,
					Message: fmt.Sprintf("failed %d times in a row and is not restarted any more; the last time: %v", failures, err),
				}, "plugin: supervise", s.options.Config.name()))
				return
			}
			if !wait(ctx, delays.NextBackOff()) {
				s.ended(Stopped, err)
				return
			}
			if p, err = s.start(ctx); err != nil {
				p = nil
				if ctx.Err() != nil {
					s.ended(Stopped, err)
					return
				}
				s.ended(Restarting, err)
			}
		}
		s.running(p, true)
		s.logger.Info("plugin runs again", "pid", p.PID())
	}
}

// start starts a process and has it taken.
func (s *Supervisor) start(ctx context.Context) (*Process, error) {
	p, err := Start(ctx, s.options.Config)
	if err != nil {
		return nil, err
	}
	if s.options.Started == nil {
		return p, nil
	}
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	err = s.options.Started(life, p)
	if err == nil {
		return p, nil
	}
	if code := fault.CodeOf(err); code == fault.Invalid || code == fault.Unsupported {
		err = &refusal{err}
	} else if !wait(p.life, crashSeen) {
		<-p.Done()
		if p.Err() != nil {
			err = p.Err() // it says more than a call that broke off
		}
		return nil, err
	}
	_ = p.Stop(context.WithoutCancel(ctx)) // bounded by itself; what matters is why it was not taken
	return nil, err
}

// crashSeen is the time between the end of a process's connection and the news of its own end.
const crashSeen = time.Second

// refusal is an error of Started that ends the supervision. A start that fails with the same codes does not: a program
// that is being replaced is missing for a moment.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// watch returns when the process has ended, which it sees to when ctx ends or the plugin does not answer.
func (s *Supervisor) watch(ctx context.Context, p *Process) error {
	tick := time.NewTicker(s.options.PingEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.Done():
			return p.Err()
		case <-ctx.Done():
			return p.Stop(context.Background()) // bounded by its own timeouts
		case <-tick.C:
			if s.options.Config.Attach != "" {
				continue // it may stand still in a debugger
			}
		}
		if s.frozen(ctx, p) {
			p.Kill(&fault.Error{
				Code: fault.Unavailable, Retryable: true,
				Message: fmt.Sprintf("is frozen: it answered no ping for %s, and was killed", 2*s.options.PingTimeout),
			})
		}
	}
}

// frozen tells whether the plugin answers nothing. Any answer will do: one that says of itself that it does not serve is
// no better for being killed. It asks twice, because when this process was stopped itself, the first answer's time is over
// before the answer could come.
func (s *Supervisor) frozen(ctx context.Context, p *Process) bool {
	for range 2 {
		once, cancel := context.WithTimeout(ctx, s.options.PingTimeout)
		err := p.Ping(once)
		cancel()
		if fault.CodeOf(err) != fault.DeadlineExceeded {
			return false // it answers, has ended, or is being stopped
		}
	}
	return true
}

func (s *Supervisor) running(p *Process, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process = p
	s.state.Phase, s.state.Since, s.state.PID = Running, time.Now(), p.PID()
	if again {
		s.state.Restarts++
	}
}

func (s *Supervisor) ended(phase Phase, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Phase != phase {
		s.state.Since = time.Now()
	}
	s.process = nil
	s.state.Phase, s.state.PID = phase, 0
	if err != nil {
		s.state.LastError = err
	}
}

func (s *Supervisor) giveUp(err error) {
	s.ended(Failed, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// wait waits, and tells whether ctx is still live.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
