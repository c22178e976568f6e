package testserver

import (
	"context"
	"testing"

	"github.com/gobackplane/backplane/internal/servers"
)

// NATS starts a server for this test alone and stops it when the test ends. It needs nothing installed.
func NATS(t testing.TB, options ...servers.NATSOptions) *servers.NATS {
	t.Helper()
	var o servers.NATSOptions
	if len(options) > 0 {
		o = options[0]
	}
	if o.SyncAlways && o.Dir == "" {
		o.Dir = folder(t)
	}
	n, err := servers.StartNATS(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	return n
}

// NATSCluster starts three servers that form a cluster, for this test alone, and stops them when the test ends.
func NATSCluster(t testing.TB, options ...servers.NATSOptions) *servers.NATSCluster {
	t.Helper()
	var o servers.NATSOptions
	if len(options) > 0 {
		o = options[0]
	}
	c, err := servers.StartNATSCluster(context.Background(), 3, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// SharedNATS gives the server that all tests of this binary share, inside its process, started at its first use and
// stopped by Main. Tests must neither stop it nor remove what others keep there.
func SharedNATS(t testing.TB) *servers.NATS {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.owned {
		t.Fatal("testserver.SharedNATS needs `func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.Main(m)) }`: it stops the server")
	}
	if shared.nats == nil {
		n, err := servers.StartNATS(context.Background(), servers.NATSOptions{})
		if err != nil {
			t.Fatal(err)
		}
		shared.nats = n
	}
	return shared.nats
}
