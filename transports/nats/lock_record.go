package nats

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// A lock is stored as
//
//	byte 0       version of the record: 1
//	byte 1       1: it is held, until its lease ends; 0: it was released
//	8 bytes      the last fence given
//	8 bytes      how many nanoseconds the lease lasts from the time at which the server stored the record
//	rest         who has it, or had it last
//
// in big endian. The record outlives the lease, because it remembers the fence. The fence is not the sequence of the record:
// a renewal stores it again, and must not make the fence another one.
const (
	lockVersion = 1
	lockHead    = 18

	// fenceMemory is how long a lock's last fence is compared with after its lease has ended. What is forgotten later cannot
	// repeat, because fences begin at the time of day.
	fenceMemory = 24 * time.Hour
	// memoryMargin is for what servers' clocks may differ by: each removes what has ended by its own.
	memoryMargin = time.Minute
)

// lock is a lock as it is stored. The zero value is one that nobody had.
type lock struct {
	held   bool
	fence  uint64
	ttl    time.Duration
	holder string

	ends time.Time // of the lease, by the server's clock. Not stored
}

func (l *lock) encode() []byte {
	b := make([]byte, 0, lockHead+len(l.holder))
	state := byte(0)
	if l.held {
		state = 1
	}
	b = append(b, lockVersion, state)
	b = binary.BigEndian.AppendUint64(b, l.fence)
	b = binary.BigEndian.AppendUint64(b, uint64(l.ttl))
	return append(b, l.holder...)
}

// put is the write that stores it.
func (l *lock) put() *put {
	memory := fenceMemory + memoryMargin
	if l.held {
		if memory += l.ttl; l.ttl >= endless {
			memory = 0
		}
	}
	return &put{data: l.encode(), ttl: memory}
}

func readLock(m stored) (l lock, err error) {
	if len(m.data) == 0 {
		return l, nil
	}
	if m.data[0] > lockVersion {
		return l, fault.New(fault.Corrupt, "the lock's record has version %d, and this program knows %d; upgrade it", m.data[0], lockVersion)
	}
	if len(m.data) < lockHead || m.data[0] != lockVersion {
		return l, fault.New(fault.Corrupt, "the lock's record cannot be read; remove the message %d from the stream", m.sequence)
	}
	l = lock{
		held: m.data[1] == 1, fence: binary.BigEndian.Uint64(m.data[2:]),
		ttl: time.Duration(binary.BigEndian.Uint64(m.data[10:])), holder: string(m.data[lockHead:]),
	}
	at, err := m.storedAt()
	if err != nil {
		return l, err
	}
	l.ends = at.Add(l.ttl)
	if l.ends.Before(at) { // the longest leases go over the end of what can be told
		l.ends = at.Add(endless)
	}
	return l, nil
}

// live says whether somebody has it.
func (l *lock) live(now moment) bool { return l.held && now.before(l.ends) }

// lease is what there is to tell of it, without the fence, which proves who has it.
func (l *lock) lease(name string) cache.Lease {
	return cache.Lease{Lock: name, Holder: l.holder, TTL: l.ttl, Expires: l.ends}
}

func (l *lock) locked() error {
	return &fault.Error{
		Code: fault.Locked, Retryable: true,
		Message: fmt.Sprintf("%.100q has the lock until %s unless it renews", l.holder, l.ends.UTC().Format(time.RFC3339Nano)),
	}
}

// admits says why an operation under a guard may not pass a lock, or nil.
func admits(g cache.Guard, m stored, now moment) error {
	l, err := readLock(m)
	if err != nil {
		return err
	}
	if g.Holder != "" && l.holder != g.Holder && l.live(now) {
		return l.locked()
	}
	if g.Fence != 0 && g.Fence < l.fence {
		return fault.New(fault.Conflict, "the lock was given to another since, with a greater fence")
	}
	return nil
}
