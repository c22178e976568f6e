package nats

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// A listing walks over the stream by sequence. What is written meanwhile goes to the end of the stream and is met there, so
// nothing that stays is missed; the listing is over when a page has come to the end. Pages are large enough to get there
// while others write.
const (
	leastScan = 1000
	mostScan  = 10_000
	// scanBytes bounds what one request brings: values come with their keys.
	scanBytes = 4 << 20
)

// page is the messages of one kind whose key has a prefix, from a sequence on.
type page struct {
	kind   byte
	prefix string
	from   uint64
	limit  int
	// meet is called for every key, with what is stored there.
	meet func(key string, m stored)
}

// scan reads a page, and answers at which sequence the next one begins; 0: there is none.
func (s *store) scan(ctx context.Context, p page) (next uint64, err error) {
	filter := appendPrefix(append([]byte(s.root), p.kind, '.'), p.prefix)
	size := min(max(p.limit, leastScan), mostScan)
	next, seen, mark := p.from, uint64(0), uint64(0)
	var patience time.Time
	for met, lags := 0, false; met < size; {
		if !lags {
			if mark, err = s.mark(ctx, string(filter)); err != nil {
				return 0, err
			}
			patience = time.Now().Add(answerWithin)
		}
		got, pending, last, err := s.scanSome(ctx, string(append(filter, '>')), next, size-met, p)
		if err != nil {
			return 0, err
		}
		if met += got; last > 0 {
			next, seen = last+1, last
		}
		if lags = pending == 0; !lags {
			continue
		}
		if seen >= mark {
			return 0, nil
		}
		if time.Now().After(patience) {
			return 0, nats.ErrTimeout
		}
		// Whoever answered lags behind the stream's leader.
		if err := s.core.pause(ctx, lagPause); err != nil {
			return 0, err
		}
	}
	return next, nil
}

const lagPause = 5 * time.Millisecond

// mark writes a message that a request must meet before it may end the listing, and answers its sequence: of several servers
// any may answer, and only one that has the mark has all that those had who answered before. With one server there is no
// need.
func (s *store) mark(ctx context.Context, filter string) (sequence uint64, err error) {
	if err := s.ready(ctx); err != nil || !s.leader.Load() {
		return 0, err
	}
	r := s.write(put{subject: filter + markToken, ttl: tombstoneTTL})
	if err := s.do(ctx, r); err != nil {
		return 0, err
	}
	return written(r)
}

// scanSome reads messages in one request: how many there were, how many are left, and the last sequence.
func (s *store) scanSome(ctx context.Context, filter string, from uint64, want int, p page) (got, pending int, last uint64, err error) {
	r := &request{
		subject: s.api + "DIRECT.GET." + s.stream, weight: scanBytes,
		data: fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d,"next_by_subj":%q}`, max(from, 1), max(want, 2), scanBytes, filter),
	}
	var messages []*nats.Msg
	r.more = func(m *nats.Msg) bool {
		if header(m, "Status") != "" {
			return false
		}
		messages = append(messages, m)
		return true
	}
	if err := s.do(ctx, r); err != nil {
		return 0, 0, 0, err
	}
	if r.err != nil {
		return 0, 0, 0, r.err
	}
	switch header(r.answer, "Status") {
	case "404":
		return 0, 0, 0, nil
	case "204":
	default:
		return 0, 0, 0, unexpected(r.answer)
	}
	if pending, err = strconv.Atoi(header(r.answer, pendingHeader)); err != nil {
		return 0, 0, 0, unexpected(r.answer)
	}
	for _, m := range messages {
		there, err := readStored(&request{answer: m})
		if err != nil {
			return 0, 0, 0, err
		}
		last = there.sequence
		key, ok := s.key(p.kind, header(m, jetstream.SubjectHeader))
		if ok && strings.HasPrefix(key, p.prefix) {
			p.meet(key, there)
		}
	}
	return len(messages), pending, last, nil
}

// list checks a listing, and reads a page of it.
func (e *entries) list(ctx context.Context, op string, kind byte, p cache.Page, meet func(key string, m stored)) (next string, err error) {
	if err := e.begin(ctx, op, 0); err != nil {
		return "", err
	}
	if err := e.limits.Page(op, p); err != nil {
		return "", err
	}
	from, err := readCursor(p.Cursor)
	if err != nil {
		return "", e.store.core.fault(err, op, p.Prefix)
	}
	if len(p.Prefix) > e.limits.MaxKey {
		return "", nil // nothing begins with it
	}
	sequence, err := e.store.scan(ctx, page{kind: kind, prefix: p.Prefix, from: from, limit: p.Limit, meet: meet})
	if err != nil {
		return "", e.failed(ctx, err, op, 1, func(int) string { return p.Prefix })
	}
	if sequence == 0 {
		return "", nil
	}
	return formatSequence(sequence), nil
}

func readCursor(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	from, err := strconv.ParseUint(text, 10, 64)
	if err != nil || from == 0 {
		return 0, fault.New(fault.Invalid, "%q is no cursor; give the Next of the page before, or none", text)
	}
	return from, nil
}

// Keys walks over the entries of the stream whose keys have the prefix up to its last ":", "/" or ".", in pages. The
// values are read with them.
func (e *entries) Keys(ctx context.Context, p cache.Page) (cache.Keys, error) {
	return e.names(ctx, "cache: keys", entryKind, p)
}

// names lists the keys of one kind.
func (e *entries) names(ctx context.Context, op string, kind byte, p cache.Page) (names cache.Keys, err error) {
	now := e.store.clock.moment(ctx)
	names.Next, err = e.list(ctx, op, kind, p, func(key string, m stored) {
		// What cannot be read is listed: it is there, and can be deleted.
		if _, _, ok, err := live(m, now); ok || err != nil {
			names.Keys = append(names.Keys, key)
		}
	})
	if err != nil {
		return cache.Keys{}, err
	}
	return names, nil
}

// holders lists the locks that are held.
type holders struct{ *entries }

// Held walks over the locks of the stream, in pages.
func (h holders) Held(ctx context.Context, p cache.Page) (held cache.Leases, err error) {
	const op = "cache: held"
	now := h.store.clock.moment(ctx)
	held.Next, err = h.list(ctx, op, lockKind, p, func(key string, m stored) {
		l, err := readLock(m)
		if err == nil && !l.live(now) {
			return
		}
		lease := l.lease(key)
		lease.Fence, lease.Err = l.fence, h.store.core.fault(err, op, key)
		held.Leases = append(held.Leases, lease)
	})
	if err != nil {
		return cache.Leases{}, err
	}
	return held, nil
}
