package conformance

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// cacheOn asks a node's cache for one thing at a time, so that cases read as what they check. A method that begins with
// must requires success; the others give the element's answer. All require that the call itself succeeds.
type cacheOn struct {
	e *Env
	*cache.Backend
}

func on(e *Env, node transports.Transport) cacheOn { return cacheOn{e, node.Cache()} }

// only is the answer to a call with one element.
func only[R any](e *Env, results []R, err error) R {
	e.Helper()
	require.NoError(e, err, "the call itself")
	require.Len(e, results, 1, "one result for each element")
	return results[0]
}

func (c cacheOn) get(r cache.Read) cache.Got {
	c.e.Helper()
	results, err := c.Get(c.e.Context(), []cache.Read{r})
	return only(c.e, results, err)
}

func (c cacheOn) set(w cache.Write) cache.Written {
	c.e.Helper()
	results, err := c.Set(c.e.Context(), []cache.Write{w})
	return only(c.e, results, err)
}

func (c cacheOn) remove(r cache.Removal) cache.Removed {
	c.e.Helper()
	results, err := c.Delete(c.e.Context(), []cache.Removal{r})
	return only(c.e, results, err)
}

func (c cacheOn) touch(l cache.Lifetime) error {
	c.e.Helper()
	results, err := c.Touch(c.e.Context(), []cache.Lifetime{l})
	return only(c.e, results, err).Err
}

func (c cacheOn) add(i cache.Increment) cache.Sum {
	c.e.Helper()
	results, err := c.Add(c.e.Context(), []cache.Increment{i})
	return only(c.e, results, err)
}

func (c cacheOn) acquire(lock, holder string, ttl time.Duration) cache.Lease {
	c.e.Helper()
	results, err := c.Acquire(c.e.Context(), []cache.Claim{{Lock: lock, Holder: holder, TTL: ttl}})
	return only(c.e, results, err)
}

func (c cacheOn) renew(l cache.Lease) cache.Lease {
	c.e.Helper()
	results, err := c.Renew(c.e.Context(), []cache.Lease{l})
	return only(c.e, results, err)
}

func (c cacheOn) release(l cache.Lease) error {
	c.e.Helper()
	results, err := c.Release(c.e.Context(), []cache.Lease{l})
	return only(c.e, results, err)
}

// mustSet writes without condition or end.
func (c cacheOn) mustSet(key, value string) cache.Revision {
	c.e.Helper()
	return c.mustWrite(cache.Write{Key: key, Value: []byte(value)})
}

func (c cacheOn) mustWrite(w cache.Write) cache.Revision {
	c.e.Helper()
	written := c.set(w)
	require.NoErrorf(c.e, written.Err, "set %.60q", w.Key)
	require.NotEmptyf(c.e, written.Revision, "set %.60q answered no revision", w.Key)
	return written.Revision
}

// mustHave requires an entry with the value.
func (c cacheOn) mustHave(key, value string) cache.Entry {
	c.e.Helper()
	got := c.get(cache.Read{Key: key, Expiry: true})
	require.NoErrorf(c.e, got.Err, "get %.60q", key)
	require.Truef(c.e, got.Found, "%.60q is not there", key)
	require.Equalf(c.e, value, string(got.Entry.Value), "the value of %.60q", key)
	return got.Entry
}

// mustLack requires that there is no entry.
func (c cacheOn) mustLack(key string) {
	c.e.Helper()
	got := c.get(cache.Read{Key: key})
	require.NoErrorf(c.e, got.Err, "get %.60q: what is absent is no error", key)
	require.Falsef(c.e, got.Found, "%.60q is there, with %.60q", key, got.Entry.Value)
}

func (c cacheOn) mustAcquire(lock, holder string, ttl time.Duration) cache.Lease {
	c.e.Helper()
	lease := c.acquire(lock, holder, ttl)
	require.NoErrorf(c.e, lease.Err, "acquire %.60q for %q", lock, holder)
	require.Equal(c.e, lock, lease.Lock)
	require.Equal(c.e, holder, lease.Holder)
	require.NotZerof(c.e, lease.Fence, "the lease of %.60q has no fence", lock)
	require.Equal(c.e, ttl, lease.TTL, "a lease's TTL is as claimed")
	return lease
}

// mustBeLocked requires that the lock cannot be taken now, and answers the lease that is in the way.
func (c cacheOn) mustBeLocked(lock, by string) cache.Lease {
	c.e.Helper()
	lease := c.acquire(lock, by, time.Minute)
	requireCode(c.e, fault.Locked, lease.Err, "acquire %.60q for %q while it is held", lock, by)
	return lease
}

// keys lists all keys with the prefix, each once.
func (c cacheOn) keys(prefix string) []string {
	c.e.Helper()
	return collect(c.e, cache.Page{Prefix: prefix}, func(p cache.Page) ([]string, string, error) {
		page, err := c.Keys(c.e.Context(), p)
		return page.Keys, page.Next, err
	})
}

