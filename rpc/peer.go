package rpc

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/complaints"
	"github.com/gobackplane/backplane/internal/envelope"
)

// Peer is this node among the others: it makes calls, serves them, and knows who is there. It is safe for concurrent use.
type Peer struct {
	options Options
	self    string // incarnation
	backend *Backend
	logger  *slog.Logger
	chunk   int // most that one frame carries

	opener     *envelope.Opener
	writer     *writer
	invoker    Invoker
	members    *membership
	pulse      pulse
	calls      pending
	running    running
	crew       crew
	transfers  transfers
	assemblies assemblies
	counters   counters
	complaints complaints.Box
	turn       atomic.Uint64

	registering sync.Mutex
	methods     atomic.Pointer[map[string]*method]

	started, draining, fenced atomic.Bool
	ready                     chan struct{} // closed when the membership is complete
	closing                   chan struct{} // closed when calls are over
	handling                  context.Context
	stopHandling              context.CancelFunc
	lifetime                  context.Context
	end                       context.CancelFunc
	monitor                   sync.WaitGroup

	lifecycle sync.Mutex
	closed    bool
	listeners []io.Closer
}

// New makes a peer on a transport's backend. It does nothing yet: register methods, then call Start.
func New(backend *Backend, options Options) (*Peer, error) {
	const op = "rpc: new"
	options, err := options.withDefaults()
	if err != nil {
		return nil, fault.In(err, op, options.Name)
	}
	if backend == nil || backend.Driver == nil {
		return nil, fault.In(fault.New(fault.Unsupported, "the transport offers neither RPC nor pub/sub"), op, options.Name)
	}
	ring, err := envelope.ParseRing(options.Keys)
	if err != nil {
		return nil, fault.In(err, op, options.Name)
	}
	protection := envelope.Signed
	if options.Secret {
		protection = envelope.Secret
	}
	now := time.Now()
	incarnation := envelope.NewIncarnation(now)
	sealer, err := envelope.NewSealer(ring, options.Name, incarnation, protection)
	if err != nil {
		return nil, fault.In(err, op, options.Name)
	}
	p := &Peer{
		options: options,
		self:    incarnation,
		backend: backend,
		logger:  options.Logger,
		opener:  envelope.NewOpener(ring, 0),
		members: newMembership(Member{Name: options.Name, Incarnation: incarnation, Started: now.Truncate(time.Millisecond), Metadata: options.Metadata}),
		ready:   make(chan struct{}),
		closing: make(chan struct{}),
	}
	if err := checkAnnouncement(p.members.announcement()); err != nil {
		return nil, fault.In(err, op, options.Name)
	}
	const positionSize = 20 // before a chunk's bytes
	overhead := envelope.Overhead(options.Name, incarnation, string(Inbox(incarnation))) + positionSize
	p.chunk = min(maxChunk, max(backend.Capabilities.MaxFrame, 64<<10)-overhead)
	p.handling, p.stopHandling = context.WithCancel(context.Background())
	p.lifetime, p.end = context.WithCancel(context.Background())
	p.writer = &writer{
		driver:    backend.Driver,
		lifetime:  p.lifetime,
		endless:   context.WithoutCancel(p.lifetime),
		inbox:     sealer.Lane(laneInbox),
		broadcast: sealer.Lane(laneBroadcast),
		notSent:   p.notSent,
	}
	p.crew = crew{tasks: make(chan func()), over: p.lifetime.Done()}
	p.assemblies = assemblies{
		largest:  largestAssembly(options.Limits.Payload),
		most:     options.Limits.Assembly,
		mostEach: options.Limits.AssemblyPerNode,
		window:   flowWindow,
		chunk:    p.chunk,
	}
	p.invoker = wrap(Invoker(p.invoke), options.ClientMiddleware)
	p.pulse.init(options)
	p.methods.Store(&map[string]*method{statsMethod: p.statsMethod()})
	return p, nil
}

