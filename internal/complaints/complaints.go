// Package complaints bounds what is logged about things that others can cause without end.
package complaints

import (
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// every is how often one line of a code may be logged.
const every = 10 * time.Second

// Box takes complaints. The zero Box works, and is safe for concurrent use.
type Box struct {
	mu    sync.Mutex
	last  map[fault.Code]time.Time
	since map[fault.Code]int
}

// Allow reports whether a complaint of that code may be logged, and how many were not since the last.
func (b *Box) Allow(code fault.Code) (others int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.last, b.since = map[fault.Code]time.Time{}, map[fault.Code]int{}
	}
	now := time.Now()
	if last, ok := b.last[code]; ok && now.Sub(last) < every {
		b.since[code]++
		return 0, false
	}
	others = b.since[code]
	b.last[code], b.since[code] = now, 0
	return others, true
}
