package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
)

func deliveryCases() []Case {
	return append(needing(NeedsPubSub, []Case{
		{Name: "pubsub/delivery/every-subscriber-on-every-node-gets-each-once", Clause: clauseDelivery, Run: everyoneOnce},
		{Name: "pubsub/delivery/filters-that-overlap-each-get-it-once", Clause: clauseDelivery, Run: overlapOnce},
		{Name: "pubsub/delivery/a-node-hears-itself", Clause: clauseDelivery, Run: hearsItself},
		{Name: "pubsub/delivery/nothing-comes-from-before", Clause: clauseDelivery, Run: nothingFromBefore},
		{Name: "pubsub/delivery/many-subjects-stay-apart", Clause: clauseDelivery, Run: manySubjects},
		{Name: "pubsub/message/every-field-arrives-unchanged", Clause: clauseMessageKept, Run: messageFields},
		{Name: "pubsub/message/headers-keep-case-and-bytes", Clause: clauseMessageKept, Run: messageHeaders},
		{Name: "pubsub/message/every-payload-survives", Clause: clauseMessageKept, Run: messagePayloads},
		{Name: "pubsub/message/an-empty-one-arrives-too", Clause: clauseMessageKept, Run: messageEmpty},
		{Name: "pubsub/message/numbers-are-carried-as-they-are", Clause: clauseMessageKept, Run: messageNumbers},
		{Name: "pubsub/message/one-without-a-sender-arrives-too", Clause: clauseMessageKept, Run: messageNameless},
		{Name: "pubsub/message/the-largest-payload-and-not-one-byte-more", Clause: clauseMessageLimits, Run: messageLargest},
		{Name: "pubsub/message/headers-count-as-payload", Clause: clauseMessageLimits, Run: messageHeadersCount},
		{Name: "pubsub/message/the-largest-batch-and-not-one-more", Clause: clauseMessageLimits, Run: largestPublish},
		{Name: "pubsub/message/what-is-given-is-not-kept", Clause: clauseMessageOwn, Run: messageNotKept},
		{Name: "pubsub/message/what-is-delivered-is-shared-with-nobody", Clause: clauseMessageOwn, Run: messageNotShared},
		{Name: "pubsub/message/a-batch-has-a-receipt-for-each", Clause: clauseMessageAlone, Run: receiptPerMessage},
		{Name: "pubsub/order/one-publishers-calls", Clause: clauseOrder, Run: orderOfCalls},
		{Name: "pubsub/order/within-a-batch", Clause: clauseOrder, Run: orderOfBatch},
		{Name: "pubsub/order/under-many-publishers", Clause: clauseOrder, Run: orderUnderMany},
		{Name: "pubsub/order/small-messages-do-not-overtake-large-ones", Clause: clauseOrder, Run: orderOfSizes},
		{Name: "pubsub/order/deliver-is-called-one-at-a-time", Clause: clauseDeliverOne, Run: deliverOneAtATime},
	}), needing(NeedsReceivers, []Case{
		{Name: "pubsub/receipt/nobody-there-is-0", Clause: clauseReceivers, Run: nobodyThere},
		{Name: "pubsub/receipt/somebody-there-is-not-0", Clause: clauseReceivers, Run: somebodyThere},
		{Name: "pubsub/receipt/after-the-last-has-gone-is-0", Clause: clauseReceivers, Run: nobodyAnyMore},
	})...)
}

func everyoneOnce(e *Env) {
	there := e.Open()
	ears := []*ear{hear(e, e.Node, "s"), hear(e, e.Node, "s"), hear(e, there, "s"), hear(e, there, "s")}
	want := []string{}
	for i, node := range []transports.Transport{e.Node, there} {
		all := texts(fmt.Sprint("from ", i, ": "), 25)
		speak(e, node).say("s", all...)
		want = append(want, all...)
		for _, h := range ears { // two publishers are not in order
			h.mustHear(all...)
		}
	}
	speak(e, e.Node).say("s", "last")
	for _, h := range ears {
		h.mustHear("last") // and nothing between: each of the others came once
	}
	require.Len(e, want, 50)
}

