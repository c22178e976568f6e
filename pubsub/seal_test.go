package pubsub_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
	"github.com/gobackplane/backplane/pubsub"
)

// sealed are options of a bus that seals with a key, and accepts others.
func sealed(t *testing.T, p pubsub.Protection, keys ...string) pubsub.Options {
	t.Helper()
	seal, err := pubsub.NewSeal(keys, p)
	require.NoError(t, err)
	return pubsub.Options{Seal: seal, Logger: slog.New(slog.DiscardHandler)}
}

// sniff publishes on a bus of its own and gives what a transport would carry.
func sniff(t *testing.T, o pubsub.Options, messages ...pubsub.Message) []pubsub.Message {
	t.Helper()
	d := &script{}
	_, err := scripted(t, d, o).PublishMany(t.Context(), messages)
	require.NoError(t, err)
	return d.wire()
}

// carried is a message as a driver delivers it: nobody else has its bytes.
func carried(m pubsub.Message) pubsub.Event {
	m.Payload, m.Headers = bytes.Clone(m.Payload), maps.Clone(m.Headers)
	return pubsub.Event{Message: &m}
}

func payloads(events []pubsub.Event) (all []string) {
	for _, e := range events {
		all = append(all, string(e.Message.Payload))
	}
	return all
}

func TestSealedMessagesArriveAsTheyWereSent(t *testing.T) {
	for name, p := range map[string]pubsub.Protection{"signed": pubsub.Signed, "secret": pubsub.Secret} {
		t.Run(name, func(t *testing.T) {
			key := envelope.NewKey()
			d := &script{}
			s := subscribe(t, scripted(t, d, sealed(t, p, key)), ">")
			o := sealed(t, p, key)
			o.Sender = "a sender that is no incarnation"

			wire := sniff(t, o,
				pubsub.Message{Subject: "s", Payload: []byte("the plan"), Headers: map[string]string{"Mixed-Case": "of it"}},
				pubsub.Message{Subject: "s"}, pubsub.Message{Subject: "t", Payload: []byte{}})
			for _, m := range wire {
				d.send(carried(m))
			}

			whole := fmt.Sprintf("%s %v", wire[0].Payload, wire[0].Headers)
			require.Equal(t, p == pubsub.Signed, strings.Contains(whole, "the plan"))
			require.Equal(t, p == pubsub.Signed, strings.Contains(whole, "of it"))
			require.Equal(t, []pubsub.Event{
				{Message: &pubsub.Message{Subject: "s", Payload: []byte("the plan"), Headers: map[string]string{"Mixed-Case": "of it"}, Sender: o.Sender, Seq: 1, SubjectSeq: 1}},
				{Message: &pubsub.Message{Subject: "s", Sender: o.Sender, Seq: 2, SubjectSeq: 2}},
				{Message: &pubsub.Message{Subject: "t", Payload: []byte{}, Sender: o.Sender, Seq: 3, SubjectSeq: 1}},
			}, next(t, s, 3))
			require.Zero(t, s.Stats().Refused)
		})
	}
}

func TestForgedMessagesAreRefusedAndBelievedInNothing(t *testing.T) {
	key := envelope.NewKey()
	for name, p := range map[string]pubsub.Protection{"signed": pubsub.Signed, "secret": pubsub.Secret} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			o := sealed(t, p, key)
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			d := &script{}
			s := subscribe(t, scripted(t, d, o), ">")
			genuine := sniff(t, sealed(t, p, key), pubsub.Message{Subject: "s", Payload: []byte("pay 10")})[0]
			forge := func(change func(m *pubsub.Message)) pubsub.Event {
				e := carried(genuine)
				change(e.Message)
				return e
			}

			forgeries := []pubsub.Event{
				forge(func(m *pubsub.Message) { m.Payload, m.Headers = []byte("pay 99"), nil }),
				forge(func(m *pubsub.Message) { m.Headers = nil }),
				forge(func(m *pubsub.Message) { m.Headers["Backplane-Sealed"] = "2" }),
				forge(func(m *pubsub.Message) { m.Subject = "salaries" }),
				forge(func(m *pubsub.Message) { m.Seq = 1 << 40 }),
				forge(func(m *pubsub.Message) { m.SubjectSeq = 1 << 40 }),
				forge(func(m *pubsub.Message) { m.Sender = "another" }),
				forge(func(m *pubsub.Message) { m.Payload = nil }),
				carried(sniff(t, sealed(t, p, envelope.NewKey()), pubsub.Message{Subject: "s"})[0]),
			}
			for i := range genuine.Payload {
				forgeries = append(forgeries, forge(func(m *pubsub.Message) { m.Payload[i] ^= 1 }))
			}
			d.send(forgeries...)
			d.send(carried(genuine))

			require.Equal(t, []string{"pay 10"}, payloads(next(t, s, 1)), "no forgery has used up its numbers")
			require.EqualValues(t, len(forgeries), s.Stats().Refused)
			require.EqualValues(t, 1, s.Stats().Received)
			require.Less(t, strings.Count(log.String(), "a message was refused"), 5, "a flood does not fill the log")
			require.Contains(t, log.String(), "not signed")
		})
	}
}

