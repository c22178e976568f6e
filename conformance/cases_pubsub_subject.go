package conformance

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
)

func subjectCases() []Case {
	return needing(NeedsPubSub, []Case{
		{Name: "pubsub/subject/a-literal-filter-gets-its-subject-alone", Clause: clauseMatch, Run: func(e *Env) {
			matches(e, "a.b", []string{"a.b"}, []string{"a", "b", "a.b.c", "b.a", "x.a.b", "a.b.b"})
		}},
		{Name: "pubsub/subject/a-star-is-exactly-one-token", Clause: clauseMatch, Run: func(e *Env) {
			matches(e, "a.*", []string{"a.b", "a.bc", "a.x-y_z"}, []string{"a", "a.b.c", "b.a", "ab", "ab.c", "x.a.b"})
		}},
		{Name: "pubsub/subject/a-star-in-the-middle-is-exactly-one-token", Clause: clauseMatch, Run: func(e *Env) {
			matches(e, "a.*.c", []string{"a.b.c", "a.c.c"}, []string{"a.c", "a.b", "a.b.b.c", "a.b.cc", "b.b.c", "a.b.c.d"})
		}},
		{Name: "pubsub/subject/a-star-in-front-is-exactly-one-token", Clause: clauseMatch, Run: func(e *Env) {
			matches(e, "*.b", []string{"a.b", "x.b"}, []string{"b", "a.b.c", "a.x.b", "a.bb"})
		}},
		{Name: "pubsub/subject/a-tail-is-one-token-or-more", Clause: clauseMatch, Run: func(e *Env) {
			matches(e, "a.>", []string{"a.b", "a.b.c", "a.b.c.d.e.f"}, []string{"a", "ab", "ab.c", "b.a.c"})
		}},
		{Name: "pubsub/subject/a-tail-alone-is-everything", Clause: clauseMatch, Run: func(e *Env) {
			matches(e, ">", []string{"a", "a.b", "x.y.z", "A"}, nil)
		}},
		{Name: "pubsub/subject/stars-and-tail-together", Clause: clauseMatch, Run: func(e *Env) {
			matches(e, "*.b.*.>", []string{"a.b.c.d", "x.b.y.z.w"}, []string{"a.b.c", "a.c.c.d", "b.c.d", "a.x.b.c.d"})
		}},
		{Name: "pubsub/subject/stars-alone-count-tokens", Clause: clauseMatch, Run: func(e *Env) {
			matches(e, "*.*", []string{"a.b", "c.d"}, []string{"a", "a.b.c"})
		}},
		{Name: "pubsub/subject/subjects-that-begin-alike-are-different", Clause: clauseMatch, Run: func(e *Env) {
			matches(e, "a.b", []string{"a.b"}, []string{"a.bc", "a.B", "A.b", "aa.b", "a.b-", "a.b:"})
		}},
		{Name: "pubsub/subject/what-other-systems-glob-is-plain", Clause: clauseMatch, Run: globsArePlain},
		{Name: "pubsub/subject/the-longest-and-not-one-byte-more", Clause: clauseMessageLimits, Run: longestSubject},
		{Name: "pubsub/subject/bad-ones-are-invalid-and-leave-the-others", Clause: clauseSubjects, Run: badSubjects},
		{Name: "pubsub/subject/bad-filters-are-invalid", Clause: clauseSubjects, Run: badFilters},
	})
}

// matches publishes to subjects that a filter matches, and to others, by two nodes and back to both.
func matches(e *Env, filter string, good, bad []string) {
	e.Helper()
	there := e.Open()
	ears := []*ear{hear(e, e.Node, filter), hear(e, there, filter)}
	v := speak(e, e.Node)
	for range 2 { // in two orders, so that each of the bad ones comes before a good one
		for _, subject := range append(append([]string{}, bad...), good...) {
			v.say(subject, subject)
		}
		for _, subject := range bad {
			v.say(subject, subject)
			v.say(good[0], good[0])
		}
		want := append([]string{}, good...)
		for range bad {
			want = append(want, good[0])
		}
		for _, h := range ears {
			var got []string // subjects are not in order with each other
			for range want {
				got = append(got, h.next("a message to %q", filter).Subject)
			}
			require.ElementsMatch(e, want, got, "the subjects that %q matches", filter)
		}
		v = speak(e, there)
	}
}

