package redis

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/fault"
)

// lane carries this node's commands to the server: written at once when nothing is under way, and collected into one
// pipeline while something is. So a lone caller pays for no batching, and many share round trips.
//
//   - Idle: the caller runs its command itself, on its own goroutine. Handing it to another would cost a lone caller up
//     to half of its throughput (measured: two wake-ups across cores). go-redis reads on when a context is cancelled, so
//     this goes over a connection that can be interrupted (see solo). With an application's own client there is none: a
//     caller whose context can end then hands over to a sender, and stays free to leave.
//   - Busy: calls queue. When what is under way is answered, a sender takes all that waits as one pipeline.
//   - Stalled: when the oldest call has waited for patience (a large reply, a far server), another pipeline is begun
//     beside, up to senders of them. One alone is best while answers come fast: measured at 64 callers, two in flight
//     carried 0.7 of what one did, because each collects half as much.
//   - Heavy calls go beside the lane altogether, few at a time, so that they delay nothing that is small.
//
// The queue is as long as callers wait, and no longer: who leaves takes its call along.
type lane struct {
	client *redis.Client
	solo   *solo // may be nil, as with an application's own client; no two lanes share one
	apart  bool  // calls are large or batches already: none waits to be collected, see newLaneApart

	mu     sync.Mutex
	queue  []*call
	busy   int // calls run by their callers, and pipelines under way
	closed bool

	stalled *time.Timer   // runs while calls wait
	wake    chan struct{} // one token for each pipeline that a sender shall begin; the token's busy is counted already
	heavy   chan struct{} // holds a token for each heavy call under way

	life context.Context
	end  context.CancelFunc
	done sync.WaitGroup
}

const (
	senders       = 4                // pipelines under way at most
	patience      = time.Millisecond // how long calls wait before another pipeline is begun beside
	maxPipeline   = 512              // commands of one pipeline; one call's stay together
	pipelineBytes = 256 << 10        // bytes of one pipeline, about
	heavyBytes    = 64 << 10         // a call of this size goes beside
	heavyCalls    = 4                // heavy calls under way at most
	closeWait     = 3 * time.Second  // how long close waits for a client that is not ours
)

// call is what one caller waits for.
type call struct {
	cmds  []redis.Cmder
	bytes int
	index int // in the queue; -1 once a sender has it
	err   error
	done  chan struct{} // receives one token when the call is answered
}

// calls recycles what every queued call would otherwise allocate. A call that its caller left behind is not put back.
var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func newLane(client *redis.Client) *lane {
	l := &lane{client: client, wake: make(chan struct{}, senders), heavy: make(chan struct{}, heavyCalls)}
	l.life, l.end = context.WithCancel(context.Background())
	l.stalled = time.AfterFunc(time.Hour, l.sendBeside)
	l.stalled.Stop()
	for range senders {
		l.done.Go(l.send)
	}
	return l
}

// newLaneApart makes a lane for calls that are batches already, of few callers: each goes at once, beside the others, as
// heavy ones do. With one under way at a time server and client would work by turns instead of at once.
func newLaneApart(client *redis.Client) *lane {
	l := &lane{client: client, apart: true, heavy: make(chan struct{}, heavyCalls)}
	l.life, l.end = context.WithCancel(context.Background())
	l.stalled = time.AfterFunc(time.Hour, l.sendBeside)
	l.stalled.Stop()
	return l
}

// do runs commands in one pipeline and returns when they are answered. Each then holds its own reply or the server's
// error for it, and do's error is nil. An error of do means that nothing is known of any of them: the link failed, ctx
// ended or the lane is closed. The commands, their slice and the bytes they refer to must then neither be read nor
// written any more, because a sender may still be at work on them.
func (l *lane) do(ctx context.Context, cmds ...redis.Cmder) error {
	if err := fault.FromContext(ctx); err != nil {
		return err
	}
	if l.apart {
		return l.doBeside(ctx, cmds)
	}
	bytes := 0
	for _, cmd := range cmds {
		bytes += size(cmd)
	}
	if bytes >= heavyBytes {
		return l.doBeside(ctx, cmds)
	}
	l.mu.Lock()
	switch {
	case l.closed:
		l.mu.Unlock()
		return errClosed
	case len(cmds) == 0:
		l.mu.Unlock()
		return nil
	case l.busy == 0 && (ctx.Done() == nil || l.solo != nil):
		l.busy++
		l.mu.Unlock()
		err := l.runAlone(ctx, cmds)
		l.pass()
		return err
	}
	c := l.enqueue(cmds, bytes)
	l.mu.Unlock()
	return l.await(ctx, c)
}