func TestReplayedMessagesAreRefused(t *testing.T) {
	key := envelope.NewKey()
	all := func(t *testing.T, o pubsub.Options, subjects ...string) []pubsub.Message {
		var messages []pubsub.Message
		for i, s := range subjects {
			messages = append(messages, pubsub.Message{Subject: s, Payload: []byte{'1' + byte(i)}})
		}
		return sniff(t, o, messages...)
	}
	t.Run("to who has heard them", func(t *testing.T) {
		d := &script{}
		s := subscribe(t, scripted(t, d, sealed(t, pubsub.Signed, key)), ">")
		wire := all(t, sealed(t, pubsub.Signed, key), "a", "b", "a")

		for range 3 {
			d.send(carried(wire[0]), carried(wire[1]), carried(wire[2]))
		}

		require.Equal(t, []string{"1", "2", "3"}, payloads(waiting(t, s)))
		require.EqualValues(t, 6, s.Stats().Duplicates)
	})
	t.Run("to who has forgotten them", func(t *testing.T) {
		o := sealed(t, pubsub.Signed, key)
		o.Senders = 2
		d := &script{}
		s := subscribe(t, scripted(t, d, o), ">")
		wire := all(t, sealed(t, pubsub.Signed, key), "a", "b", "c", "d")

		for range 2 {
			d.send(carried(wire[0]), carried(wire[1]), carried(wire[2]), carried(wire[3]))
		}
		d.send(carried(all(t, sealed(t, pubsub.Signed, key), "a")[0]))

		require.Equal(t, []string{"1", "2", "3", "4", "1"}, payloads(waiting(t, s)))
		require.EqualValues(t, 2, s.Stats().Refused, "a and b were forgotten")
		require.EqualValues(t, 2, s.Stats().Duplicates)
	})
	t.Run("to who was not there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &script{}
			s := subscribe(t, scripted(t, d, sealed(t, pubsub.Signed, key)), ">")
			sender := &script{}
			bus := scripted(t, sender, sealed(t, pubsub.Signed, key))
			publish := func() pubsub.Message {
				_, err := bus.Publish(t.Context(), "a", nil)
				require.NoError(t, err)
				wire := sender.wire()
				return wire[len(wire)-1]
			}
			old, late := publish(), publish()
			time.Sleep(envelope.FirstContact + time.Second)

			d.send(carried(old))
			require.EqualValues(t, 1, s.Stats().Refused)

			d.send(carried(publish()))
			require.EqualValues(t, 1, s.Stats().Received)
			d.send(carried(late))
			require.EqualValues(t, 1, s.Stats().Duplicates, "it is older than what was heard")

			slow := publish()
			time.Sleep(time.Hour)
			d.send(carried(slow))
			require.EqualValues(t, 2, s.Stats().Received, "a known sender's may be late")
		})
	})
	t.Run("to another of a group", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &script{}
			s := subscribe(t, scripted(t, d, sealed(t, pubsub.Signed, key)), ">", pubsub.Group("g"))
			wire := all(t, sealed(t, pubsub.Signed, key), "a", "a")
			d.send(carried(wire[0]))
			require.EqualValues(t, 1, s.Stats().Received)
			time.Sleep(envelope.FirstContact + time.Second)

			d.send(carried(wire[1])) // which another member has had

			require.EqualValues(t, 1, s.Stats().Refused)
		})
	})
}

