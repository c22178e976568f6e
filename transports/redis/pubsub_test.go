package redis_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/subject"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/redis"
)

const patience = 20 * time.Second

// node opens a transport, as one node would.
func node(t *testing.T, addr, namespace string) transports.Transport {
	t.Helper()
	tr, err := redis.Open(t.Context(), transports.Settings{Kind: redis.Kind, URL: "redis://" + addr, Namespace: namespace})
	require.NoError(t, err)
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

// inbox collects what a subscription delivers.
type inbox struct {
	mu     sync.Mutex
	events []pubsub.Event
	sub    pubsub.Subscription
}

func listen(t *testing.T, tr transports.Transport, filter, group string) *inbox {
	t.Helper()
	in := &inbox{}
	sub, err := tr.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: filter, Group: group}, in.deliver)
	require.NoError(t, err)
	in.sub = sub
	t.Cleanup(func() { _ = sub.Close() })
	return in
}

func (in *inbox) deliver(events []pubsub.Event) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.events = append(in.events, events...)
}

func (in *inbox) messages() []*pubsub.Message {
	in.mu.Lock()
	defer in.mu.Unlock()
	var all []*pubsub.Message
	for _, e := range in.events {
		if e.Message != nil {
			all = append(all, e.Message)
		}
	}
	return all
}

func (in *inbox) payloads() []string {
	var all []string
	for _, m := range in.messages() {
		all = append(all, string(m.Payload))
	}
	return all
}

func (in *inbox) gaps(cause pubsub.Cause) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := 0
	for _, e := range in.events {
		if e.Gap != nil && e.Gap.Cause == cause {
			n++
		}
	}
	return n
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "never came true: %s", what)
	}
}

func publish(t *testing.T, tr transports.Transport, messages ...pubsub.Message) []pubsub.Receipt {
	t.Helper()
	receipts, err := tr.PubSub().Publish(t.Context(), messages)
	require.NoError(t, err)
	for _, r := range receipts {
		require.NoError(t, r.Err)
	}
	return receipts
}

func to(subject, payload string) pubsub.Message {
	return pubsub.Message{Subject: subject, Payload: []byte(payload)}
}

func TestAMessageArrivesUnchanged(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a, b := node(t, addr, ns), node(t, addr, ns)
	in := listen(t, b, "orders.é{x}:?[y]\\.new", "")
	large := []byte(strings.Repeat("\x00\xff", 4<<20))
	sent := []pubsub.Message{
		{Payload: []byte("plain"), Sender: "n1", Seq: 1, SubjectSeq: 1},
		{Payload: []byte{}, Headers: map[string]string{"Trace-ID": "1", "trace-id": "2", "": "\x00\xff"}, Sender: "n1", Seq: 2, SubjectSeq: 2},
		{Payload: []byte("\x00\r\n*1\xff"), Headers: map[string]string{}},
		{Payload: nil},
		{Payload: large},
	}
	for i := range sent {
		sent[i].Subject = "orders.é{x}:?[y]\\.new"
	}

	publish(t, a, sent...)

	eventually(t, "all arrive", func() bool { return len(in.messages()) == len(sent) })
	for i, got := range in.messages() {
		require.Equal(t, sent[i], *got, i)
	}
}

func TestWildcardsMatchWholeTokens(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a, b := node(t, addr, ns), node(t, addr, ns)
	filters := []string{"a", "a.b", "*", "a.*", "*.b", "a.*.c", ">", "a.>", "a.b.>", "a.*.>", "a?.*", "[ab].>", "*.*", "a.b.*", "$sys.>", "$sys.*"}
	subjects := []string{"a", "b", "ab", "a.b", "a.b.c", "a.b.c.d", "ab.c", "a?.x", "axx.x", "[ab].x", "a.x", "x.b", "$sys.x", "end"}
	inboxes := map[string]*inbox{}
	for _, filter := range filters {
		inboxes[filter] = listen(t, b, filter, "")
	}
	end := listen(t, b, "end", "")

	for _, s := range subjects {
		publish(t, a, to(s, s))
	}
	eventually(t, "the last arrives", func() bool { return len(end.messages()) == 1 })

	for _, filter := range filters {
		var want []string
		for _, s := range subjects {
			// The library's own subjects are not matched by a wildcard in the first place.
			if subject.Matches(filter, s) && (s[0] != '$' || filter[0] == '$') {
				want = append(want, s)
			}
		}
		eventually(t, filter+" receives", func() bool { return len(inboxes[filter].messages()) >= len(want) })
		require.Equal(t, want, inboxes[filter].payloads(), "filter %s", filter)
	}
}

