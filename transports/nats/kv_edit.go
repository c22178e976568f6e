package nats

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// edit is one change of one subject: what is there is read, the change is decided upon, and written under the condition
// that nothing has changed since. When something has, it begins again.
type edit struct {
	subject string
	looks   bool // at what is there; otherwise it is written whatever that is

	lock  string // the subject of the lock that guards it; empty: none
	guard cache.Guard

	// blind is tried before anything is looked at.
	blind *put
	// decide says what to write, or nil for nothing, having seen what is there.
	decide func(now moment, there stored) (*put, error)
	// done hears of the sequence of what was written.
	done func(sequence uint64)

	err  error
	over bool
	put  *put
	read [2]*request // of the subject, of the lock
}

// Each attempt but one of those that race fails, so a subject that n callers change at once takes each of them n attempts.
const mostAttempts = 500

var errCrowded = &fault.Error{
	Code: fault.Unavailable, Retryable: true,
	Message: fmt.Sprintf("%d attempts were in vain, since others wrote at the same time; let fewer write to one key, or try again", mostAttempts),
}

// run makes edits, all at once. Its error means that nothing is known of those that are not over.
func (s *store) run(ctx context.Context, edits []*edit) error {
	for attempt := 0; ; attempt++ {
		if err := s.look(ctx, edits, attempt == 0); err != nil {
			return err
		}
		raced, err := s.commit(ctx, edits)
		if err != nil || !raced {
			return err
		}
		if attempt == mostAttempts {
			for _, e := range edits {
				if !e.over {
					e.end(errCrowded)
				}
			}
			return nil
		}
		if err := s.stepAside(ctx, attempt); err != nil {
			return err
		}
	}
}

// stepAside lets others finish. The pause is random, and grows while it does not help.
func (s *store) stepAside(ctx context.Context, attempt int) error {
	const least, most = 100 * time.Microsecond, 20 * time.Millisecond
	if attempt == 0 {
		return nil // most races are won at the second attempt
	}
	return s.core.pause(ctx, rand.N(min(least<<min(attempt, 16), most)))
}

// look reads what the edits that are not over depend on, and has them decide.
func (s *store) look(ctx context.Context, edits []*edit, first bool) error {
	requests := make([]*request, 0, 2*len(edits))
	for _, e := range edits {
		e.put, e.read = nil, [2]*request{}
		switch {
		case e.over:
			continue
		case first && e.blind != nil:
			e.put = e.blind
			continue
		}
		if e.looks {
			e.read[0] = s.readLast(e.subject)
			requests = append(requests, e.read[0])
		}
		if e.lock != "" {
			e.read[1] = s.readLast(e.lock)
			requests = append(requests, e.read[1])
		}
	}
	if len(requests) > 0 {
		if err := s.do(ctx, requests...); err != nil {
			return err
		}
	}
	now := s.clock.moment(ctx)
	for _, e := range edits {
		if !e.over && e.put == nil {
			e.end(e.plan(now))
			e.over = e.err != nil || e.put == nil
		}
	}
	return nil
}

// plan makes the write of an edit from what was read.
func (e *edit) plan(now moment) error {
	var there, lock stored
	var err error
	if e.lock != "" {
		if lock, err = readStored(e.read[1]); err != nil {
			return err
		}
		if err := admits(e.guard, lock, now); err != nil {
			return err
		}
	}
	if e.looks {
		if there, err = readStored(e.read[0]); err != nil {
			return err
		}
	}
	p, err := e.decide(now, there)
	if err != nil || p == nil {
		return err
	}
	p.subject = e.subject
	p.expects, p.sequence = e.looks, there.sequence
	p.guarded, p.lock, p.fenced = e.lock != "", e.lock, lock.sequence
	e.put = p
	return nil
}

func (e *edit) end(err error) {
	e.err, e.over = err, true
}

// commit writes what was decided, and tells whether some have to begin again.
func (s *store) commit(ctx context.Context, edits []*edit) (raced bool, err error) {
	var single, batched []*edit
	for _, e := range edits {
		switch {
		case e.over:
		case e.put.guarded && e.put.expects:
			batched = append(batched, e)
		default:
			single = append(single, e)
		}
	}
	raced, err = s.send(ctx, single)
	if err != nil || len(batched) == 0 {
		return raced, err
	}
	select {
	case s.batches <- struct{}{}:
		defer func() { <-s.batches }()
	case <-ctx.Done():
		return false, ctx.Err()
	case <-s.core.life.Done():
		return false, errClosed
	}
	for some := range slices.Chunk(batched, batchesOfOne) {
		again, err := s.send(ctx, some)
		if err != nil {
			return false, err
		}
		raced = raced || again
	}
	return raced, nil
}

// send writes, in one round trip.
func (s *store) send(ctx context.Context, edits []*edit) (raced bool, err error) {
	if len(edits) == 0 {
		return false, nil
	}
	requests := make([]*request, len(edits))
	for i, e := range edits {
		requests[i] = s.write(*e.put)
	}
	if err := s.do(ctx, requests...); err != nil {
		return false, err
	}
	for i, e := range edits {
		sequence, err := written(requests[i])
		switch {
		case err == errRaced:
			raced = true
			continue
		case err == nil && e.done != nil:
			e.done(sequence)
		}
		e.end(err)
	}
	return raced, nil
}
