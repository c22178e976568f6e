package nats_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/internal/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.Main(m)) }
