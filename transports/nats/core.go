package nats

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
)

// core is what all parts of a transport share: the connection, and how the parts over JetStream keep their data.
type core struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	ns       string // the cluster's name: every subject, stream and bucket has it in its own
	log      *slog.Logger
	life     context.Context // ends when Close begins; whatever waits, waits on it too
	replicas int             // how many servers keep each stream
	storage  jetstream.StorageType

	queueMost int64 // bytes that tasks may take; 0: no bound

	address  string        // for errors: never with a password
	silence  time.Duration // how long a dead link can go unnoticed
	patience time.Duration // how long an answer of the server is waited for where the caller sets no bound
	link     *link         // nil below an application's own connection
	losses   *observers    // told that the link was lost
	watches  observers     // told that the link is back, and the server has the subscriptions again
}

// usable is nil while calls can be made.
func (c *core) usable(ctx context.Context) error {
	if c.life.Err() != nil {
		return errClosed
	}
	return ctx.Err()
}

// confirm waits until the server has taken a subscription that was just made. When the link is lost meanwhile, it waits
// for the next one, on which the subscription is made again.
func (c *core) confirm(ctx context.Context, subject string) error {
	within, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	for {
		err := c.nc.FlushWithContext(within)
		switch {
		case c.life.Err() != nil:
			return errClosed
		case ctx.Err() != nil:
			return fault.FromContext(ctx)
		case within.Err() != nil:
			return errSlow
		case err == nil:
			return c.refusal(subject)
		case c.nc.IsClosed():
			return err
		}
		// The flush ended with its link; another waits for the next one.
	}
}

// refusal is why the server has refused a subscription, if it has: it says so before it answers a PING.
func (c *core) refusal(subject string) error {
	err := c.nc.LastError()
	if errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`) {
		return err
	}
	return nil
}

var errSlow = func() error {
	f := fault.New(fault.Unavailable, "the server did not confirm in time; see that it runs and can be reached")
	f.Retryable = true
	return f
}()

// restored is called when the link is back. The client has sent the subscriptions; once the server has answered, they
// are live.
func (c *core) restored() {
	if c.nc.FlushTimeout(c.patience) == nil { // otherwise it was lost again, and restored will be called again
		c.watches.tell()
	}
}
