package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
	"github.com/gobackplane/backplane/transports/redis"
)

// TestCacheDoesWhatTheReferenceDoes runs the same random calls against Redis and memory, and compares every answer. What
// differs by nature, revisions and fences, is compared by the place where it was first seen.
func TestCacheDoesWhatTheReferenceDoes(t *testing.T) {
	url := testserver.Shared(t).URL()
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		settings := transports.Settings{URL: url, Namespace: testserver.Namespace(nil)}
		ours, err := redis.Open(ctx, settings)
		require.NoError(t, err)
		defer func() { require.NoError(t, ours.Close()) }()
		settings.URL = "memory:" + settings.Namespace
		reference, err := memory.Open(ctx, settings)
		require.NoError(t, err)
		defer func() { require.NoError(t, reference.Close()) }()

		calls := rapid.SliceOfN(rapid.Custom(drawCall), 1, 40).Draw(t, "calls")
		a, b := &side{backend: ours.Cache()}, &side{backend: reference.Cache()}
		for _, c := range calls {
			require.Equal(t, b.do(c), a.do(c), "%+v", c)
		}
	})
}

// call is one call with one element, in terms that mean the same on both sides.
type call struct {
	What     string
	Key      string
	Value    string
	TTL      time.Duration
	If       string
	Revision int // which of the revisions seen
	Holder   string
	Guarded  bool
	Fence    int // which of the leases seen; 0: none
	N        int64
}

func drawCall(t *rapid.T) call {
	return call{
		What:     rapid.SampledFrom([]string{"get", "set", "delete", "touch", "add", "acquire", "renew", "release", "push", "pop", "range", "length", "drop"}).Draw(t, "what"),
		Key:      rapid.SampledFrom([]string{"a", "{b}"}).Draw(t, "key"),
		Value:    rapid.SampledFrom([]string{"", "x", "5", "-9223372036854775808", "9223372036854775807"}).Draw(t, "value"),
		TTL:      rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "ttl"),
		If:       rapid.SampledFrom([]string{"", "", "absent", "present", "revision"}).Draw(t, "if"),
		Revision: rapid.IntRange(0, 5).Draw(t, "revision"),
		Holder:   rapid.SampledFrom([]string{"h1", "h2"}).Draw(t, "holder"),
		Guarded:  rapid.Bool().Draw(t, "guarded"),
		Fence:    rapid.IntRange(0, 3).Draw(t, "fence"),
		N:        rapid.SampledFrom([]int64{-1, 0, 1, 2, 1 << 62}).Draw(t, "n"),
	}
}

// side is one of the two transports, with what it has answered so far.
type side struct {
	backend   *cache.Backend
	revisions []cache.Revision
	leases    []cache.Lease
}

// answer is what can be compared.
type answer struct {
	Code     fault.Code
	Found    bool
	Value    string
	Values   []string
	Expires  bool
	N        int64
	Revision int
	Holder   string
}

func (s *side) do(c call) answer {
	ctx := context.Background()
	b, guard := s.backend, s.guard(c)
	switch c.What {
	case "get":
		got, err := b.Get(ctx, []cache.Read{{Key: c.Key, Expiry: true, Guard: guard}})
		g := only(got, err)
		return answer{Code: fault.CodeOf(g.Err), Found: g.Found, Value: string(g.Entry.Value), Expires: !g.Entry.Expires.IsZero(), Revision: s.place(g.Entry.Revision)}
	case "set":
		w := only(b.Set(ctx, []cache.Write{{Key: c.Key, Value: []byte(c.Value), TTL: c.TTL, If: s.condition(c), Guard: guard}}))
		if w.Err != nil {
			return answer{Code: fault.CodeOf(w.Err)}
		}
		return answer{Revision: s.place(w.Revision)}
	case "delete":
		r := only(b.Delete(ctx, []cache.Removal{{Key: c.Key, If: s.condition(c), Guard: guard}}))
		return answer{Code: fault.CodeOf(r.Err), Found: r.Err == nil && r.Existed}
	case "touch":
		r := only(b.Touch(ctx, []cache.Lifetime{{Key: c.Key, TTL: c.TTL, Guard: guard}}))
		return answer{Code: fault.CodeOf(r.Err)}
	case "add":
		r := only(b.Add(ctx, []cache.Increment{{Key: c.Key, Delta: c.N, TTL: c.TTL, Guard: guard}}))
		return answer{Code: fault.CodeOf(r.Err), N: r.Value, Revision: s.place(r.Revision)}
	case "acquire":
		l := only(b.Acquire(ctx, []cache.Claim{{Lock: c.Key, Holder: c.Holder, TTL: time.Hour}}))
		if l.Err == nil {
			s.leases = append(s.leases, l)
		}
		return answer{Code: fault.CodeOf(l.Err), Holder: l.Holder, Found: l.Fence > 0}
	case "renew":
		l := only(b.Renew(ctx, []cache.Lease{s.lease(c)}))
		return answer{Code: fault.CodeOf(l.Err)}
	case "release":
		return answer{Code: fault.CodeOf(only(b.Release(ctx, []cache.Lease{s.lease(c)})))}
	default:
		return s.list(ctx, c, guard)
	}
}

