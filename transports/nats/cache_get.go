package nats

import (
	"context"
	"slices"
	"time"

	"github.com/gobackplane/backplane/cache"
)

const getOp = "cache: get"

// look is one read under way.
type look struct {
	subject string
	lock    string // of a guard
	guard   cache.Guard

	there stored
	err   error
	over  bool
}

// Get is one request for each entry, and more when it is guarded.
func (e *entries) Get(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
	if err := e.begin(ctx, getOp, len(reads)); err != nil {
		return nil, err
	}
	got := make([]cache.Got, len(reads))
	looks := make([]*look, 0, len(reads))
	places := make([]int, 0, len(reads))
	for i := range reads {
		r := &reads[i]
		if got[i].Err = e.limits.Read(getOp, *r); got[i].Err == nil {
			looks, places = append(looks, e.lookAt(entryKind, r.Key, r.Guard)), append(places, i)
		}
	}
	if err := e.store.read(ctx, looks); err != nil {
		return nil, e.failed(ctx, err, getOp, len(reads), func(i int) string { return reads[i].Key })
	}
	now := e.store.clock.moment(ctx)
	for i, l := range looks {
		r, g := &reads[places[i]], &got[places[i]]
		err := l.err
		if err == nil {
			err = readGot(r, l.there, now, g)
		}
		if err != nil {
			g.Err = e.store.core.fault(err, getOp, r.Key)
		}
	}
	return got, nil
}

// lookAt reads what is at a key, under a guard if there is one.
func (e *entries) lookAt(kind byte, key string, g cache.Guard) *look {
	l := &look{subject: e.store.subject(kind, key)}
	if g != (cache.Guard{}) {
		l.lock, l.guard = e.store.subject(lockKind, key), g
	}
	return l
}

func readGot(r *cache.Read, there stored, now moment, g *cache.Got) error {
	version, ends, ok, err := live(there, now)
	if err != nil || !ok {
		return err
	}
	g.Found = true
	g.Entry = cache.Entry{
		Key: r.Key, Value: slices.Clip(version.value), Flags: version.flags,
		Revision: version.revision(there.sequence), Created: time.Unix(0, version.created),
	}
	if r.Expiry {
		g.Entry.Expires = ends
	}
	return nil
}

// live reads an entry, if there is one that has not ended.
func live(m stored, now moment) (r record, ends time.Time, ok bool, err error) {
	if len(m.data) == 0 {
		return r, ends, false, nil
	}
	if r, err = readRecord(m.data); err != nil || r.traits&traitMortal == 0 {
		return r, ends, err == nil, err
	}
	at, err := m.storedAt()
	if err != nil {
		return r, ends, false, err
	}
	ends = r.ends(at)
	return r, ends, now.before(ends), nil
}

// read makes reads, all at once.
//
// A read under a guard must not tell what was there at another time than that at which the guard let it pass. Sequences
// tell: the entry was read first, then its lock. A lock that was stored before the entry was as it is when the entry was
// read. When it was stored after it, the entry is read once more, and if it is the same it was so when the lock was read.
func (s *store) read(ctx context.Context, looks []*look) error {
	if err := s.readAll(ctx, looks, func(l *look) (string, *stored) { return l.subject, &l.there }); err != nil {
		return err
	}
	guarded := slices.DeleteFunc(slices.Clone(looks), func(l *look) bool { return l.over || l.lock == "" })
	for attempt := 0; len(guarded) > 0; attempt++ {
		if err := s.readGuards(ctx, guarded); err != nil {
			return err
		}
		guarded = slices.DeleteFunc(guarded, func(l *look) bool { return l.over })
		if len(guarded) == 0 {
			return nil
		}
		if attempt == mostAttempts {
			for _, l := range guarded {
				l.err = errCrowded
			}
			return nil
		}
		if err := s.stepAside(ctx, attempt); err != nil {
			return err
		}
	}
	return nil
}

// readGuards looks at the locks of reads whose entries were read. Those for which it was of use are over.
func (s *store) readGuards(ctx context.Context, looks []*look) error {
	locks := make([]stored, len(looks))
	again := make([]stored, len(looks))
	at := make(map[*look]int, len(looks))
	for i, l := range looks {
		at[l] = i
	}
	if err := s.readAll(ctx, looks, func(l *look) (string, *stored) { return l.lock, &locks[at[l]] }); err != nil {
		return err
	}
	now := s.clock.moment(ctx)
	var doubtful []*look
	for i, l := range looks {
		switch {
		case l.over:
		case locks[i].sequence > l.there.sequence:
			if err := admits(l.guard, locks[i], now); err != nil {
				l.err, l.over = err, true
				break
			}
			doubtful = append(doubtful, l)
		default:
			l.err, l.over = admits(l.guard, locks[i], now), true
		}
	}
	if err := s.readAll(ctx, doubtful, func(l *look) (string, *stored) { return l.subject, &again[at[l]] }); err != nil {
		return err
	}
	for _, l := range doubtful {
		if l.over {
			continue
		}
		l.over = again[at[l]].sequence == l.there.sequence
		l.there = again[at[l]]
	}
	return nil
}

// readAll asks for the last message of a subject for each read, and puts it where it belongs.
func (s *store) readAll(ctx context.Context, looks []*look, where func(*look) (subject string, to *stored)) error {
	if len(looks) == 0 {
		return nil
	}
	requests := make([]*request, len(looks))
	for i, l := range looks {
		subject, _ := where(l)
		requests[i] = s.readLast(subject)
	}
	if err := s.do(ctx, requests...); err != nil {
		return err
	}
	for i, l := range looks {
		_, to := where(l)
		m, err := readStored(requests[i])
		if err != nil {
			l.err, l.over = err, true
			continue
		}
		*to = m
	}
	return nil
}