// enqueue puts a call in the queue, and has it sent if nothing is under way. l.mu is held.
func (l *lane) enqueue(cmds []redis.Cmder, bytes int) *call {
	c := calls.Get().(*call)
	c.cmds, c.bytes, c.index, c.err = cmds, bytes, len(l.queue), nil
	l.queue = append(l.queue, c)
	if l.busy == 0 {
		l.busy++
		l.wake <- struct{}{}
	} else if len(l.queue) == 1 {
		l.stalled.Reset(patience)
	}
	return c
}

// await waits for the answer to a queued call.
func (l *lane) await(ctx context.Context, c *call) error {
	select {
	case <-c.done:
		return c.recycle()
	case <-ctx.Done():
	case <-l.life.Done():
	}
	l.mu.Lock()
	left := c.index >= 0
	if left {
		l.remove(c.index)
	}
	closed := l.closed
	l.mu.Unlock()
	if left {
		c.recycle()
	}
	if err := fault.FromContext(ctx); err != nil && !closed {
		return err
	}
	return errClosed
}

func (c *call) recycle() error {
	err := c.err
	c.cmds, c.err = nil, nil
	calls.Put(c)
	return err
}

// remove takes a call out of the queue; the last one takes its place. Callers do not wait for each other, so the order
// among them is free. l.mu is held.
func (l *lane) remove(i int) {
	last := len(l.queue) - 1
	l.queue[i] = l.queue[last]
	l.queue[i].index = i
	l.queue[last] = nil
	l.queue = l.queue[:last]
}

// pass ends what was under way, and gives its place to the calls that wait.
func (l *lane) pass() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 && !l.closed {
		l.wake <- struct{}{} // never blocks: no more tokens than busy, and busy is at most senders
		return
	}
	l.busy--
}

// sendBeside begins another pipeline for calls that have waited for patience.
func (l *lane) sendBeside() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || l.busy >= senders || l.closed {
		return
	}
	l.busy++
	l.wake <- struct{}{}
}

// send is a sender: it sends what waits, as one pipeline after another, until nothing does.
func (l *lane) send() {
	var batch []*call
	var cmds []redis.Cmder
	for {
		select {
		case <-l.life.Done():
			return
		case <-l.wake:
		}
		for {
			if batch = l.take(batch[:0]); len(batch) == 0 {
				break
			}
			cmds = l.sendBatch(batch, cmds[:0])
			// Those who were just answered often call again: one turn for them makes one pipeline of what would be two.
			runtime.Gosched()
		}
	}
}

// take moves what waits, up to the bounds of a pipeline, from the queue to batch. When nothing waits, the place is free.
func (l *lane) take(batch []*call) []*call {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || l.closed {
		l.busy--
		return batch
	}
	n, cmds, bytes := 0, 0, 0
	for _, c := range l.queue {
		if n > 0 && (cmds+len(c.cmds) > maxPipeline || bytes+c.bytes > pipelineBytes) {
			break
		}
		cmds, bytes, n = cmds+len(c.cmds), bytes+c.bytes, n+1
		c.index = -1
	}
	batch = append(batch, l.queue[:n]...)
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	for i, c := range l.queue {
		c.index = i
	}
	if rest > 0 {
		l.stalled.Reset(patience)
	}
	return batch
}

// sendBatch runs the commands of a batch in one pipeline and answers its callers.
func (l *lane) sendBatch(batch []*call, cmds []redis.Cmder) []redis.Cmder {
	for _, c := range batch {
		cmds = append(cmds, c.cmds...)
	}
	l.exec(l.life, l.client, cmds)
	for i, c := range batch {
		c.err = linkError(c.cmds)
		batch[i] = nil
		c.done <- struct{}{}
	}
	clear(cmds)
	return cmds
}

// doBeside runs a heavy call on a goroutine of its own, or on its caller's, if that cannot leave.
func (l *lane) doBeside(ctx context.Context, cmds []redis.Cmder) error {
	select {
	case l.heavy <- struct{}{}:
	case <-ctx.Done():
		return fault.FromContext(ctx)
	case <-l.life.Done():
		return errClosed
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errClosed
	}
	if ctx.Done() == nil {
		l.done.Add(1)
		l.mu.Unlock()
		defer l.done.Done()
		defer func() { <-l.heavy }()
		return l.run(l.life, cmds)
	}
	answered := make(chan error, 1)
	l.done.Go(func() {
		answered <- l.run(l.life, cmds)
		<-l.heavy
	})
	l.mu.Unlock()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return fault.FromContext(ctx)
	case <-l.life.Done():
		return errClosed
	}
}