func TestEachSubscriptionGetsAMessageOnce(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a := node(t, addr, ns)
	inboxes := []*inbox{
		listen(t, a, "x.y", ""), listen(t, a, "x.y", ""),
		listen(t, a, "x.*", ""), listen(t, a, "x.>", ""), listen(t, a, ">", ""), listen(t, a, "*.y", ""),
	}

	for i := range 100 {
		publish(t, a, to("x.y", fmt.Sprint(i)))
	}
	publish(t, a, to("x.y", "end"))

	for _, in := range inboxes {
		eventually(t, "the end arrives", func() bool { p := in.payloads(); return len(p) > 0 && p[len(p)-1] == "end" })
		require.Len(t, in.payloads(), 101)
	}
}

func TestNobodyElseSharesWhatADeliveryOwns(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a := node(t, addr, ns)
	one, two := listen(t, a, "x", ""), listen(t, a, "x", "")

	publish(t, a, pubsub.Message{Subject: "x", Payload: []byte("abc"), Headers: map[string]string{"k": "v"}})
	eventually(t, "both receive", func() bool { return len(one.messages()) == 1 && len(two.messages()) == 1 })
	one.messages()[0].Payload[0] = 'X'
	one.messages()[0].Headers["k"] = "changed"

	require.Equal(t, "abc", string(two.messages()[0].Payload))
	require.Equal(t, "v", two.messages()[0].Headers["k"])
}

func TestNamespacesDoNotSeeEachOther(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a, b := node(t, addr, ns), node(t, addr, ns+"b")
	inA, inB := listen(t, a, ">", ""), listen(t, b, ">", "")

	publish(t, b, to("x", "b"))
	publish(t, a, to("x", "a"))

	eventually(t, "each receives its own", func() bool { return len(inA.messages()) > 0 && len(inB.messages()) > 0 })
	require.Equal(t, []string{"a"}, inA.payloads())
	require.Equal(t, []string{"b"}, inB.payloads())
}

func TestReceiptsKnowWhenNobodyListens(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a, b := node(t, addr, ns), node(t, addr, ns)
	in := listen(t, b, "here", "")
	listen(t, b, ">", "") // an application's tap is no receiver of the library's own subjects

	require.Positive(t, publish(t, a, to("here", "1"))[0].Receivers)
	require.Zero(t, publish(t, a, to("$rpc.node.gone", "1"))[0].Receivers)

	require.NoError(t, in.sub.Close())
}

func TestPublishRefusesBeforeSending(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a := node(t, addr, ns)
	in := listen(t, a, ">", "")
	caps := a.PubSub().Capabilities
	half := make([]byte, caps.MaxPayload/2)

	receipts, err := a.PubSub().Publish(t.Context(), []pubsub.Message{
		to("ok", "1"), to("not.*.ok", "2"), to("", "3"),
		{Subject: "big", Payload: make([]byte, caps.MaxPayload+1)},
		{Subject: "big", Payload: half, Headers: map[string]string{"k": string(half)}},
		to("ok", "4"),
	})

	require.NoError(t, err)
	for i, code := range []fault.Code{fault.OK, fault.Invalid, fault.Invalid, fault.TooLarge, fault.TooLarge, fault.OK} {
		require.Equal(t, code, fault.CodeOf(receipts[i].Err), i)
	}
	eventually(t, "the good ones arrive", func() bool { return len(in.messages()) == 2 })
	require.Equal(t, []string{"1", "4"}, in.payloads())
	_, err = a.PubSub().Publish(t.Context(), make([]pubsub.Message, caps.MaxBatch+1))
	require.ErrorIs(t, err, fault.TooLarge)
	_, err = a.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "a.>.b"}, in.deliver)
	require.ErrorIs(t, err, fault.Invalid)
}

