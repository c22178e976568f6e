package rpc_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/internal/envelope"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	background = context.Background()
	testKey    = envelope.NewKey()
	quiet      = slog.New(slog.DiscardHandler)
)

// bubble runs a test in a time of its own, in which waiting costs nothing.
func bubble(t *testing.T, test func(t *testing.T, c *cluster)) {
	synctest.Test(t, func(t *testing.T) { test(t, &cluster{T: t}) })
}

// cluster is peers on one memory store.
type cluster struct {
	*testing.T
	store memory.Store
	// conceal hides that memory knows when nobody listens, as a transport does that cannot know.
	conceal  bool
	maxFrame int
}

// link opens a transport with faults to inject.
func (c *cluster) link() *link {
	c.Helper()
	node, err := c.store.Open("test")
	require.NoError(c, err)
	c.Cleanup(func() { _ = node.Close() })
	b := transports.RPCOf(node)
	l := &link{Driver: b.Driver, capabilities: b.Capabilities}
	if c.conceal {
		l.capabilities.NoReceiver = false
	}
	if c.maxFrame > 0 {
		l.capabilities.MaxFrame = c.maxFrame
	}
	return l
}

// peer makes one that is not started yet, and is closed with the test.
func (c *cluster) peer(l *link, name string, change ...func(*rpc.Options)) *rpc.Peer {
	c.Helper()
	o := rpc.Options{Name: name, Keys: []string{testKey}, Logger: quiet}
	for _, f := range change {
		f(&o)
	}
	p, err := rpc.New(l.backend(), o)
	require.NoError(c, err)
	c.Cleanup(func() { _ = p.Close() })
	return p
}

// start makes a peer that serves "name", which answers its name, and starts it.
func (c *cluster) start(name string, change ...func(*rpc.Options)) *rpc.Peer {
	c.Helper()
	return c.startOn(c.link(), name, change...)
}

func (c *cluster) startOn(l *link, name string, change ...func(*rpc.Options)) *rpc.Peer {
	c.Helper()
	p := c.peer(l, name, change...)
	require.NoError(c, rpc.Handle(p, "name", func(context.Context, struct{}) (string, error) { return name, nil }))
	require.NoError(c, p.Start(background))
	return p
}

// settle waits until the peers know each other.
func (c *cluster) settle(peers ...*rpc.Peer) {
	c.Helper()
	for _, p := range peers {
		require.NoError(c, p.Ready(background))
	}
	for _, p := range peers {
		c.eventually(func() bool {
			for _, other := range peers {
				if !slices.ContainsFunc(p.Members(), func(m rpc.Member) bool {
					return m.Incarnation == other.Self().Incarnation && slices.Equal(m.Methods, other.Self().Methods)
				}) {
					return false
				}
			}
			return true
		}, "the peers know each other")
	}
}

// eventually polls on the test's own goroutine.
func (c *cluster) eventually(holds func() bool, what string) {
	c.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.FailNow(c, "it did not happen within 30 s", what)
		}
	}
}

func names(members []rpc.Member) []string {
	var all []string
	for _, m := range members {
		all = append(all, m.Name)
	}
	slices.Sort(all)
	return all
}

// The kinds of frames, as they stand in the envelope.
const (
	join      = 1
	announce  = 2
	heartbeat = 3
	request   = 6
	response  = 7
	cancelled = 8
	begin     = 10
	chunk     = 11
	credit    = 12
)

func kindOf(f rpc.Frame) byte { return f.Payload[24] }

// link is a driver whose frames can be lost, repeated and counted.
type link struct {
	rpc.Driver
	capabilities rpc.Capabilities

	mu        sync.Mutex
	cut       bool                 // nothing passes, in either direction, and nobody is told
	down      error                // Send fails
	lose      func(rpc.Frame) bool // frames that are sent and do not arrive
	repeat    bool                 // each frame is sent twice
	reverse   bool                 // the frames of one delivery arrive in the other order
	stalled   chan struct{}        // until it is closed, what is broadcast does not arrive
	sent      map[byte]int         // by kind
	sentBytes int
	listening []func([]rpc.Frame)
	listeners []io.Closer
}

func (l *link) backend() *rpc.Backend { return &rpc.Backend{Driver: l, Capabilities: l.capabilities} }

func (l *link) set(change func(l *link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *link) count(kind byte) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent[kind]
}

func (l *link) Send(ctx context.Context, frames []rpc.Frame) ([]error, error) {
	l.mu.Lock()
	if l.down != nil {
		defer l.mu.Unlock()
		return nil, l.down
	}
	errs := make([]error, len(frames))
	var passing []rpc.Frame
	var place []int
	for i, f := range frames {
		if l.sent == nil {
			l.sent = map[byte]int{}
		}
		l.sent[kindOf(f)]++
		l.sentBytes += len(f.Payload)
		if l.cut || l.lose != nil && l.lose(f) {
			continue
		}
		passing, place = append(passing, f), append(place, i)
		if l.repeat {
			passing, place = append(passing, f), append(place, i)
		}
	}
	l.mu.Unlock()
	if len(passing) == 0 {
		return errs, nil
	}
	results, err := l.Driver.Send(ctx, passing)
	if err != nil {
		return nil, err
	}
	for i, e := range results {
		errs[place[i]] = e
	}
	return errs, nil
}

func (l *link) Listen(ctx context.Context, a rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
	var one sync.Mutex
	guarded := func(frames []rpc.Frame) {
		l.mu.Lock()
		cut, stalled := l.cut, l.stalled
		if l.reverse {
			slices.Reverse(frames)
		}
		l.mu.Unlock()
		if stalled != nil && a == rpc.Broadcast {
			<-stalled
		}
		if !cut {
			one.Lock()
			defer one.Unlock()
			deliver(frames)
		}
	}
	listener, err := l.Driver.Listen(ctx, a, guarded)
	if err != nil {
		return nil, err
	}
	l.set(func(l *link) {
		l.listening = append(l.listening, guarded)
		l.listeners = append(l.listeners, listener)
	})
	return listener, nil
}

// deafen ends what the node listens to, as a crash does: nothing passes, and the transport knows that nobody listens.
func (l *link) deafen() {
	l.set(func(l *link) { l.cut = true })
	for _, listener := range l.listeners {
		_ = listener.Close()
	}
}

// mend lets everything pass again, and tells of the gap as a driver does after a reconnect.
func (l *link) mend() {
	l.set(func(l *link) { l.cut, l.down, l.lose = false, nil, nil })
	l.mu.Lock()
	listening := slices.Clone(l.listening)
	l.mu.Unlock()
	for _, deliver := range listening {
		deliver([]rpc.Frame{{Gap: true}})
	}
}
