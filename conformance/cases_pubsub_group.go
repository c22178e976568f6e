package conformance

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
)

func groupCases() []Case {
	return needing(NeedsPubSub, []Case{
		{Name: "pubsub/group/one-member-of-a-node-gets-each", Clause: clauseGroup, Run: groupOnNode},
		{Name: "pubsub/group/one-member-of-all-nodes-gets-each", Clause: clauseGroup, Run: groupOverNodes},
		{Name: "pubsub/group/a-member-alone-gets-everything-in-order", Clause: clauseGroup, Run: groupOfOne},
		{Name: "pubsub/group/two-groups-each-get-everything", Clause: clauseGroup, Run: twoGroups},
		{Name: "pubsub/group/many-publishers-each-message-to-one", Clause: clauseGroup, Run: groupUnderLoad},
		{Name: "pubsub/group/members-with-different-filters-are-one-group", Clause: clauseGroupName, Run: groupFilters},
		{Name: "pubsub/group/names-that-begin-alike-are-different-groups", Clause: clauseGroupName, Run: groupNames},
		{Name: "pubsub/group/unusual-names", Clause: clauseGroupName, Run: groupUnusual},
		{Name: "pubsub/group/others-beside-it-get-everything", Clause: clauseDelivery, Run: groupAndOthers},
		{Name: "pubsub/group/a-member-that-has-gone-gets-nothing", Clause: clauseGroup, Run: groupAfterLeave},
		{Name: "pubsub/group/a-message-that-matches-two-filters-of-a-member-comes-once", Clause: clauseGroup, Run: groupOverlap},
		{Name: "pubsub/group/namespaces-have-their-own", Clause: clauseNamespaces, Run: groupNamespaces},
		{Name: "pubsub/group/each-member-hears-a-sender-in-order", Clause: clauseOrder, Run: groupOrder},
	})
}

func member(e *Env, node transports.Transport, filter, group string) *ear {
	e.Helper()
	return hearAs(e, node, pubsub.Filter{Subject: filter, Group: group})
}

// mustShare requires that members of a group got each of the texts once, all in all.
func mustShare(e *Env, members []*ear, want []string) {
	e.Helper()
	var got []string
	e.Eventually(func() bool {
		for _, h := range members {
			got = append(got, h.drained()...)
			h.check()
		}
		return len(got) >= len(want)
	}, "every message comes to a member; of %d came fewer", len(want))
	e.sleep(e.Timing.Beat / 5) // what comes twice has mostly come by now
	for _, h := range members {
		got = append(got, h.drained()...)
	}
	slices.Sort(got)
	require.Equal(e, slices.Sorted(slices.Values(want)), got, "what the members got, all in all")
}

func groupOnNode(e *Env) {
	there := e.Open()
	members := []*ear{member(e, there, "s", "g"), member(e, there, "s", "g"), member(e, there, "s", "g")}
	all := texts("t", 90)
	speak(e, e.Node).say("s", all...)
	mustShare(e, members, all)
}

func groupOverNodes(e *Env) {
	there := e.Open()
	members := []*ear{member(e, e.Node, "s", "g"), member(e, there, "s", "g"), member(e, e.Open(), "s", "g"), member(e, there, "s", "g")}
	for i, node := range []transports.Transport{e.Node, there} {
		v := speak(e, node)
		all := texts(fmt.Sprint("t", i, "."), 60)
		v.say("s", all...)
		batch := make([]pubsub.Message, 40)
		for k := range batch {
			batch[k] = v.message("s", fmt.Sprint("batch", i, ".", k))
			all = append(all, fmt.Sprint("batch", i, ".", k))
		}
		v.mustPublish(batch...)
		mustShare(e, members, all)
	}
}

func groupOfOne(e *Env) {
	there := e.Open()
	only := member(e, there, "s.*", "g")
	all := texts("t", 100)
	speak(e, e.Node).say("s.x", all...)
	only.mustHear(all...)
}

func twoGroups(e *Env) {
	there := e.Open()
	a := []*ear{member(e, e.Node, "s", "a"), member(e, there, "s", "a")}
	b := []*ear{member(e, e.Node, "s", "b"), member(e, there, "s", "b")}
	all := texts("t", 80)
	speak(e, e.Node).say("s", all...)
	mustShare(e, a, all)
	mustShare(e, b, all)
}