func TestEverySendersMessagesArriveInOrder(t *testing.T) {
	const publishers, each = 64, 200
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a, b := node(t, addr, ns), node(t, addr, ns)
	literal, wild := listen(t, b, "order.x", ""), listen(t, b, "order.*", "")
	group := listen(t, b, "order.x", "g")

	var done sync.WaitGroup
	failed := make(chan error, publishers)
	for p := range publishers {
		done.Go(func() {
			for i := range each {
				m := to("order.x", "")
				m.Sender, m.Seq, m.SubjectSeq = fmt.Sprint("s", p), uint64(i+1), uint64(i+1)
				if _, err := a.PubSub().Publish(context.Background(), []pubsub.Message{m}); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	done.Wait()
	require.Empty(t, failed)

	for name, in := range map[string]*inbox{"literal": literal, "wildcard": wild, "group": group} {
		eventually(t, name+" receives all", func() bool { return len(in.messages()) == publishers*each })
		last := map[string]uint64{}
		for _, m := range in.messages() {
			require.Equal(t, last[m.Sender]+1, m.Seq, "%s: sender %s", name, m.Sender)
			last[m.Sender] = m.Seq
		}
	}
}

func TestAGroupSharesMessagesWithoutLossOrRepeat(t *testing.T) {
	const n = 3000
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a, b, c := node(t, addr, ns), node(t, addr, ns), node(t, addr, ns)
	// One group by its name, though two of its members have other filters.
	members := []*inbox{
		listen(t, a, "job.run", "workers"), listen(t, a, "job.run", "workers"),
		listen(t, b, "job.run", "workers"), listen(t, b, "job.*", "workers"), listen(t, c, ">", "workers"),
	}
	other := listen(t, b, "job.run", "audit")

	for i := 0; i < n; i += 10 {
		var batch []pubsub.Message
		for k := range 10 {
			m := to("job.run", fmt.Sprint(i+k))
			if k%2 == 0 { // with a number of its sender, and without
				m.Sender, m.Seq = "s", uint64(i+k+1)
			}
			batch = append(batch, m)
		}
		publish(t, c, batch...)
	}

	count := func() map[string]int {
		seen := map[string]int{}
		for _, in := range members {
			for _, p := range in.payloads() {
				seen[p]++
			}
		}
		return seen
	}
	eventually(t, "all arrive", func() bool { return len(count()) == n && len(other.messages()) == n })
	require.Equal(t, 1, slices.Max(slices.Collect(maps.Values(count()))), "each once")
	for i, in := range members[:2] {
		require.NotEmpty(t, in.messages(), "member %d of one node has its turn", i)
	}
}

func TestAGroupGoesOnWhenAMemberLeaves(t *testing.T) {
	const n = 2000
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a, b := node(t, addr, ns), node(t, addr, ns)
	leaving, staying := listen(t, a, "job", "g"), listen(t, b, "job", "g")

	for i := range n {
		publish(t, b, to("job", fmt.Sprint(i)))
		if i == n/2 {
			require.NoError(t, leaving.sub.Close())
		}
	}

	eventually(t, "none is lost", func() bool { return len(leaving.messages())+len(staying.messages()) >= n })
	all := append(leaving.payloads(), staying.payloads()...)
	slices.Sort(all)
	require.Len(t, slices.Compact(all), n)
}

func TestCloseFromWithinDeliverReturns(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	for _, group := range []string{"", "g"} {
		t.Run("group "+group, func(t *testing.T) {
			a := node(t, addr, ns)
			var mu sync.Mutex
			calls := 0
			var sub pubsub.Subscription
			closed := make(chan error, 1)
			mu.Lock()
			sub, err := a.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "x", Group: group}, func([]pubsub.Event) {
				mu.Lock()
				defer mu.Unlock()
				calls++
				closed <- sub.Close()
			})
			mu.Unlock()
			require.NoError(t, err)
			sentinel := listen(t, a, "x", "")

			publish(t, a, to("x", "1"))
			require.NoError(t, <-closed)
			publish(t, a, to("x", "2"))

			eventually(t, "the second was sent", func() bool { return len(sentinel.messages()) == 2 })
			require.NoError(t, sub.Close())
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, 1, calls)
		})
	}
}

func TestCloseWaitsForADelivery(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a := node(t, addr, ns)
	entered, release := make(chan struct{}), make(chan struct{})
	sub, err := a.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "x"}, func([]pubsub.Event) {
		close(entered)
		<-release
	})
	require.NoError(t, err)
	publish(t, a, to("x", "1"))
	<-entered

	closed := make(chan struct{})
	go func() { _ = sub.Close(); close(closed) }()
	select {
	case <-closed:
		t.Fatal("Close returned while deliver ran")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)

	<-closed
}