// collect turns pages until the last. What is listed more than once is answered once.
func collect(e *Env, page cache.Page, turn func(cache.Page) (names []string, next string, err error)) []string {
	e.Helper()
	seen := map[string]bool{}
	all := []string{}
	for range 100_000 {
		names, next, err := turn(page)
		require.NoError(e, err, "list a page")
		for _, name := range names {
			if !seen[name] {
				seen[name] = true
				all = append(all, name)
			}
		}
		if next == "" {
			return all
		}
		page.Cursor = next
	}
	e.Errorf("the listing does not end")
	e.FailNow()
	return nil
}

// span is a lifetime of so many beats that the cache accepts as it is.
func (c cacheOn) span(beats int) time.Duration {
	caps := c.Capabilities
	d := max(c.e.Timing.Beat, 2*caps.MinTTL) * time.Duration(beats)
	if g := caps.Granularity; g > 0 {
		d = (d + g - 1) / g * g
	}
	return d
}

// late is how long after its end a lifetime may still be seen, with time for the call.
func (c cacheOn) late() time.Duration {
	return c.Capabilities.Granularity + c.Capabilities.ExpiryDelay + c.e.Timing.Wait
}

// mustEnd requires that the entry ends on time: not while the client can be sure that the lifetime which was given after
// begin has not passed, and not later than the declared delay.
//
// A store that answered slowly proves nothing, so only what was asked before half of the lifetime counts as alive.
func (c cacheOn) mustEnd(key string, begin time.Time, ttl time.Duration) {
	c.e.Helper()
	c.mustEndAs(begin, ttl, "the entry", func() bool {
		got := c.get(cache.Read{Key: key})
		require.NoError(c.e, got.Err)
		return got.Found
	})
}

func (c cacheOn) mustEndAs(begin time.Time, ttl time.Duration, what string, alive func() bool) {
	c.e.Helper()
	c.e.EventuallyWithin(ttl+c.late(), func() bool {
		if alive() {
			return false
		}
		// What was found gone here was gone now at the latest, so it ended early if not even now the lifetime has passed.
		if lived := time.Since(begin); lived < ttl {
			c.e.Errorf("%s ended early: gone after %v of %v", what, lived, ttl)
			c.e.FailNow()
		}
		return true
	}, "%s ends after %v", what, ttl)
}

// listsOn is to lists what cacheOn is to entries.
type listsOn struct {
	e *Env
	cache.Lists
}

func onLists(e *Env, node transports.Transport) listsOn { return listsOn{e, node.Cache().Lists} }

func (l listsOn) push(p cache.Push) cache.Length {
	l.e.Helper()
	results, err := l.Push(l.e.Context(), []cache.Push{p})
	return only(l.e, results, err)
}

func (l listsOn) mustPush(list string, values ...string) int {
	l.e.Helper()
	length := l.push(cache.Push{List: list, Values: bytesOf(values)})
	require.NoErrorf(l.e, length.Err, "push to %.60q", list)
	return length.Length
}

func (l listsOn) pop(p cache.Pop) []string {
	l.e.Helper()
	results, err := l.Pop(l.e.Context(), []cache.Pop{p})
	popped := only(l.e, results, err)
	require.NoErrorf(l.e, popped.Err, "pop from %.60q", p.List)
	return stringsOf(popped.Values)
}

func (l listsOn) read(r cache.Range) []string {
	l.e.Helper()
	results, err := l.Range(l.e.Context(), []cache.Range{r})
	values := only(l.e, results, err)
	require.NoErrorf(l.e, values.Err, "range over %.60q", r.List)
	return stringsOf(values.Values)
}

func (l listsOn) length(list string) int {
	l.e.Helper()
	results, err := l.Length(l.e.Context(), []cache.Read{{Key: list}})
	length := only(l.e, results, err)
	require.NoErrorf(l.e, length.Err, "length of %.60q", list)
	return length.Length
}

func (l listsOn) drop(list string) cache.Removed {
	l.e.Helper()
	results, err := l.Drop(l.e.Context(), []cache.Removal{{Key: list}})
	return only(l.e, results, err)
}

func (l listsOn) names(prefix string) []string {
	l.e.Helper()
	return collect(l.e, cache.Page{Prefix: prefix}, func(p cache.Page) ([]string, string, error) {
		page, err := l.Names(l.e.Context(), p)
		return page.Keys, page.Next, err
	})
}

func bytesOf(values []string) [][]byte {
	all := make([][]byte, len(values))
	for i, v := range values {
		all[i] = []byte(v)
	}
	return all
}

func stringsOf(values [][]byte) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return all
}

// changes is a watch with what it saw.
type changes struct {
	e     *Env
	seen  chan cache.Change
	watch cache.Watch
}

func watchAll(e *Env, node transports.Transport, prefix string) *changes {
	e.Helper()
	c := &changes{e: e, seen: make(chan cache.Change, 4096)}
	watch, err := node.Cache().Watcher.Watch(e.Context(), prefix, func(batch []cache.Change) {
		for _, change := range batch {
			select {
			case c.seen <- change:
			default: // full: the case has long failed
			}
		}
	})
	require.NoError(e, err, "watch %q", prefix)
	e.Cleanup(func() { _ = watch.Close() })
	c.watch = watch
	return c
}

// next is the next change. A Resync without cause is allowed, and not what cases wait for.
func (c *changes) next(what string) cache.Change {
	c.e.Helper()
	for {
		if change := Await(c.e, c.seen, "%s", what); !change.Resync {
			return change
		}
	}
}
