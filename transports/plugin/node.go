package plugin

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// source is a plugin that runs, and is replaced when it has ended.
type source interface {
	// Conn is the connection to the plugin as it runs now. It waits while there is none, and fails when ctx ends, or for
	// good.
	Conn(ctx context.Context) (*grpc.ClientConn, error)
	// Down is why there is none; nil while there is one.
	Down() error
}

// node is a transport whose store is behind a plugin.
type node struct {
	source   source
	settings transports.Settings // for the plugin
	offer    translate.Offer
	log      *slog.Logger
	release  func() error // when it is closed

	cached    *cache.Backend
	queued    *queue.Backend
	published *pubsub.Backend
	called    *rpc.Backend

	life   context.Context // until it is closed
	cancel context.CancelFunc
	keeper sync.WaitGroup

	mu      sync.Mutex
	session *session // nil while there is none
	down    error    // why there is none
	closed  bool
	feeds   map[opened]struct{}
}

// How long to wait before a node is opened again that could not be.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	reopenWithin = time.Minute
)

// openNode opens a node in a plugin. release is called once, when the node is closed or could not be opened.
func openNode(ctx context.Context, from source, settings transports.Settings, release func() error) (*node, error) {
	conn, err := from.Conn(ctx)
	if err != nil {
		_ = release() // why there is no node matters more
		return nil, err
	}
	s, err := openSession(ctx, conn, settings)
	if err != nil {
		_ = release()
		return nil, err
	}
	n := &node{
		source: from, settings: settings, offer: s.offer, log: settings.Logger, release: release,
		session: s, feeds: map[opened]struct{}{},
	}
	if n.log == nil {
		n.log = slog.Default()
	}
	n.life, n.cancel = context.WithCancel(context.Background())
	n.cached, n.queued, n.published, n.called = n.cacheBackend(), n.queueBackend(), n.pubsubBackend(), n.rpcBackend()
	n.keeper.Go(func() { n.keepOpen(s) })
	return n, nil
}

// keepOpen opens the node again when the plugin was replaced.
func (n *node) keepOpen(s *session) {
	for {
		select {
		case <-s.over:
		case <-n.life.Done():
			return
		}
		n.lose(s)
		for pause := firstPause; ; pause = min(2*pause, longestPause) {
			conn, err := n.source.Conn(n.life)
			if err != nil {
				n.lastDown(err)
				return
			}
			if s, err = n.reopen(conn); err == nil {
				n.log.Info("the plugin serves again")
				break
			}
			n.setDown(err, pause > firstPause)
			if !n.wait(pause/2 + rand.N(pause)) {
				return
			}
		}
	}
}

// wait is false when the node was closed meanwhile.
func (n *node) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-n.life.Done():
		return false
	}
}

// lose takes note that there is no session any more, and ends what is left of it.
func (n *node) lose(s *session) {
	n.mu.Lock()
	n.session, n.down = nil, s.cause
	n.mu.Unlock()
	n.log.Warn("the plugin was lost; calls fail until it serves again", "error", s.cause)
	s.work.Wait()
}

// setDown keeps why there is no session. The first time after a crash says little: the process may not be known to be
// dead yet.
func (n *node) setDown(err error, again bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if again && !n.closed {
		n.log.Warn("the node could not be opened again in the plugin", "error", err)
	}
	n.down = err
}

// lastDown keeps why there will be none any more.
func (n *node) lastDown(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.log.Error("the plugin is not started again; restart the node when it is mended", "error", err)
	}
	n.down = err
}

// reopen opens the node and all its feeds again.
func (n *node) reopen(conn *grpc.ClientConn) (*session, error) {
	ctx, cancel := context.WithTimeout(n.life, reopenWithin)
	defer cancel()
	s, err := openSession(ctx, conn, n.settings)
	if err != nil {
		return nil, err
	}
	if err = n.resume(ctx, s); err != nil {
		s.end(err)
		_ = s.close(closeWait) // it was of no use
		s.work.Wait()
		return nil, err
	}
	return s, nil
}

