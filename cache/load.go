package cache

import (
	"context"
	"errors"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// LoadOptions say how [Cache.Load] keeps what it loads. The zero LoadOptions keep it for ever.
type LoadOptions struct {
	TTL       time.Duration // the entry's lifetime; 0: no end
	Fresh     time.Duration // how long after it was written an entry is served without a refresh; 0: all its life
	Jitter    float64       // shortens TTL (at random) and Fresh (by the revision, equal on all nodes) by up to this fraction
	AbsentFor time.Duration // how long a loader's ErrNotFound is remembered; 0: not at all
	Lease     time.Duration // after how long a dead process's loader is replaced; 0: Options.LoadLease
	Wait      time.Duration // how long to wait for another's loader or lock: 0 as long as ctx allows, negative not at all; then ErrLocked
	Under     *Lock         // the key's lock, when the caller holds it: it is used in place of one of Load's own
}

// Load reads an entry, and when there is none runs load, of which there is only one at a time for a key in the whole
// cluster: others wait for its value.
//
// Callers of one process share one run, with the options and the function of the first. When some go away it goes on
// for the rest; when all have, the context given to load ends. A panic in load is fault.Internal for its callers.
//
// The loader holds the lock with the key's own name, which is why its write can be refused in one step with the check:
// when its lock is lost (this process was stopped, or cut off) its context ends, its value is refused and another loads;
// when its process dies, another takes over after Lease. So whoever holds that lock by hand keeps others from loading,
// and says with Under, or with a ctx from the lock's Context or from WithLock, that Load is to use it; without, Load
// waits for its own caller. A value that somebody set meanwhile wins over the loader's, and is answered.
//
// After Fresh an entry is still answered at once while one node of the cluster refreshes it in the background; if that
// fails it is logged and the old value serves on until its TTL ends. When load answers ErrNotFound and AbsentFor is set,
// that is remembered, and meanwhile Load and Get answer ErrNotFound.
//
// An error of load is answered to all its callers, and nothing is stored. When a value was loaded but could not be
// stored, the entry (without revision) comes beside the error.
func (c *Cache) Load(ctx context.Context, key string, o LoadOptions, load func(ctx context.Context) ([]byte, error)) (Entry, error) {
	const op = "cache: load"
	if err := c.checkLoad(op, key, &o, load != nil); err != nil {
		return Entry{}, err
	}
	got, err := c.lookup(ctx, op, key)
	if err != nil {
		return Entry{}, err
	}
	l := loading{c: c, op: op, key: key, o: o, load: load}
	if got.Found {
		if o.Fresh > 0 && !got.Entry.isAbsence() && staleAt(got.Entry, o).Before(time.Now()) {
			c.refresh(ctx, l, got.Entry.Revision)
		}
		return l.answer(got.Entry)
	}
	if err := l.inItsOwnLoader(ctx); err != nil {
		return Entry{}, err
	}
	if l.held = o.Under; l.held == nil {
		l.held = c.heldWithin(ctx, key)
	}
	return c.flights.fly(ctx, l)
}

func (c *Cache) checkLoad(op, key string, o *LoadOptions, loadable bool) error {
	refuse := func(format string, args ...any) error { return c.fault(fault.Invalid, op, key, format, args...) }
	switch {
	case !loadable:
		return refuse("the loader is nil; give a function")
	case o.TTL < 0 || o.Fresh < 0 || o.AbsentFor < 0 || o.Lease < 0:
		return refuse("a duration of LoadOptions is negative")
	case o.TTL > 0 && o.Fresh > o.TTL:
		return refuse("Fresh is %v, longer than the TTL of %v; it must be shorter to have an effect", o.Fresh, o.TTL)
	}
	if err := c.checkFraction(op, key, o.Jitter); err != nil {
		return err
	}
	if o.Lease == 0 {
		o.Lease = c.options.LoadLease
	}
	if o.Under != nil {
		return o.Under.check(c, op, key)
	}
	return nil
}

// loading is one key's load: what to run, and how to keep what it gives.
type loading struct {
	c       *Cache
	op, key string
	o       LoadOptions
	load    func(ctx context.Context) ([]byte, error)
	held    *Lock    // the caller's, to be used and not given back
	stale   Revision // of a refresh: the version that is not good enough
}

// errRefused tells that a loader's value was refused, and that it is worth looking again.
var errRefused = fault.New(fault.Conflict, "the loader's value was refused: its lock was lost, or was another's meanwhile")

// mostRefusals bounds how often in a row a load begins anew. Only other loaders and writers of the key cause it.
const mostRefusals = 5

// answer is what Load makes of an entry that is there.
func (l *loading) answer(entry Entry) (Entry, error) {
	if entry.isAbsence() {
		return Entry{}, l.c.notFound(l.op, l.key)
	}
	return entry, nil
}

// under loads while lock is held.
func (l *loading) under(ctx context.Context, lock *Lock) (Entry, error) {
	seen, err := l.c.lookup(ctx, l.op, l.key)
	if err != nil {
		return Entry{}, err
	}
	if seen.Found && seen.Entry.Revision != l.stale {
		return l.answer(seen.Entry) // another has loaded it before the lock was ours
	}
	inside, done := lock.within(ctx)
	defer done()
	value, err := l.run(inside)
	if lost := lock.whyEnded(); errors.Is(lost, ErrClosed) {
		return Entry{}, l.c.closedFault(l.op, l.key)
	} else if lost != nil {
		l.c.stats.loadsRefused.Add(1)
		l.c.log.Warn("cache: a loaded value was refused, because the loader's lock was lost", "key", l.key, "error", lost)
		return Entry{}, errRefused
	}
	switch {
	case err == nil:
		return l.keep(ctx, lock, seen.Entry.Revision, value)
	case errors.Is(err, ErrNotFound):
		return Entry{}, l.keepAbsence(ctx, lock, seen, err)
	default:
		return Entry{}, fault.In(err, l.op, l.key)
	}
}

// keep stores a loaded value in place of the version that was seen, and of no other, if lock is still ours.
func (l *loading) keep(ctx context.Context, lock *Lock, seen Revision, value []byte) (Entry, error) {
	if value == nil {
		value = []byte{}
	}
	w := Write{Key: l.key, Value: value, If: IfRevision(seen), Guard: lock.Guard()}
	w.TTL = shortened(l.o.TTL, l.o.Jitter*randomUnit(), l.c.backend.Capabilities.MinTTL)
	created := time.Now()
	written, err := one(ctx, l.c, setting, w, 0)
	entry := Entry{Key: l.key, Value: value, Revision: written.Revision, Created: created}
	if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrLocked) {
		return entry, l.c.at(err, l.op, l.key)
	}
	l.c.stats.loadsRefused.Add(1)
	there, err := l.c.lookup(ctx, l.op, l.key)
	if err != nil {
		return Entry{}, err
	}
	if there.Found && there.Entry.Revision != seen {
		return l.answer(there.Entry)
	}
	return Entry{}, errRefused
}

// keepAbsence remembers that there is nothing, or removes what is there no more. It answers the loader's own error.
func (l *loading) keepAbsence(ctx context.Context, lock *Lock, seen Got, absent error) error {
	var err error
	switch {
	case l.o.AbsentFor > 0:
		w := Write{Key: l.key, Value: []byte{}, Flags: AbsenceFlag, If: IfRevision(seen.Entry.Revision), Guard: lock.Guard()}
		w.TTL = shortened(l.o.AbsentFor, l.o.Jitter*randomUnit(), l.c.backend.Capabilities.MinTTL)
		_, err = one(ctx, l.c, setting, w, 0)
	case seen.Found:
		_, err = one(ctx, l.c, removing, Removal{Key: l.key, If: IfRevision(seen.Entry.Revision), Guard: lock.Guard()}, 0)
	}
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrLocked) {
		l.c.stats.loadsRefused.Add(1)
		return errRefused
	}
	if err != nil {
		return l.c.at(err, l.op, l.key)
	}
	return fault.In(absent, l.op, l.key)
}
