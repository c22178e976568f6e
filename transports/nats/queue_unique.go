package nats

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// A unique key's message says which task holds it, and names the holding. It is only a hint at where to look: the key is
// held as long as that task is there, has not ended, and has that holding. So nothing has to be given back when a task
// ends, in whatever way, and a key is taken over by replacing its message under the condition that it is still the one
// whose holder was found to have ended.
type claimKey struct {
	ID    []byte `json:"id"` // JSON knows no texts that are not UTF-8
	Hold  string `json:"hold"`
	Until int64  `json:"until,omitempty"` // ms since 1970; 0: no end
}

const (
	// mostBatches is how many atomic batches a node has under way at once; a stream takes 50.
	mostBatches = 8
	// batchPatience is the first pause after the stream had too many of them.
	batchPatience = 5 * time.Millisecond
)

const (
	apiTooManyBatches jetstream.ErrorCode = 10210
	apiBatchCutOff    jetstream.ErrorCode = 10176
)

// enqueueUnique stores one task with a unique key.
func (d *queueDriver) enqueueUnique(ctx context.Context, a *arrival) error {
	for range enqueueTries {
		holder, seq, err := d.keyHolder(ctx, a.queue, a.task.UniqueKey)
		if err != nil {
			return err
		}
		if again, err := d.refusedOne(ctx, a); err != nil || !again {
			return err
		}
		if holder != "" {
			a.receipt.ID, a.receipt.Duplicate = holder, true
			return nil
		}
		hold := d.nonces.next()
		answer, err := d.writeBatch(ctx, d.keyWrite(a.queue, a.task, hold, seq), d.entry(a, hold))
		if err != nil || answer.err != nil {
			if err == nil {
				a.receipt.Err = d.core.fault(answer.err, "queue: enqueue", a.task.ID)
			}
			return err
		}
		if !answer.refused {
			return nil
		}
	}
	return fault.New(fault.Unavailable, "tasks with the unique key %q come and go all the time; try again", a.task.UniqueKey)
}

// refusedOne says whether a task can be stored as far as its ID is concerned; if not, it has its receipt.
func (d *queueDriver) refusedOne(ctx context.Context, a *arrival) (free bool, err error) {
	again, err := d.refused(ctx, []*arrival{a})
	return len(again) > 0, err
}

// keyWrite takes a key for a task, if its message is still the one with that sequence.
func (d *queueDriver) keyWrite(q string, t *queue.Task, hold string, seq uint64) write {
	key := claimKey{ID: []byte(t.ID), Hold: hold}
	if t.UniqueFor > 0 {
		key.Until = d.clock.now().Add(t.UniqueFor).UnixMilli() + 1
	}
	data, _ := json.Marshal(key) // texts and numbers
	subject := d.names.unique(q, taskToken(t.UniqueKey))
	return write{subject: subject, data: data, of: subject, expected: seq, rollup: true}
}

func readClaimKey(m kept) (key claimKey, err error) {
	if err := json.Unmarshal(m.data, &key); err != nil {
		return key, corruptTask("the record of a unique key cannot be decoded: %w", err)
	}
	return key, nil
}

// keyHolder is the ID of the task that holds a key, or empty, and the sequence of the key's message.
func (d *queueDriver) keyHolder(ctx context.Context, q, name string) (id string, seq uint64, err error) {
	m, err := d.readOne(ctx, d.names.stream, wanted{Last: d.names.unique(q, taskToken(name))})
	if err != nil || m.seq == 0 {
		return "", 0, err
	}
	key, err := readClaimKey(m)
	if err != nil {
		return "", 0, err
	}
	if key.Until > 0 && d.clock.now().UnixMilli() >= key.Until {
		return "", m.seq, nil
	}
	holds, err := d.holds(ctx, q, key)
	if err != nil || !holds {
		return "", m.seq, err
	}
	return string(key.ID), m.seq, nil
}

// holds tells whether a task has not ended and has the holding. One read sees all that there is of a task; only if the
// last of it is ready, it may be a leftover.
func (d *queueDriver) holds(ctx context.Context, q string, key claimKey) (bool, error) {
	id := taskToken(string(key.ID))
	m, err := d.readOne(ctx, d.names.stream, wanted{Last: d.names.anyOf(q, id)})
	if err != nil || m.seq == 0 {
		return false, err
	}
	if place, ok := d.names.parse(m.subject); ok && place.isRaw {
		held, err := d.readOne(ctx, d.names.stream, wanted{Last: d.names.heldOf(q, id)})
		if err != nil {
			return false, err
		}
		if held.seq > 0 {
			m = held
		}
	}
	place, ok := d.names.parse(m.subject)
	if !ok || !place.isRaw && place.kind != heldLease && place.kind != heldScheduled {
		return false, nil
	}
	p, _, err := readTaskRecord(m.data)
	return err != nil || p.hold == key.Hold, nil // a damaged one holds what it may hold
}

// writeBatch stores messages together or not at all.
func (d *queueDriver) writeBatch(ctx context.Context, all ...write) (wrote, error) {
	select {
	case d.batches <- struct{}{}:
		defer func() { <-d.batches }()
	case <-ctx.Done():
		return wrote{}, ctx.Err()
	}
	for try := 1; ; try++ {
		batch := d.nonces.next()
		var answer wrote
		err := d.wire.ask(ctx, len(all), func(i int) *nats.Msg {
			m := all[i].message()
			m.Header[headerBatchID] = []string{batch}
			m.Header[headerBatchSeq] = []string{strconv.Itoa(i + 1)}
			if i == len(all)-1 {
				m.Header[headerBatchEnd] = []string{"1"}
			}
			return m
		}, func(i int, m *nats.Msg) bool {
			if len(m.Data) > 0 || m.Header.Get(headerStatus) != "" { // empty: taken so far
				answer = readWrote(m)
			}
			return true
		})
		if err != nil {
			return answer, err
		}
		var api *jetstream.APIError
		isBusy := answer.again
		if e, ok := answer.err.(*jetstream.APIError); ok {
			api = e
			isBusy = isBusy || api.ErrorCode == apiTooManyBatches || api.ErrorCode == apiBatchCutOff
		}
		if !isBusy || try == writeTries {
			return answer, nil
		}
		if err := rest(ctx, time.Duration(try)*batchPatience); err != nil {
			return answer, err
		}
	}
}

// freeKeys clears the keys of tasks that have ended away, some time: nobody depends on it.
func (d *queueDriver) freeKeys(s *queue.Settlements, all []*grip) {
	var ended []*grip
	for _, h := range all {
		if h.err == nil && h.token.flags&claimUnique != 0 && h.record != nil &&
			(s.Items[h.index].Outcome == queue.Done || s.Items[h.index].Outcome == queue.Dead || h.p.cancel) {
			ended = append(ended, h)
		}
	}
	if len(ended) == 0 {
		return
	}
	d.start(func() {
		ctx, cancel := context.WithTimeout(d.core.life, courierPatience)
		defer cancel()
		for _, h := range ended {
			if t, err := readTask(h.record, &h.p); err == nil {
				d.freeKey(ctx, h.queue, t.UniqueKey, h.p.hold)
			}
		}
	})
}

// freeKey clears one key away if it is still of that holding.
func (d *queueDriver) freeKey(ctx context.Context, q, name, hold string) {
	m, err := d.readOne(ctx, d.names.stream, wanted{Last: d.names.unique(q, taskToken(name))})
	if err != nil || m.seq == 0 {
		return
	}
	if key, err := readClaimKey(m); err == nil && key.Hold == hold {
		_ = d.remove(ctx, m.seq) // the next one who wants it replaces it
	}
}
