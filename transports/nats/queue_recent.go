package nats

import "sync"

// recent remembers the ready messages that were taken away last. That they were is said without waiting for an answer; if
// the link breaks then, the word may be lost, and they are taken away by their sequence.
type recent struct {
	mu   sync.Mutex
	seqs [mostRecent]uint64
	next int
}

// mostRecent is more than what is under way on a link at once.
const mostRecent = 1024

func (r *recent) add(seqs ...uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, seq := range seqs {
		r.seqs[r.next%mostRecent] = seq
		r.next++
	}
}

// all gives them, and forgets them.
func (r *recent) all() []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []uint64
	for _, seq := range r.seqs {
		if seq > 0 {
			all = append(all, seq)
		}
	}
	r.seqs = [mostRecent]uint64{}
	return all
}
