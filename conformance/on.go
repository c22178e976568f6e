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

// slack is what two clocks that run alike may differ by over the lifetimes that cases use.
const slack = 50 * time.Millisecond

// given is a lifetime, with the client's bounds of when it began.
type given struct {
	before, after time.Time
	ttl           time.Duration
}

// giving is the lifetime that f gives.
func giving(ttl time.Duration, f func()) given {
	g := given{before: time.Now(), ttl: ttl}
	f()
	g.after = time.Now()
	return g
}

// writing is the lifetime of an entry that it writes.
func (c cacheOn) writing(key string, ttl time.Duration) given {
	c.e.Helper()
	return giving(ttl, func() { c.mustWrite(cache.Write{Key: key, Value: []byte("v"), TTL: ttl}) })
}

// whileAlive gives an entry a short lifetime and calls f, which must succeed while the entry lives. On a slow day it has
// ended before f is done, which proves nothing: then it is tried with a longer one. The answer is the lifetime that did.
func (c cacheOn) whileAlive(key string, f func() error) time.Duration {
	c.e.Helper()
	for beats := 2; ; beats *= 2 {
		life := c.writing(key, c.span(beats))
		if err := f(); time.Since(life.before) < life.ttl {
			require.NoError(c.e, err)
			return life.ttl
		}
	}
}

// mustEnd requires that the entry ends on time.
func (c cacheOn) mustEnd(key string, g given) {
	c.e.Helper()
	c.mustEndAs(g, "the entry "+key, func() bool {
		got := c.get(cache.Read{Key: key})
		require.NoError(c.e, got.Err)
		return got.Found
	})
}

// mustEndAs requires that what alive asks for ends on time, as far as the client can be sure whatever the speed of
// machine and store: found gone before its lifetime has passed since before it was asked for is too early; found there
// by a question that was sent after the lifetime and the declared delay have passed since it was given is too late.
func (c cacheOn) mustEndAs(g given, what string, alive func() bool) {
	c.e.Helper()
	latest := g.after.Add(g.ttl + c.Capabilities.Granularity + c.Capabilities.ExpiryDelay + slack)
	for {
		sent := time.Now()
		if !alive() {
			if lived := time.Since(g.before); lived < g.ttl {
				c.e.Errorf("%s ended early: gone after %v of %v", what, lived, g.ttl)
				c.e.FailNow()
			}
			return
		}
		if sent.After(latest) {
			c.e.Errorf("%s ended late: still there after %v, given %v, which may end %v late", what,
				sent.Sub(g.after), g.ttl, c.Capabilities.Granularity+c.Capabilities.ExpiryDelay)
			c.e.FailNow()
		}
		c.e.sleep(max(time.Millisecond, c.e.Timing.Beat/20))
	}
}

// outlive returns when a lifetime that was given before has certainly ended by the store's clock, if it keeps what it
// declares.
func (c cacheOn) outlive(ttl time.Duration) {
	c.e.sleep(ttl + c.Capabilities.Granularity + c.Capabilities.ExpiryDelay + slack)
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
