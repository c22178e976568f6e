package saboteurs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
)

// soon is when what should have been done already is done.
const soon = 5 * time.Millisecond

func subscriptionSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "one-subscriber-a-node",
			Case: "pubsub/delivery/every-subscriber-on-every-node-gets-each-once", Collateral: []string{"pubsub"},
			sabotage: func(s *sabotaged) {
				heard := &shared[bool]{of: map[string]bool{}}
				changingDelivery(func(node int, _ pubsub.Filter) func([]pubsub.Event) []pubsub.Event {
					return func(events []pubsub.Event) []pubsub.Event {
						return slices.DeleteFunc(events, func(e pubsub.Event) bool {
							if e.Message == nil || e.Message.Sender == "" {
								return false
							}
							key := fmt.Sprint(node, e.Message.Sender, e.Message.Seq)
							_, is := heard.get(key)
							heard.set(key, true)
							return is
						})
					}
				})(s)
			},
		},
		{
			Name: "some-messages-come-twice",
			Case: "pubsub/delivery/every-subscriber-on-every-node-gets-each-once", Collateral: []string{"pubsub"},
			sabotage: changingDelivery(func(int, pubsub.Filter) func([]pubsub.Event) []pubsub.Event {
				n := 0
				return func(events []pubsub.Event) []pubsub.Event {
					var out []pubsub.Event
					for _, e := range events {
						out = append(out, e)
						if n++; n%7 == 0 {
							out = append(out, e)
						}
					}
					return out
				}
			}),
		},
		{
			Name: "deliver-is-called-by-many",
			Case: "pubsub/order/deliver-is-called-one-at-a-time", Collateral: []string{"pubsub"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
				b.subscribe = func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
					return honest.Subscribe(ctx, f, func(events []pubsub.Event) {
						var both sync.WaitGroup
						both.Go(func() { deliver(events[:len(events)/2]) })
						deliver(events[len(events)/2:])
						both.Wait()
					})
				}
			}),
		},
		{
			Name: "subscribe-returns-early",
			Case: "pubsub/subscribe/is-a-barrier", Collateral: []string{"pubsub", "transport/namespaces/subjects-*", "transport/close/every-pubsub-*"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) { b.subscribe = lateSubscribe(honest) }),
		},
		{
			Name: "subscribe-waits-for-its-own-node-alone", // what others publish comes a moment later
			Case: "pubsub/subscribe/is-a-barrier-for-other-nodes", Collateral: []string{"pubsub"},
			sabotage: func(s *sabotaged) {
				homes := &shared[int]{of: map[string]int{}}
				broadcasting(func(node int, honest pubsub.Backend, b *bus) {
					b.publish = func(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
						for _, m := range messages {
							homes.set(m.Sender, node)
						}
						return honest.Publish(ctx, messages)
					}
					b.subscribe = func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
						live := time.Now().Add(soon)
						return honest.Subscribe(ctx, f, func(events []pubsub.Event) {
							events = slices.DeleteFunc(events, func(e pubsub.Event) bool {
								if e.Message == nil || time.Now().After(live) {
									return false
								}
								home, is := homes.get(e.Message.Sender)
								return is && home != node
							})
							if len(events) > 0 {
								deliver(events)
							}
						})
					}
				})(s)
			},
		},
		{
			Name: "a-closed-subscription-goes-on", // for a moment
			Case: "pubsub/close/nothing-comes-after-it", Collateral: []string{"pubsub"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
				b.subscribe = func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
					sub, err := honest.Subscribe(ctx, f, deliver)
					if err != nil {
						return nil, err
					}
					return subscription(func() error {
						time.AfterFunc(4*soon, func() { _ = sub.Close() })
						return nil
					}), nil
				}
			}),
		},
		{
			Name: "closing-does-not-wait-for-deliver",
			Case: "pubsub/close/waits-for-deliver", Collateral: []string{"pubsub/close", "pubsub/group/a-member-that-has-gone-*"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
				b.subscribe = func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
					sub, err := honest.Subscribe(ctx, f, deliver)
					if err != nil {
						return nil, err
					}
					return subscription(func() error {
						go func() { _ = sub.Close() }()
						return nil
					}), nil
				}
			}),
		},
		{
			Name: "a-second-close-fails",
			Case: "pubsub/close/twice", Collateral: []string{"pubsub/close", "pubsub/stack"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
				b.subscribe = func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
					sub, err := honest.Subscribe(ctx, f, deliver)
					if err != nil {
						return nil, err
					}
					var closed atomic.Bool
					return subscription(func() error {
						if closed.Swap(true) {
							return &fault.Error{Code: fault.Closed, Op: "pubsub: close", Message: "it is closed"}
						}
						return sub.Close()
					}), nil
				}
			}),
		},
		{
			Name: "one-slow-subscriber-holds-up-its-node",
			Case: "pubsub/slow/a-slow-subscriber-holds-up-nobody", Collateral: []string{"pubsub/slow", "pubsub/close", "pubsub/stack"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
				turn := make(chan struct{}, 1)
				b.subscribe = func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
					return honest.Subscribe(ctx, f, func(events []pubsub.Event) {
						turn <- struct{}{}
						defer func() { <-turn }()
						deliver(events)
					})
				}
			}),
		},
		{
			Name: "unsubscribing-ends-its-neighbours",
			Case: "pubsub/subscribe/again-to-the-same-subject", Collateral: []string{"pubsub"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
				var mu sync.Mutex
				open := map[pubsub.Filter][]pubsub.Subscription{}
				b.subscribe = func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
					sub, err := honest.Subscribe(ctx, f, deliver)
					if err != nil {
						return nil, err
					}
					mu.Lock()
					open[f] = append(open[f], sub)
					mu.Unlock()
					return subscription(func() error {
						mu.Lock()
						all := open[f]
						delete(open, f)
						mu.Unlock()
						var errs []error
						for _, one := range append(all, sub) {
							errs = append(errs, one.Close())
						}
						return errors.Join(errs...)
					}), nil
				}
			}),
		},
		{
			Name: "gaps-are-not-told",
			Case: "pubsub/slow/one-that-is-held-up-loses-nothing-unseen", Collateral: []string{"pubsub/links", "pubsub/group/goes-on-*"},
			sabotage: changingDelivery(func(int, pubsub.Filter) func([]pubsub.Event) []pubsub.Event {
				return func(events []pubsub.Event) []pubsub.Event {
					return slices.DeleteFunc(events, func(e pubsub.Event) bool { return e.Gap != nil })
				}
			}),
		},
	}
}

// lateSubscribe subscribes a moment after it has returned.
func lateSubscribe(honest pubsub.Backend) func(context.Context, pubsub.Filter, func([]pubsub.Event)) (pubsub.Subscription, error) {
	return func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
		probe, err := honest.Subscribe(ctx, f, func([]pubsub.Event) {}) // whatever is refused honestly stays refused
		if err != nil {
			return nil, err
		}
		_ = probe.Close()
		var mu sync.Mutex
		var sub pubsub.Subscription
		closed := false
		timer := time.AfterFunc(soon, func() {
			mu.Lock()
			defer mu.Unlock()
			if !closed {
				sub, _ = honest.Subscribe(endless(ctx), f, deliver)
			}
		})
		return subscription(func() error {
			timer.Stop()
			mu.Lock()
			closed = true
			late := sub
			mu.Unlock()
			if late == nil {
				return nil
			}
			return late.Close()
		}), nil
	}
}
