package memory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestOrderedIsASortedSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := ordered[int]{compare: cmp.Compare[int]}
		model := map[int]bool{}
		values := rapid.IntRange(0, 2000)
		t.Repeat(map[string]func(*rapid.T){
			"insert a run": func(t *rapid.T) {
				from, step := values.Draw(t, "from"), rapid.IntRange(1, 3).Draw(t, "step")
				for i := range rapid.IntRange(1, 600).Draw(t, "n") {
					o.insert(from + i*step)
					model[from+i*step] = true
				}
			},
			"remove a run": func(t *rapid.T) {
				from := values.Draw(t, "from")
				for v := from; v < from+rapid.IntRange(1, 900).Draw(t, "n"); v++ {
					require.Equal(t, model[v], o.remove(v))
					delete(model, v)
				}
			},
			"pop": func(t *rapid.T) {
				for range rapid.IntRange(1, 600).Draw(t, "n") {
					v, found := o.first()
					require.Equal(t, len(model) > 0, found)
					if !found {
						return
					}
					require.True(t, o.remove(v))
					delete(model, v)
				}
			},
			"": func(t *rapid.T) {
				from := values.Draw(t, "from")
				var want []int
				for v := range model {
					if v >= from {
						want = append(want, v)
					}
				}
				slices.Sort(want)
				require.Equal(t, want, slices.Collect(o.from(from)))
				require.Equal(t, len(model), o.size)
				for _, block := range o.blocks {
					require.NotEmpty(t, block)
					require.LessOrEqual(t, len(block), blockSize)
				}
			},
		})
	})
}

func TestWhatHasEndedIsSweptAwayByWrites(t *testing.T) {
	c := newCatalog[int]()
	const written = 10_000
	for i := range instant(written) {
		c.sweep(i, swept(1))
		c.put(fmt.Sprint(i), 0, i.in(10))
	}

	require.LessOrEqual(t, len(c.items), 11)
	require.Equal(t, len(c.items), c.names.size)
	require.Equal(t, len(c.items), c.ends.size)
}

func TestWhatHasEndedIsNotFoundBeforeItIsSweptEither(t *testing.T) {
	c := newCatalog[int]()
	for i := range 100 {
		c.put(fmt.Sprint(i), i, 10)
	}

	require.Equal(t, 7, c.get("7", 9).value)
	require.Nil(t, c.get("7", 10))
	require.Len(t, c.items, 99)
	require.Equal(t, 99, c.names.size)
	next := c.page("", "", 1000, 10, func(*item[int]) { require.Fail(t, "it has ended") })
	require.Empty(t, next)
}

func TestInstantsNeverOverflow(t *testing.T) {
	far := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

	require.Equal(t, never, instantOf(far))
	require.Equal(t, -never, instantOf(time.Time{}))
	require.True(t, never.time().IsZero())
	require.Equal(t, never, instant(5).in(time.Duration(never)))
	require.Equal(t, never, instant(5).lifetime(0))
	require.Equal(t, time.Duration(never), (-never).until(5))
	require.Equal(t, time.Duration(3), instant(-1).until(2))
}

func TestDrawnNamesDoNotRepeat(t *testing.T) {
	var l lottery
	seen := map[string]bool{}
	for range 1000 {
		name := l.draw()
		require.Len(t, name, 16)
		require.False(t, seen[name])
		seen[name] = true
	}
}

func TestARingGivesItsMemoryBack(t *testing.T) {
	var r ring[int]
	for i := range 10_000 {
		r.push(i, false)
	}
	for range 9_990 {
		r.pop(false)
	}

	require.LessOrEqual(t, len(r.buffer), 64)
	require.Equal(t, 9_990, r.at(0))
}

func TestGoroutinesHaveNames(t *testing.T) {
	other := make(chan string)
	go func() { other <- goroutine() }()

	require.True(t, strings.HasPrefix(goroutine(), "goroutine "))
	require.Equal(t, goroutine(), goroutine())
	require.NotEqual(t, goroutine(), <-other)
}

// The cost of a step at the ends, as a queue takes it, for sets of very different sizes.
func BenchmarkOrdered(b *testing.B) {
	for _, size := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			o := ordered[int]{compare: cmp.Compare[int]}
			for i := range size {
				o.insert(i)
			}
			next := size
			for b.Loop() {
				v, _ := o.first()
				o.remove(v)
				o.insert(next)
				next++
			}
		})
	}
}