// Start listens, and announces this node to the others. It returns when this node can be called; the others may still be
// unknown for a moment, see Ready. A peer is started once; one that could not be started is closed.
func (p *Peer) Start(ctx context.Context) error {
	const op = "rpc: start"
	p.lifecycle.Lock()
	defer p.lifecycle.Unlock()
	if p.closed {
		return fault.In(errClosed, op, p.options.Name)
	}
	if p.started.Load() {
		return fault.In(fault.New(fault.Invalid, "the peer is started twice"), op, p.options.Name)
	}
	p.writer.start()
	for _, address := range []Address{Inbox(p.self), Broadcast} {
		listener, err := p.backend.Listen(ctx, address, p.deliver(address))
		if err != nil {
			p.abandon()
			return fault.In(err, op, p.options.Name)
		}
		p.listeners = append(p.listeners, listener)
	}
	p.pulse.begin(p.members.clock())
	if err := p.writer.send(ctx, p.joining()); err != nil && fault.CodeOf(err) != fault.NoReceiver {
		p.abandon()
		return fault.In(err, op, p.options.Name)
	}
	p.started.Store(true)
	p.monitor.Go(p.watchPulse)
	return nil
}

// abandon undoes a start that failed; lifecycle is held.
func (p *Peer) abandon() {
	p.closed = true
	close(p.closing)
	p.end()
	p.writer.close()
	p.deafen()
	p.stopHandling()
}

// deafen stops listening; lifecycle is held.
func (p *Peer) deafen() {
	for _, l := range p.listeners {
		if err := l.Close(); err != nil {
			p.logger.Warn("rpc: a listener did not close", "error", err)
		}
	}
	p.listeners = nil
}

// Ready waits until the membership is complete: until this node has heard itself, and either as many members as one that
// has been here for longer knows, or everything that was said for one heartbeat. With other nodes that takes
// milliseconds, alone one heartbeat and a fifth.
//
// Calls need not wait for it. One whose answer could be wrong before (to all nodes; to a node or method that is not known
// yet) waits by itself.
func (p *Peer) Ready(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	default:
	}
	select {
	case <-p.ready:
		return nil
	case <-p.closing:
		return errClosed
	case <-ctx.Done():
		return fault.In(fault.FromContext(ctx), "rpc: wait for the membership", p.options.Name)
	}
}

// Self is this node as the others see it.
func (p *Peer) Self() Member { return p.members.roster().members[p.self].Member }

// Members is who is there, this node too, in the order in which they started (by their own clocks, to the
// millisecond). What it answers is the caller's.
func (p *Peer) Members() []Member { return p.members.roster().list() }

// Fenced reports whether this node takes itself for dead, because it does not hear its own heartbeat.
func (p *Peer) Fenced() bool { return p.fenced.Load() }

// Close says goodbye: no new call is taken in, those that run have Options.Drain to end and are cancelled then, the other
// nodes are told, and calls that this node still waits for end with Closed. It is an error if a handler has not returned
// a second after it was cancelled. Closing twice is fine.
func (p *Peer) Close() error {
	p.lifecycle.Lock()
	defer p.lifecycle.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	p.registering.Lock()
	p.draining.Store(true)
	p.registering.Unlock()

	if p.started.Load() {
		p.members.describe(func(self *Member) { self.Methods = nil })
		p.writer.post(p.announcing(Broadcast, false))
	}
	err := p.drain()
	close(p.closing)
	p.monitor.Wait()
	if p.started.Load() {
		p.writer.post(outgoing{to: Broadcast, kind: kindLeave})
	}
	hurry := time.AfterFunc(sendTimeout, p.end)
	p.writer.close()
	hurry.Stop()
	p.deafen()
	p.stopHandling()
	p.end()
	if err == nil { // otherwise a handler still runs, and may for ever
		p.crew.all.Wait()
	}
	return fault.In(err, "rpc: close", p.options.Name)
}

// drain waits for the running handlers.
func (p *Peer) drain() error {
	p.running.close()
	done := make(chan struct{})
	go func() {
		p.running.all.Wait()
		close(done)
	}()
	const afterCancel = time.Second
	for _, patience := range []time.Duration{p.options.Drain, afterCancel} {
		timer := time.NewTimer(patience)
		select {
		case <-done:
			timer.Stop()
			return nil
		case <-timer.C:
			p.stopHandling()
		}
	}
	return fault.New(fault.DeadlineExceeded, "%d handlers have not returned, %s after their context was cancelled", p.running.count(), afterCancel)
}
