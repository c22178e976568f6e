package cache

import "time"

// instant is a moment on both clocks. They are read together, so that what has moved one and not the other is seen: a
// suspended machine, whose monotonic clock stands still on some systems, or a wall clock that was set.
type instant struct {
	mono time.Duration // since the clock was made
	wall time.Time     // without a monotonic reading
}

func processClock() func() instant {
	start := time.Now()
	return func() instant {
		now := time.Now()
		return instant{mono: now.Sub(start), wall: now.Round(0)}
	}
}

// jump is by how much the clocks have moved apart since an earlier instant.
func (i instant) jump(since instant) time.Duration {
	return (i.wall.Sub(since.wall) - (i.mono - since.mono)).Abs()
}
