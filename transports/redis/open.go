package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// firstBackoff is the pause after the first failed attempt to connect; it doubles.
const firstBackoff = 200 * time.Millisecond

// Open connects to the server that s.URL and s.Options name. It tries as often as option attempts says (3), and the error
// of the last attempt names the address and what to do: Unavailable when the server cannot be reached, Unauthenticated
// for a wrong password, Unsupported for a server that is too old, Invalid for settings that cannot be right.
//
// URLs are redis://user:password@host:port/database, the same with rediss for TLS, and unix:///path/to.sock. Options may
// be given in the URL's query too:
//
//	address                    host:port, instead of a URL's
//	username, password         of an ACL user; a password alone is that of the default user
//	database                   its number; 0
//	tls                        true as with rediss://
//	tls_ca                     file of the authorities to trust, PEM; the system's
//	tls_cert, tls_key          files of the client's certificate and key, PEM
//	tls_server_name            the name to verify; the address's host
//	tls_insecure_skip_verify   true: verify nothing. For tests only
//	pool_size                  connections for commands; 16
//	dial_timeout               3s
//	read_timeout               5s; also how long a command waits for a server that hangs
//	write_timeout              5s
//	attempts                   how often to try at the start; 3
//	silence                    5s; how long a dead subscriber connection goes unnoticed
func Open(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	const op = "redis: open"
	c, err := readConfig(s)
	if err != nil {
		return nil, located(err, op, transports.Redact(s.URL))
	}
	if err := transports.CheckNamespace(s.Namespace); err != nil {
		return nil, located(err, op, s.Namespace)
	}
	client, alone, err := c.clients()
	if err != nil {
		return nil, located(err, op, c.address)
	}
	t := assemble(client, alone, c.address, s)
	t.boundSilence(c.silence)
	if err := t.greet(ctx, c.attempts); err != nil {
		_ = t.Close() // always nil
		return nil, located(err, op, c.address)
	}
	return t, nil
}

// New makes a transport of an application's own client, which Close leaves open. Only Namespace and Logger of the
// settings are used. The client should not repeat commands by itself (MaxRetries -1): what was sent may have been done.
func New(ctx context.Context, client *redis.Client, s transports.Settings) (*Transport, error) {
	const op = "redis: new"
	if client == nil {
		return nil, located(fault.New(fault.Invalid, "the client is nil; give one made with redis.NewClient"), op, "")
	}
	if err := transports.CheckNamespace(s.Namespace); err != nil {
		return nil, located(err, op, s.Namespace)
	}
	address := client.Options().Addr
	t := assemble(client, nil, address, s)
	if err := t.greet(ctx, 1); err != nil {
		_ = t.Close() // always nil
		return nil, located(err, op, address)
	}
	return t, nil
}

func located(err error, op, subject string) error {
	var f *fault.Error
	if errors.As(fault.In(err, op, subject), &f) {
		f.Transport = Kind
		return f
	}
	return err
}

// greet asks the server what it is, a bounded number of times while it cannot be reached.
func (t *Transport) greet(ctx context.Context, attempts int) error {
	pause := firstBackoff
	for attempt := 1; ; attempt++ {
		err := t.meet(ctx)
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

// meet asks the server what it is, refuses one that cannot serve, and takes from its answer what the transport declares.
func (t *Transport) meet(ctx context.Context) error {
	ping, info := redis.NewStatusCmd(ctx, "ping"), redis.NewStringCmd(ctx, "info")
	if err := t.lane.do(ctx, ping, info); err != nil {
		return t.fault(err, "", "")
	}
	if err := ping.Err(); err != nil {
		return t.fault(err, "", "")
	}
	if err := t.fault(info.Err(), "", ""); err != nil {
		if fault.CodeOf(err) != fault.PermissionDenied {
			return err
		}
		t.log.Warn("the server's version could not be checked: its user may not run INFO", "address", t.address)
		return nil
	}
	about := parseInfo(info.Val())
	if err := about.check(); err != nil {
		return err
	}
	if about.evicts() {
		t.log.Warn("the server may drop live entries, locks and tasks when its memory is full; set maxmemory-policy noeviction",
			"address", t.address, "maxmemory-policy", about["maxmemory_policy"])
	}
	t.cached.Capabilities.Evicts = about.evicts()
	t.cached.Capabilities.Persistent = about.persistent()
	if t.queued != nil {
		t.queued.Capabilities.Persistent = about.persistent()
	}
	return nil
}

// info is what INFO answers, by field.
type info map[string]string

func parseInfo(text string) info {
	fields := info{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// minMajor is the first major version whose scripts may read the time before they write, and that keeps the time still
// within a script.
const minMajor = 7

func (i info) check() error {
	version := i["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	number, err := strconv.Atoi(major)
	switch {
	case i["valkey_version"] != "":
	case err != nil:
		return fault.New(fault.Unsupported, "the server does not tell its version; Redis %d.0 or later, or Valkey, is needed", minMajor)
	case number < minMajor:
		return fault.New(fault.Unsupported, "the server has version %s; Redis %d.0 or later, or Valkey, is needed", version, minMajor)
	}
	if i["redis_mode"] == "cluster" || i["server_mode"] == "cluster" {
		return fault.New(fault.Unsupported, "the server belongs to a Redis Cluster; name a standalone server")
	}
	return nil
}

func (i info) evicts() bool {
	policy := i["maxmemory_policy"]
	return policy != "" && policy != "noeviction" && i["maxmemory"] != "0"
}

// persistent is true when every write reaches a log on disk: snapshots alone lose minutes.
func (i info) persistent() bool { return i["aof_enabled"] == "1" }
