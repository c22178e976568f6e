package postgres_test

import (
	"testing"

	"go.uber.org/goleak"

	_ "github.com/gobackplane/backplane/examples/transports/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
