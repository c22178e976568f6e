package nats

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

// TestARepeatedChangeTakesTheOldLeaseAway is about a server that was killed after it had stored a change, and before it had
// purged what the change replaces and answered.
func TestARepeatedChangeTakesTheOldLeaseAway(t *testing.T) {
	for name, c := range map[string]struct {
		half  func(d *queueDriver, s *queue.Settlements, h *grip) write
		again func(d *queueDriver, s queue.Settlements) ([]error, error)
		left  int64 // active tasks
	}{
		"settlement": {
			func(d *queueDriver, s *queue.Settlements, h *grip) write {
				h.mark = settlementMark(s.Worker, s.Number, 0, h.token.n)
				return d.settlement(&s.Items[0], h)
			},
			func(d *queueDriver, s queue.Settlements) ([]error, error) { return d.Settle(t.Context(), s) },
			0,
		},
		"heartbeat": {
			func(d *queueDriver, _ *queue.Settlements, h *grip) write {
				there, _, err := d.learn(t.Context(), []*grip{h})
				require.NoError(t, err)
				require.Len(t, there, 1)
				return d.lease(h, &h.p, d.nonces.next())
			},
			func(d *queueDriver, s queue.Settlements) ([]error, error) {
				return d.Extend(t.Context(), []queue.Ref{s.Items[0].Ref})
			},
			1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			node, err := transports.OpenURL(ctx, testserver.SharedNATS(t).URL(), transports.Settings{Namespace: testserver.Namespace(t)})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, node.Close()) })
			d := node.Queue().Driver.(*queueDriver)
			_, err = d.Enqueue(ctx, []queue.Task{{ID: "t", Kind: "k", Queue: "q", MaxAttempts: 5, MaxLost: 5}})
			require.NoError(t, err)
			claimed, err := d.Claim(ctx, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1})
			require.NoError(t, err)
			require.Len(t, claimed.Tasks, 1)
			batch := queue.Settlements{Worker: "w", Number: 1, Items: []queue.Settlement{{Ref: claimed.Tasks[0].Ref(), Outcome: queue.Done}}}
			h, ok := d.hold(0, batch.Items[0].Ref)
			require.True(t, ok)
			w := c.half(d, &batch, h)
			w.purges = ""
			answers, err := d.write(ctx, []write{w})
			require.NoError(t, err)
			require.NoError(t, answers[0].err)
			require.False(t, answers[0].refused)
			stats, err := node.Queue().Admin.Stats(ctx, "q")
			require.NoError(t, err)
			require.Equal(t, c.left+1, stats.Active, "the old lease is there")

			errs, err := c.again(d, batch)

			require.NoError(t, err)
			require.NoError(t, errs[0])
			stats, err = node.Queue().Admin.Stats(ctx, "q")
			require.NoError(t, err)
			require.Equal(t, c.left, stats.Active, "the old lease is still there")
		})
	}
}
