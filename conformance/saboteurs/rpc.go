package saboteurs

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
)

// mail is an RPC driver with single methods replaced; nil is the honest one.
type mail struct {
	rpc.Driver
	listen func(context.Context, rpc.Address, func([]rpc.Frame)) (io.Closer, error)
	send   func(context.Context, []rpc.Frame) ([]error, error)
}

// posting makes a saboteur's function from one that replaces methods of every node, which it is given with the node's
// number.
func posting(f func(node int, honest rpc.Backend, m *mail)) func(*sabotaged) {
	return func(s *sabotaged) {
		nodes := &counter{}
		s.rpc = func(b *rpc.Backend) {
			m := &mail{Driver: b.Driver}
			f(nodes.next(), *b, m)
			b.Driver = m
		}
	}
}

func (m *mail) Listen(ctx context.Context, to rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
	if m.listen != nil && deliver != nil {
		return m.listen(ctx, to, deliver)
	}
	return m.Driver.Listen(ctx, to, deliver)
}

func (m *mail) Send(ctx context.Context, frames []rpc.Frame) ([]error, error) {
	if m.send != nil {
		return m.send(ctx, frames)
	}
	return m.Driver.Send(ctx, frames)
}

// changingFrames sabotages what is delivered at an address.
func changingFrames(change func(node int, to rpc.Address, frames []rpc.Frame) []rpc.Frame) func(*sabotaged) {
	return posting(func(node int, honest rpc.Backend, m *mail) {
		m.listen = func(ctx context.Context, to rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
			return honest.Listen(ctx, to, func(frames []rpc.Frame) {
				if frames = change(node, to, frames); len(frames) > 0 {
					deliver(frames)
				}
			})
		}
	})
}

// closer is one whose Close is replaced.
type closer func() error

func (c closer) Close() error { return c() }

func rpcSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "frames-go-to-everybody-too",
			Case: "rpc/frame/goes-to-its-address-alone", Collateral: []string{"rpc"},
			sabotage: posting(func(_ int, honest rpc.Backend, m *mail) {
				m.send = func(ctx context.Context, frames []rpc.Frame) ([]error, error) {
					errs, err := honest.Send(ctx, frames)
					for _, f := range frames {
						if f.To != rpc.Broadcast && err == nil {
							_, _ = honest.Send(ctx, []rpc.Frame{{To: rpc.Broadcast, Payload: f.Payload}})
						}
					}
					return errs, err
				}
			}),
		},
		{
			Name: "addresses-are-cut", // to what a store's names may have, say
			Case: "rpc/frame/addresses-that-look-alike-are-different", Collateral: []string{"rpc/receiver"},
			sabotage: posting(func(_ int, honest rpc.Backend, m *mail) {
				cut := func(to rpc.Address) rpc.Address {
					if len(to) < len("node.abcde") { // inboxes of incarnations stay apart
						return to[:min(len(to), len("node.abc"))]
					}
					return to
				}
				m.listen = func(ctx context.Context, to rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
					return honest.Listen(ctx, cut(to), func(frames []rpc.Frame) {
						deliver(altered(frames, func(f *rpc.Frame) { f.To = to }))
					})
				}
				m.send = func(ctx context.Context, frames []rpc.Frame) ([]error, error) {
					return honest.Send(ctx, altered(frames, func(f *rpc.Frame) { f.To = cut(f.To) }))
				}
			}),
		},
		{
			Name: "what-is-for-all-reaches-the-first-node",
			Case: "rpc/frame/to-all-reaches-every-node-once", Collateral: []string{"rpc", "transport/namespaces/addresses-*"},
			sabotage: changingFrames(func(node int, to rpc.Address, frames []rpc.Frame) []rpc.Frame {
				if to == rpc.Broadcast && node > 1 {
					return nil
				}
				return frames
			}),
		},
		{
			Name: "frames-are-cut", // at 32 KiB
			Case: "rpc/frame/every-payload-survives", Collateral: []string{"rpc/frame/the-largest-*", "rpc/frame/a-refused-*", "rpc/stack"},
			sabotage: posting(func(_ int, honest rpc.Backend, m *mail) {
				m.send = func(ctx context.Context, frames []rpc.Frame) ([]error, error) {
					return honest.Send(ctx, altered(frames, func(f *rpc.Frame) { f.Payload = f.Payload[:min(len(f.Payload), 32<<10)] }))
				}
			}),
		},
		{
			Name: "listeners-share-a-frame",
			Case: "rpc/frame/what-is-delivered-is-shared-with-nobody",
			sabotage: func(s *sabotaged) {
				kept := &shared[[]byte]{of: map[string][]byte{}}
				changingFrames(func(_ int, _ rpc.Address, frames []rpc.Frame) []rpc.Frame {
					return altered(frames, func(f *rpc.Frame) {
						if string(f.Payload) == "untouched" {
							f.Payload = kept.first("untouched", f.Payload)
						}
					})
				})(s)
			},
		},
		{
			Name: "a-frame-too-large-refuses-its-batch",
			Case: "rpc/frame/a-refused-one-leaves-the-others",
			sabotage: posting(func(_ int, honest rpc.Backend, m *mail) {
				m.send = func(ctx context.Context, frames []rpc.Frame) ([]error, error) {
					for _, f := range frames {
						if len(f.Payload) > honest.Capabilities.MaxFrame && len(frames) > 1 {
							return nil, &fault.Error{Code: fault.TooLarge, Op: "rpc: send"}
						}
					}
					return honest.Send(ctx, frames)
				}
			}),
		},
		{
			Name: "frames-of-a-batch-are-sent-backwards",
			Case: "rpc/order/within-a-batch", Collateral: []string{"rpc"},
			sabotage: posting(func(_ int, honest rpc.Backend, m *mail) {
				m.send = func(ctx context.Context, frames []rpc.Frame) ([]error, error) {
					backwards := slices.Clone(frames)
					slices.Reverse(backwards)
					errs, err := honest.Send(ctx, backwards)
					slices.Reverse(errs)
					return errs, err
				}
			}),
		},
		{
			Name: "some-frames-come-twice",
			Case: "rpc/order/one-senders-calls", Collateral: []string{"rpc"},
			sabotage: func(s *sabotaged) {
				n := &counter{}
				changingFrames(func(_ int, _ rpc.Address, frames []rpc.Frame) []rpc.Frame {
					var out []rpc.Frame
					for _, f := range frames {
						out = append(out, f)
						if n.next()%11 == 0 {
							out = append(out, f)
						}
					}
					return out
				})(s)
			},
		},
		{
			Name: "listen-returns-early",
			Case: "rpc/listen/is-a-barrier", Collateral: []string{"rpc", "transport/namespaces/addresses-*"},
			sabotage: posting(func(_ int, honest rpc.Backend, m *mail) {
				m.listen = func(ctx context.Context, to rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
					live := time.Now().Add(soon)
					return honest.Listen(ctx, to, func(frames []rpc.Frame) {
						if time.Now().After(live) {
							deliver(frames)
						}
					})
				}
			}),
		},
		{
			Name: "frames-are-delivered-by-many",
			Case: "rpc/listen/deliver-is-called-one-at-a-time", Collateral: []string{"rpc"},
			sabotage: posting(func(_ int, honest rpc.Backend, m *mail) {
				m.listen = func(ctx context.Context, to rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
					return honest.Listen(ctx, to, func(frames []rpc.Frame) {
						var both sync.WaitGroup
						both.Go(func() { deliver(frames[:len(frames)/2]) })
						deliver(frames[len(frames)/2:])
						both.Wait()
					})
				}
			}),
		},
		{
			Name: "a-closed-listener-goes-on", // for a moment
			Case: "rpc/listen/nothing-comes-after-close", Collateral: []string{"rpc"},
			sabotage: posting(func(_ int, honest rpc.Backend, m *mail) {
				m.listen = func(ctx context.Context, to rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
					listener, err := honest.Listen(ctx, to, deliver)
					if err != nil {
						return nil, err
					}
					return closer(func() error {
						time.AfterFunc(4*soon, func() { _ = listener.Close() })
						return nil
					}), nil
				}
			}),
		},
		{
			Name: "nobody-there-is-not-told",
			Case: "rpc/receiver/nobody-there-is-told", Collateral: []string{"rpc/receiver"},
			sabotage: posting(func(_ int, honest rpc.Backend, m *mail) {
				m.send = func(ctx context.Context, frames []rpc.Frame) ([]error, error) {
					errs, err := honest.Send(ctx, frames)
					return passing(fault.NoReceiver, errs, err)
				}
			}),
		},
	}
}
