package nats

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/queue"
)

// Stats counts one queue. Where one server keeps the tasks it costs a few small reads. Where several do, only the one that
// leads is sure to know what was just written, and it counts by listing: that costs as much as there are tasks in the
// queue, up to mostListed; for longer queues any server is asked, and the counts may be some milliseconds old.
//
// Totals.Enqueued is reckoned from what there is and what has left; while tasks move it may be off by those that move.
func (a *queueAdmin) Stats(ctx context.Context, name string) (queue.Stats, error) {
	const op = "queue: stats"
	if err := a.begin(ctx, op, name); err != nil {
		return queue.Stats{}, err
	}
	stats, err := a.d.stats(ctx, name)
	return stats, a.d.core.fault(err, op, name)
}

func (d *queueDriver) stats(ctx context.Context, name string) (queue.Stats, error) {
	q := taskToken(name)
	stats := queue.Stats{Queue: name}
	setting, err := d.settingOf(ctx, q)
	if err != nil || !setting.known() {
		return stats, err
	}
	stats.Paused = setting.Paused
	setting.Paused = false
	lanes := d.appendLanes(nil, q, setting)
	counts, err := d.counts(ctx, q, lanes)
	if err != nil {
		return stats, err
	}
	of := func(held string) int64 { return counts[d.names.state(q, held)] }
	stats.Scheduled, stats.Active, stats.Completed = of(heldScheduled), of(heldLease), of(heldCompleted)
	stats.Dead, stats.Cancelled = of(heldDead), of(heldCancelled)
	for _, l := range lanes {
		filter := d.names.lane(q, l.name)
		if stats.Pending == 0 && counts[filter] > 0 {
			first, err := d.readOne(ctx, d.names.stream, wanted{Seq: 1, Next: filter})
			if err != nil {
				return stats, err
			}
			if p, _, err := readTaskRecord(first.data); err == nil { // a damaged one is told of by List
				stats.OldestPending = max(0, d.clock.now().Sub(p.stored))
			}
		}
		stats.Pending += counts[filter]
	}
	sums, err := d.totals(ctx, q)
	if err != nil {
		return stats, err
	}
	there := stats.Pending + stats.Scheduled + stats.Active + stats.Dead + stats.Cancelled
	stats.Totals = queue.Totals{
		Enqueued:   there + sums[countCompleted] + sums[countRemoved] - sums[countReopened],
		Duplicates: sums[countDuplicates], Completed: sums[countCompleted], Retried: sums[countRetried],
		Snoozed: sums[countSnoozed], Released: sums[countReleased], Dead: sums[countDead], Cancelled: sums[countCancelled],
		Lost: sums[countLost], Stale: sums[countStale],
	}
	return stats, nil
}

// counts gives how many tasks there are in each state and lane, by their filters.
func (d *queueDriver) counts(ctx context.Context, q string, lanes []*lane) (map[string]int64, error) {
	filters := make([]string, 0, len(heldState)+len(lanes))
	for _, held := range heldState {
		filters = append(filters, d.names.state(q, held))
	}
	for _, l := range lanes {
		filters = append(filters, d.names.lane(q, l.name))
	}
	if !d.direct {
		counts, complete, err := d.countByLeader(ctx, q)
		if err != nil || complete {
			return counts, err
		}
	}
	return d.countByAny(ctx, filters)
}

// countByAny asks whatever server answers.
func (d *queueDriver) countByAny(ctx context.Context, filters []string) (map[string]int64, error) {
	counts := make(map[string]int64, len(filters))
	var failed error
	err := d.wire.ask(ctx, len(filters), func(i int) *nats.Msg {
		data, _ := json.Marshal(map[string]any{"seq": 1, "batch": 1, "next_by_subj": filters[i]}) // texts and numbers
		return &nats.Msg{Subject: d.api + "DIRECT.GET." + d.names.stream, Data: data}
	}, func(i int, m *nats.Msg) bool {
		switch m.Header.Get(headerStatus) {
		case "":
			n, err := strconv.ParseInt(last(m.Header[headerPending]), 10, 64)
			if err != nil {
				failed = err
			}
			counts[filters[i]] = n + 1
			return false // the end is told
		case "503":
			failed = nats.ErrNoResponders
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return counts, err
}

// mostListed is how many subjects a server lists in one answer.
const mostListed = 100_000

// countByLeader has the leader list the queue's subjects. It is not complete for a queue that has too many.
func (d *queueDriver) countByLeader(ctx context.Context, q string) (counts map[string]int64, complete bool, err error) {
	counts = map[string]int64{}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		Total int                 `json:"total"`
		State struct {
			Subjects map[string]int64 `json:"subjects"`
		} `json:"state"`
	}
	data, _ := json.Marshal(map[string]string{"subjects_filter": d.names.root + ".t.*." + q + ".>"}) // texts
	var failed error
	err = d.wire.ask(ctx, 1, func(int) *nats.Msg {
		return &nats.Msg{Subject: d.api + "STREAM.INFO." + d.names.stream, Data: data}
	}, func(_ int, m *nats.Msg) bool {
		if m.Header.Get(headerStatus) == "503" {
			failed = nats.ErrNoResponders
			return true
		}
		if failed = json.Unmarshal(m.Data, &answer); failed == nil && answer.Error != nil {
			failed = answer.Error
		}
		return true
	})
	if err == nil {
		err = failed
	}
	ready := map[string]string{} // lanes by ID
	var held []string
	for subject := range answer.State.Subjects {
		place, ok := d.names.parse(subject)
		switch {
		case !ok:
		case place.isRaw:
			ready[place.id] = place.kind
		default:
			held = append(held, place.id)
			counts[d.names.state(q, place.kind)]++
		}
	}
	for _, id := range held {
		delete(ready, id) // it is a leftover
	}
	for _, lane := range ready {
		counts[d.names.lane(q, lane)]++
	}
	return counts, answer.Total <= mostListed, err
}
