package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// flights are the loads under way in this process, each shared by all who wait for its key. The zero flights is ready.
type flights struct {
	mu    sync.Mutex
	under map[flightKey]*flight
}

// flightKey keeps those apart who hold the key's lock by hand: they must not wait for a load that waits for them.
type flightKey struct{ key, holder string }

type flight struct {
	loading
	of     *flights
	id     flightKey
	cancel context.CancelFunc
	done   chan struct{} // closed when entry and err are set
	entry  Entry
	err    error

	callers int  // still waiting; under flights.mu
	shared  bool // had more than one caller, so each gets a value of its own; under flights.mu until done

	blocked chan struct{} // closed when the lock was first seen to be another's
	refusal error         // that answer
	leading atomic.Bool   // this flight's own loader is running
}

// fly joins the flight of a key, or begins it, and waits for what it brings.
func (fs *flights) fly(ctx context.Context, l loading) (Entry, error) {
	f, err := fs.join(ctx, l)
	if err != nil {
		return Entry{}, err
	}
	return f.await(ctx, l.o.Wait)
}

func (fs *flights) join(ctx context.Context, l loading) (*flight, error) {
	id := flightKey{key: l.key}
	if l.held != nil {
		id.holder = l.held.Holder()
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.under[id]; f != nil {
		f.callers++
		f.shared = true
		return f, nil
	}
	own, end := l.c.whileOpen(context.WithoutCancel(ctx))
	f := &flight{loading: l, of: fs, id: id, cancel: end, callers: 1, done: make(chan struct{}), blocked: make(chan struct{})}
	if !l.c.spawn(func() { f.run(own) }) {
		end()
		return nil, l.c.closedFault(l.op, l.key)
	}
	if fs.under == nil {
		fs.under = map[flightKey]*flight{}
	}
	fs.under[id] = f
	return f, nil
}

// await waits until the flight is over, or this caller does not want to wait any longer.
func (f *flight) await(ctx context.Context, wait time.Duration) (Entry, error) {
	blocked := f.blocked
	if wait == 0 {
		blocked = nil
	}
	var enough <-chan time.Time
	for {
		select {
		case <-f.done:
			entry := f.entry
			if f.shared {
				entry.Value = append([]byte{}, entry.Value...)
			}
			return entry, f.err
		case <-ctx.Done():
			refusal := f.leave()
			return Entry{}, f.c.waitEnded(f.op, f.key, fault.FromContext(ctx), refusal)
		case <-blocked:
			blocked = nil
			timer := time.NewTimer(max(wait, 0))
			defer timer.Stop()
			enough = timer.C
		case <-enough:
			if enough = nil; !f.leading.Load() {
				return Entry{}, f.leave()
			}
		}
	}
}

// leave ends one caller's interest, and the flight with the last. It answers the refusal that the flight has met.
func (f *flight) leave() (refusal error) {
	f.of.mu.Lock()
	f.callers--
	if f.callers == 0 {
		f.forget()
		f.cancel()
	}
	f.of.mu.Unlock()
	select {
	case <-f.blocked:
		return f.refusal
	default:
		return nil
	}
}

// forget lets the next caller begin a new flight. flights.mu is held.
func (f *flight) forget() {
	if f.of.under[f.id] == f {
		delete(f.of.under, f.id)
	}
}

func (f *flight) run(ctx context.Context) {
	defer f.cancel()
	f.err = f.c.fault(fault.Internal, f.op, f.key, "the loader ended its goroutine") // unless lead returns
	defer func() {
		f.of.mu.Lock()
		f.forget()
		f.of.mu.Unlock()
		close(f.done)
	}()
	f.entry, f.err = f.lead(ctx)
	if f.err != nil && f.c.closed.Load() {
		f.err = f.c.closedFault(f.op, f.key)
	}
}

// lead gets the key's lock and loads, or finds what another has loaded.
func (f *flight) lead(ctx context.Context) (Entry, error) {
	if f.held != nil {
		entry, err := f.loadUnder(ctx, f.held)
		if lost := f.held.whyEnded(); errors.Is(err, errRefused) && lost != nil {
			err = lost
		}
		return entry, f.c.at(err, f.op, f.key)
	}
	asking := asking{c: f.c, op: f.op, name: f.key, ttl: f.o.Lease}
	for refusals := 0; ; {
		lock, err := asking.ask(ctx, ctx)
		if errors.Is(err, ErrLocked) {
			f.block(err)
			got, err := f.c.lookup(ctx, f.op, f.key)
			if err != nil {
				return Entry{}, err
			}
			if got.Found {
				return f.answer(got.Entry)
			}
			continue
		}
		if err != nil {
			return Entry{}, err
		}
		entry, err := f.loadAndUnlock(ctx, lock)
		if !errors.Is(err, errRefused) {
			return entry, err
		}
		if refusals++; refusals == mostRefusals || ctx.Err() != nil {
			return Entry{}, f.c.at(err, f.op, f.key)
		}
	}
}

func (f *flight) loadAndUnlock(ctx context.Context, lock *Lock) (Entry, error) {
	defer lock.unlockSoon(ctx)
	return f.loadUnder(ctx, lock)
}

func (f *flight) loadUnder(ctx context.Context, lock *Lock) (Entry, error) {
	f.leading.Store(true)
	defer f.leading.Store(false)
	return f.under(ctx, lock)
}

// block tells the callers that another has the lock.
func (f *flight) block(refusal error) {
	select {
	case <-f.blocked:
	default:
		f.refusal = refusal
		close(f.blocked)
	}
}
