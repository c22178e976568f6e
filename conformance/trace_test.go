package conformance

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

// inMemory is a cluster that can be cut, in that nothing happens.
type inMemory struct{ store memory.Store }

func (c *inMemory) Open(t T, namespace string) transports.Transport {
	node, err := c.store.Open(namespace)
	require.NoError(t, err)
	return node
}

func (*inMemory) Cut(context.Context, int) error { return nil }

var ofMemory = Harness{New: func(T) Cluster { return &inMemory{} }, Timing: Timing{Case: time.Minute, Wait: 10 * time.Second}}

func TestAFailureShowsTheCallsThatLedToIt(t *testing.T) {
	r := judged(t, ofMemory, Case{Name: "x/y/z", Run: func(e *Env) {
		there := e.Open()
		value := []byte("value")
		_, _ = e.Node.Cache().Set(e.Context(), []cache.Write{{Key: "k", Value: value, TTL: time.Minute, If: cache.IfAbsent()}})
		value[0] = 'X'
		e.Cut(1)
		_, _ = there.Cache().Get(e.Ended(), []cache.Read{{Key: "k"}})
		require.Equal(e, 1, 2, "numbers %s", "differ")
	}})

	require.Equal(t, Fail, r.Outcome)
	require.Len(t, r.Failures, 1)
	require.Equal(t, "numbers differ", r.Failures[0].Expected)
	require.Equal(t, "Not equal:\nexpected: 1\nactual  : 2", r.Failures[0].Seen)
	require.Regexp(t, `^conformance/trace_test\.go:\d+$`, r.Failures[0].Where)
	require.Zero(t, r.CallsBefore)
	require.Len(t, r.Calls, 3, "and none of those that clean up")
	require.Equal(t, 0, r.Calls[0].Node)
	require.Equal(t, "cache.Set", r.Calls[0].Method)
	require.Equal(t, `[{Key: "k", Value: "value", TTL: 1m0s, If: absent}]`, r.Calls[0].Asked, "as it was then")
	require.Regexp(t, `^\[\{Revision: ".+"\}\]$`, r.Calls[0].Answered)
	require.Contains(t, r.Calls[1].String(), "harness cuts the link of node 1")
	require.Equal(t, 1, r.Calls[2].Node)
	require.Equal(t, `context ended, [{Key: "k"}]`, r.Calls[2].Asked)
	require.Contains(t, r.Calls[2].Answered, "canceled")
}

func TestACallThatHangsIsShown(t *testing.T) {
	release := make(chan struct{})
	defer close(release)

	r := judged(t, ofMemory, Case{Name: "x/y/z", Limit: 50 * time.Millisecond, Run: func(e *Env) {
		_, _ = single(tracer{e.trace, 0}, e.Context(), "cache.Keys", cache.Page{}, func(context.Context, cache.Page) (cache.Keys, error) {
			<-release
			return cache.Keys{}, nil
		})
	}})

	require.Equal(t, Fail, r.Outcome)
	require.Equal(t, 50*time.Millisecond, r.Limit)
	require.True(t, r.Calls[0].Pending)
	require.Contains(t, r.Calls[0].String(), "not answered yet")
}

func TestATraceIsBounded(t *testing.T) {
	r := judged(t, ofMemory, Case{Name: "x/y/z", Run: func(e *Env) {
		writes := make([]cache.Write, 1000)
		for i := range writes {
			writes[i] = cache.Write{Key: fmt.Sprint("k", i), Value: make([]byte, 10_000)}
		}
		for range 3 * mostCalls {
			_, _ = e.Node.Cache().Set(e.Context(), writes)
		}
		e.FailNow()
	}})

	require.Len(t, r.Calls, mostCalls)
	require.Equal(t, 2*mostCalls, r.CallsBefore)
	for _, c := range r.Calls {
		require.LessOrEqual(t, len(c.Asked), mostWords+len("…"))
		require.LessOrEqual(t, len(c.Answered), mostWords+len("…"))
	}
}

func TestATracedNodeOffersWhatItsTransportOffers(t *testing.T) {
	honest, err := new(memory.Store).Open("n")
	require.NoError(t, err)
	node := (&trace{}).node(honest, 0)
	require.Equal(t, transports.CapabilitiesOf(honest), transports.CapabilitiesOf(node))
	for a := range refusals {
		require.True(t, a.offeredBy(node), "%s", a)
	}
	require.NoError(t, node.Close())

	none := (&trace{}).node(&nothing{}, 0)
	for a := range refusals {
		require.False(t, a.offeredBy(none), "%s", a)
	}

	half, err := new(memory.Store).Open("n")
	require.NoError(t, err)
	defer half.Close()
	half.Cache().Watcher, half.Cache().Lists, half.Cache().Holders, half.Queue().Admin = nil, nil, nil, nil
	node = (&trace{}).node(half, 0)
	for _, a := range []Ability{NeedsWatcher, NeedsLists, NeedsHolders, NeedsAdmin} {
		require.False(t, a.offeredBy(node), "%s", a)
	}
}

func TestWhatATraceSays(t *testing.T) {
	long := []byte(strings.Repeat("x", 1000))
	for want, got := range map[string]func() string{
		`"text"`:             described("text"),
		`{Max: 2, Wait: 1s}`: described(queue.Claim{Max: 2, Wait: time.Second}),
		`{Key: "a\x00\xff"}`: described(cache.Read{Key: "a\x00\xff"}),
		`{Queue: "q", ID: "i", Token: "t", Outcome: 2}`: described(queue.Settlement{Ref: queue.Ref{Queue: "q", ID: "i", Token: "t"}, Outcome: queue.Retry}),
		`[{Values: ["a", "b"]}]`:                        listed([]cache.Popped{{Values: bytesOf([]string{"a", "b"})}}),
		`[ok, gone]`:                                    listed([]error{nil, fmt.Errorf("gone")}),
		`[1, 2, 3, and 7 more]`:                         listed([]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}),
		`{To: "a", Payload: "` + string(long[:mostBytes]) + `"… (1000 bytes)}`:  described(rpc.Frame{To: "a", Payload: long}),
		`[{Message: {Subject: "s", Headers: {"K": "v"}}}, {Gap: gap{Lost: 3}}]`: listed([]pubsub.Event{{Message: &pubsub.Message{Subject: "s", Headers: map[string]string{"K": "v"}}}, {Gap: &pubsub.Gap{Lost: 3}}}),
		`{Tasks: [{Queue: "q", Payload: "p", Token: "t"}]}`:                     described(queue.Claimed{Tasks: []queue.Leased{{Task: queue.Task{Queue: "q", Payload: []byte("p")}, Token: "t"}}}),
		`{Key: "k", If: at "r"}`: described(cache.Removal{Key: "k", If: cache.IfRevision("r")}),
		`[{Entry: {Value: "", Expires: 00:00:01.000000}, Found: true}]`: listed([]cache.Got{{Entry: cache.Entry{Value: []byte{}, Expires: time.Unix(1, 0)}, Found: true}}),
	} {
		require.Equal(t, want, got())
	}
}