func (s *side) list(ctx context.Context, c call, guard cache.Guard) answer {
	lists := s.backend.Lists
	max := int(c.N)
	switch c.What {
	case "push":
		l := only(lists.Push(ctx, []cache.Push{{List: c.Key, Values: texts(c.Value, "2"), Front: c.N > 0, TTL: c.TTL, Guard: guard}}))
		return answer{Code: fault.CodeOf(l.Err), N: int64(l.Length)}
	case "pop":
		p := only(lists.Pop(ctx, []cache.Pop{{List: c.Key, Max: max, Back: c.TTL > 0, Guard: guard}}))
		return answer{Code: fault.CodeOf(p.Err), Values: textsOf(p.Values)}
	case "range":
		p := only(lists.Range(ctx, []cache.Range{{List: c.Key, Start: c.Revision, Max: max, Guard: guard}}))
		return answer{Code: fault.CodeOf(p.Err), Values: textsOf(p.Values)}
	case "length":
		l := only(lists.Length(ctx, []cache.Read{{Key: c.Key, Guard: guard}}))
		return answer{Code: fault.CodeOf(l.Err), N: int64(l.Length)}
	default:
		r := only(lists.Drop(ctx, []cache.Removal{{Key: c.Key, Guard: guard}}))
		return answer{Code: fault.CodeOf(r.Err), Found: r.Err == nil && r.Existed}
	}
}

func only[A any](answers []A, err error) A {
	if err != nil {
		panic(err)
	}
	return answers[0]
}

func textsOf(values [][]byte) []string {
	var all []string
	for _, v := range values {
		all = append(all, string(v))
	}
	return all
}

// place is the number of a revision in the order of their first appearance; 0 for none.
func (s *side) place(r cache.Revision) int {
	if r == "" {
		return 0
	}
	for i, seen := range s.revisions {
		if seen == r {
			return i + 1
		}
	}
	s.revisions = append(s.revisions, r)
	return len(s.revisions)
}

func (s *side) condition(c call) cache.Condition {
	switch c.If {
	case "absent":
		return cache.IfAbsent()
	case "present":
		return cache.IfPresent()
	case "revision":
		if n := len(s.revisions); n > 0 && c.Revision < 5 {
			return cache.IfRevision(s.revisions[max(n-1-c.Revision, 0)])
		}
		return cache.IfRevision("no such one")
	}
	return cache.Always()
}

func (s *side) guard(c call) cache.Guard {
	if !c.Guarded {
		return cache.Guard{}
	}
	g := cache.Guard{Holder: c.Holder}
	if l := s.lease(c); c.Fence > 0 && l.Lock == c.Key {
		g.Fence = l.Fence
	}
	return g
}

// lease is one seen before, or one that was never given.
func (s *side) lease(c call) cache.Lease {
	if n := len(s.leases); c.Fence > 0 && c.Fence <= n {
		l := s.leases[n-c.Fence]
		l.TTL = time.Hour
		return l
	}
	return cache.Lease{Lock: c.Key, Holder: c.Holder, Fence: 1, TTL: time.Hour}
}
