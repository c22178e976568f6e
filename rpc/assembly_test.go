package rpc

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Senders that obey their credits complete every payload, whatever the order of events; and at no moment is more on its
// way, or more memory in use, than the bounds say.
func TestAssembliesStayWithinTheirBoundsAndAllComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunk := rapid.IntRange(10, 60).Draw(t, "chunk")
		a := &assemblies{largest: 1000, most: 2500, mostEach: 1500, window: 16 * chunk, chunk: chunk}
		type sending struct{ total, sent, credit int }
		open := map[assemblyKey]*sending{}
		learn := func(owed []due) {
			for _, d := range owed {
				if s := open[assemblyKey{d.to, d.creditOf()}]; s != nil {
					s.credit = max(s.credit, int(d.credit.offset))
				}
			}
		}
		next := uint64(0)
		check := func() {
			memory, onTheWay := 0, 0
			each := map[string]int{}
			for _, one := range a.active {
				memory += cap(one.buffer)
				each[one.key.sender] += cap(one.buffer)
				onTheWay += one.credit - len(one.buffer)
			}
			require.LessOrEqual(t, memory, a.most)
			require.LessOrEqual(t, onTheWay, a.window)
			require.Equal(t, onTheWay, a.onTheWay)
			require.Equal(t, memory, a.memory)
			for sender, bytes := range each {
				require.LessOrEqual(t, bytes, a.mostEach, sender)
			}
		}
		step := func(key assemblyKey) {
			s := open[key]
			n := min(chunk, s.credit-s.sent)
			if n <= 0 {
				return
			}
			one, owed := a.add(key.sender, position{key.transfer, uint64(s.sent)}, make([]byte, n))
			s.sent += n
			require.NotNil(t, one)
			require.False(t, one.lost)
			if require.Equal(t, s.sent == s.total, one.complete()); s.sent == s.total {
				delete(open, key)
			}
			learn(owed)
			check()
		}

		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			sender := fmt.Sprint("node", rapid.IntRange(0, 3).Draw(t, "sender"))
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				next++
				total := rapid.IntRange(1, 1000).Draw(t, "total")
				key := assemblyKey{sender, next}
				open[key] = &sending{total: total}
				learn(a.begin(sender, opening{transfer: next, kind: kindRequest, total: uint64(total)}))
			case 1:
				if rapid.IntRange(0, 9).Draw(t, "dies") == 0 {
					for key := range open {
						if key.sender == sender {
							delete(open, key)
						}
					}
					learn(a.gone(sender))
				}
			default:
				for key := range open {
					step(key)
					break
				}
			}
			check()
		}
		for rounds := 0; len(open) > 0; rounds++ {
			require.Less(t, rounds, 10_000, "all complete")
			for key := range open {
				step(key)
			}
		}
		require.Zero(t, a.memory)
		require.Zero(t, a.onTheWay)
		require.Empty(t, a.known)
		require.Empty(t, a.bySender)
	})
}

func (d due) creditOf() uint64 {
	if d.credit == nil {
		return 0
	}
	return d.credit.transfer
}

func TestAnAssemblyRefusesWhatBreaksItsRules(t *testing.T) {
	fresh := func() *assemblies {
		return &assemblies{largest: 100, most: 100, mostEach: 100, window: 160, chunk: 10}
	}
	o := opening{transfer: 1, kind: kindRequest, total: 50}

	a := fresh()
	require.Len(t, a.begin("x", opening{transfer: 1, kind: kindRequest, total: 101}), 1)
	require.Empty(t, a.known, "too large")

	a.begin("x", o)
	require.Nil(t, a.begin("x", o), "begun twice")
	one, _ := a.add("y", position{1, 0}, []byte("not yours"))
	require.Nil(t, one)
	one, _ = a.add("x", position{1, 5}, []byte("a hole"))
	require.True(t, one.lost)

	a.begin("x", o)
	one, _ = a.add("x", position{1, 0}, make([]byte, 51))
	require.True(t, one.lost, "more than was announced")
	require.Zero(t, a.memory)
	require.Zero(t, a.onTheWay)

	for i := range uint64(maxWaiting + 1) {
		a.begin("x", opening{transfer: i, kind: kindRequest, total: 100})
	}
	owed := a.begin("x", opening{transfer: 99_999, kind: kindRequest, total: 100})
	require.NotNil(t, owed[0].abort)
	require.Len(t, a.active, 1, "there is memory for one at a time")
}
