package nats

import (
	"context"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

var errCondition = fault.New(fault.Conflict, "the condition did not hold")

// holds says why a condition does not hold for what is there, or nil; and what is there.
func holds(c cache.Condition, there stored, now moment) (revision cache.Revision, err error) {
	version, _, ok, err := live(there, now)
	if err != nil {
		return "", err
	}
	if ok {
		revision = version.revision(there.sequence)
	}
	wanted, exact := c.WantsRevision()
	if c.WantsAbsent() && ok || c.WantsPresent() && !ok || exact && (!ok || wanted != revision) {
		return revision, errCondition
	}
	return revision, nil
}

// Set is one publish for each entry; IfAbsent, and IfRevision of what has no end, when they hold, too. A guard or
// another condition adds a read.
func (e *entries) Set(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
	answers := make([]cache.Written, len(writes))
	err := e.perform(ctx, "cache: set", len(writes), func(i int) (*edit, *error) {
		w, answer := &writes[i], &answers[i]
		if answer.Err = e.limits.Write(*w); answer.Err != nil {
			return nil, &answer.Err
		}
		version := newRecord(w.Flags, w.Value, w.TTL)
		each := &edit{
			subject: e.store.subject(entryKind, w.Key), looks: !w.If.IsAlways(),
			decide: func(now moment, there stored) (*put, error) {
				if !w.If.IsAlways() {
					revision, err := holds(w.If, there, now)
					if err != nil {
						answer.Revision = revision
						return nil, err
					}
				}
				return &put{data: version.encode(), ttl: version.left(now.at)}, nil
			},
			done: func(sequence uint64) { answer.Revision = version.revision(sequence) },
		}
		if sequence, conditional, ok := e.blind(w.If); ok {
			each.blind = &put{
				subject: each.subject, data: version.encode(), ttl: version.left(time.Time{}),
				expects: conditional, sequence: sequence,
			}
		}
		return e.guarded(each, w.Key, w.Guard), &answer.Err
	}, func(i int) string { return writes[i].Key })
	return answers, err
}

// blind says which sequence of the stream a condition amounts to, if one can be told without reading. A stream in memory
// begins anew with its servers, so that there a sequence alone is no revision.
func (e *entries) blind(c cache.Condition) (sequence uint64, conditional, ok bool) {
	if revision, exact := c.WantsRevision(); exact {
		sequence, ok = atOnce(revision)
		return sequence, true, ok && e.limits.Persistent
	}
	return 0, !c.IsAlways(), c.IsAlways() || c.WantsAbsent()
}

// tombstoneTTL is how long a deletion stays in the stream, for those who watch.
const tombstoneTTL = 10 * time.Second

// Delete reads each entry, since it is to say whether there was one, and writes that it is gone.
func (e *entries) Delete(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	return e.remove(ctx, "cache: delete", entryKind, removals, e.limits.Removal)
}

func (e *entries) remove(ctx context.Context, op string, kind byte, removals []cache.Removal, check func(cache.Removal) error) ([]cache.Removed, error) {
	answers := make([]cache.Removed, len(removals))
	err := e.perform(ctx, op, len(removals), func(i int) (*edit, *error) {
		r, answer := &removals[i], &answers[i]
		if answer.Err = check(*r); answer.Err != nil {
			return nil, &answer.Err
		}
		each := &edit{
			subject: e.store.subject(kind, r.Key), looks: true,
			decide: func(now moment, there stored) (*put, error) {
				revision, err := holds(r.If, there, now)
				corrupt := fault.CodeOf(err) == fault.Corrupt && r.If.IsAlways()
				answer.Existed = revision != "" || corrupt
				if err != nil && !corrupt || !answer.Existed {
					return nil, err
				}
				return &put{ttl: tombstoneTTL}, nil
			},
			done: func(uint64) { answer.Existed = true },
		}
		if sequence, conditional, ok := e.blind(r.If); ok && conditional && sequence > 0 {
			each.blind = &put{subject: each.subject, ttl: tombstoneTTL, expects: true, sequence: sequence}
		}
		return e.guarded(each, r.Key, r.Guard), &answer.Err
	}, func(i int) string { return removals[i].Key })
	return answers, err
}

// Touch reads each entry and stores it again.
func (e *entries) Touch(ctx context.Context, lifetimes []cache.Lifetime) ([]cache.Touched, error) {
	answers := make([]cache.Touched, len(lifetimes))
	err := e.perform(ctx, "cache: touch", len(lifetimes), func(i int) (*edit, *error) {
		l, answer := &lifetimes[i], &answers[i]
		if answer.Err = e.limits.Lifetime(*l); answer.Err != nil {
			return nil, &answer.Err
		}
		each := &edit{
			subject: e.store.subject(entryKind, l.Key), looks: true,
			decide: func(now moment, there stored) (*put, error) {
				version, _, ok, err := live(there, now)
				if err != nil {
					return nil, err
				}
				if !ok {
					return nil, fault.New(fault.NotFound, "there is no such entry")
				}
				if version.traits&traitMoved == 0 {
					version.traits |= traitMoved
					version.origin = there.sequence
				}
				version.live(l.TTL)
				return &put{data: version.encode(), ttl: version.left(now.at)}, nil
			},
		}
		return e.guarded(each, l.Key, l.Guard), &answer.Err
	}, func(i int) string { return lifetimes[i].Key })
	return answers, err
}
