package conformance

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// version is an entry as the model knows it.
type version struct {
	found    bool
	value    string
	revision cache.Revision // anyRevision: of a write whose answer nobody has seen, until a reader tells
}

const anyRevision cache.Revision = "?"

func (v version) String() string {
	if !v.found {
		return "absent"
	}
	return fmt.Sprintf("%s at %s", v.value, short(v.revision))
}

func short(r cache.Revision) string {
	if len(r) > 8 {
		r = r[:8]
	}
	return fmt.Sprintf("%q", string(r))
}

// entryQuestion is an operation on an entry.
type entryQuestion struct {
	kind      entryKind
	key       string
	value     string
	condition cache.Condition
}

type entryKind int

const (
	entryRead entryKind = iota
	entryWrite
	entryDelete
)

func (q entryQuestion) about() string { return q.key }
func (q entryQuestion) reads() bool   { return q.kind == entryRead }

// entryAnswer is how it was answered. Of a write, now is the version that it made, or what refused it.
type entryAnswer struct {
	outcome outcome
	now     version
}

// entryModel is an entry that one client alone would see.
var entryModel = modelOf(version{}, stepEntry, describeEntry)

func stepEntry(s version, q entryQuestion, a entryAnswer) []version {
	if q.kind == entryRead {
		if s.found != a.now.found || s.value != a.now.value || !mayBe(s.revision, a.now.revision) {
			return nil
		}
		return []version{a.now}
	}
	mayHold, mayNot := holdsFor(q.condition, s)
	after := version{}
	if q.kind == entryWrite {
		after = version{found: true, value: q.value, revision: a.now.revision}
	}
	switch a.outcome {
	case done:
		if !mayHold || q.kind == entryDelete && s.found != a.now.found {
			return nil
		}
		return []version{after}
	case refused:
		if !mayNot || a.now.revision != "" && !(s.found && mayBe(s.revision, a.now.revision)) {
			return nil
		}
		return []version{s}
	}
	if !mayHold {
		return []version{s}
	}
	after.revision = anyRevision
	if q.kind == entryDelete {
		after = version{}
	}
	return []version{s, after}
}

func mayBe(known, told cache.Revision) bool { return known == anyRevision || known == told }

// holdsFor tells whether a condition may hold for a version, and whether it may not: of a revision that nobody has seen
// both are possible.
func holdsFor(c cache.Condition, s version) (mayHold, mayNot bool) {
	holds := true
	switch wanted, at := c.WantsRevision(); {
	case at && s.found && s.revision == anyRevision:
		return true, true
	case at:
		holds = s.found && s.revision == wanted
	case c.WantsAbsent():
		holds = !s.found
	case c.WantsPresent():
		holds = s.found
	}
	return holds, !holds
}

func describeEntry(q entryQuestion, a entryAnswer) string {
	what := ""
	switch q.kind {
	case entryRead:
		return fmt.Sprintf("get %s → %v", q.key, a.now)
	case entryWrite:
		what = fmt.Sprintf("set %s to %s%s", q.key, q.value, conditionText(q.condition))
	case entryDelete:
		what = fmt.Sprintf("delete %s%s", q.key, conditionText(q.condition))
	}
	switch {
	case a.outcome == unknown:
		return what + " → unknown"
	case a.outcome == refused && a.now.revision != "":
		return what + " → conflict with " + short(a.now.revision)
	case a.outcome == refused:
		return what + " → conflict"
	case q.kind == entryDelete:
		return fmt.Sprintf("%s → existed: %v", what, a.now.found)
	}
	return what + " → " + short(a.now.revision)
}

func conditionText(c cache.Condition) string {
	revision, at := c.WantsRevision()
	switch {
	case at:
		return " if at " + short(revision)
	case c.WantsAbsent():
		return " if absent"
	case c.WantsPresent():
		return " if present"
	}
	return ""
}

// playEntries has a client read, write and delete at random, now and then under a condition: often one that holds or did
// hold a moment ago.
func playEntries(c *historian, seen map[string]cache.Revision) {
	key := fmt.Sprint("k", rand.N(3))
	switch n := rand.N(10); {
	case n < 4:
		c.readEntry(key, seen)
	case n < 9:
		c.writeEntry(entryQuestion{
			kind: entryWrite, key: key, value: fmt.Sprintf("v%d.%d", c.client, c.round),
			condition: anyOf(cache.Always(), cache.Always(), cache.IfAbsent(), cache.IfPresent(), cache.IfRevision(seen[key]), cache.IfRevision(seen[key])),
		}, seen)
	default:
		condition := cache.Always()
		if seen[key] != "" {
			condition = anyOf(condition, cache.IfRevision(seen[key]))
		}
		c.deleteEntry(entryQuestion{kind: entryDelete, key: key, condition: condition})
	}
}