func TestASlowDeliverHoldsUpNobodyElseAndIsToldWhatItLost(t *testing.T) {
	const n = 20_000
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a := node(t, addr, ns)
	release := make(chan struct{})
	slow := &inbox{}
	sub, err := a.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "x"}, func(events []pubsub.Event) {
		<-release
		slow.deliver(events)
	})
	require.NoError(t, err)
	quick := listen(t, a, "x", "")

	for i := 0; i < n; i += 500 {
		batch := make([]pubsub.Message, 500)
		for k := range batch {
			batch[k] = to("x", "m")
		}
		publish(t, a, batch...)
		eventually(t, "the quick one receives", func() bool { return len(quick.messages()) == i+500 })
	}
	close(release)

	eventually(t, "what was kept and what was lost is all", func() bool {
		slow.mu.Lock()
		defer slow.mu.Unlock()
		sum := 0
		for _, e := range slow.events {
			if e.Message != nil {
				sum++
			} else {
				sum += e.Gap.Lost
			}
		}
		return sum == n
	})
	require.Equal(t, 1, slow.gaps(pubsub.Overflow))
	require.NoError(t, sub.Close())
}

func TestWhatIsNoFrameIsDroppedAndTheRestGoesOn(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a := node(t, addr, ns)
	in, group := listen(t, a, "x", ""), listen(t, a, "x", "g")
	raw := goredis.NewClient(&goredis.Options{Addr: addr})
	defer raw.Close()

	for _, frame := range []string{"", "hello", "\x01\xff", "\x02\x00from a newer node"} {
		require.NoError(t, raw.Publish(t.Context(), "bp:"+ns+":ps:x", frame).Err())
	}
	publish(t, a, to("x", "good"))

	eventually(t, "the good one arrives", func() bool { return len(in.messages()) == 1 && len(group.messages()) == 1 })
	require.Equal(t, 2*4, status(a).Undecodable, "each is counted for each subscription")
	require.EqualValues(t, 5, status(a).Received)
	require.True(t, status(a).Connected)
}

func TestSubscriptionsComeAndGo(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a, b := node(t, addr, ns), node(t, addr, ns)
	var done sync.WaitGroup
	failed := make(chan error, 8)
	for g := range 8 {
		done.Go(func() {
			for i := range 50 {
				filter := pubsub.Filter{Subject: []string{"s.x", "s.*", "s.>"}[(g+i)%3], Group: []string{"", "g"}[i%2]}
				in := &inbox{}
				sub, err := a.PubSub().Subscribe(context.Background(), filter, in.deliver)
				if err == nil && filter.Group == "" {
					_, err = b.PubSub().Publish(context.Background(), []pubsub.Message{to("s.x", fmt.Sprint(g))})
					for end := time.Now().Add(patience); err == nil && !slices.Contains(in.payloads(), fmt.Sprint(g)); time.Sleep(time.Millisecond) {
						if time.Now().After(end) {
							err = fmt.Errorf("%+v missed what was published after it", filter)
						}
					}
				}
				if err == nil {
					err = sub.Close()
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	done.Wait()

	require.Empty(t, failed)
	raw := goredis.NewClient(&goredis.Options{Addr: addr})
	defer raw.Close()
	eventually(t, "the server is asked for nothing any more", func() bool {
		return len(raw.PubSubChannels(context.Background(), "bp:"+ns+":*").Val()) == 0
	})
}

func TestAfterCloseEverythingIsClosed(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a := node(t, addr, ns)
	in := listen(t, a, "x", "")

	require.NoError(t, a.Close())

	_, err := a.PubSub().Publish(t.Context(), []pubsub.Message{to("x", "1")})
	require.ErrorIs(t, err, fault.Closed)
	_, err = a.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "x"}, in.deliver)
	require.ErrorIs(t, err, fault.Closed)
	require.NoError(t, in.sub.Close())
}

func TestCloseOfTheTransportFromWithinDeliverReturns(t *testing.T) {
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a, b := node(t, addr, ns), node(t, addr, ns)
	closed := make(chan error, 1)
	_, err := a.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "x"}, func([]pubsub.Event) { closed <- a.Close() })
	require.NoError(t, err)

	publish(t, b, to("x", "1"))

	require.NoError(t, <-closed)
}

func TestCloseOfTheTransportDoesNotWaitForADeliverThatBlocks(t *testing.T) {
	t.Parallel()
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	a := node(t, addr, ns)
	entered, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	_, err := a.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "x"}, func([]pubsub.Event) {
		close(entered)
		<-release
	})
	require.NoError(t, err)
	publish(t, a, to("x", "1"))
	<-entered

	began := time.Now()
	require.NoError(t, a.Close())

	require.Less(t, time.Since(began), 10*time.Second)
}