func overlapOnce(e *Env) {
	there := e.Open()
	v := speak(e, there)
	var ears []*ear
	for _, filter := range []string{"a.b.c", "a.b.*", "a.*.c", "*.b.c", "a.b.>", "a.>", ">", "*.*.*", "a.b.c", ">"} {
		ears = append(ears, hear(e, e.Node, filter))
	}
	v.say("a.b.c", texts("t", 20)...)
	v.say("a.b.c", "last")
	for _, h := range ears {
		h.mustHear(texts("t", 20)...)
		h.mustHear("last")
	}
}

func hearsItself(e *Env) {
	h := hear(e, e.Node, "s")
	speak(e, e.Node).say("s", "to myself", "again")
	h.mustHear("to myself", "again")
}

func nothingFromBefore(e *Env) {
	there := e.Open()
	v := speak(e, e.Node)
	witness := hear(e, there, "s")
	v.say("s", "before")
	witness.mustHear("before")
	late := []*ear{hear(e, there, "s"), hear(e, e.Node, "s"), hear(e, there, ">")}
	v.say("s", "after")
	for _, h := range late {
		h.mustHear("after")
	}
}

func manySubjects(e *Env) {
	there := e.Open()
	const n = 50
	var ears []*ear
	for i := range n {
		ears = append(ears, hear(e, there, fmt.Sprint("s.", i)))
	}
	v := speak(e, e.Node)
	for round := range 3 {
		for i := range n {
			v.say(fmt.Sprint("s.", i), fmt.Sprint(i, "/", round))
		}
	}
	for i, h := range ears {
		h.mustHear(fmt.Sprint(i, "/0"), fmt.Sprint(i, "/1"), fmt.Sprint(i, "/2"))
	}
}

// mustBe requires that a message arrived as it was sent.
func (h *ear) mustBe(want pubsub.Message) {
	h.e.Helper()
	got := *h.next("a message to %.60q", want.Subject)
	require.Truef(h.e, bytes.Equal(want.Payload, got.Payload), "the payload on %.60q: %d bytes became %d, or others", want.Subject, len(want.Payload), len(got.Payload))
	require.Equal(h.e, len(want.Headers), len(got.Headers), "headers: %q became %q", want.Headers, got.Headers)
	for key, value := range want.Headers {
		require.Equalf(h.e, value, got.Headers[key], "the header %q", key)
	}
	got.Payload, got.Headers = want.Payload, want.Headers
	require.Equal(h.e, want, got)
}

func messageFields(e *Env) {
	there := e.Open()
	ears := []*ear{hear(e, e.Node, "a.b"), hear(e, there, "a.*")}
	want := pubsub.Message{
		Subject: "a.b", Payload: []byte("payload"), Headers: map[string]string{"Content-Type": "text/plain"},
		Sender: "0mh2k4d8.9f3c", Seq: 17, SubjectSeq: 4,
	}
	require.NoError(e, speak(e, e.Node).publish(want)[0].Err)
	for _, h := range ears {
		h.mustBe(want)
	}
}

func messageHeaders(e *Env) {
	h := hear(e, e.Open(), "s")
	v := speak(e, e.Node)
	for _, headers := range []map[string]string{oddHeaders, {"one": "1"}, {}, nil} {
		m := v.message("s", "with headers")
		m.Headers = headers
		v.mustPublish(m)
		h.mustBe(m)
	}
}

func messagePayloads(e *Env) {
	h := hear(e, e.Open(), "s")
	v := speak(e, e.Node)
	for _, payload := range append([][]byte{{0}, patterned(64 << 10), patterned(1023), patterned(4097)}, valuesOf(binaries)...) {
		m := v.message("s", string(payload))
		v.mustPublish(m)
		h.mustBe(m)
	}
}

