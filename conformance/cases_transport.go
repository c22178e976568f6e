package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// What the contract says of a transport as a whole.
const (
	clauseSharedStore   Clause = "transports with the same target and namespace are nodes on the same store"
	clauseNamespaces    Clause = "those with different namespaces never see each other"
	clauseCloseTwice    Clause = "Close may be called twice"
	clauseClosed        Clause = "every call after Close answers Closed"
	clauseCloseEnds     Clause = "Close ends what the node has open and waits for it, at most a few seconds"
	clauseCloseKeeps    Clause = "what the store keeps stays when a node closes, and other nodes go on"
	clauseContexts      Clause = "a context that ends makes every call return promptly with Canceled or DeadlineExceeded"
	clauseContextAfter  Clause = "a call that its context ended does no harm to others"
	clauseConcurrent    Clause = "all methods may be called concurrently"
	clauseDeclaredOnce  Clause = "what a transport can do is said once, and every node says the same"
	clauseBounds        Clause = "capabilities are within the bounds that the contract sets"
	clauseHealth        Clause = "Health asks the store now: nil when it answers, and otherwise what is wrong"
	clauseLinkRecovers  Clause = "a link that was lost is made again by itself, and calls work again"
	clauseStoreRestarts Clause = "a store that was restarted is used again by itself, by nodes that were open before"
)

var transportClauses = []Clause{
	clauseSharedStore, clauseNamespaces, clauseCloseTwice, clauseClosed, clauseCloseEnds, clauseCloseKeeps, clauseContexts,
	clauseContextAfter, clauseConcurrent, clauseDeclaredOnce, clauseBounds, clauseHealth,
	clauseLinkRecovers, clauseStoreRestarts,
}

// callable are the abilities that have methods of their own.
var callable = []struct {
	ability Ability
	word    string
}{
	{"", "health"},
	{NeedsCache, "cache"}, {NeedsWatcher, "watcher"}, {NeedsLists, "list"}, {NeedsHolders, "holders"},
	{NeedsQueue, "queue"}, {NeedsAdmin, "admin"}, {NeedsPubSub, "pubsub"}, {NeedsRPC, "rpc"},
}

