package cache

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// A failed call that may be repeated is, this often and so much later, doubled each time.
const (
	repeats     = 2
	repeatDelay = 40 * time.Millisecond
)

// Waiting for a lock to let an operation through asks again with growing delays up to askAgain.
const firstAsk = 5 * time.Millisecond

// jittered is d shortened at random by up to a quarter, so that those who wait do not ask together.
func jittered(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// batch is one driver call's elements with their results, while some are sent again.
type batch[E element, R any, P result[R]] struct {
	c        *Cache
	call     call[E, R]
	elements []E
	results  []R
	failure  error         // of the last call as a whole
	wait     time.Duration // how long to wait for locks of others

	tries int
	delay time.Duration
}

// again repeats what may be repeated: reads and harmless writes for which the store was unavailable, a few times; and,
// while the caller wants to wait, what met a lock. Afterwards there is a result for each element.
func (b *batch[E, R, P]) again(ctx context.Context) {
	if b.failure != nil {
		b.results = failed[R, P](len(b.elements), b.failure)
	}
	deadline := time.Now().Add(b.wait)
	for {
		pending, unavailable := b.pending(deadline)
		if len(pending) == 0 {
			return
		}
		if unavailable {
			b.tries++
			b.delay = repeatDelay << b.tries
		} else {
			b.delay = min(max(firstAsk, 2*b.delay), askAgain, max(time.Until(deadline), time.Millisecond))
		}
		if ended := b.c.pause(ctx, jittered(b.delay)); ended != nil {
			for _, i := range pending {
				*P(&b.results[i]).failure() = ended
			}
			return
		}
		b.repeat(ctx, pending)
	}
}

// pending are the elements to be sent again, and whether it is because the store was unavailable.
func (b *batch[E, R, P]) pending(deadline time.Time) (at []int, unavailable bool) {
	for i := range b.results {
		failure := *P(&b.results[i]).failure()
		switch fault.CodeOf(failure) {
		case fault.Unavailable:
			mayRepeat := b.call.repeatable != nil && b.call.repeatable(b.elements[i])
			if mayRepeat && b.tries < repeats && fault.IsRetryable(failure) {
				at, unavailable = append(at, i), true
			}
		case fault.Locked:
			if b.wait > 0 && time.Now().Before(deadline) {
				at = append(at, i)
			}
		}
	}
	return at, unavailable
}

// repeat sends the pending elements once more, and puts their results in place.
func (b *batch[E, R, P]) repeat(ctx context.Context, pending []int) {
	some := make([]E, len(pending))
	for k, i := range pending {
		some[k] = b.elements[i]
	}
	newer, err := exchange(ctx, b.c, b.call, some)
	if b.failure = err; err != nil {
		newer = failed[R, P](len(some), err)
	}
	for k, i := range pending {
		b.results[i] = newer[k]
	}
}
