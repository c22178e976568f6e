package queue

import (
	"math/rand/v2"
	"time"
)

// Backoff says how long after a failed attempt the next one begins. Attempt is the number of the one that failed, from
// 1, and err what it failed with. It must be safe for concurrent use.
type Backoff func(attempt int, err error) time.Duration

// Exponential waits first after the first attempt, and twice as long after each one, but never longer than longest;
// every time is multiplied by a random number from 0.75 to 1.25, so that tasks that failed together do not return
// together, and so that the time grows with every attempt all the same.
func Exponential(first, longest time.Duration) Backoff {
	return func(attempt int, _ error) time.Duration {
		d := longest
		if shift := max(attempt, 1) - 1; shift < 62 && first <= longest>>shift {
			d = first << shift
		}
		return jitter(d, 0.25)
	}
}

// DefaultBackoff is [Exponential] from 1 s to 6 h: the 25 attempts of a task that names no MaxAttempts are spread over
// two to three days, so that a weekend's outage kills no task.
func DefaultBackoff() Backoff { return Exponential(time.Second, 6*time.Hour) }

// jitter spreads d by a share to both sides.
func jitter(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1)))
}
