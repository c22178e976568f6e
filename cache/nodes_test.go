package cache_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is one store of a test, on which it opens nodes.
type store struct {
	t    *testing.T
	name string
}

func newStore(t *testing.T) store { return store{t: t, name: "memory:" + url.PathEscape(t.Name())} }

// backend opens one more node on the store.
func (s store) backend() *cache.Backend {
	s.t.Helper()
	transport, err := memory.Open(context.Background(), transports.Settings{Kind: memory.Kind, URL: s.name, Namespace: "test"})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, transport.Close()) })
	return transport.Cache()
}

// node is a Cache on a node of its own.
func (s store) node(o ...cache.Options) *cache.Cache {
	s.t.Helper()
	c, _ := s.faulty(o...)
	return c
}

// faulty is a Cache on a node of its own, whose link to the store can be disturbed.
func (s store) faulty(o ...cache.Options) (*cache.Cache, *link) {
	s.t.Helper()
	options := cache.Options{Transport: "memory", Logger: slog.New(slog.DiscardHandler)}
	if len(o) > 0 {
		options = o[0]
		if options.Logger == nil {
			options.Logger = slog.New(slog.DiscardHandler)
		}
	}
	backend := *s.backend()
	l := &link{Driver: backend.Driver}
	backend.Driver = l
	c := cache.New(&backend, options)
	s.t.Cleanup(func() { require.NoError(s.t, c.Close()) })
	return c, l
}

// link is the way of one node to the store. It counts calls, and does before each what the test says.
type link struct {
	cache.Driver
	calls  sync.Map                                            // operation → *atomic.Int64
	before atomic.Pointer[func(context.Context, string) error] // its error fails the call; it may block
	after  atomic.Pointer[func(op string) error]               // its error hides an answer
}

var errAway = &fault.Error{Code: fault.Unavailable, Retryable: true, Message: "the store is away"}

func (l *link) disturb(f func(ctx context.Context, op string) error) { l.before.Store(&f) }
func (l *link) heal()                                                { l.before.Store(nil); l.after.Store(nil) }
func (l *link) loseAnswers(of string) {
	f := func(op string) error {
		if op == of {
			return errAway
		}
		return nil
	}
	l.after.Store(&f)
}

// cut lets nothing through, and answers as a client does that cannot reach the store.
func (l *link) cut(ops ...string) {
	l.disturb(func(_ context.Context, op string) error {
		if len(ops) == 0 || contains(ops, op) {
			return errAway
		}
		return nil
	})
}

// swallow lets nothing through, and answers nothing.
func (l *link) swallow() {
	l.disturb(func(ctx context.Context, _ string) error {
		<-ctx.Done()
		return fault.FromContext(ctx)
	})
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

func (l *link) count(op string) int64 {
	n, _ := l.calls.LoadOrStore(op, new(atomic.Int64))
	return n.(*atomic.Int64).Load()
}

func through[R any](ctx context.Context, l *link, op string, call func() (R, error)) (R, error) {
	n, _ := l.calls.LoadOrStore(op, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	var none R
	if f := l.before.Load(); f != nil {
		if err := (*f)(ctx, op); err != nil {
			return none, err
		}
	}
	answer, err := call()
	if f := l.after.Load(); f != nil {
		if hidden := (*f)(op); hidden != nil {
			return none, hidden
		}
	}
	return answer, err
}

func (l *link) Get(ctx context.Context, e []cache.Read) ([]cache.Got, error) {
	return through(ctx, l, "get", func() ([]cache.Got, error) { return l.Driver.Get(ctx, e) })
}

func (l *link) Set(ctx context.Context, e []cache.Write) ([]cache.Written, error) {
	return through(ctx, l, "set", func() ([]cache.Written, error) { return l.Driver.Set(ctx, e) })
}

func (l *link) Delete(ctx context.Context, e []cache.Removal) ([]cache.Removed, error) {
	return through(ctx, l, "delete", func() ([]cache.Removed, error) { return l.Driver.Delete(ctx, e) })
}

func (l *link) Add(ctx context.Context, e []cache.Increment) ([]cache.Sum, error) {
	return through(ctx, l, "add", func() ([]cache.Sum, error) { return l.Driver.Add(ctx, e) })
}

func (l *link) Keys(ctx context.Context, p cache.Page) (cache.Keys, error) {
	return through(ctx, l, "keys", func() (cache.Keys, error) { return l.Driver.Keys(ctx, p) })
}

func (l *link) Acquire(ctx context.Context, e []cache.Claim) ([]cache.Lease, error) {
	return through(ctx, l, "acquire", func() ([]cache.Lease, error) { return l.Driver.Acquire(ctx, e) })
}

func (l *link) Renew(ctx context.Context, e []cache.Lease) ([]cache.Lease, error) {
	return through(ctx, l, "renew", func() ([]cache.Lease, error) { return l.Driver.Renew(ctx, e) })
}

func (l *link) Release(ctx context.Context, e []cache.Lease) ([]error, error) {
	return through(ctx, l, "release", func() ([]error, error) { return l.Driver.Release(ctx, e) })
}

// requireCode wants a *fault.Error of that code which names its operation.
func requireCode(t *testing.T, code fault.Code, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, fault.CodeOf(err), "%v", err)
	var f *fault.Error
	require.True(t, errors.As(err, &f), "%T is no *fault.Error", err)
	require.NotEmpty(t, f.Op, "%v says no operation", err)
}

func collect[T any](t *testing.T, seq func(func(T, error) bool)) []T {
	t.Helper()
	var all []T
	for one, err := range seq {
		require.NoError(t, err)
		all = append(all, one)
	}
	return all
}

// logs keeps what was logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

const second = time.Second
