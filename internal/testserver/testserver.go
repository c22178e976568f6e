// Package testserver gives tests real servers: one of their own, or one that the whole test binary shares.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.Main(m)) }
//
//	func TestIt(t *testing.T) {
//		server := testserver.Shared(t)       // fast; keep apart with testserver.Namespace(t)
//		proxy := testserver.NewProxy(t, server.Addr())
//		…
//	}
//
// Without a redis-server on the PATH a test is skipped with the reason, except under BACKPLANE_REQUIRE=redis, where it
// fails and says what to do.
package testserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gobackplane/backplane/internal/servers"
)

// Redis starts a server for this test alone and stops it when the test ends.
func Redis(t testing.TB, options ...servers.RedisOptions) *servers.Redis {
	t.Helper()
	var o servers.RedisOptions
	if len(options) > 0 {
		o = options[0]
	}
	if o.Persist && o.Dir == "" {
		o.Dir = folder(t)
	}
	r, err := servers.StartRedis(context.Background(), o)
	need(t, err)
	t.Cleanup(r.Stop)
	return r
}

// Clock makes a clock for servers of this test. Where none can be made (it takes Linux and a C compiler) the test is
// skipped, or fails under BACKPLANE_REQUIRE=redis.
func Clock(t testing.TB) *servers.Clock {
	t.Helper()
	c, err := servers.NewClock()
	switch {
	case err == nil:
		t.Cleanup(c.Close)
	case Required("redis"):
		t.Fatalf("BACKPLANE_REQUIRE has redis, but: %v", err)
	default:
		t.Skipf("skipped: %v", err)
	}
	return c
}

// NewProxy puts a proxy before an address until the test ends.
func NewProxy(t testing.TB, addr string) *servers.Proxy {
	t.Helper()
	p, err := servers.StartProxy(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Namespace is a cluster name that no other test has, so that tests can share a server without flushing it.
func Namespace(testing.TB) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // crypto/rand does not fail
	return "t" + hex.EncodeToString(random[:])
}

// shared is the one server of each kind of the test binary. Main owns it.
var shared struct {
	sync.Mutex
	owned  bool
	server *servers.Redis
	err    error
	nats   *servers.NATS
}

// Shared gives the server that all tests of this binary share, started at its first use and stopped by Main. Tests must
// neither flush nor stop nor pause it.
func Shared(t testing.TB) *servers.Redis {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.owned {
		t.Fatal("testserver.Shared needs `func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.Main(m)) }`: it stops the server")
	}
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = servers.StartRedis(context.Background(), servers.RedisOptions{})
	}
	need(t, shared.err)
	return shared.server
}

// Main wraps a *testing.M so that the shared servers are stopped after the last test, before leaks are looked for. Without
// -parallel it lets more parallel tests run at once than there are processors.
//
// Started as the child process of a test that runs a nats-server as a process, it becomes that server.
func Main(m interface{ Run() int }) *Suite {
	servers.RunNATSChild()
	return &Suite{m}
}

// Suite is what goleak.VerifyTestMain runs.
type Suite struct{ m interface{ Run() int } }

// Run runs the tests and stops the shared servers.
func (s *Suite) Run() int {
	manyAtOnce()
	shared.Lock()
	shared.owned = true
	shared.Unlock()
	defer func() {
		shared.Lock()
		defer shared.Unlock()
		if shared.server != nil {
			shared.server.Stop()
		}
		if shared.nats != nil {
			shared.nats.Stop()
		}
		shared.owned, shared.server, shared.err, shared.nats = false, nil, nil, nil
	}()
	return s.m.Run()
}

// need skips a test whose server is not installed, and fails one that requires it or whose server is broken.
func need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case !errors.Is(err, servers.ErrNoRedis):
		t.Fatal(err)
	case Required("redis"):
		t.Fatalf("BACKPLANE_REQUIRE has redis, but: %v", err)
	default:
		t.Skipf("skipped: %v", err)
	}
}

// Required tells whether BACKPLANE_REQUIRE, a comma list, demands a kind of server.
func Required(kind string) bool {
	return slices.Contains(strings.Split(strings.ReplaceAll(os.Getenv("BACKPLANE_REQUIRE"), " ", ""), ","), kind)
}
