package saboteurs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
)

func messageSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "message-headers-are-lower-cased",
			Case: "pubsub/message/headers-keep-case-and-bytes", Collateral: []string{"pubsub/message/every-field-*"},
			sabotage: changingMessages(func(m *pubsub.Message) {
				headers := map[string]string{}
				for key, value := range m.Headers {
					headers[strings.ToLower(key)] = value
				}
				m.Headers = headers
			}),
		},
		{
			Name: "payloads-are-cut", // at 32 KiB
			Case: "pubsub/message/every-payload-survives", Collateral: []string{"pubsub/message/the-largest-*", "pubsub/message/headers-count-*", "pubsub/message/a-batch-*"},
			sabotage: changingMessages(func(m *pubsub.Message) { m.Payload = m.Payload[:min(len(m.Payload), 32<<10)] }),
		},
		{
			Name: "payloads-are-taken-for-text",
			Case: "pubsub/message/every-payload-survives", Collateral: []string{"pubsub/message/the-largest-*", "pubsub/message/headers-count-*", "pubsub/group/unusual-names"},
			sabotage: changingMessages(func(m *pubsub.Message) {
				if len(m.Payload) < 1<<17 {
					m.Payload = []byte(strings.ToValidUTF8(string(m.Payload), "\uFFFD"))
				}
			}),
		},
		{
			Name: "empty-messages-are-dropped",
			Case: "pubsub/message/an-empty-one-arrives-too", Collateral: []string{"pubsub"},
			sabotage: changingDelivery(func(int, pubsub.Filter) func([]pubsub.Event) []pubsub.Event {
				return func(events []pubsub.Event) []pubsub.Event {
					return slices.DeleteFunc(events, func(e pubsub.Event) bool { return e.Message != nil && len(e.Message.Payload) == 0 })
				}
			}),
		},
		{
			Name:     "numbers-are-floats",
			Case:     "pubsub/message/numbers-are-carried-as-they-are",
			sabotage: changingMessages(func(m *pubsub.Message) { m.Seq, m.SubjectSeq = uint64(float64(m.Seq)), uint64(float64(m.SubjectSeq)) }),
		},
		{
			Name: "large-messages-are-cut",
			Case: "pubsub/message/the-largest-payload-and-not-one-byte-more", Collateral: []string{"pubsub/message/a-batch-*", "pubsub/message/headers-count-*"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
				b.publish = func(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
					return honest.Publish(ctx, altered(messages, func(m *pubsub.Message) {
						m.Payload = m.Payload[:min(len(m.Payload), honest.Capabilities.MaxPayload)]
					}))
				}
			}),
		},
		{
			Name: "subscribers-share-a-payload",
			Case: "pubsub/message/what-is-delivered-is-shared-with-nobody",
			sabotage: func(s *sabotaged) {
				kept := &shared[pubsub.Message]{of: map[string]pubsub.Message{}}
				changingDelivery(func(int, pubsub.Filter) func([]pubsub.Event) []pubsub.Event {
					return func(events []pubsub.Event) []pubsub.Event {
						for _, e := range events {
							if m := e.Message; m != nil && m.Sender != "" {
								same := kept.first(fmt.Sprint(m.Sender, m.Seq, m.Subject), *m)
								m.Payload, m.Headers = same.Payload, same.Headers
							}
						}
						return events
					}
				})(s)
			},
		},
		{
			Name: "one-bad-message-refuses-its-batch",
			Case: "pubsub/message/a-batch-has-a-receipt-for-each", Collateral: []string{"pubsub/subject/bad-ones-*"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
				b.publish = func(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
					for i, m := range messages {
						if receipts, err := honest.Publish(ctx, nil); err != nil {
							return receipts, err
						}
						if len(m.Payload) > honest.Capabilities.MaxPayload && len(messages) > 1 {
							return nil, &fault.Error{Code: fault.TooLarge, Op: "pubsub: publish", Message: fmt.Sprintf("message %d", i)}
						}
					}
					return honest.Publish(ctx, messages)
				}
			}),
		},
		{
			Name: "receivers-are-always-0",
			Case: "pubsub/receipt/somebody-there-is-not-0", Collateral: []string{"pubsub/receipt"},
			sabotage: changingMessageReceipts(func(r *pubsub.Receipt) { r.Receivers = 0 }),
		},
		{
			Name: "receivers-are-never-0",
			Case: "pubsub/receipt/nobody-there-is-0", Collateral: []string{"pubsub/receipt"},
			sabotage: changingMessageReceipts(func(r *pubsub.Receipt) { r.Receivers = max(r.Receivers, 1) }),
		},
		{
			Name: "one-sender-is-reordered", // its every tenth message overtakes the one before
			Case: "pubsub/order/one-publishers-calls", Collateral: []string{"pubsub"},
			sabotage: changingDelivery(func(int, pubsub.Filter) func([]pubsub.Event) []pubsub.Event {
				var held []pubsub.Event
				n := 0
				return func(events []pubsub.Event) []pubsub.Event {
					var out []pubsub.Event
					for _, e := range events {
						if n++; n%10 == 5 && len(held) == 0 {
							held = append(held, e)
							continue
						}
						out = append(append(out, e), held...)
						held = nil
					}
					return out
				}
			}),
		},
		{
			Name: "batches-are-sent-backwards",
			Case: "pubsub/order/within-a-batch", Collateral: []string{"pubsub"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
				b.publish = func(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
					backwards := slices.Clone(messages)
					slices.Reverse(backwards)
					receipts, err := honest.Publish(ctx, backwards)
					slices.Reverse(receipts)
					return receipts, err
				}
			}),
		},
	}
}

func changingMessageReceipts(change func(*pubsub.Receipt)) func(*sabotaged) {
	return broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
		b.publish = func(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
			receipts, err := honest.Publish(ctx, messages)
			for i := range receipts {
				if receipts[i].Err == nil {
					change(&receipts[i])
				}
			}
			return receipts, err
		}
	})
}
