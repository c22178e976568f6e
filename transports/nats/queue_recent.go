package nats

import "sync"

// recent remembers the messages that were taken away last, by their sequences, to take them away once more when the link
// was lost. That a ready message was claimed is said without waiting for an answer, and the word may be lost. That a held
// message was purged by its successor is true of the server's memory at first: one that is killed then has both when it
// comes back, and would make a ready task of the old one when its time comes, for whatever lease or delay it was.
type recent struct {
	mu   sync.Mutex
	seqs [mostRecent]uint64
	next int
}

// mostRecent is more than what is under way on a link at once, and than what a server has not written down yet.
const mostRecent = 4096

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
