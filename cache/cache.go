// Package cache keeps entries, counters, lists and locks that all nodes of a cluster share.
//
//	c := cache.New(transport.Cache(), cache.Options{})
//	defer c.Close()
//	_, err := c.Set(ctx, "user:42", data, cache.TTL(time.Hour))        // one plain command in the store
//	entry, err := c.Get(ctx, "user:42")                                // cache.ErrNotFound when there is none
//	entry, err = c.Load(ctx, "page:/", how, render)                    // one node of the cluster renders, all get it
//	err = c.WithLock(ctx, "billing", func(ctx context.Context) error { … }) // one node at a time
//
// Entries have a revision, so that a write or delete can be made conditional ([IfAbsent], [IfPresent], [IfRevision]);
// a lifetime ([TTL]); and a lock of their own name, that any operation can be guarded by ([Under], [RespectLock],
// [WaitForLock]). Lock, condition and write are one step in the store: nothing here reads first and writes then.
//
// A lock is a lease that renews itself while its process lives. Its [Lock.Context] ends before another holder can have
// the lock, and its fence lets the store refuse what a stopped process sends too late.
//
// [Typed] gives values a type, [Cache.Load] fills the cache without stampedes, [Cache.Dump] and [Cache.Restore] move
// it. What a transport does not offer answers fault.Unsupported.
//
// Every error is a *fault.Error that names the operation and the key; compare it with the sentinels of this package:
// errors.Is(err, cache.ErrLocked).
package cache

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// Options of a Cache. The zero Options are good.
type Options struct {
	Transport string       // the transport's name, for errors: "redis"
	Node      string       // this node's name: lock holders begin with it, so that people can tell who holds a lock
	Logger    *slog.Logger // for what fails in the background; nil: slog.Default()

	LockTTL   time.Duration // how long a lock outlives its process; 0: 15 s
	LoadLease time.Duration // how long Load's lock outlives its process; 0: 5 s
	Refreshes int           // most background refreshes at a time, in this process; 0: 64
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.LockTTL <= 0 {
		o.LockTTL = 15 * time.Second
	}
	if o.LoadLease <= 0 {
		o.LoadLease = 5 * time.Second
	}
	if o.Refreshes <= 0 {
		o.Refreshes = 64
	}
	return o
}

// closePatience is how long Close waits for functions that do not end with their context, and then for the store to
// take back the locks.
const closePatience = 3 * time.Second

// Cache is one node's access to the entries, counters, lists and locks of a cluster. All methods may be called
// concurrently. One Cache a process and transport is enough, and best: its callers share loads and lock renewals.
type Cache struct {
	backend *Backend
	options Options
	log     *slog.Logger
	stats   counters
	clock   func() instant

	holder  string // what the holders of this Cache's locks begin with, unlike any other's
	reader  string // the holder that guards operations which only respect locks; it never holds one
	holders atomic.Uint64

	turns   turns
	keeper  keeper
	flights flights
	fresh   refreshes

	// The life of everything that runs in the background: it ends with Close, which waits for running.
	life    context.Context
	end     context.CancelCauseFunc
	closed  atomic.Bool
	mu      sync.Mutex // orders spawn before Close's wait
	running sync.WaitGroup
	once    sync.Once
	failure error // of Close
}

// New makes a Cache over what a transport offers. With a nil backend every call answers Unsupported. Close ends it.
func New(b *Backend, o Options) *Cache {
	if b == nil {
		b = &Backend{}
	}
	o = o.withDefaults()
	var unique [8]byte
	_, _ = rand.Read(unique[:]) // never fails
	holder := hex.EncodeToString(unique[:])
	if o.Node != "" {
		holder = fmt.Sprintf("%.64s/%s", o.Node, holder)
	}
	life, end := context.WithCancelCause(context.Background())
	c := &Cache{backend: b, options: o, log: o.Logger, clock: processClock(), holder: holder, reader: holder + "/reader", life: life, end: end}
	c.keeper.init(c)
	return c
}

// Capabilities says what the transport can do, and within which bounds. It is zero without a backend.
func (c *Cache) Capabilities() Capabilities { return c.backend.Capabilities }

// Close ends what this Cache runs: it cancels the contexts of the locks it holds, of loaders and of background
// refreshes, waits for loaders, refreshes and functions under WithLock, gives the locks back, ends watches, and makes
// waiting calls return. Every later call answers Closed. The transport stays open. Where a function ignores its context
// for 3 s, Close gives up waiting and says so; locks that could not be given back end by themselves. It may be called
// twice.
func (c *Cache) Close() error {
	c.once.Do(func() { c.failure = c.shut() })
	return c.failure
}

func (c *Cache) shut() error {
	const op = "cache: close"
	c.mu.Lock()
	c.closed.Store(true)
	c.mu.Unlock()
	cause := c.closedFault(op, "")
	c.keeper.endAll(cause)
	c.end(cause)

	idle := make(chan struct{})
	go func() { // ends with the last of what it waits for
		c.running.Wait()
		close(idle)
	}()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	var failure error
	select {
	case <-idle:
	case <-patience.C:
		failure = c.fault(fault.DeadlineExceeded, op, "", "a loader, or a function under WithLock, has not ended %v after its context was cancelled; let them heed it", closePatience)
	}
	c.keeper.giveBack()
	return failure
}

// spawn runs f in a goroutine that Close waits for. After Close it does not, and answers false.
func (c *Cache) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return false
	}
	c.running.Go(f)
	return true
}

// hold makes Close wait for what the caller does until it calls done. After Close it answers false.
func (c *Cache) hold() (done func(), open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return nil, false
	}
	c.running.Add(1)
	return c.running.Done, true
}

// whileOpen gives a context that ends with ctx and with the Cache.
func (c *Cache) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.life, func() { cancel(context.Cause(c.life)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// pause waits, and reports why it was cut short. Its error is a fault.
func (c *Cache) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fault.FromContext(ctx)
	case <-c.life.Done():
		return c.closedFault("", "")
	}
}
