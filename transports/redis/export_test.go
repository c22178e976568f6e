package redis

import (
	"time"

	"github.com/gobackplane/backplane/transports"
)

// SetSilence shortens the bound on silence, before the first subscription.
func SetSilence(t transports.Transport, d time.Duration) { t.(*Transport).boundSilence(d) }