func globsArePlain(e *Env) {
	there := e.Open()
	tokens := []string{"a?", "a[bc]", "[a-z]", "a\\", "\\a", "{a}", "a{b}", "^a", "a|b", "(a)", "$a", "a,b", "#", "+", "ключ", "🔑", "a/b", "a:b", "%s", "\xff"}
	v := speak(e, there)
	for _, token := range tokens {
		if strings.HasPrefix(token, "$") {
			continue // the library's own
		}
		literal, star, tail := hear(e, e.Node, "x."+token), hear(e, e.Node, token+".*"), hear(e, e.Node, token+".y.>")
		for _, other := range []string{"a", "ab", "ac", "abc", "b", "ax", "z"} {
			v.say("x."+other, "wrong")
			v.say(other+".z", "wrong")
			v.say(other+".y.z", "wrong")
		}
		v.say("x."+token, "literal")
		v.say(token+".z", "star")
		v.say(token+".y.z", "tail")
		literal.mustHear("literal")
		star.mustHear("star")
		tail.mustHear("tail")
		for _, h := range []*ear{literal, star, tail} {
			require.NoError(e, h.sub.Close())
		}
	}
}

func longestSubject(e *Env) {
	there := e.Open()
	most := e.Node.PubSub().Capabilities.MaxSubject
	subject := strings.Repeat("ж.", most/3)
	subject += strings.Repeat("x", most-len(subject))
	literal, wild := hear(e, there, subject), hear(e, there, "ж.*.>")
	v := speak(e, e.Node)
	v.say(subject, "long")
	literal.mustHear("long")
	wild.mustHear("long")

	requireCode(e, fault.Invalid, v.publish(v.message(subject+"x", "too long"))[0].Err, "a subject of one byte more than is allowed")
	_, err := e.Node.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: subject + "x"}, func([]pubsub.Event) {})
	requireCode(e, fault.Invalid, err, "a filter of one byte more than is allowed")
	_, err = e.Node.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: "a", Group: subject + "x"}, func([]pubsub.Event) {})
	requireCode(e, fault.Invalid, err, "a group's name of one byte more than is allowed")
}

// wrongSubjects are neither subjects nor filters.
var wrongSubjects = []string{"", ".", "a.", ".a", "a..b", "a b", " ", "a\t", "a\n", "a\x00b", "a\x7f", "a*", "*a", "a.b*", "a>", ">.a", "a.>.b", "a.>b"}

func badSubjects(e *Env) {
	there := e.Open()
	all := hear(e, there, ">")
	v := speak(e, e.Node)
	for _, subject := range append([]string{"*", ">", "a.*", "a.>", "*.a"}, wrongSubjects...) {
		before, bad, after := v.message("fine", "before"), v.message("fine", "bad"), v.message("fine", "after")
		bad.Subject = subject
		receipts := v.publish(before, bad, after)
		require.NoError(e, receipts[0].Err, "a message beside one to %q", subject)
		require.NoError(e, receipts[2].Err, "a message beside one to %q", subject)
		requireCode(e, fault.Invalid, receipts[1].Err, "publishing to %q", subject)
		all.mustHear("before", "after")
	}
}

func badFilters(e *Env) {
	for _, filter := range wrongSubjects {
		sub, err := e.Node.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: filter}, func([]pubsub.Event) {})
		requireCode(e, fault.Invalid, err, "subscribing to %q", filter)
		require.Nil(e, sub, "a subscription that was refused")
	}
	_, err := e.Node.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: "a"}, nil)
	requireCode(e, fault.Invalid, err, "subscribing without a function to deliver to")
}
