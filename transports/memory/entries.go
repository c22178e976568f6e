package memory

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// fenceMemory is how long a lock's last fence is compared with after its lease has ended. What is forgotten later cannot
// repeat, because fences begin at the time of day.
const fenceMemory = 24 * time.Hour

// entries is what a cache holds, shared by all nodes of a namespace. One mutex guards it: nothing here waits.
type entries struct {
	clock transports.Clock

	mu      sync.Mutex
	random  lottery
	values  *catalog[entry]
	lists   *catalog[*ring[[]byte]]
	held    *catalog[lease]   // locks that are held
	fences  mortal[uint64]    // the last fence of each lock, held or not
	waiters waitlist          // by lock
	watches map[*watch]string // by prefix
}

// entry is a value with what belongs to it. Its bytes are never changed: a write puts others in their place.
type entry struct {
	value    []byte
	flags    uint8
	revision cache.Revision
	created  instant
}

// lease is a lock as it is held.
type lease struct {
	holder string
	fence  uint64
	ttl    time.Duration // as claimed, or as last renewed
}

func newEntries(c transports.Clock) *entries {
	e := &entries{
		clock:  c,
		values: newCatalog[entry](), lists: newCatalog[*ring[[]byte]](), held: newCatalog[lease](),
		fences:  newMortal[uint64](),
		waiters: waitlist{}, watches: map[*watch]string{},
	}
	return e
}

// begin locks the entries for a call of n elements, clears some of what has ended away, and tells the time.
func (e *entries) begin(n int) instant {
	e.mu.Lock()
	now := now(e.clock)
	e.sweep(now, n)
	return now
}

func (e *entries) sweep(now instant, n int) {
	n = swept(n)
	e.values.sweep(now, n)
	e.lists.sweep(now, n)
	e.held.sweep(now, n)
	e.fences.sweep(now, n)
}

// admits reports why an operation on a key is refused by the lock of that name, or nil.
func (e *entries) admits(g cache.Guard, op, key string, now instant) error {
	if g == (cache.Guard{}) {
		return nil
	}
	if lock := e.held.get(key, now); g.Holder != "" && lock != nil && lock.value.holder != g.Holder {
		return locked(op, key, lock)
	}
	if last := e.fences.get(key, now); last != nil && g.Fence != 0 && g.Fence < last.value {
		return conflict(op, key, "fence %d is old: %d has been given for the lock since", g.Fence, last.value)
	}
	return nil
}

func locked(op, key string, lock *item[lease]) error {
	return &fault.Error{
		Code: fault.Locked, Op: op, Subject: key, Transport: Kind, Retryable: true,
		Message: fmt.Sprintf("the lock is held by %q until %s", lock.value.holder, lock.ends.time().UTC().Format(time.RFC3339Nano)),
	}
}

func conflict(op, subject, format string, args ...any) error {
	return &fault.Error{Code: fault.Conflict, Op: op, Subject: subject, Transport: Kind, Message: fmt.Sprintf(format, args...)}
}

func absent(op, subject, what string) error {
	return &fault.Error{Code: fault.NotFound, Op: op, Subject: subject, Transport: Kind, Message: "there is no such " + what}
}

var errNoInteger = errors.New("the value is not a whole number in decimal text of at most 64 bits")
