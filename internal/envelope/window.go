package envelope

// WindowSize is how far behind the newest frame of a lane another may come and still be told from a repeat.
const WindowSize = 1024

// window remembers which sequences of a lane were seen: every one up to WindowSize behind the newest. What is older
// counts as seen, and so does everything before the first: a receiver that meets a lane late never accepts what was
// sent before.
type window struct {
	first, newest uint64
	seen          [WindowSize / 64]uint64 // bit seq%WindowSize, for the sequences in (newest-WindowSize, newest]
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
	case seq < w.first, w.newest-seq >= WindowSize, w.seen[seq%WindowSize/64]&(1<<(seq%64)) != 0:
		return false
	}
	w.seen[seq%WindowSize/64] |= 1 << (seq % 64)
	return true
}