func transportCases() []Case {
	cases := []Case{
		{Name: "transport/nodes/second-node-is-on-the-same-store", Clause: clauseSharedStore, Needs: NeedsCache, Run: secondNodeShares},
		{Name: "transport/nodes/a-node-opened-later-sees-what-was-there", Clause: clauseSharedStore, Needs: NeedsCache, Run: lateNodeSees},

		{Name: "transport/namespaces/entries-are-isolated", Clause: clauseNamespaces, Needs: NeedsCache, Run: entriesIsolated},
		{Name: "transport/namespaces/keys-are-listed-apart", Clause: clauseNamespaces, Needs: NeedsCache, Run: keysIsolated},
		{Name: "transport/namespaces/locks-are-isolated", Clause: clauseNamespaces, Needs: NeedsCache, Run: locksIsolated},
		{Name: "transport/namespaces/lists-are-isolated", Clause: clauseNamespaces, Needs: NeedsLists, Run: listsIsolated},
		{Name: "transport/namespaces/watches-are-isolated", Clause: clauseNamespaces, Needs: NeedsWatcher, Run: watchesIsolated},
		{Name: "transport/namespaces/queues-are-isolated", Clause: clauseNamespaces, Needs: NeedsQueue, Run: queuesIsolated},
		{Name: "transport/namespaces/subjects-are-isolated", Clause: clauseNamespaces, Needs: NeedsPubSub, Run: subjectsIsolated},
		{Name: "transport/namespaces/addresses-are-isolated", Clause: clauseNamespaces, Needs: NeedsRPC, Run: addressesIsolated},

		{Name: "transport/close/may-be-called-twice", Clause: clauseCloseTwice, Run: closeTwice},
		{Name: "transport/close/may-be-called-by-many-at-once", Clause: clauseCloseTwice, Run: closeByMany},
		{Name: "transport/close/a-node-that-did-nothing-closes", Clause: clauseCloseEnds, Run: closeUnused},
		{Name: "transport/close/ends-calls-that-wait", Clause: clauseCloseEnds, Needs: NeedsCache, Run: closeEndsWaiting},
		{Name: "transport/close/while-calls-run-harms-none", Clause: clauseCloseEnds, Needs: NeedsCache, Run: closeDuringCalls},
		{Name: "transport/close/what-the-store-keeps-stays", Clause: clauseCloseKeeps, Needs: NeedsCache, Run: closeKeeps},
		{Name: "transport/close/other-nodes-go-on", Clause: clauseCloseKeeps, Needs: NeedsCache, Run: closeLeavesOthers},

		{Name: "transport/contexts/a-cancelled-call-leaves-the-node-working", Clause: clauseContextAfter, Needs: NeedsCache, Run: cancelledCallHarmless},
		{Name: "transport/contexts/many-cancelled-calls-leave-others-alone", Clause: clauseContextAfter, Needs: NeedsCache, Run: cancelledAmongOthers},

		{Name: "transport/concurrency/many-callers-on-one-node", Clause: clauseConcurrent, Needs: NeedsCache, Run: manyCallers},
		{Name: "transport/concurrency/many-nodes-at-once", Clause: clauseConcurrent, Needs: NeedsCache, Run: manyNodes},

		{Name: "transport/capabilities/every-node-says-the-same", Clause: clauseDeclaredOnce, Run: capabilitiesAgree},
		{Name: "transport/capabilities/kind-has-a-name", Clause: clauseDeclaredOnce, Run: kindHasName},
		{Name: "transport/capabilities/cache-bounds", Clause: clauseBounds, Needs: NeedsCache, Run: cacheBounds},
		{Name: "transport/capabilities/queue-bounds", Clause: clauseBounds, Needs: NeedsQueue, Run: queueBounds},
		{Name: "transport/capabilities/pubsub-bounds", Clause: clauseBounds, Needs: NeedsPubSub, Run: pubsubBounds},
		{Name: "transport/capabilities/rpc-bounds", Clause: clauseBounds, Needs: NeedsRPC, Run: rpcBounds},
		{Name: "transport/health/answers", Clause: clauseHealth, Run: healthAnswers},
	}
	for _, c := range callable {
		cases = append(cases,
			Case{
				Name: "transport/close/every-" + c.word + "-call-after-it-is-closed", Clause: clauseClosed, Needs: c.ability,
				Run: func(e *Env) { callsAfterClose(e, c.ability) },
			},
			Case{
				Name: "transport/contexts/a-cancelled-context-ends-every-" + c.word + "-call", Clause: clauseContexts, Needs: c.ability,
				Run: func(e *Env) { callsWith(e, c.ability, e.Ended(), fault.Canceled) },
			},
			Case{
				Name: "transport/contexts/a-passed-deadline-ends-every-" + c.word + "-call", Clause: clauseContexts, Needs: c.ability,
				Run: func(e *Env) {
					ctx, cancel := context.WithDeadline(e.Context(), time.Now().Add(-time.Second))
					defer cancel()
					callsWith(e, c.ability, ctx, fault.DeadlineExceeded)
				},
			},
		)
	}
	return cases
}

func callsAfterClose(e *Env, a Ability) {
	node := e.Open()
	calls := callsOf(node, a) // backends that were fetched before must answer Closed just as well
	require.NoError(e, node.Close())

	for _, c := range calls {
		e.Promptly(c.name+" after Close", func() {
			requireCode(e, fault.Closed, c.do(e.Context()), "%s after Close", c.name)
		})
	}
}