func valuesOf(all map[string][]byte) (values [][]byte) {
	for _, value := range all {
		values = append(values, value)
	}
	return values
}

func messageEmpty(e *Env) {
	h := hear(e, e.Open(), "s")
	v := speak(e, e.Node)
	for _, payload := range [][]byte{nil, {}} {
		m := v.message("s", "")
		m.Payload = payload
		v.mustPublish(m)
		h.mustBe(m)
	}
}

func messageNumbers(e *Env) {
	h := hear(e, e.Open(), "s")
	v := speak(e, e.Node)
	for _, numbers := range [][2]uint64{{1, 1}, {2, 2}, {5, 3}, {1 << 20, 7}, {1<<53 + 1, 1<<53 + 1}, {1<<64 - 1, 1<<64 - 1}} {
		m := v.message("s", "numbered")
		m.Seq, m.SubjectSeq = numbers[0], numbers[1]
		v.mustPublish(m)
		h.mustBe(m)
	}
}

func messageNameless(e *Env) {
	h, member := hear(e, e.Open(), "s"), hearAs(e, e.Open(), pubsub.Filter{Subject: "s", Group: "g"})
	for i := range 5 {
		m := pubsub.Message{Subject: "s", Payload: fmt.Append(nil, i)}
		require.NoError(e, speak(e, e.Node).publish(m)[0].Err)
		h.mustBe(m)
		member.mustBe(m)
	}
}

func messageLargest(e *Env) {
	h := hear(e, e.Open(), "s")
	v := speak(e, e.Node)
	most := v.Capabilities.MaxPayload
	m := v.message("s", string(patterned(most)))
	v.mustPublish(m)
	h.mustBe(m)

	more := v.message("s", "")
	more.Payload = make([]byte, most+1)
	requireCode(e, fault.TooLarge, v.publish(more)[0].Err, "a payload of one byte more than is allowed")
	v.say("s", "last")
	h.mustHear("last")
}

func messageHeadersCount(e *Env) {
	h := hear(e, e.Open(), "s")
	v := speak(e, e.Node)
	m := v.message("s", string(patterned(v.Capabilities.MaxPayload-64)))
	m.Headers = map[string]string{"key": strings.Repeat("v", 61)}
	v.mustPublish(m)
	h.mustBe(m)

	m.Payload = append(m.Payload, 0)
	requireCode(e, fault.TooLarge, v.publish(m)[0].Err, "a payload that is too large with its headers")
	v.say("s", "last")
	h.mustHear("last")
}

func largestPublish(e *Env) {
	h := hear(e, e.Open(), "s")
	v := speak(e, e.Node)
	most := v.Capabilities.MaxBatch
	batch := make([]pubsub.Message, most+1)
	for i := range batch {
		batch[i] = v.message("s", fmt.Sprint(i))
	}
	_, err := v.Publish(e.Context(), batch)
	requireCode(e, fault.TooLarge, err, "a batch of one message more than is allowed")
	// As many as a subscription certainly holds, however slow this machine is.
	most = min(most, 1000)
	v.mustPublish(batch[:most]...)
	for i := range most {
		h.mustHear(fmt.Sprint(i))
	}
}

func messageNotKept(e *Env) {
	h := hear(e, e.Open(), "s")
	v := speak(e, e.Node)
	for i := range 50 {
		m := v.message("s", fmt.Sprint("message ", i))
		m.Headers = map[string]string{"k": "v"}
		batch := []pubsub.Message{m}
		v.mustPublish(batch...)
		clear(batch[0].Payload)
		batch[0].Headers["k"] = "changed"
		batch[0] = pubsub.Message{}
	}
	for i := range 50 {
		m := h.next("message %d", i)
		require.Equal(e, fmt.Sprint("message ", i), string(m.Payload))
		require.Equal(e, "v", m.Headers["k"])
	}
}

