package redis

import (
	"time"

	"github.com/gobackplane/backplane/transports"
)

// SetSilence shortens the bound on silence, before the first subscription.
func SetSilence(t transports.Transport, d time.Duration) { t.(*Transport).boundSilence(d) }

// LinksLost is how many subscriber connections have failed so far.
func LinksLost(t transports.Transport) int { return t.(*Transport).receiver.health().Reconnects }

// LinkUp reports whether the subscriber connection is up.
func LinkUp(t transports.Transport) bool { return t.(*Transport).receiver.health().Connected }
