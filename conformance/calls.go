package conformance

import (
	"context"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// call is one call of one method with arguments that are fine. Its error is that of the call, or else of the element.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// callsOf are all methods of a transport that belong to an ability, each once.
func callsOf(t transports.Transport, a Ability) []call {
	switch a {
	case NeedsCache:
		return cacheCalls(t.Cache())
	case NeedsWatcher:
		return watcherCalls(t.Cache().Watcher)
	case NeedsLists:
		return listCalls(t.Cache().Lists)
	case NeedsHolders:
		return []call{{"Held", func(ctx context.Context) error { _, err := t.Cache().Holders.Held(ctx, cache.Page{}); return err }}}
	case NeedsQueue:
		return queueCalls(t.Queue())
	case NeedsAdmin:
		return adminCalls(t.Queue().Admin)
	case NeedsPubSub:
		return pubsubCalls(t.PubSub())
	case NeedsRPC:
		return rpcCalls(transports.RPCOf(t))
	}
	return []call{{"Health", t.Health}}
}

// first is the error of a call with one element: the call's own, or the element's.
func first[R any](results []R, err error, errOf func(R) error) error {
	if err != nil || len(results) == 0 {
		return err
	}
	return errOf(results[0])
}

func itself(err error) error { return err }

func cacheCalls(b *cache.Backend) []call {
	const key = "calls"
	lease := cache.Lease{Lock: key, Holder: "caller", Fence: 1, TTL: time.Minute}
	return []call{
		{"Get", func(ctx context.Context) error {
			r, err := b.Get(ctx, []cache.Read{{Key: key}})
			return first(r, err, func(g cache.Got) error { return g.Err })
		}},
		{"Set", func(ctx context.Context) error {
			r, err := b.Set(ctx, []cache.Write{{Key: key, Value: []byte("1"), TTL: time.Minute}})
			return first(r, err, func(w cache.Written) error { return w.Err })
		}},
		{"Delete", func(ctx context.Context) error {
			r, err := b.Delete(ctx, []cache.Removal{{Key: key}})
			return first(r, err, func(d cache.Removed) error { return d.Err })
		}},
		{"Touch", func(ctx context.Context) error {
			r, err := b.Touch(ctx, []cache.Lifetime{{Key: key, TTL: time.Minute}})
			return first(r, err, func(t cache.Touched) error { return t.Err })
		}},
		{"Add", func(ctx context.Context) error {
			r, err := b.Add(ctx, []cache.Increment{{Key: key, Delta: 1, TTL: time.Minute}})
			return first(r, err, func(s cache.Sum) error { return s.Err })
		}},
		{"Keys", func(ctx context.Context) error { _, err := b.Keys(ctx, cache.Page{}); return err }},
		{"Acquire", func(ctx context.Context) error {
			r, err := b.Acquire(ctx, []cache.Claim{{Lock: key, Holder: "caller", TTL: time.Minute}})
			return first(r, err, func(l cache.Lease) error { return l.Err })
		}},
		{"Renew", func(ctx context.Context) error {
			r, err := b.Renew(ctx, []cache.Lease{lease})
			return first(r, err, func(l cache.Lease) error { return l.Err })
		}},
		{"Release", func(ctx context.Context) error {
			r, err := b.Release(ctx, []cache.Lease{lease})
			return first(r, err, itself)
		}},
	}
}

func watcherCalls(w cache.Watcher) []call {
	return []call{{"Watch", func(ctx context.Context) error {
		watch, err := w.Watch(ctx, "calls", func([]cache.Change) {})
		if err != nil {
			return err
		}
		return watch.Close()
	}}}
}

func listCalls(l cache.Lists) []call {
	const list = "calls"
	return []call{
		{"Push", func(ctx context.Context) error {
			r, err := l.Push(ctx, []cache.Push{{List: list, Values: [][]byte{{1}}}})
			return first(r, err, func(n cache.Length) error { return n.Err })
		}},
		{"Pop", func(ctx context.Context) error {
			r, err := l.Pop(ctx, []cache.Pop{{List: list, Max: 1}})
			return first(r, err, func(p cache.Popped) error { return p.Err })
		}},
		{"Range", func(ctx context.Context) error {
			r, err := l.Range(ctx, []cache.Range{{List: list, Max: 1}})
			return first(r, err, func(p cache.Popped) error { return p.Err })
		}},
		{"Length", func(ctx context.Context) error {
			r, err := l.Length(ctx, []cache.Read{{Key: list}})
			return first(r, err, func(n cache.Length) error { return n.Err })
		}},
		{"Drop", func(ctx context.Context) error {
			r, err := l.Drop(ctx, []cache.Removal{{Key: list}})
			return first(r, err, func(d cache.Removed) error { return d.Err })
		}},
		{"Names", func(ctx context.Context) error { _, err := l.Names(ctx, cache.Page{}); return err }},
	}
}

func queueCalls(b *queue.Backend) []call {
	const name = "calls"
	ref := queue.Ref{Queue: name, ID: "nothing", Token: "none"}
	return []call{
		{"Enqueue", func(ctx context.Context) error {
			r, err := b.Enqueue(ctx, []queue.Task{{
				ID: "one", Kind: "call", Queue: name, Payload: []byte("1"), MaxAttempts: 1, MaxLost: 1,
			}})
			return first(r, err, func(r queue.Receipt) error { return r.Err })
		}},
		{"Claim", func(ctx context.Context) error {
			_, err := b.Claim(ctx, queue.Claim{Worker: "caller", Queues: []string{name}, Max: 1})
			return err
		}},
		{"Settle", func(ctx context.Context) error {
			r, err := b.Settle(ctx, queue.Settlements{Worker: "caller", Number: 1, Items: []queue.Settlement{{Ref: ref, Outcome: queue.Done}}})
			return first(r, err, itself)
		}},
		{"Extend", func(ctx context.Context) error {
			r, err := b.Extend(ctx, []queue.Ref{ref})
			return first(r, err, itself)
		}},
	}
}

func adminCalls(a queue.Admin) []call {
	const name = "calls"
	id := []string{"nothing"}
	return []call{
		{"Queues", func(ctx context.Context) error { _, err := a.Queues(ctx); return err }},
		{"Stats", func(ctx context.Context) error { _, err := a.Stats(ctx, name); return err }},
		{"List", func(ctx context.Context) error {
			_, err := a.List(ctx, queue.List{Queue: name, State: queue.Pending})
			return err
		}},
		{"Find", func(ctx context.Context) error { _, err := a.Find(ctx, name, id[0]); return err }},
		{"Remove", func(ctx context.Context) error { r, err := a.Remove(ctx, name, id); return first(r, err, itself) }},
		{"Requeue", func(ctx context.Context) error { r, err := a.Requeue(ctx, name, id); return first(r, err, itself) }},
		{"Cancel", func(ctx context.Context) error { r, err := a.Cancel(ctx, name, id); return first(r, err, itself) }},
		{"Pause", func(ctx context.Context) error { return a.Pause(ctx, name) }},
		{"Resume", func(ctx context.Context) error { return a.Resume(ctx, name) }},
		{"Configure", func(ctx context.Context) error {
			return a.Configure(ctx, name, queue.Properties{Lease: queue.DefaultLease})
		}},
		{"Properties", func(ctx context.Context) error { _, err := a.Properties(ctx, name); return err }},
	}
}

func pubsubCalls(b *pubsub.Backend) []call {
	return []call{
		{"Publish", func(ctx context.Context) error {
			r, err := b.Publish(ctx, []pubsub.Message{{Subject: "calls", Payload: []byte("1"), Sender: "caller", Seq: 1, SubjectSeq: 1}})
			return first(r, err, func(r pubsub.Receipt) error { return r.Err })
		}},
		{"Subscribe", func(ctx context.Context) error {
			s, err := b.Subscribe(ctx, pubsub.Filter{Subject: "calls"}, func([]pubsub.Event) {})
			if err != nil {
				return err
			}
			return s.Close()
		}},
	}
}

func rpcCalls(b *rpc.Backend) []call {
	address := rpc.Inbox("calls")
	return []call{
		{"Listen", func(ctx context.Context) error {
			l, err := b.Listen(ctx, address, func([]rpc.Frame) {})
			if err != nil {
				return err
			}
			return l.Close()
		}},
		{"Send", func(ctx context.Context) error {
			r, err := b.Send(ctx, []rpc.Frame{{To: address, Payload: []byte("1")}})
			return first(r, err, itself)
		}},
	}
}
