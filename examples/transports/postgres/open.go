package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"strconv"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// firstBackoff is the pause after the first failed attempt to connect; it doubles.
const firstBackoff = 200 * time.Millisecond

// Open connects to the server that s.URL names, and makes the transport's schema there if there is none. Options may be
// given in s.Options or in the URL's query, beside the parameters that pgx knows (sslmode and so on):
//
//	schema     where it keeps its tables; backplane
//	password   instead of one in the URL
//	pool_size  connections for statements; 16. One more is for notifications
//	silence    how long a dead connection for notifications goes unnoticed; 5s
//	timeout    how long a statement may take; 10s
//	attempts   how often to try at the start; 3
//
// The error of the last attempt names the address and what to do: Unavailable when the server cannot be reached,
// Unauthenticated for a wrong password, Unsupported for a server that is too old or a schema that is too new.
func Open(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	const op = "postgres: open"
	if err := transports.CheckNamespace(s.Namespace); err != nil {
		return nil, located(classify(err, ""), op, s.Namespace)
	}
	c, err := readConfig(s)
	if err != nil {
		return nil, located(classify(err, ""), op, transports.Redact(s.URL))
	}
	t, err := assemble(c, s)
	if err != nil {
		return nil, located(classify(err, c.address), op, c.address)
	}
	if err := t.greet(ctx, c, s.Namespace); err != nil {
		_ = t.Close() // always nil
		return nil, located(classify(err, c.address), op, c.address)
	}
	return t, nil
}

func assemble(c *config, s transports.Settings) (*Transport, error) {
	t := &Transport{address: c.address, log: s.Logger}
	if t.log == nil {
		t.log = slog.Default()
	}
	t.log = t.log.With("kind", Kind, "namespace", s.Namespace)
	t.life, t.end = context.WithCancel(context.Background())
	var err error
	if t.store, err = newStore(c); err != nil {
		t.end()
		return nil, err
	}
	t.receiver = newReceiver(t, c.pool.ConnConfig, c.silence, channelsOf(c.schema, s.Namespace))
	t.wakes = newWakes(t)
	t.cached = newCache(t)
	t.queued = newQueue(t)
	t.bus, t.pubsubs = newPubSub(t, c.silence)
	return t, nil
}

// greet asks the server what it is, a bounded number of times while it cannot be reached.
func (t *Transport) greet(ctx context.Context, c *config, namespace string) error {
	pause := firstBackoff
	for attempt := 1; ; attempt++ {
		err := t.meet(ctx, c, namespace)
		if err == nil || classify(err, c.address).Code != fault.Unavailable || ctx.Err() != nil {
			return err
		}
		if attempt == c.attempts {
			f := fault.New(fault.Unavailable, "attempt %d of %d failed: %w", attempt, c.attempts, classify(err, c.address))
			f.Retryable = true
			return f
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fault.FromContext(ctx)
		}
		pause *= 2
	}
}

// minVersion is the first that has all that sql/ uses: date_bin is of 14.
const minVersion = 140000

// meet asks the server what it is, refuses one that cannot serve, and takes from its answer what the transport declares.
func (t *Transport) meet(ctx context.Context, c *config, namespace string) error {
	var version, commit, fsync string
	const ask = "SELECT current_setting('server_version_num'), current_setting('synchronous_commit'), current_setting('fsync')"
	if err := t.store.row(ctx, ask, nil, &version, &commit, &fsync); err != nil {
		return err
	}
	if n, err := strconv.Atoi(version); err != nil || n < minVersion {
		return fault.New(fault.Unsupported, "the server has version %s; PostgreSQL 14 or later is needed", version)
	}
	if fsync != "on" {
		t.log.Warn("the server does not flush to the disk (fsync is off): a power failure may damage or lose everything", "address", t.address)
	}
	persistent := commit != "off"
	t.cached.Capabilities.Persistent, t.queued.Capabilities.Persistent = persistent, persistent
	if err := t.prepareSchema(ctx, c.schema); err != nil {
		return err
	}
	return t.number(ctx, namespace)
}

// random is n random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand does not fail
	return b
}

// drawn is a random name.
func drawn() string { return hex.EncodeToString(random(12)) }
