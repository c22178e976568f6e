package postgres

import (
	"sync"
	"time"
)

// sparing bounds how often the same thing is logged. The zero value is ready.
type sparing struct {
	mu     sync.Mutex
	last   time.Time
	silent int // since last
}

const sayEvery = 10 * time.Second

// due tells whether to log one more now, and how many were not since the last time.
func (s *sparing) due() (before int, yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.last) < sayEvery {
		s.silent++
		return 0, false
	}
	before, s.silent, s.last = s.silent, 0, time.Now()
	return before, true
}
