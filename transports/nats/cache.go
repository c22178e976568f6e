package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
)

// entries is the cache: what of it is one message for each key. Locks and lists are beside it.
type entries struct {
	store  *store
	limits limits.Cache
	owned  sync.WaitGroup
	deaf   func() // ends the listening for losses of the link
}

const (
	// envelopeRoom is what the server's max_payload must hold beside a value: a record's head, and headers with a subject.
	envelopeRoom = 4 << 10
	// clockDelay is how much later than it is the server's clock may be taken to be: a round trip.
	clockDelay = 250 * time.Millisecond
)

// newCache makes the cache over JetStream, or nothing where there is no JetStream, or one too old. The stream is made at
// the first use, so that who uses nothing of it needs no rights to it. A server that cannot tell now may be able to later.
func newCache(ctx context.Context, c *core) (*cache.Backend, closer, error) {
	const op = "nats: open the cache"
	within, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	_, err := c.js.AccountInfo(within)
	switch version := c.nc.ConnectedServerVersion(); {
	case isWithoutJetStream(err):
		return nil, nil, nil
	case ctx.Err() != nil:
		return nil, nil, c.fault(fault.FromContext(ctx), op, "")
	case !hasAtomicBatches(version):
		c.log.Warn("nats: the server is too old for the cache; upgrade it to 2.12 or later", "version", version)
		return nil, nil, nil
	case err != nil:
		c.log.Warn("nats: the server does not tell whether it has JetStream; the cache may be of no use", "error", err)
	}
	x, err := newPipeline(c.nc, c.life)
	if err != nil {
		return nil, nil, c.fault(err, op, "")
	}
	can := cache.Capabilities{
		MaxKey:      512, // three bytes for each in a subject, and a line of the protocol may have 4,096
		MaxValue:    int(c.nc.MaxPayload()) - envelopeRoom,
		MaxBatch:    4096,
		MinTTL:      time.Millisecond,
		Granularity: time.Millisecond,
		ExpiryDelay: clockDelay,
		FenceMemory: fenceMemory,
		Persistent:  c.storage == jetstream.FileStorage,
	}
	e := &entries{
		store:  newStore(c, x),
		limits: limits.Cache{Transport: Kind, Capabilities: can},
		deaf:   c.losses.add(x.abandon),
	}
	e.owned.Go(e.store.keepTime)
	return &cache.Backend{Driver: e, Watcher: watcher{e}, Lists: lists{e}, Holders: holders{e}, Capabilities: can}, e, nil
}

// hasAtomicBatches says whether a server is of version 2.12 or later.
func hasAtomicBatches(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return true // its stream will tell
	}
	return major > 2 || major == 2 && minor >= 12
}

// close ends what runs on its own. Calls have ended with the life of the transport.
func (e *entries) close() {
	e.deaf()
	e.store.x.close()
	e.owned.Wait()
}

// begin refuses a call as a whole.
func (e *entries) begin(ctx context.Context, op string, n int) error {
	if e.store.core.life.Err() != nil {
		return e.store.core.fault(errClosed, op, "")
	}
	if ctx.Err() != nil {
		return e.store.core.fault(fault.FromContext(ctx), op, "")
	}
	return e.limits.Batch(op, n)
}

// perform makes one edit for each element, all at once. plan answers the edit of an element, or none when it refused the
// element, and where to put its error.
func (e *entries) perform(ctx context.Context, op string, n int, plan func(i int) (*edit, *error), name func(i int) string) error {
	if err := e.begin(ctx, op, n); err != nil {
		return err
	}
	edits := make([]*edit, 0, n)
	type place struct {
		element int
		err     *error
	}
	places := make([]place, 0, n)
	for i := range n {
		if planned, at := plan(i); planned != nil {
			edits, places = append(edits, planned), append(places, place{i, at})
		}
	}
	if len(edits) == 0 {
		return nil
	}
	if err := e.store.run(ctx, edits); err != nil {
		return e.failed(ctx, err, op, n, name)
	}
	for i, each := range edits {
		if each.err != nil {
			*places[i].err = e.store.core.fault(each.err, op, name(places[i].element))
		}
	}
	return nil
}

// failed is the error of a whole call.
func (e *entries) failed(ctx context.Context, err error, op string, n int, name func(i int) string) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = fault.FromContext(ctx)
	}
	subject := ""
	if n == 1 {
		subject = name(0)
	}
	return e.store.core.fault(err, op, subject)
}

// guarded makes an edit heed a guard.
func (e *entries) guarded(each *edit, key string, g cache.Guard) *edit {
	if g != (cache.Guard{}) {
		each.lock, each.guard, each.blind = e.store.subject(lockKind, key), g, nil
	}
	return each
}
