package postgres

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

var cacheCapabilities = cache.Capabilities{
	MaxKey:      1 << 10,
	MaxValue:    16 << 20,
	MaxBatch:    4096,
	MinTTL:      time.Millisecond,
	Granularity: time.Microsecond,
	FenceMemory: 24 * time.Hour,
	Persistent:  true, // Open asks the server
}

// entries is the cache.Driver, cache.Lists and cache.Holders of one node.
type entries struct{ t *Transport }

func newCache(t *Transport) *cache.Backend {
	e := &entries{t}
	return &cache.Backend{Driver: e, Lists: lists{e}, Holders: e, Capabilities: cacheCapabilities}
}

// The codes that functions of sql/ answer.
const (
	codeDone = iota
	codeLocked
	codeOldFence
	codeCondition
	codeAbsent
	codeNoNumber
	codeOverflow
	codeLost
	codeCancelled
)

const smallerValue = "store it in parts, or elsewhere with a reference here"

// verdict is what a row says of one element, in the columns that all functions with guards have first.
type verdict struct {
	i      int
	code   int
	holder []byte
	fence  *int64
	ends   *time.Time
}

// columns are the scan targets of a verdict, and more.
func (v *verdict) columns(more ...any) []any {
	return append([]any{&v.i, &v.code, &v.holder, &v.fence, &v.ends}, more...)
}

// fault is the error that a verdict stands for.
func (v *verdict) fault(op, name string) error {
	at := check{op, name}
	switch v.code {
	case codeDone:
		return nil
	case codeLocked:
		return lockedBy(op, name, string(v.holder), *v.ends)
	case codeOldFence:
		return at.refuse(fault.Conflict, "the fence is old: %d has been given for the lock since", *v.fence)
	case codeCondition:
		return at.refuse(fault.Conflict, "the condition does not hold: the entry is absent, present or at another revision; read it again")
	case codeAbsent:
		return at.refuse(fault.NotFound, "there is no such key")
	case codeNoNumber:
		return at.refuse(fault.Invalid, "the value is not a whole number in decimal text of at most 64 bits")
	case codeOverflow:
		return at.refuse(fault.Exhausted, "the counter would leave the range of 64 bits; it is unchanged")
	}
	return at.refuse(fault.Internal, "code %d of the store is not known", v.code)
}

func lockedBy(op, name, holder string, ends time.Time) error {
	return &fault.Error{
		Code: fault.Locked, Op: op, Subject: name, Transport: Kind, Retryable: true,
		Message: fmt.Sprintf("the lock is held by %.100q until %s", holder, ends.UTC().Format(time.RFC3339Nano)),
	}
}

// maxStatement is about how many bytes one statement carries. A batch that has more is sent in parts.
const maxStatement = 32 << 20

// begin refuses a call as a whole.
func (e *entries) begin(ctx context.Context, op string, n int) error {
	if err := e.t.ready(ctx, op, ""); err != nil {
		return err
	}
	return check{op: op}.batch(n, cacheCapabilities.MaxBatch)
}

// inOrder gives the elements that were not refused, sorted by name, so that batches lock rows in one order; elements of
// the same name stay as they came.
func inOrder(n int, refused func(i int) bool, name func(i int) string) []int {
	order := make([]int, 0, n)
	for i := range n {
		if !refused(i) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(name(a), name(b)) })
	return order
}

// parts cuts a batch so that no statement is too large. A nil size is that of what is small.
func parts(order []int, size func(i int) int) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		for len(order) > 0 {
			n, sum := 0, 0
			for n < len(order) && (n == 0 || size == nil || sum+size(order[n]) <= maxStatement) {
				if size != nil {
					sum += size(order[n])
				}
				n++
			}
			if !yield(order[:n]) {
				return
			}
			order = order[n:]
		}
	}
}

// call is a function of sql/ with what it is given for some elements of a batch, and what is done with its rows.
type call struct {
	op, sql string
	size    func(i int) int // bytes of an element, for parts
	args    func(part []int) []any
	more    []any // scan targets behind those of the verdict
	each    func(i int) error
}

// run sends the elements, and has each called with every row and the element that it is about.
func (e *entries) run(ctx context.Context, order []int, c call, v *verdict) error {
	for part := range parts(order, c.size) {
		err := e.t.store.rows(ctx, c.sql, c.args(part), v.columns(c.more...), func() error {
			if v.i < 1 || v.i > len(part) {
				return fmt.Errorf("the store answered for element %d of %d", v.i, len(part))
			}
			return c.each(part[v.i-1])
		})
		if err != nil {
			return e.t.fault(err, c.op, "")
		}
	}
	return nil
}

// guards are the two arrays that guards travel in: null and 0 for none.
func guards(part []int, of func(i int) cache.Guard) (holders [][]byte, fences []int64) {
	holders, fences = make([][]byte, len(part)), make([]int64, len(part))
	for n, i := range part {
		g := of(i)
		if g.Holder != "" {
			holders[n] = []byte(g.Holder)
		}
		fences[n] = fenceNumber(g.Fence)
	}
	return holders, fences
}

// fenceNumber is a fence as the store has it. None that it gives is so great that it does not fit.
func fenceNumber(fence uint64) int64 { return int64(min(fence, math.MaxInt64)) }

func checkKey(op, key string, g cache.Guard) error {
	at := check{op, key}
	return first(at.name("key", key, cacheCapabilities.MaxKey), at.length("guard's holder", g.Holder, cacheCapabilities.MaxKey))
}

// pick makes an array of one field of the elements of a part.
func pick[T any](part []int, of func(i int) T) []T {
	all := make([]T, len(part))
	for n, i := range part {
		all[n] = of(i)
	}
	return all
}

// notNil is b, and not null where it is empty.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