func anyOf[V any](all ...V) V { return all[rand.N(len(all))] }

func (c *historian) readEntry(key string, seen map[string]cache.Revision) {
	c.record(entryQuestion{kind: entryRead, key: key}, func() (any, outcome) {
		ctx, cancel := c.context()
		defer cancel()
		r, err := c.node.Cache().Get(ctx, []cache.Read{{Key: key}})
		o := c.outcomeOf("get", alone(r, err, func(g cache.Got) error { return g.Err }))
		if o != done || !r[0].Found {
			return entryAnswer{outcome: o}, o
		}
		seen[key] = r[0].Entry.Revision
		return entryAnswer{now: version{true, string(r[0].Entry.Value), r[0].Entry.Revision}}, o
	})
}

func (c *historian) writeEntry(q entryQuestion, seen map[string]cache.Revision) {
	c.record(q, func() (any, outcome) {
		ctx, cancel := c.context()
		defer cancel()
		r, err := c.node.Cache().Set(ctx, []cache.Write{{Key: q.key, Value: []byte(q.value), If: q.condition}})
		a := entryAnswer{outcome: c.outcomeOf("set", alone(r, err, func(w cache.Written) error { return w.Err }), fault.Conflict)}
		if a.outcome != unknown {
			a.now.revision = r[0].Revision
			seen[q.key] = r[0].Revision
		}
		return a, a.outcome
	})
}

func (c *historian) deleteEntry(q entryQuestion) {
	c.record(q, func() (any, outcome) {
		ctx, cancel := c.context()
		defer cancel()
		r, err := c.node.Cache().Delete(ctx, []cache.Removal{{Key: q.key, If: q.condition}})
		a := entryAnswer{outcome: c.outcomeOf("delete", alone(r, err, func(r cache.Removed) error { return r.Err }), fault.Conflict)}
		if a.outcome == done {
			a.now.found = r[0].Existed
		}
		return a, a.outcome
	})
}

// entriesAre checks the history of entries, and that no two writes were given the same revision.
func entriesAre(h *history) {
	given := map[cache.Revision]string{}
	for _, op := range h.done {
		q, a := op.Input.(entryQuestion), op.Output.(entryAnswer)
		if q.kind == entryWrite && a.outcome == done {
			require.NotContains(h.e, given, a.now.revision, "two writes were given one revision")
			given[a.now.revision] = q.value
		}
	}
	h.check(entryModel)
}

// counterQuestion adds to a counter, or reads it where delta is 0.
type counterQuestion struct {
	key   string
	delta int64
}

func (q counterQuestion) about() string { return q.key }
func (q counterQuestion) reads() bool   { return q.delta == 0 }

type counterAnswer struct {
	outcome outcome
	value   int64
}

// counterModel is a counter that one client alone would see.
var counterModel = modelOf(int64(0), func(s int64, q counterQuestion, a counterAnswer) []int64 {
	after := s + q.delta
	switch {
	case a.outcome == unknown:
		return []int64{s, after}
	case a.value != after:
		return nil
	}
	return []int64{after}
}, func(q counterQuestion, a counterAnswer) string {
	what := fmt.Sprintf("add %d to %s", q.delta, q.key)
	if q.delta == 0 {
		what = "read " + q.key
	}
	if a.outcome == unknown {
		return what + " → unknown"
	}
	return fmt.Sprintf("%s → %d", what, a.value)
})

// playCounters has a client add to counters and read them.
func playCounters(c *historian) {
	key := fmt.Sprint("n", rand.N(2))
	if rand.N(4) == 0 {
		c.record(counterQuestion{key: key}, func() (any, outcome) {
			ctx, cancel := c.context()
			defer cancel()
			r, err := c.node.Cache().Get(ctx, []cache.Read{{Key: key}})
			a := counterAnswer{outcome: c.outcomeOf("get", alone(r, err, func(g cache.Got) error { return g.Err }))}
			if a.outcome == done && r[0].Found {
				if a.value, err = strconv.ParseInt(string(r[0].Entry.Value), 10, 64); err != nil {
					c.e.Errorf("a counter holds %.60q", r[0].Entry.Value)
				}
			}
			return a, a.outcome
		})
		return
	}
	delta := anyOf[int64](1, 1, 10, 100, -1)
	c.record(counterQuestion{key, delta}, func() (any, outcome) {
		ctx, cancel := c.context()
		defer cancel()
		r, err := c.node.Cache().Add(ctx, []cache.Increment{{Key: key, Delta: delta}})
		a := counterAnswer{outcome: c.outcomeOf("add", alone(r, err, func(s cache.Sum) error { return s.Err }))}
		if a.outcome == done {
			a.value = r[0].Value
		}
		return a, a.outcome
	})
}