func callsWith(e *Env, a Ability, ctx context.Context, want fault.Code) {
	for _, c := range callsOf(e.Node, a) {
		e.Promptly(c.name, func() { requireCode(e, want, c.do(ctx), "%s with a context that had ended", c.name) })
	}
	require.NoError(e, e.Node.Health(e.Context()), "the node must work after calls whose context had ended")
}

// requireCode requires an error of a code, as a *fault.Error.
func requireCode(t T, want fault.Code, err error, what string, args ...any) {
	t.Helper()
	what = fmt.Sprintf(what, args...)
	require.Errorf(t, err, "%s must answer %s", what, want)
	require.Equalf(t, want.String(), fault.CodeOf(err).String(), "%s answered: %v", what, err)
	var f *fault.Error
	require.ErrorAsf(t, err, &f, "%s must answer a *fault.Error", what)
}

// neighbour opens a node in a namespace whose name begins with that of the case.
func neighbour(e *Env) transports.Transport { return e.OpenIn(e.namespace + "-2") }

func secondNodeShares(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())

	here.mustSet("k", "from the first")
	there.mustHave("k", "from the first")

	there.mustSet("k", "from the second")
	here.mustHave("k", "from the second")
}

func lateNodeSees(e *Env) {
	on(e, e.Node).mustSet("k", "early")

	on(e, e.Open()).mustHave("k", "early")
}

func entriesIsolated(e *Env) {
	here, there := on(e, e.Node), on(e, neighbour(e))

	here.mustSet("k", "mine")
	there.mustLack("k")
	there.mustSet("k", "theirs")
	here.mustHave("k", "mine")
	require.NoError(e, here.remove(cache.Removal{Key: "k"}).Err)
	there.mustHave("k", "theirs")
}

func keysIsolated(e *Env) {
	here, there := on(e, e.Node), on(e, neighbour(e))
	here.mustSet("mine", "1")
	there.mustSet("theirs", "1")

	require.ElementsMatch(e, []string{"mine"}, here.keys(""))
	require.ElementsMatch(e, []string{"theirs"}, there.keys(""))
}

func locksIsolated(e *Env) {
	here, there := on(e, e.Node), on(e, neighbour(e))

	mine := here.mustAcquire("l", "a", time.Minute)
	theirs := there.mustAcquire("l", "b", time.Minute)
	requireCode(e, fault.LeaseLost, there.release(mine), "releasing another namespace's lease")
	require.NoError(e, there.release(theirs))
	require.NoError(e, here.release(mine), "the neighbour's release must not touch this lock")
}

func listsIsolated(e *Env) {
	here, there := onLists(e, e.Node), onLists(e, neighbour(e))

	here.mustPush("l", "a", "b")
	require.Empty(e, there.pop(cache.Pop{List: "l", Max: 5}))
	require.Empty(e, there.names(""))
	require.Equal(e, []string{"a", "b"}, here.pop(cache.Pop{List: "l", Max: 5}))
}

func watchesIsolated(e *Env) {
	seen := watchAll(e, e.Node, "")
	on(e, neighbour(e)).mustSet("theirs", "1")
	on(e, e.Node).mustSet("mine", "1") // the sentinel

	change := seen.next("a change of this namespace")
	require.Equal(e, "mine", change.Key, "a change from another namespace came through")
}

func queuesIsolated(e *Env) {
	there := neighbour(e)
	task := queue.Task{ID: "t", Kind: "k", Queue: "q", Payload: []byte("1"), MaxAttempts: 1, MaxLost: 1}
	receipts, err := e.Node.Queue().Enqueue(e.Context(), []queue.Task{task})
	require.NoError(e, err)
	require.NoError(e, receipts[0].Err)

	claimed, err := there.Queue().Claim(e.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1})
	require.NoError(e, err)
	require.Empty(e, claimed.Tasks, "a task of another namespace was claimed")

	claimed, err = e.Node.Queue().Claim(e.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: e.Timing.Wait})
	require.NoError(e, err)
	require.Len(e, claimed.Tasks, 1)
}

