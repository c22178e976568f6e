package saboteurs

import (
	"context"
	"slices"
	"strings"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
)

// leaking subscribes to more than was asked for, and lets through what fits.
func leaking(wanted func(filter string) bool, fits func(filter, subject string) bool) func(*sabotaged) {
	return broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
		b.subscribe = func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
			if !wanted(f.Subject) || len(f.Subject) > 100 {
				return honest.Subscribe(ctx, f, deliver)
			}
			probe, err := honest.Subscribe(ctx, f, func([]pubsub.Event) {}) // whatever is refused honestly stays refused
			if err != nil {
				return nil, err
			}
			_ = probe.Close()
			return honest.Subscribe(ctx, pubsub.Filter{Subject: ">", Group: f.Group}, func(events []pubsub.Event) {
				events = slices.DeleteFunc(events, func(e pubsub.Event) bool {
					return e.Message != nil && !fits(f.Subject, e.Message.Subject)
				})
				if len(events) > 0 {
					deliver(events)
				}
			})
		}
	})
}

func isLiteral(filter string) bool { return !strings.ContainsAny(filter, "*>") }

func matchSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "a-star-spans-dots", // as a store's own pattern does
			Case: "pubsub/subject/a-star-is-exactly-one-token", Collateral: []string{"pubsub"},
			sabotage: leaking(
				func(filter string) bool { return strings.Count(filter, "*") == 1 && !strings.Contains(filter, ">") },
				func(filter, subject string) bool {
					before, after, _ := strings.Cut(filter, "*")
					return len(subject) > len(before)+len(after) && strings.HasPrefix(subject, before) && strings.HasSuffix(subject, after)
				},
			),
		},
		{
			Name: "a-subject-is-a-prefix",
			Case: "pubsub/subject/subjects-that-begin-alike-are-different", Collateral: []string{"pubsub"},
			sabotage: leaking(isLiteral, func(filter, subject string) bool { return strings.HasPrefix(subject, filter) }),
		},
		{
			Name: "subjects-ignore-case",
			Case: "pubsub/subject/subjects-that-begin-alike-are-different", Collateral: []string{"pubsub"},
			sabotage: leaking(isLiteral, strings.EqualFold),
		},
		{
			Name: "a-tail-may-be-empty",
			Case: "pubsub/subject/a-tail-is-one-token-or-more", Collateral: []string{"pubsub"},
			sabotage: leaking(
				func(filter string) bool { return strings.HasSuffix(filter, ".>") && !strings.Contains(filter, "*") },
				func(filter, subject string) bool {
					stem := strings.TrimSuffix(filter, ".>")
					return subject == stem || strings.HasPrefix(subject, stem+".")
				},
			),
		},
		{
			Name: "a-tail-is-one-token",
			Case: "pubsub/subject/a-tail-is-one-token-or-more", Collateral: []string{"pubsub"},
			sabotage: changingFilters(func(_ int, f *pubsub.Filter) {
				if stem, is := strings.CutSuffix(f.Subject, ".>"); is && stem != "" && stem != ">" && !strings.HasSuffix(stem, ".>") {
					f.Subject = stem + ".*"
				}
			}),
		},
		{
			Name: "bad-subjects-are-passed-over", // without a word
			Case: "pubsub/subject/bad-ones-are-invalid-and-leave-the-others", Collateral: []string{"pubsub/subject/the-longest-*", "pubsub/message/a-batch-*"},
			sabotage: broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
				b.publish = func(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
					receipts, err := honest.Publish(ctx, messages)
					for i := range receipts {
						if fault.CodeOf(receipts[i].Err) == fault.Invalid {
							receipts[i] = pubsub.Receipt{}
						}
					}
					return receipts, err
				}
			}),
		},
	}
}
