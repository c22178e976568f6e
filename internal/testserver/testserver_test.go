package testserver_test

import (
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.Main(m)) }

func TestSharedIsOneServerAndOwnIsAnother(t *testing.T) {
	shared := testserver.Shared(t)

	require.Same(t, shared, testserver.Shared(t))
	require.NotEqual(t, shared.Addr(), testserver.Redis(t).Addr())
	require.NotEqual(t, testserver.Namespace(t), testserver.Namespace(t))
	conn, err := net.Dial("tcp", testserver.NewProxy(t, shared.Addr()).Addr())
	require.NoError(t, err)
	conn.Close()
}

// probe is a testing.TB that notes how a test ended.
type probe struct {
	testing.TB
	skipped, failed string
}

func (*probe) Helper()        {}
func (*probe) Cleanup(func()) {}
func (p *probe) Skipf(format string, args ...any) {
	p.skipped = format
	runtime.Goexit()
}
func (p *probe) Fatalf(format string, args ...any) {
	p.failed = format
	runtime.Goexit()
}

func TestMissingServerSkipsUnlessRequired(t *testing.T) {
	missing := func() *probe {
		p := &probe{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			testserver.Redis(p, servers.RedisOptions{Binary: "no-such-redis"})
		}()
		<-done
		return p
	}

	t.Setenv("BACKPLANE_REQUIRE", "")
	require.NotEmpty(t, missing().skipped)
	require.NoError(t, os.Setenv("BACKPLANE_REQUIRE", "nats, redis"))
	require.NotEmpty(t, missing().failed)
}