func subjectsIsolated(e *Env) {
	there := neighbour(e)
	seen := make(chan string, 16)
	sub, err := e.Node.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: ">"}, func(events []pubsub.Event) {
		for _, event := range events {
			if event.Message != nil {
				seen <- string(event.Message.Payload)
			}
		}
	})
	require.NoError(e, err)
	e.Cleanup(func() { _ = sub.Close() })

	publish := func(node transports.Transport, text string) {
		receipts, err := node.PubSub().Publish(e.Context(), []pubsub.Message{
			{Subject: "s", Payload: []byte(text), Sender: text, Seq: 1, SubjectSeq: 1},
		})
		require.NoError(e, err)
		require.NoError(e, receipts[0].Err)
	}
	publish(there, "theirs")
	publish(e.Node, "mine") // the sentinel

	require.Equal(e, "mine", Await(e, seen, "a message of this namespace"), "a message from another namespace came through")
}

func addressesIsolated(e *Env) {
	there := neighbour(e)
	seen := make(chan string, 16)
	listener, err := transports.RPCOf(e.Node).Listen(e.Context(), rpc.Broadcast, func(frames []rpc.Frame) {
		for _, f := range frames {
			if !f.Gap {
				seen <- string(f.Payload)
			}
		}
	})
	require.NoError(e, err)
	e.Cleanup(func() { _ = listener.Close() })

	_, err = transports.RPCOf(there).Send(e.Context(), []rpc.Frame{{To: rpc.Broadcast, Payload: []byte("theirs")}})
	require.NoError(e, err)
	_, err = transports.RPCOf(e.Node).Send(e.Context(), []rpc.Frame{{To: rpc.Broadcast, Payload: []byte("mine")}}) // the sentinel
	require.NoError(e, err)

	require.Equal(e, "mine", Await(e, seen, "a frame of this namespace"), "a frame from another namespace came through")
}

func closeTwice(e *Env) {
	node := e.Open()
	require.NoError(e, node.Close())
	e.Promptly("the second Close", func() { require.NoError(e, node.Close()) })
}

func closeByMany(e *Env) {
	node := e.Open()
	errs := together(16, func(int) error { return node.Close() })
	for _, err := range errs {
		require.NoError(e, err)
	}
	requireCode(e, fault.Closed, node.Health(e.Context()), "Health after Close")
}

func closeUnused(e *Env) {
	node := e.Open()
	e.Promptly("closing a node that did nothing", func() { require.NoError(e, node.Close()) })
}

func closeEndsWaiting(e *Env) {
	on(e, e.Node).mustAcquire("l", "a", time.Minute)
	node := e.Open()
	answer := make(chan error, 1)
	go func() {
		leases, err := node.Cache().Acquire(e.Context(), []cache.Claim{{Lock: "l", Holder: "b", TTL: time.Minute, Wait: time.Hour}})
		answer <- first(leases, err, func(l cache.Lease) error { return l.Err })
	}()
	e.sleep(e.Timing.Beat / 4) // let it wait; whether it does already makes no difference to what must follow

	e.Promptly("Close with a call waiting", func() { require.NoError(e, node.Close()) })

	err := Await(e, answer, "the end of a call that waited when its node was closed")
	require.Contains(e, []fault.Code{fault.Closed, fault.Locked}, fault.CodeOf(err), "it answered: %v", err)
}

func closeDuringCalls(e *Env) {
	node := e.Open()
	calls := callsOf(node, NeedsCache)
	started := make(chan struct{}, 64)
	errs := make(chan error, 1)
	go func() {
		all := together(32, func(i int) error {
			for e.Context().Err() == nil {
				err := calls[i%len(calls)].do(e.Context())
				time.Sleep(10 * time.Microsecond) // a bubble's clock stands still while anybody is busy
				select {
				case started <- struct{}{}:
				default:
				}
				if errors.Is(err, fault.Closed) {
					return nil
				}
				switch fault.CodeOf(err) {
				case fault.OK, fault.NotFound, fault.Locked, fault.LeaseLost, fault.Invalid:
				default:
					return err
				}
			}
			return nil
		})
		errs <- errors.Join(all...)
	}()
	Await(e, started, "the first call")
	require.NoError(e, node.Close())

	require.NoError(e, Await(e, errs, "the end of all calls after Close"), "calls under way when the node closes answer, or are Closed")
}

