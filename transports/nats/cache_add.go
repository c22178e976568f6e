package nats

import (
	"context"
	"math"
	"strconv"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

var (
	errNoCounter = fault.New(fault.Invalid, "the value is not a counter: a signed 64-bit integer in decimal text")
	errOverflow  = fault.New(fault.Exhausted, "the sum would not fit into 64 bits; nothing was added")
)

// Add reads each counter and writes the sum. The server has counters of its own, but in streams that hold nothing else, so
// that neither could Set write one nor a lifetime end it.
func (e *entries) Add(ctx context.Context, increments []cache.Increment) ([]cache.Sum, error) {
	answers := make([]cache.Sum, len(increments))
	err := e.perform(ctx, "cache: add", len(increments), func(i int) (*edit, *error) {
		inc, answer := &increments[i], &answers[i]
		if answer.Err = e.limits.Increment(*inc); answer.Err != nil {
			return nil, &answer.Err
		}
		var value int64
		var next record
		each := &edit{
			subject: e.store.subject(entryKind, inc.Key), looks: true,
			decide: func(now moment, there stored) (*put, error) {
				version, ends, ok, err := live(there, now)
				if err != nil {
					return nil, err
				}
				if !ok {
					version = record{} // what has ended leaves nothing behind
				}
				if value, err = sum(version.value, ok, inc.Delta); err != nil {
					return nil, err
				}
				text := strconv.AppendInt(nil, value, 10)
				if next = newRecord(version.flags, text, inc.TTL); ok {
					if next.keepEnd(ends); !ends.IsZero() {
						next.traits |= traitBornMortal
					} else {
						next.traits &^= traitBornMortal
					}
				}
				return &put{data: next.encode(), ttl: next.left(now.at)}, nil
			},
			done: func(sequence uint64) { answer.Value, answer.Revision = value, next.revision(sequence) },
		}
		return e.guarded(each, inc.Key, inc.Guard), &answer.Err
	}, func(i int) string { return increments[i].Key })
	return answers, err
}

// sum adds to a counter, if there is one: only the form that Add itself writes is a number, so that every transport takes
// the same texts.
func sum(text []byte, exists bool, delta int64) (value int64, err error) {
	if exists {
		value, err = strconv.ParseInt(string(text), 10, 64)
		if err != nil || strconv.FormatInt(value, 10) != string(text) {
			return 0, errNoCounter
		}
	}
	if delta > 0 && value > math.MaxInt64-delta || delta < 0 && value < math.MinInt64-delta {
		return 0, errOverflow
	}
	return value + delta, nil
}
