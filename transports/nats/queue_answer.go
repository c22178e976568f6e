package nats

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// senders remembers the last number of each sender that has settled through this node: what is newer needs no look at
// the store. A sender sends through one node; a repeat through another finds the store's answer.
type senders struct {
	mu   sync.Mutex
	last map[string]uint64
}

func (s *senders) init() { s.last = map[string]uint64{} }

func (s *senders) get(sender string) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, known := s.last[sender]
	return n, known
}

func (s *senders) put(sender string, number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.last) >= mostRemembered {
		clear(s.last)
	}
	s.last[sender] = number
}

// repeated answers a batch that is not newer than the sender's last.
func (d *queueDriver) repeated(ctx context.Context, s *queue.Settlements) (answers []error, is bool, err error) {
	if number, known := d.senders.get(s.Worker); known && s.Number > number {
		return nil, false, nil
	}
	m, err := d.readOne(ctx, d.names.stream, wanted{Last: d.names.answer(s.Worker)})
	if err != nil {
		return nil, false, err
	}
	if m.seq == 0 {
		return nil, false, nil
	}
	if len(m.data) < 9 {
		return nil, false, corruptTask("the answer to the last batch cannot be decoded")
	}
	number, codes := binary.BigEndian.Uint64(m.data[1:]), m.data[9:]
	switch {
	case s.Number > number:
		return nil, false, nil
	case s.Number < number:
		return nil, false, fault.New(fault.Conflict, "batch %d is old: the last one was %d", s.Number, number)
	case len(codes) != len(s.Items):
		return nil, false, fault.New(fault.Conflict, "batch %d was another one, with %d settlements", number, len(codes))
	}
	answers = make([]error, len(codes))
	for i, code := range codes {
		const op = "queue: settle"
		switch answerCode(code) {
		case answerOK:
		case answerLost:
			answers[i] = d.leaseLost(op, s.Items[i].Ref)
		default:
			if answers[i] = d.check.Settlement(&s.Items[i]); answers[i] == nil {
				answers[i] = d.core.fault(fault.New(fault.Conflict, "batch %d was another one", number), op, s.Items[i].ID)
			}
		}
	}
	return answers, true, nil
}

// answerCode is how the answer to one settlement is stored.
type answerCode byte

const (
	answerOK answerCode = iota
	answerLost
	answerRefused // by what the settlement itself says, so that it can be found out again
)

const answerVersion = 1

// conclude stores the answer to a batch and adds up what has happened, together.
func (d *queueDriver) conclude(ctx context.Context, s *queue.Settlements, errs []error, counted tally) error {
	writes := counted.writes(&d.names, s)
	if s.Number > 0 {
		data := binary.BigEndian.AppendUint64([]byte{answerVersion}, s.Number)
		for _, err := range errs {
			code := answerRefused
			switch {
			case err == nil:
				code = answerOK
			case fault.CodeOf(err) == fault.LeaseLost:
				code = answerLost
			}
			data = append(data, byte(code))
		}
		writes = append(writes, write{subject: d.names.answer(s.Worker), data: data, ttl: answerMemory, rollup: true})
	}
	answers, err := d.write(ctx, writes)
	if err != nil {
		return err
	}
	for _, a := range answers {
		if a.err != nil {
			return a.err
		}
	}
	if s.Number > 0 {
		d.senders.put(s.Worker, s.Number)
	}
	return nil
}
