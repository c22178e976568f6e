package nats

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// What is counted. Enqueued tasks are not: that they are all those that are there or were completed or removed is found
// out by who asks, and storing a task stays one message.
const (
	countDuplicates = "duplicates"
	countCompleted  = "completed"
	countRetried    = "retried"
	countSnoozed    = "snoozed"
	countReleased   = "released"
	countDead       = "dead"
	countCancelled  = "cancelled"
	countLost       = "lost"
	countStale      = "stale"
	countRemoved    = "removed"  // that were not completed
	countReopened   = "reopened" // completed ones that were requeued
)

var allCounts = []string{
	countDuplicates, countCompleted, countRetried, countSnoozed, countReleased, countDead, countCancelled, countLost,
	countStale, countRemoved, countReopened,
}

// tally is what is to be added to counters.
type tally []addition

type addition struct {
	queue string // token
	count string
	n     int64
}

func (t *tally) add(q, count string, n int64) {
	for i := range *t {
		if a := &(*t)[i]; a.queue == q && a.count == count {
			a.n += n
			return
		}
	}
	*t = append(*t, addition{q, count, n})
}

// writes are the messages that add a tally up. Those of a numbered batch are known for repeats if they come again.
func (t tally) writes(names *queueSubjects, s *queue.Settlements) []write {
	writes := make([]write, len(t))
	for i, a := range t {
		writes[i] = write{subject: names.total(a.queue, a.count), incr: a.n}
		if s != nil && s.Number > 0 {
			writes[i].id = queueHash(s.Worker + "/" + strconv.FormatUint(s.Number, 10) + "/" + a.queue + "/" + a.count)
		}
	}
	return writes
}

// addTotals adds a tally up.
func (d *queueDriver) addTotals(ctx context.Context, t tally) error {
	answers, err := d.write(ctx, t.writes(&d.names, nil))
	if err != nil {
		return err
	}
	for _, a := range answers {
		if a.err != nil {
			return a.err
		}
	}
	return nil
}

// totals reads the counters of a queue.
func (d *queueDriver) totals(ctx context.Context, q string) (map[string]int64, error) {
	asked := make([]wanted, len(allCounts))
	for i, count := range allCounts {
		asked[i].Last = d.names.total(q, count)
	}
	found, err := d.read(ctx, d.names.counts, asked...)
	if err != nil {
		return nil, err
	}
	sums := make(map[string]int64, len(found))
	for i, m := range found {
		if m.seq == 0 {
			continue
		}
		var counter struct {
			Value string `json:"val"`
		}
		err := json.Unmarshal(m.data, &counter)
		if err == nil {
			sums[allCounts[i]], err = strconv.ParseInt(counter.Value, 10, 64)
		}
		if err != nil {
			return nil, fault.New(fault.Corrupt, "the counter %s cannot be read: %w", allCounts[i], err)
		}
	}
	return sums, nil
}
