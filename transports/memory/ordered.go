package memory

import (
	"iter"
	"slices"
	"sort"
)

// blockSize is the most elements of one block: moving that many costs less than following as many pointers.
const blockSize = 256

// ordered is a set in order, as blocks of sorted elements: a B+ tree of two levels. Inserting, removing and seeking take
// a binary search and the moving of at most a block; the list of blocks changes once in many calls, so that the cost
// hardly grows with the size (see BenchmarkOrdered).
//
// What compare looks at must not change while an element is in the set.
type ordered[T any] struct {
	compare func(a, b T) int
	blocks  [][]T // none is empty
	size    int
}

// search finds the block and place where v is, or belongs.
func (o *ordered[T]) search(v T) (block, place int, found bool) {
	block = sort.Search(len(o.blocks), func(i int) bool { return o.compare(o.blocks[i][0], v) > 0 }) - 1
	if block < 0 {
		return 0, 0, false
	}
	place, found = slices.BinarySearchFunc(o.blocks[block], v, o.compare)
	return block, place, found
}

// insert adds v, or replaces its equal.
func (o *ordered[T]) insert(v T) {
	if len(o.blocks) == 0 {
		o.blocks = append(o.blocks, append(make([]T, 0, 8), v))
		o.size++
		return
	}
	b, place, found := o.search(v)
	block := o.blocks[b]
	if found {
		block[place] = v
		return
	}
	o.size++
	switch {
	case len(block) < blockSize:
		o.blocks[b] = slices.Insert(block, place, v)
	case place == blockSize && b == len(o.blocks)-1:
		// What only grows at its end, as a queue does, is kept in full blocks.
		o.blocks = append(o.blocks, append(make([]T, 0, blockSize), v))
	default:
		const half = blockSize / 2
		right := append(make([]T, 0, blockSize), block[half:]...)
		clear(block[half:])
		o.blocks[b] = block[:half]
		o.blocks = slices.Insert(o.blocks, b+1, right)
		if place > half {
			b, place = b+1, place-half
		}
		o.blocks[b] = slices.Insert(o.blocks[b], place, v)
	}
}

// remove takes v out, and reports whether it was there.
func (o *ordered[T]) remove(v T) bool {
	b, place, found := o.search(v)
	if !found {
		return false
	}
	o.size--
	block := o.blocks[b]
	if place == 0 {
		clear(block[:1])
		block = block[1:]
	} else {
		block = slices.Delete(block, place, place+1)
	}
	o.blocks[b] = block
	switch {
	case len(block) == 0 && b == 0:
		o.blocks[0] = nil
		o.blocks = o.blocks[1:]
	case len(block) == 0:
		o.blocks = slices.Delete(o.blocks, b, b+1)
	case b+1 < len(o.blocks) && len(block)+len(o.blocks[b+1]) <= blockSize/2:
		o.blocks[b] = append(block, o.blocks[b+1]...)
		o.blocks = slices.Delete(o.blocks, b+1, b+2)
	}
	return true
}

// first is the least element.
func (o *ordered[T]) first() (v T, found bool) {
	if len(o.blocks) == 0 {
		return v, false
	}
	return o.blocks[0][0], true
}

// from yields the elements that are not less than v, in order. The set must not be changed meanwhile.
func (o *ordered[T]) from(v T) iter.Seq[T] {
	return func(yield func(T) bool) {
		b, place, _ := o.search(v)
		for ; b < len(o.blocks); b++ {
			for _, each := range o.blocks[b][place:] {
				if !yield(each) {
					return
				}
			}
			place = 0
		}
	}
}