// resume makes a session the node's.
func (n *node) resume(ctx context.Context, s *session) error {
	if !reflect.DeepEqual(n.offer, s.offer) {
		return fault.New(fault.Unavailable, "the plugin offers something else than before it was restarted; restart this node too")
	}
	n.mu.Lock()
	feeds := make([]opened, 0, len(n.feeds))
	for f := range n.feeds {
		feeds = append(feeds, f)
	}
	n.mu.Unlock()
	// None is added meanwhile: that takes a session.
	for _, f := range feeds {
		if err := f.renew(ctx, s.lines[feedLane]); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	n.session, n.down = s, nil
	return nil
}

var errEnded = fault.New(fault.Unavailable, "the plugin has ended")

var errClosed = &fault.Error{Code: fault.Closed, Transport: Kind, Message: "the transport was closed"}

// ready is the session that calls go by, unless the node is closed or the caller's context has ended.
func (n *node) ready(ctx context.Context, op, subject string) (*session, error) {
	n.mu.Lock()
	s, down, closed := n.session, n.down, n.closed
	n.mu.Unlock()
	switch {
	case closed:
		return nil, fault.In(errClosed, op, subject)
	case ctx.Err() != nil:
		return nil, fault.In(fault.FromContext(ctx), op, subject)
	case s == nil:
		if why := n.source.Down(); why != nil {
			down = why
		}
		return nil, fault.In(lost(down, true), op, subject)
	}
	return s, nil
}

// about is what a call is, for what happens when it fails.
type about struct {
	op, subject string
	harmless    bool // it may be made twice
	how
}

// call makes a call and gives its answer, which has no fault.
func (n *node) call(ctx context.Context, by lane, r *pb.Request, c about) (*pb.Answer, error) {
	s, err := n.ready(ctx, c.op, c.subject)
	if err != nil {
		return nil, err
	}
	answer, err := s.lines[by].do(ctx, r, c.how)
	if err != nil {
		return nil, n.failed(err, c)
	}
	if err := translate.FromFault(answer.GetFault()); err != nil {
		return nil, n.answered(ctx, err, c)
	}
	return answer, nil
}

var errNoResult = fault.New(fault.Corrupt, "the plugin's answer has no result of the call")

// garbled is the fault of an answer that makes no sense. Whether the call was done is not known.
func (n *node) garbled(err error, op string) error {
	return fault.In(&fault.Error{Code: fault.Corrupt, Transport: Kind, Err: err, Message: err.Error() + "; the plugin does not keep to the protocol"}, op, "")
}

// answered gives a fault of the plugin its circumstances. What it says of a context that has ended is said as here.
func (n *node) answered(ctx context.Context, err error, c about) error {
	switch code := fault.CodeOf(err); {
	case code == fault.Closed && n.isClosed():
		err = errClosed
	case code == fault.Canceled || code == fault.DeadlineExceeded:
		if hasEnded(ctx) {
			err = fault.FromContext(ctx)
		} else {
			err = lost(err, c.harmless) // the plugin has given up, and not this caller
		}
	case code == fault.Closed: // the plugin is ending, not this node
		err = lost(err, true)
	}
	return fault.In(err, c.op, c.subject)
}

// hasEnded reports whether ctx is over. The plugin has the same deadline, and its timer may be the first to fire: the
// context's own then follows at once.
func hasEnded(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

// failed is the fault of a call that got no answer, given why by its line.
func (n *node) failed(err error, c about) error {
	if n.isClosed() {
		return fault.In(errClosed, c.op, c.subject)
	}
	switch failure := err.(type) {
	case refused:
		err = failure.error
	case broken:
		err = lost(failure.error, c.harmless || !failure.sent)
	}
	return fault.In(err, c.op, c.subject)
}

// lost is the fault of a call whose plugin has gone.
func lost(why error, harmless bool) error {
	return &fault.Error{
		Code: fault.Unavailable, Transport: Kind, Retryable: harmless, Err: why, Message: "the plugin does not serve now: " + why.Error(),
	}
}

func (n *node) isClosed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed
}

// keep remembers a feed that was opened in a session. It is false when that, or the node, is no more.
func (n *node) keep(s *session, f opened) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.session != s {
		return false
	}
	n.feeds[f] = struct{}{}
	return true
}

func (n *node) keeps(f opened) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, kept := n.feeds[f]
	return kept && !n.closed
}

func (n *node) drop(f opened) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.feeds, f)
}

// Kind is "plugin".
func (n *node) Kind() string { return Kind }

// Cache is what the plugin offers as a cache.
func (n *node) Cache() *cache.Backend { return n.cached }

// Queue is what the plugin offers as a queue.
func (n *node) Queue() *queue.Backend { return n.queued }

// PubSub is what the plugin offers as pub/sub.
func (n *node) PubSub() *pubsub.Backend { return n.published }

// RPC is nil, unless the plugin does better than rpc.FromPubSub would.
func (n *node) RPC() *rpc.Backend { return n.called }

// Health asks the plugin to ask its store.
func (n *node) Health(ctx context.Context) error {
	const op = "plugin: health"
	s, err := n.ready(ctx, op, "")
	if err != nil {
		return err
	}
	response, err := s.client.Health(ctx, &pb.HealthRequest{Node: s.id})
	return n.unary(ctx, response.GetFault(), err, op)
}

// Erase has the plugin remove all that the namespace keeps.
func (n *node) Erase(ctx context.Context) error {
	const op = "plugin: erase"
	s, err := n.ready(ctx, op, "")
	if err != nil {
		return err
	}
	if !n.offer.Erase {
		return fault.In(fault.New(fault.Unsupported, "the plugin cannot erase what it keeps"), op, "")
	}
	response, err := s.client.Erase(ctx, &pb.EraseRequest{Node: s.id})
	return n.unary(ctx, response.GetFault(), err, op)
}

func (n *node) unary(ctx context.Context, f *pb.Fault, err error, op string) error {
	if err != nil {
		if err = statusFault(ctx, err); fault.CodeOf(err) == fault.Unavailable {
			err = broken{err, true}
		}
		return n.failed(err, about{op: op, harmless: true})
	}
	if err := translate.FromFault(f); err != nil {
		return n.answered(ctx, err, about{op: op, harmless: true})
	}
	return nil
}

// Close ends the node's feeds and all calls that wait, here and in the plugin.
func (n *node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	s, feeds := n.session, n.feeds
	n.session, n.feeds = nil, nil
	n.mu.Unlock()

	for f := range feeds {
		f.shut()
	}
	n.cancel()
	n.keeper.Wait()
	var err error
	if s != nil {
		s.end(errClosed)
		err = s.close(closeWait)
		s.work.Wait()
	}
	limit := time.Now().Add(closeWait)
	for f := range feeds {
		if !f.await(max(time.Until(limit), time.Millisecond)) {
			err = &fault.Error{Code: fault.DeadlineExceeded, Op: "plugin: close", Transport: Kind,
				Message: "a function that events were delivered to has not returned in " + closeWait.String() + "; it must not block"}
			break
		}
	}
	if released := n.release(); err == nil {
		err = released
	}
	return err
}

var (
	_ transports.Transport = (*node)(nil)
	_ transports.Eraser    = (*node)(nil)
)