func messageNotShared(e *Env) {
	there := e.Open()
	ears := []*ear{hear(e, there, "s"), hear(e, there, "s"), hear(e, there, "*"), hear(e, e.Node, "s"), hear(e, e.Node, ">")}
	v := speak(e, e.Node)
	mine := []byte("untouched")
	m := v.message("s", "")
	m.Payload, m.Headers = mine, map[string]string{"k": "v"}
	v.mustPublish(m)
	for _, h := range ears {
		got := h.next("the message")
		require.Equal(e, "untouched", string(got.Payload), "another subscriber has changed it")
		require.Equal(e, map[string]string{"k": "v"}, got.Headers, "another subscriber has changed them")
		for i := range got.Payload {
			got.Payload[i] = 'x'
		}
		got.Headers["k"] = "changed"
		got.Headers["new"] = "added"
		got.Subject = "changed"
	}
	require.Equal(e, "untouched", string(mine), "a subscriber has changed the publisher's payload")
	require.Equal(e, map[string]string{"k": "v"}, m.Headers, "a subscriber has changed the publisher's headers")
}

func receiptPerMessage(e *Env) {
	h := hear(e, e.Open(), ">")
	v := speak(e, e.Node)
	tooLarge := v.message("s", "")
	tooLarge.Payload = make([]byte, v.Capabilities.MaxPayload+1)
	receipts := v.publish(v.message("s", "one"), tooLarge, v.message("a..b", "?"), v.message("s", "two"))
	require.NoError(e, receipts[0].Err)
	requireCode(e, fault.TooLarge, receipts[1].Err, "what is too large")
	requireCode(e, fault.Invalid, receipts[2].Err, "what has no subject")
	require.NoError(e, receipts[3].Err)
	require.Empty(e, v.publish(), "publishing nothing")
	h.mustHear("one", "two")
}

func orderOfCalls(e *Env) {
	there := e.Open()
	ears := []*ear{hear(e, e.Node, "s"), hear(e, there, "s"), hear(e, there, ">")}
	all := texts("t", 300)
	speak(e, e.Node).say("s", all...)
	for _, h := range ears {
		h.mustHear(all...)
	}
}

func orderOfBatch(e *Env) {
	there := e.Open()
	ears := []*ear{hear(e, e.Node, "s.0"), hear(e, there, "s.0"), hear(e, there, "s.*")}
	v := speak(e, there)
	var want []string
	for range 20 {
		var batch []pubsub.Message
		for i := range 30 {
			subject := fmt.Sprint("s.", i%3)
			text := fmt.Sprint(subject, "#", v.subjects[subject])
			batch = append(batch, v.message(subject, text))
			if i%3 == 0 {
				want = append(want, text)
			}
		}
		v.mustPublish(batch...)
	}
	ears[0].mustHear(want...)
	ears[1].mustHear(want...)
	next := map[string]int{}
	for range 20 * 30 {
		m := ears[2].next("a message on any of the subjects")
		require.Equal(e, fmt.Sprint(m.Subject, "#", next[m.Subject]), string(m.Payload), "the next one on its subject")
		next[m.Subject]++
	}
}