func closeKeeps(e *Env) {
	node := e.Open()
	writer := on(e, node)
	writer.mustSet("k", "kept")
	lease := writer.mustAcquire("l", "a", time.Minute)
	require.NoError(e, node.Close())

	here := on(e, e.Node)
	here.mustHave("k", "kept")
	requireCode(e, fault.Locked, here.acquire("l", "b", time.Minute).Err, "taking a lock whose node closed without releasing it")
	require.NoError(e, here.release(lease), "a lease may be released through another node")
}

func closeLeavesOthers(e *Env) {
	a, b := e.Open(), e.Open()
	on(e, a).mustSet("k", "1")
	require.NoError(e, a.Close())

	for _, c := range callsOf(b, NeedsCache) {
		require.NotEqual(e, fault.Closed, fault.CodeOf(c.do(e.Context())), "%s on another node", c.name)
	}
	require.NoError(e, b.Health(e.Context()))
}

func cancelledCallHarmless(e *Env) {
	here := on(e, e.Node)
	for range 50 {
		_, err := e.Node.Cache().Set(e.Ended(), []cache.Write{{Key: "k", Value: []byte("never mind")}})
		requireCode(e, fault.Canceled, err, "Set")
		here.mustSet("k", "fine")
		here.mustHave("k", "fine")
	}
}