// runAlone runs the commands of one call on its caller's goroutine. It is not called concurrently: only while nothing
// else is under way does a caller do so, and it counts in busy.
func (l *lane) runAlone(ctx context.Context, cmds []redis.Cmder) error {
	if l.solo == nil {
		return l.run(ctx, cmds)
	}
	stop := l.solo.watch(ctx)
	l.exec(ctx, l.solo.client, cmds)
	stop()
	err := linkError(cmds)
	if err != nil && hasEnded(ctx) {
		return fault.FromContext(ctx)
	}
	return err
}

// hasEnded reports whether ctx is over. The connection has the same deadline, and its timer may be the first to fire: the
// context's own then follows at once.
func hasEnded(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

// run runs the commands of one call.
func (l *lane) run(ctx context.Context, cmds []redis.Cmder) error {
	l.exec(ctx, l.client, cmds)
	return linkError(cmds)
}

// exec sends commands, reads their replies into them, and loads the scripts that the server turned out not to know.
func (l *lane) exec(ctx context.Context, client *redis.Client, cmds []redis.Cmder) {
	roundTrip(ctx, client, cmds)
	loads, again := l.unknownScripts(cmds)
	if len(again) == 0 {
		return
	}
	all := make([]redis.Cmder, 0, len(loads)+len(again))
	for _, load := range loads {
		all = append(all, load)
	}
	roundTrip(ctx, client, append(all, again...))
	// A server that refuses a script says why to the load, and to the call only that it does not know it.
	for _, cmd := range again {
		if why := loads[scriptOf(cmd)].Err(); why != nil && isUnknownScript(cmd.Err()) {
			cmd.SetErr(why)
		}
	}
}

func isUnknownScript(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") }

func roundTrip(ctx context.Context, client *redis.Client, cmds []redis.Cmder) {
	if len(cmds) == 1 {
		_ = client.Process(ctx, cmds[0]) // the error is in the command
		return
	}
	pipe := client.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...) // only collects
	_, err := pipe.Exec(ctx)
	// The errors are in the commands, but for one case: what the server said against a new connection (a wrong password,
	// LOADING) is returned only, and the commands look as if each had been answered with nothing.
	if err != nil && !slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return cmd.Err() != nil }) {
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
	}
}

// unknownScripts picks the calls of scripts that the server does not know, and what makes it know them: it was restarted,
// or its scripts were flushed, or this is their first use.
func (l *lane) unknownScripts(cmds []redis.Cmder) (loads map[*script]*redis.StringCmd, again []redis.Cmder) {
	for _, cmd := range cmds {
		if !isUnknownScript(cmd.Err()) {
			continue
		}
		s := scriptOf(cmd)
		if s == nil {
			continue
		}
		if loads == nil {
			loads = map[*script]*redis.StringCmd{}
		}
		if loads[s] == nil {
			loads[s] = redis.NewStringCmd(l.life, "script", "load", s.source)
		}
		cmd.SetErr(nil)
		again = append(again, cmd)
	}
	return loads, again
}

// linkError is the error that leaves the fate of commands unknown: any but the server's own answers.
func linkError(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		err := cmd.Err()
		if err == nil || err == redis.Nil {
			continue
		}
		var answer redis.Error
		if !errors.As(err, &answer) {
			return err
		}
	}
	return nil
}

// size is about what a command takes on the wire.
func size(cmd redis.Cmder) int {
	n := 0
	for _, arg := range cmd.Args() {
		switch arg := arg.(type) {
		case string:
			n += len(arg)
		case *string:
			n += len(*arg)
		case []byte:
			n += len(arg)
		}
	}
	return n
}

// shut refuses new calls and lets those that wait return Closed.
func (l *lane) shut() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.end()
	l.stalled.Stop()
}

// wait waits for what is still under way. It is bounded by the client's timeouts, and at once over when the client was
// closed; for a client that is not ours, by closeWait.
func (l *lane) wait() (ended bool) {
	over := make(chan struct{})
	go func() { l.done.Wait(); close(over) }()
	select {
	case <-over:
		return true
	case <-time.After(closeWait):
		return false
	}
}