func orderUnderMany(e *Env) {
	there := e.Open()
	const publishers, each = 8, 60
	ears := []*ear{hear(e, e.Node, "s"), hear(e, there, "s"), hear(e, there, "*")}
	voices := make([]*voice, publishers)
	for i := range voices {
		voices[i] = speak(e, []transports.Transport{e.Node, there}[i%2])
	}
	errs := together(publishers, func(i int) error {
		v := voices[i]
		for v.seq < each {
			var batch []pubsub.Message
			for range 1 + v.seq%5 {
				batch = append(batch, v.message("s", fmt.Sprint(v.sender, " ", v.seq)))
			}
			receipts, err := v.Publish(e.Context(), batch)
			if err := first(receipts, err, func(r pubsub.Receipt) error { return r.Err }); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	total := 0
	for _, v := range voices {
		total += int(v.seq)
	}
	for _, h := range ears {
		last := map[string]uint64{}
		for range total {
			m := h.next("a message of the %d", total)
			require.Equal(e, last[m.Sender]+1, m.Seq, "the next message of its sender")
			last[m.Sender] = m.Seq
		}
	}
}

func orderOfSizes(e *Env) {
	there := e.Open()
	h := hear(e, there, "s")
	v := speak(e, e.Node)
	for i := range 40 {
		m := v.message("s", fmt.Sprint(i, " "))
		if i%4 == 0 {
			m.Payload = append(m.Payload, patterned(48<<10)...)
		}
		v.mustPublish(m)
	}
	for i := range 40 {
		got := h.next("message %d", i)
		require.Equal(e, uint64(i+1), got.Seq)
		require.True(e, strings.HasPrefix(string(got.Payload), fmt.Sprint(i, " ")))
	}
}

// deliverOneAtATime publishes from many sides to a subscription that takes its time.
func deliverOneAtATime(e *Env) {
	there := e.Open()
	inside, many, total := make(chan struct{}, 1), make(chan struct{}, 1), make(chan int, 4096)
	sub, err := e.Node.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: "s.*"}, func(events []pubsub.Event) {
		select {
		case inside <- struct{}{}:
			e.sleepHere(e.Timing.Beat / 250)
			<-inside
		default:
			select {
			case many <- struct{}{}:
			default:
			}
		}
		total <- len(events)
	})
	require.NoError(e, err)
	e.Cleanup(func() { _ = sub.Close() })

	const publishers, each = 6, 25
	errs := together(publishers, func(i int) error {
		v := speak(e, []transports.Transport{e.Node, there}[i%2])
		for range each {
			receipts, err := v.Publish(e.Context(), []pubsub.Message{v.message(fmt.Sprint("s.", i), "x")})
			if err := first(receipts, err, func(r pubsub.Receipt) error { return r.Err }); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	for n := 0; n < publishers*each; {
		n += Await(e, total, "all messages; %d have come", n)
	}
	require.Empty(e, many, "deliver was called while it ran")
}

func (v *voice) receivers(subject string) int {
	v.e.Helper()
	r := v.publish(v.message(subject, "x"))[0]
	require.NoError(v.e, r.Err)
	return r.Receivers
}

func nobodyThere(e *Env) {
	there := e.Open()
	hear(e, there, "other")
	hearAs(e, there, pubsub.Filter{Subject: "another", Group: "g"})
	v := speak(e, e.Node)
	for _, subject := range []string{"s", "othe", "other2", "Other"} {
		require.Zero(e, v.receivers(subject), "receivers on %q", subject)
	}
}

func somebodyThere(e *Env) {
	there := e.Open()
	v := speak(e, e.Node)
	for filter, subject := range map[string]string{"lit.eral": "lit.eral", "st.*": "st.ar", "ta.>": "ta.i.l"} {
		hear(e, there, filter)
		require.NotZero(e, v.receivers(subject), "receivers on %q, with a subscription to %q", subject, filter)
	}
	hearAs(e, there, pubsub.Filter{Subject: "grouped", Group: "g"})
	require.NotZero(e, v.receivers("grouped"), "receivers on a subject with a group")
	hear(e, e.Node, "own")
	require.NotZero(e, v.receivers("own"), "receivers on this node itself")
}

func nobodyAnyMore(e *Env) {
	there := e.Open()
	v := speak(e, e.Node)
	a, b := hear(e, there, "s"), hear(e, there, "s")
	require.NoError(e, a.sub.Close())
	require.NotZero(e, v.receivers("s"), "one is left")
	require.NoError(e, b.sub.Close())
	e.Eventually(func() bool { return v.receivers("s") == 0 }, "nobody is there any more")

	hear(e, there, "s")
	require.NotZero(e, v.receivers("s"))
	require.NoError(e, there.Close())
	e.Eventually(func() bool { return v.receivers("s") == 0 }, "the node was closed")
}