func TestNodesThatSealAndNodesThatDoNot(t *testing.T) {
	key := envelope.NewKey()
	options := map[string]pubsub.Options{
		"no key": {Logger: slog.New(slog.DiscardHandler)},
		"plain":  sealed(t, pubsub.Plain, key),
		"signed": sealed(t, pubsub.Signed, key),
		"secret": sealed(t, pubsub.Secret, key),
	}
	heard := map[string][]string{ // by the receiver
		"no key": {"no key", "plain"},
		"plain":  {"no key", "plain", "signed", "secret"},
		"signed": {"signed", "secret"},
		"secret": {"signed", "secret"},
	}
	for receiver, senders := range heard {
		d := &script{}
		s := subscribe(t, scripted(t, d, options[receiver]), ">")
		for _, sender := range []string{"no key", "plain", "signed", "secret"} {
			d.send(carried(sniff(t, options[sender], pubsub.Message{Subject: "s", Payload: []byte(sender)})[0]))
		}

		require.Equal(t, senders, payloads(waiting(t, s)), receiver)
		require.EqualValues(t, 4-len(senders), s.Stats().Refused, receiver)
	}
}

func TestSealsRotateTheirKeysWithoutAPause(t *testing.T) {
	older, newer := envelope.NewKey(), envelope.NewKey()
	steps := [][]string{{older}, {older, newer}, {newer, older}, {newer}}
	for _, p := range []pubsub.Protection{pubsub.Signed, pubsub.Secret} {
		for i := range steps[:3] {
			for _, pair := range [][2][]string{{steps[i], steps[i+1]}, {steps[i+1], steps[i]}} {
				d := &script{}
				s := subscribe(t, scripted(t, d, sealed(t, p, pair[0]...)), ">")
				d.send(carried(sniff(t, sealed(t, p, pair[1]...), pubsub.Message{Subject: "s", Payload: []byte("x")})[0]))
				require.Equal(t, []string{"x"}, payloads(waiting(t, s)), "step %d", i)
			}
		}
	}
}

func TestASealCountsAmongTheBytesOfAMessage(t *testing.T) {
	d := &script{}
	bus := scripted(t, d, sealed(t, pubsub.Signed, envelope.NewKey())) // 64 KiB are allowed
	headers := map[string]string{"k": "v"}

	_, err := bus.PublishMany(t.Context(), []pubsub.Message{{Subject: "s", Payload: make([]byte, 1<<16-400), Headers: headers}})
	require.NoError(t, err)
	require.LessOrEqual(t, len(d.wire()[0].Payload)+len("Backplane-Sealed1"), 1<<16)

	_, err = bus.Publish(t.Context(), "s", make([]byte, 1<<16-100))
	require.ErrorIs(t, err, fault.TooLarge)
	require.ErrorContains(t, err, "sealed")
}

func TestASealNeedsGoodKeys(t *testing.T) {
	_, err := pubsub.NewSeal(nil, pubsub.Signed)
	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, "backplane key")
	_, err = pubsub.NewSeal([]string{"hunter2"}, pubsub.Plain)
	require.ErrorIs(t, err, fault.Invalid)
	require.NotContains(t, err.Error(), "hunter2")
	_, err = pubsub.NewSeal(nil, pubsub.Plain)
	require.NoError(t, err)
}

// However calls cross each other on the way, no message of our own is taken for a repeat.
func TestManySealedPublishersLoseNothing(t *testing.T) {
	buses := overMemory(t, 2, sealed(t, pubsub.Secret, envelope.NewKey()))
	s := subscribe(t, buses[1], ">", pubsub.Buffer(20_000))
	many := make([]pubsub.Message, 3000)
	for i := range many {
		many[i] = pubsub.Message{Subject: "s0", Payload: []byte("x")}
	}
	errs := make([]error, 8)
	var publishing sync.WaitGroup
	for n := range errs {
		publishing.Go(func() {
			if n == 0 {
				_, errs[n] = buses[0].PublishMany(t.Context(), many)
			}
			for range 200 {
				_, err := buses[0].Publish(t.Context(), fmt.Sprintf("s%d", n%5), []byte("x"))
				errs[n] = errors.Join(errs[n], err)
			}
		})
	}
	publishing.Wait()
	require.NoError(t, errors.Join(errs...))

	next(t, s, 3000+8*200)
	stats := s.Stats()
	require.Zero(t, stats.Refused+stats.Duplicates+stats.Missed+stats.Dropped)
}
