package envelope

// WindowSize is how far behind the newest frame of a lane another may come and still be told from a repeat.
const WindowSize = 1024

// window remembers which sequences of a lane were seen: every one up to WindowSize behind the newest. What is older
// counts as seen.
type window struct {
	first  uint64 // that came; there may have been ones before it, when we did not listen
	newest uint64
	seen   [WindowSize / 64]uint64 // bit seq%WindowSize, for the sequences in (newest-WindowSize, newest]
}

// accept reports whether seq is seen for the first time, and remembers it.
func (w *window) accept(seq uint64) bool {
	switch {
	case seq == 0:
		return false
	case w.newest == 0:
		w.first, w.newest = seq, seq
	case seq > w.newest:
		if seq-w.newest >= WindowSize {
			clear(w.seen[:])
		} else {
			for s := w.newest + 1; s <= seq; s++ {
				w.seen[s%WindowSize/64] &^= 1 << (s % 64)
			}
		}
		w.newest = seq
	case w.newest-seq >= WindowSize, w.seen[seq%WindowSize/64]&(1<<(seq%64)) != 0:
		return false
	}
	w.seen[seq%WindowSize/64] |= 1 << (seq % 64)
	return true
}
