package memory

// ring is a list with two ends, in a buffer that grows and shrinks with it. The zero ring is empty.
type ring[T any] struct {
	buffer []T // its length is 0 or a power of two
	head   int
	size   int
}

const smallRing = 8

func (r *ring[T]) slot(i int) *T { return &r.buffer[(r.head+i)&(len(r.buffer)-1)] }

func (r *ring[T]) at(i int) T { return *r.slot(i) }

func (r *ring[T]) push(v T, front bool) {
	if r.size == len(r.buffer) {
		r.resize(max(smallRing, 2*len(r.buffer)))
	}
	if front {
		r.head = (r.head - 1) & (len(r.buffer) - 1)
		*r.slot(0) = v
	} else {
		*r.slot(r.size) = v
	}
	r.size++
}

// pop takes from an end of a ring that is not empty.
func (r *ring[T]) pop(back bool) T {
	var none T
	last := 0
	if back {
		last = r.size - 1
	}
	v := *r.slot(last)
	*r.slot(last) = none
	if !back {
		r.head = (r.head + 1) & (len(r.buffer) - 1)
	}
	r.size--
	if r.size < len(r.buffer)/4 && len(r.buffer) > smallRing {
		r.resize(len(r.buffer) / 2)
	}
	return v
}

func (r *ring[T]) resize(n int) {
	buffer := make([]T, n)
	for i := range r.size {
		buffer[i] = r.at(i)
	}
	r.buffer, r.head = buffer, 0
}
