package nats

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

const (
	firstBackoff   = 200 * time.Millisecond // the pause after the first failed attempt to connect; it doubles
	healthPatience = 5 * time.Second

	longestPatience = 15 * time.Second
)

// Open connects to the servers that s.URL and s.Options name. It tries as often as option attempts says (3), and the error
// of the last attempt names the addresses and what to do: Unavailable when no server can be reached, Unauthenticated for
// wrong credentials, Invalid for settings that cannot be right.
//
// URLs are nats://user:password@host:port, nats://token@host:port, and the same with tls, ws or wss. Options may be given
// in the URL's query too:
//
//	servers                    more servers of the same cluster: a list, or host:port,host:port
//	discover                   false: use only the servers that were named, not those that they tell of; true
//	username, password         of a user
//	token                      instead of a user
//	creds                      file with a user's JWT and key
//	nkey                       file with an nkey's seed
//	tls                        true as with tls://
//	tls_ca                     file of the authorities to trust, PEM; the system's
//	tls_cert, tls_key          files of the client's certificate and key, PEM
//	tls_server_name            the name to verify; the address's host
//	tls_insecure_skip_verify   true: verify nothing. For tests only
//	attempts                   how often to try at the start; 3
//	dial_timeout               2s
//	silence                    5s; how long a dead link goes unnoticed
//	domain                     the JetStream domain; none
//	replicas                   how many servers keep each stream; 1
//	storage                    file, or memory
//	queue_max_bytes            what tasks may take, at least 16 MiB: then Enqueue answers Exhausted; no bound
func Open(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	t, err := OpenThrough(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// OpenThrough is Open over connections that dial makes: through a tunnel, or to a server within the process. Nil dials
// as usual.
func OpenThrough(ctx context.Context, s transports.Settings, dial func(network, address string) (net.Conn, error)) (*Transport, error) {
	const op = "nats: open"
	c, err := readConfig(s)
	if err != nil {
		return nil, located(err, op, transports.Redact(s.URL))
	}
	if err := transports.CheckNamespace(s.Namespace); err != nil {
		return nil, located(err, op, s.Namespace)
	}
	t := c.transport(s)
	if dial == nil {
		dial = (&net.Dialer{Timeout: c.dialTimeout}).Dial
	}
	t.core.link = &link{dial: dial, silence: c.silence}
	t.core.losses = &t.core.link.lost
	if err := persist(ctx, c.attempts, func() error { return c.connect(ctx, t, s) }); err != nil {
		t.end(errClosed)
		return nil, located(err, op, c.address())
	}
	if err := t.start(ctx, c.domain); err != nil {
		_ = t.Close() // always nil
		return nil, located(err, op, c.address())
	}
	return t, nil
}

// New makes a transport of an application's own connection, which Close leaves open. Of the settings, Namespace, Logger
// and the options domain, replicas, storage and queue_max_bytes are used. The connection should have been made with MaxReconnects(-1),
// ReconnectBufSize(-1) and a PingInterval of seconds: the defaults give up after two minutes, deliver late what was
// published during an outage, and notice a dead link after six minutes.
func New(ctx context.Context, nc *nats.Conn, s transports.Settings) (*Transport, error) {
	const op = "nats: new"
	if nc == nil {
		return nil, located(fault.New(fault.Invalid, "the connection is nil; give one made with nats.Connect"), op, "")
	}
	if err := transports.CheckNamespace(s.Namespace); err != nil {
		return nil, located(err, op, s.Namespace)
	}
	c := defaults()
	if err := known.ApplyAll(&c, s.Options); err != nil {
		return nil, located(err, op, "")
	}
	c.servers = []string{nc.ConnectedUrlRedacted()}
	c.silence = nc.Opts.PingInterval * time.Duration(nc.Opts.MaxPingsOut+1)
	t := c.transport(s)
	t.core.nc = nc
	t.core.losses = new(observers)
	t.closers = append(t.closers, follow(t.core))
	if err := t.start(ctx, c.domain); err != nil {
		_ = t.Close() // always nil
		return nil, located(err, op, c.address())
	}
	return t, nil
}

// transport is one without a connection.
func (c *config) transport(s transports.Settings) *Transport {
	t := &Transport{core: &core{
		ns: s.Namespace, log: loggerOf(s), replicas: c.replicas, storage: c.storageType(), queueMost: int64(c.queueMaxBytes), address: c.address(),
		patience: min(2*c.silence+c.dialTimeout, longestPatience), silence: c.silence,
	}}
	t.core.life, t.end = context.WithCancelCause(context.Background())
	return t
}

// connect is one attempt. nats.Connect knows no context; it takes no longer than the timeouts of each server together.
func (c *config) connect(ctx context.Context, t *Transport, s transports.Settings) error {
	o, err := c.connectOptions(s)
	if err != nil {
		return err
	}
	o = append(o, t.core.handlers()...)
	type result struct {
		nc  *nats.Conn
		err error
	}
	connected := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(strings.Join(c.servers, ","), o...)
		connected <- result{nc, err}
	}()
	select {
	case r := <-connected:
		if r.err != nil {
			return t.core.fault(r.err, "", "")
		}
		t.core.nc, t.own = r.nc, true
		return nil
	case <-ctx.Done():
		go func() {
			if r := <-connected; r.nc != nil {
				r.nc.Close()
			}
		}()
		return fault.FromContext(ctx)
	}
}

// handlers are what the client calls when something happens to the link.
func (c *core) handlers() []nats.Option {
	return []nats.Option{
		nats.SetCustomDialer(c.link),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if c.life.Err() == nil {
				c.log.Warn("nats: the link was lost; it is being made anew", "address", c.address, "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.log.Info("nats: the link is back", "address", nc.ConnectedUrlRedacted())
			c.restored()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			c.log.Warn("nats: the client reports a failure", "subject", subject, "error", err)
		}),
	}
}

// start makes the parts of a transport that is connected.
func (t *Transport) start(ctx context.Context, domain string) (err error) {
	if domain != "" {
		t.core.js, err = jetstream.NewWithDomain(t.core.nc, domain)
	} else {
		t.core.js, err = jetstream.New(t.core.nc)
	}
	if err != nil {
		return t.core.fault(err, "", "")
	}
	return t.assemble(ctx)
}

func located(err error, op, subject string) error {
	var f *fault.Error
	if errors.As(fault.In(err, op, subject), &f) {
		f.Transport = Kind
		return f
	}
	return err
}

// persist tries to connect, a bounded number of times while no server can be reached.
func persist(ctx context.Context, attempts int, try func() error) error {
	pause := firstBackoff
	for attempt := 1; ; attempt++ {
		err := try()
		if err == nil || fault.CodeOf(err) != fault.Unavailable || ctx.Err() != nil {
			return err
		}
		if attempt == attempts {
			f := fault.New(fault.Unavailable, "attempt %d of %d failed: %w", attempt, attempts, err)
			f.Retryable = true
			return f
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fault.FromContext(ctx)
		}
		pause *= 2
	}
}