// cancelledAmongOthers has callers whose contexts end at any moment side by side with callers that are patient: a driver
// that sends many calls together must not let one spoil the others, or hand one's answer to another.
func cancelledAmongOthers(e *Env) {
	b := e.Node.Cache()
	errs := together(32, func(i int) error {
		key := fmt.Sprintf("k%d", i)
		for n := range 40 {
			if i%2 == 0 {
				ctx, cancel := context.WithTimeout(e.Context(), time.Duration(n)*10*time.Microsecond)
				_, _ = b.Set(ctx, []cache.Write{{Key: key, Value: []byte("?")}})
				cancel()
				continue
			}
			value := fmt.Sprintf("%d.%d", i, n)
			if w, err := b.Set(e.Context(), []cache.Write{{Key: key, Value: []byte(value)}}); err != nil || w[0].Err != nil {
				return fmt.Errorf("set %s: %w", key, errors.Join(err, first(w, nil, func(w cache.Written) error { return w.Err })))
			}
			r, err := b.Get(e.Context(), []cache.Read{{Key: key}})
			if err != nil || r[0].Err != nil {
				return fmt.Errorf("get %s: %w", key, errors.Join(err, first(r, nil, func(g cache.Got) error { return g.Err })))
			}
			if got := string(r[0].Entry.Value); got != value {
				return fmt.Errorf("%s is %q, not %q", key, got, value)
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
}

func manyCallers(e *Env) { hammer(e, []transports.Transport{e.Node}) }

func manyNodes(e *Env) { hammer(e, []transports.Transport{e.Node, e.Open(), e.Open(), e.Open()}) }

// hammer has 32 callers write and read keys of their own, and add to one that is shared.
func hammer(e *Env, nodes []transports.Transport) {
	const callers, rounds = 32, 25
	errs := together(callers, func(i int) error {
		b := nodes[i%len(nodes)].Cache()
		for n := range rounds {
			key, value := fmt.Sprintf("own-%d-%d", i, n), fmt.Sprintf("%d/%d", i, n)
			if _, err := b.Set(e.Context(), []cache.Write{{Key: key, Value: []byte(value)}}); err != nil {
				return err
			}
			r, err := b.Get(e.Context(), []cache.Read{{Key: key}})
			if err != nil {
				return err
			}
			if got := string(r[0].Entry.Value); got != value {
				return fmt.Errorf("%s is %q, not %q", key, got, value)
			}
			if s, err := b.Add(e.Context(), []cache.Increment{{Key: "shared", Delta: 1}}); err != nil || s[0].Err != nil {
				return errors.Join(err, first(s, nil, func(s cache.Sum) error { return s.Err }))
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	on(e, e.Node).mustHave("shared", fmt.Sprint(callers*rounds))
}

// together runs f in n goroutines at once and answers their errors. Nothing of require may be called in f.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	group.Wait()
	return errs
}

func capabilitiesAgree(e *Env) {
	want := transports.CapabilitiesOf(e.Node)
	require.Equal(e, want, transports.CapabilitiesOf(e.Open()), "two nodes on one store declare different things")
	require.Equal(e, want, transports.CapabilitiesOf(neighbour(e)), "a namespace changes what is declared")
	require.Equal(e, want, transports.CapabilitiesOf(e.Node), "asked again, a node declares something else")
}

func kindHasName(e *Env) {
	require.NotEmpty(e, e.Node.Kind())
	require.Equal(e, e.Node.Kind(), e.Open().Kind())
}

func cacheBounds(e *Env) {
	c := e.Node.Cache().Capabilities
	require.GreaterOrEqual(e, c.MaxKey, 512, "MaxKey")
	require.GreaterOrEqual(e, c.MaxValue, 64<<10, "MaxValue")
	require.GreaterOrEqual(e, c.MaxBatch, 1000, "MaxBatch")
	require.Positive(e, c.MinTTL, "MinTTL")
	require.Positive(e, c.Granularity, "Granularity")
	require.GreaterOrEqual(e, c.ExpiryDelay, time.Duration(0), "ExpiryDelay")
	require.GreaterOrEqual(e, c.FenceMemory, 24*time.Hour, "FenceMemory")
}

func queueBounds(e *Env) {
	c := e.Node.Queue().Capabilities
	require.GreaterOrEqual(e, c.MaxPayload, 64<<10, "MaxPayload")
	require.GreaterOrEqual(e, c.MaxBatch, 1000, "MaxBatch")
	require.GreaterOrEqual(e, c.MaxClaim, 64, "MaxClaim")
	require.GreaterOrEqual(e, c.MaxName, 256, "MaxName")
	require.Positive(e, c.MinLease, "MinLease")
	require.Positive(e, c.Granularity, "Granularity")
	require.LessOrEqual(e, c.Lateness, time.Second, "Lateness")
	require.GreaterOrEqual(e, c.IDMemory, 5*time.Minute, "IDMemory")
	require.GreaterOrEqual(e, c.MaxPriority, 0, "MaxPriority")
}

func pubsubBounds(e *Env) {
	c := e.Node.PubSub().Capabilities
	require.GreaterOrEqual(e, c.MaxPayload, 64<<10, "MaxPayload")
	require.GreaterOrEqual(e, c.MaxSubject, 512, "MaxSubject")
	require.GreaterOrEqual(e, c.MaxBatch, 1000, "MaxBatch")
	require.GreaterOrEqual(e, c.Silence, time.Duration(0), "Silence")
}

func rpcBounds(e *Env) {
	c := transports.RPCOf(e.Node).Capabilities
	require.GreaterOrEqual(e, c.MaxFrame, 64<<10, "MaxFrame")
	require.GreaterOrEqual(e, c.Silence, time.Duration(0), "Silence")
}

func healthAnswers(e *Env) {
	e.Promptly("Health", func() { require.NoError(e, e.Node.Health(e.Context())) })
	require.NoError(e, e.Open().Health(e.Context()))
}