func groupUnderLoad(e *Env) {
	there := e.Open()
	members := []*ear{member(e, e.Node, "s.*", "g"), member(e, there, "s.*", "g"), member(e, there, "s.>", "g")}
	const publishers, each = 6, 40
	var all []string
	for i := range publishers {
		all = append(all, texts(fmt.Sprint("from ", i, ": "), each)...)
	}
	errs := together(publishers, func(i int) error {
		v := speak(e, []transports.Transport{e.Node, there}[i%2])
		for k := range each {
			receipts, err := v.Publish(e.Context(), []pubsub.Message{v.message(fmt.Sprint("s.", k%3), fmt.Sprint("from ", i, ": ", k))})
			if err := first(receipts, err, func(r pubsub.Receipt) error { return r.Err }); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	mustShare(e, members, all)
}

func groupFilters(e *Env) {
	there := e.Open()
	members := []*ear{member(e, e.Node, "a.b", "g"), member(e, e.Node, "a.*", "g"), member(e, there, "a.>", "g"), member(e, there, "*.b", "g")}
	all := texts("t", 80)
	speak(e, e.Node).say("a.b", all...)
	mustShare(e, members, all)

	some := texts("u", 20) // which not every member's filter matches
	speak(e, there).say("a.c", some...)
	mustShare(e, members, some)
}

func groupNames(e *Env) {
	there := e.Open()
	ears := []*ear{}
	for _, name := range []string{"g", "gg", "G", "g.", "g.*", "*", "g:", "g ", ">"} {
		ears = append(ears, member(e, there, "s", name))
	}
	all := texts("t", 20)
	speak(e, e.Node).say("s", all...)
	for _, h := range ears {
		h.mustHear(all...)
	}
}

func groupUnusual(e *Env) {
	there := e.Open()
	v := speak(e, e.Node)
	for i, name := range unusualUpTo(v.Capabilities.MaxSubject) {
		// A subject of its own for each: what one node's member has had may come to the other node only when the next
		// group's members are there.
		subject := fmt.Sprintf("s%d", i)
		members := []*ear{member(e, e.Node, subject, name), member(e, there, subject, name)}
		all := texts(name, 4)
		v.say(subject, all...)
		var got []string
		e.Eventually(func() bool {
			got = append(got, append(members[0].drained(), members[1].drained()...)...)
			return len(got) >= len(all)
		}, "every message comes to a member of %.60q", name)
		require.ElementsMatch(e, all, got, "in the group %.60q", name)
		for _, h := range members {
			require.NoError(e, h.sub.Close())
		}
	}
}

func groupAndOthers(e *Env) {
	there := e.Open()
	members := []*ear{member(e, e.Node, "s", "g"), member(e, there, "s", "g")}
	others := []*ear{hear(e, e.Node, "s"), hear(e, there, "s"), hear(e, there, ">")}
	all := texts("t", 60)
	speak(e, there).say("s", all...)
	for _, h := range others {
		h.mustHear(all...)
	}
	mustShare(e, members, all)
}

func groupAfterLeave(e *Env) {
	there := e.Open()
	stays, leaves, third := member(e, e.Node, "s", "g"), member(e, there, "s", "g"), member(e, there, "s", "g")
	v := speak(e, e.Node)
	all := texts("t", 30)
	v.say("s", all...)
	mustShare(e, []*ear{stays, leaves, third}, all)

	require.NoError(e, leaves.sub.Close())
	more := texts("u", 30)
	v.say("s", more...)
	mustShare(e, []*ear{stays, third}, more)
	require.NoError(e, third.sub.Close())
	last := texts("v", 30)
	v.say("s", last...)
	mustShare(e, []*ear{stays}, last) // in any order: what was on its way to another may be passed on late
	require.Empty(e, leaves.drained(), "what came after it had gone")
	require.Empty(e, third.drained(), "what came after it had gone")
}

func groupOverlap(e *Env) {
	there := e.Open()
	// A node that listens twice under the same group has two members, not one that gets everything twice.
	members := []*ear{member(e, there, "a.b", "g"), member(e, there, "a.b", "g"), member(e, there, "a.*", "g"), member(e, there, ">", "g")}
	v := speak(e, e.Node)
	all := texts("t", 50)
	v.say("a.b", all...)
	mustShare(e, members, all)
}

func groupNamespaces(e *Env) {
	there := neighbour(e)
	mine, theirs := member(e, e.Node, "s", "g"), member(e, there, "s", "g")
	all := texts("mine", 20)
	speak(e, e.Node).say("s", all...)
	mine.mustHear(all...)
	others := texts("theirs", 20)
	speak(e, there).say("s", others...)
	theirs.mustHear(others...)
}

func groupOrder(e *Env) {
	there := e.Open()
	members := []*ear{member(e, e.Node, "s", "g"), member(e, there, "s", "g")}
	v := speak(e, e.Node)
	const n = 150
	v.say("s", texts("t", n)...)
	seen := 0
	last := map[int]uint64{}
	e.Eventually(func() bool {
		for i, h := range members {
			for len(h.events) > 0 {
				event := <-h.events
				if event.Message == nil {
					continue
				}
				require.Greater(e, event.Message.Seq, last[i], "a member hears a sender in order")
				last[i] = event.Message.Seq
				seen++
			}
		}
		return seen == n
	}, "every message comes to a member")
}
