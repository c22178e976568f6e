package saboteurs

import (
	"bytes"
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// historySaboteurs are wrong only while several clients are at it, and only in the order of what they see: each single
// answer is one that an honest transport might give.
func historySaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "while-a-write-is-under-way-reads-see-it-come-and-go", // as from replicas in turn
			Case: "cache/history/entries-are-linearizable", Collateral: []string{"cache/stack"},
			sabotage: func(s *sabotaged) {
				flicker := &flicker{before: map[string]cache.Got{}, reads: map[string]int{}}
				s.cache = replacing(flicker.replace)
			},
		},
		{
			Name: "a-read-puts-back-what-was-added-meanwhile", // as a cache that refreshes what is read
			Case: "cache/history/counters-are-linearizable", Collateral: []string{"cache/condition/no-update-is-lost", "cache/stack"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.get = func(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
						got, err := honest.Get(ctx, reads)
						if err == nil && len(got) == 1 && counts(got[0]) && ctx.Err() == nil {
							refresh(endless(ctx), honest, got[0])
						}
						return got, err
					}
				})
			},
		},
		{
			Name: "a-lock-is-open-while-it-is-renewed",
			Case: "cache/lock/a-history-has-one-holder-at-a-time", Collateral: []string{"cache/stack"},
			sabotage: func(s *sabotaged) {
				renewed := &shared[uint64]{of: map[string]uint64{}} // locks by name, with the fence of the holder
				s.cache = replacing(func(honest cache.Backend, d *driver) { leaveOpen(renewed, honest, d) })
			},
		},
		{
			Name: "two-who-claim-together-get-the-same-task", // under one lease
			Case: "queue/history/a-task-is-with-one-claimer-at-a-time", Collateral: []string{"queue"},
			sabotage: func(s *sabotaged) {
				given := &shared[queue.Leased]{of: map[string]queue.Leased{}} // by queue, while its claim is under way
				queuing(func(honest queue.Backend, l *line) {
					l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
						claimed, err := honest.Claim(ctx, c)
						if err != nil || len(c.Queues) != 1 {
							return claimed, err
						}
						if again, is := given.get(c.Queues[0]); is && len(claimed.Tasks) == 0 {
							claimed.Tasks = []queue.Leased{again}
							return claimed, nil
						}
						if len(claimed.Tasks) > 0 {
							given.set(c.Queues[0], claimed.Tasks[0])
							gap()
							given.take(c.Queues[0])
						}
						return claimed, nil
					}
				})(s)
			},
		},
	}
}

// flicker shows readers, in turn, what a write that has not been answered yet has made, and what was there before it.
type flicker struct {
	mu     sync.Mutex
	before map[string]cache.Got // by key
	reads  map[string]int
}

func (f *flicker) replace(honest cache.Backend, d *driver) {
	d.set = func(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
		if len(writes) != 1 || ctx.Err() != nil {
			return honest.Set(ctx, writes)
		}
		before, err := honest.Get(ctx, []cache.Read{{Key: writes[0].Key}})
		if err != nil || before[0].Err != nil {
			return honest.Set(ctx, writes)
		}
		written, err := honest.Set(ctx, writes)
		if err != nil || written[0].Err != nil {
			return written, err
		}
		f.set(writes[0].Key, before[0])
		time.Sleep(3 * time.Millisecond)
		f.forget(writes[0].Key)
		return written, nil
	}
	d.get = func(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
		got, err := honest.Get(ctx, reads)
		for i := range got {
			if before, is := f.turn(reads[i].Key); is && got[i].Err == nil {
				got[i] = before
			}
		}
		return got, err
	}
}

func (f *flicker) set(key string, before cache.Got) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before[key], f.reads[key] = before, 0
}

func (f *flicker) forget(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.before, key)
}

// turn is what a reader is to see instead, if it is the turn of that.
func (f *flicker) turn(key string) (cache.Got, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, is := f.before[key]
	if !is {
		return before, false
	}
	f.reads[key]++
	before.Entry.Value = bytes.Clone(before.Entry.Value)
	return before, f.reads[key]%2 == 0
}

func counts(g cache.Got) bool {
	_, err := strconv.ParseInt(string(g.Entry.Value), 10, 64)
	return g.Err == nil && g.Found && err == nil
}

// refresh writes what was read once more, if it has changed meanwhile.
func refresh(ctx context.Context, honest cache.Backend, read cache.Got) {
	gap()
	now, err := honest.Get(ctx, []cache.Read{{Key: read.Entry.Key}})
	if err == nil && counts(now[0]) && now[0].Entry.Revision != read.Entry.Revision {
		_, _ = honest.Set(ctx, []cache.Write{{Key: read.Entry.Key, Value: read.Entry.Value}})
	}
}

// leaveOpen lets in whoever comes while a lease is being renewed, with the fence that would be next.
func leaveOpen(renewed *shared[uint64], honest cache.Backend, d *driver) {
	d.renew = func(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
		if len(leases) != 1 || leases[0].Fence == 0 {
			return honest.Renew(ctx, leases)
		}
		now, err := honest.Renew(ctx, leases)
		if err == nil && now[0].Err == nil {
			renewed.set(leases[0].Lock, leases[0].Fence)
			time.Sleep(3 * time.Millisecond)
			renewed.take(leases[0].Lock)
		}
		return now, err
	}
	d.acquire = func(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
		leases, err := honest.Acquire(ctx, claims)
		for i := range leases {
			if fence, is := renewed.get(claims[i].Lock); is && fault.CodeOf(leases[i].Err) == fault.Locked {
				leases[i] = cache.Lease{Lock: claims[i].Lock, Holder: claims[i].Holder, Fence: fence + 1, TTL: claims[i].TTL, Expires: leases[i].Expires}
			}
		}
		return leases, err
	}
}
