package redis

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
)

// entries is the cache: what of it is one command or one script each. Locks and lists are beside it.
type entries struct {
	t      *Transport
	limits limits.Cache
	entry  keyspace
	lock   keyspace
	list   keyspace
}

func newCache(t *Transport) *cache.Backend {
	can := cache.Capabilities{
		MaxKey:      1024,
		MaxValue:    64 << 20,
		MaxBatch:    4096, // a script can unpack no more than 8,000 arguments
		MinTTL:      time.Millisecond,
		Granularity: time.Millisecond,
		ExpiryDelay: time.Millisecond, // a key lasts through its last millisecond
		FenceMemory: fenceMemory,
	}
	e := &entries{
		t:      t,
		limits: limits.Cache{Transport: Kind, Capabilities: can},
		entry:  newKeyspace(t.ns, entryKey),
		lock:   newKeyspace(t.ns, lockKey),
		list:   newKeyspace(t.ns, listKey),
	}
	return &cache.Backend{Driver: e, Lists: lists{e}, Holders: holders{e}, Capabilities: can}
}

// operation is one kind of call: how an element E becomes a command, and its reply an answer A.
type operation[E, A any] struct {
	op      string
	name    func(*E) string // the key
	check   func(limits.Cache, *E) error
	command func(context.Context, *entries, *E, *A) redis.Cmder
	answer  func(*entries, *E, redis.Cmder, *A) error // the element's error; it is put where fail says
	fail    func(*A) *error
}

// perform runs one command for each element, in one round trip.
func perform[E, A any](ctx context.Context, e *entries, o *operation[E, A], elements []E) ([]A, error) {
	if err := e.limits.Batch(o.op, len(elements)); err != nil {
		return nil, err
	}
	answers := make([]A, len(elements))
	cmds := make([]redis.Cmder, len(elements))
	refused := false
	for i := range elements {
		if err := o.check(e.limits, &elements[i]); err != nil {
			*o.fail(&answers[i]) = err
			refused = true
			continue
		}
		cmds[i] = o.command(ctx, e, &elements[i], &answers[i])
	}
	sent := cmds
	if refused {
		sent = slices.DeleteFunc(slices.Clone(cmds), func(c redis.Cmder) bool { return c == nil })
	}
	if err := e.t.lane.do(ctx, sent...); err != nil {
		subject := ""
		if len(elements) == 1 {
			subject = o.name(&elements[0])
		}
		return nil, e.t.fault(err, o.op, subject)
	}
	for i, cmd := range cmds {
		if cmd == nil {
			continue
		}
		if err := o.answer(e, &elements[i], cmd, &answers[i]); err != nil {
			*o.fail(&answers[i]) = e.refusal(err, o.op, o.name(&elements[i]))
		}
	}
	return answers, nil
}

// refusals are the errors of our own scripts: the first word of what they answer.
var refusals = map[string]*fault.Error{
	"LOCKED":   fault.New(fault.Locked, "another holder has the lock; wait until it is released"),
	"FENCED":   fault.New(fault.Conflict, "the lock was given to another since, with a greater fence"),
	"CONFLICT": fault.New(fault.Conflict, "the condition did not hold"),
	"NUMBER":   fault.New(fault.Invalid, "the value is not a counter: a signed 64-bit integer in decimal text"),
	"OVERFLOW": fault.New(fault.Exhausted, "the sum would not fit into 64 bits; nothing was added"),
	"CORRUPT":  fault.New(fault.Corrupt, "its record cannot be read; write it anew, or delete it"),
	"LOST":     fault.New(fault.LeaseLost, "the lease has ended, or the lock was given to another since"),
}

// refusal gives one element's error its code and circumstances.
func (e *entries) refusal(err error, op, key string) error {
	var answer redis.Error
	if errors.As(err, &answer) {
		word, _, _ := strings.Cut(answer.Error(), " ")
		if known := refusals[word]; known != nil {
			err = known
		}
	}
	return e.t.fault(err, op, key)
}

// unexpected is the error for a reply that no script of ours gives.
func unexpected(reply any) error {
	return fault.New(fault.Internal, "the server answered with a %T where another type was expected", reply)
}

// guarded calls a script on an entry or list, with the arguments that a guard begins with.
func (e *entries) guarded(ctx context.Context, s *script, space keyspace, key string, g cache.Guard, args ...any) *redis.Cmd {
	all := make([]any, 0, 7+len(args))
	all = append(all, "evalsha", s.sha, 2, space.key(key), e.lock.key(key), g.Holder, formatFence(g.Fence))
	return redis.NewCmd(ctx, append(all, args...)...)
}

func formatFence(fence uint64) string { return strconv.FormatUint(fence, 10) }

// ttlMillis rounds a lifetime up to what the store counts in. The longest one must not wrap around.
func ttlMillis(d time.Duration) int64 {
	millis := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		millis++
	}
	return millis
}

// fromMillis is the lifetime that the store has counted.
func fromMillis(millis int64) time.Duration {
	return time.Duration(min(millis, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}
