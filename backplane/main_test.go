package backplane_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/internal/testserver"
	_ "github.com/gobackplane/backplane/transports/memory"
	_ "github.com/gobackplane/backplane/transports/redis"
)

func TestMain(m *testing.M) {
	// After failed dials a go-redis pool asks once a second whether the server is back, and notices only then that it
	// was closed.
	goleak.VerifyTestMain(testserver.Main(m), goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
