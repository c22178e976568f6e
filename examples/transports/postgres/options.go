package postgres

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// config is what Settings say.
type config struct {
	pool     *pgxpool.Config
	address  string // for errors
	schema   string
	silence  time.Duration
	timeout  time.Duration
	attempts int
}

// Bounds of options.
const (
	defaultPool     = 16
	defaultSilence  = 5 * time.Second
	leastSilence    = 100 * time.Millisecond
	defaultTimeout  = 10 * time.Second
	defaultAttempts = 3
	longestSchema   = 63 // NAMEDATALEN - 1
)

// own are the options that are the transport's, and not the driver's: those of a config file, and of a URL's query.
var own = map[string]func(*config, string) error{
	"schema": func(c *config, value string) error {
		if value == "" || len(value) > longestSchema || strings.HasPrefix(value, "pg_") || strings.ContainsAny(value, "\"\x00") {
			return fmt.Errorf(`%q is no schema's name: it has 1 to %d bytes, does not begin with "pg_", and has no quotes`, value, longestSchema)
		}
		c.schema = value
		return nil
	},
	"password": func(c *config, value string) error { c.pool.ConnConfig.Password = value; return nil },
	"pool_size": func(c *config, value string) error {
		return whole(value, 1, func(n int) { c.pool.MaxConns = int32(n) })
	},
	"attempts": func(c *config, value string) error { return whole(value, 1, func(n int) { c.attempts = n }) },
	"silence":  func(c *config, value string) error { return span(value, leastSilence, &c.silence) },
	"timeout":  func(c *config, value string) error { return span(value, leastSilence, &c.timeout) },
}

// drivers are the parameters of a URL that pgx reads.
var drivers = []string{
	"application_name", "channel_binding", "connect_timeout", "host", "port", "user", "dbname", "passfile", "service", "servicefile",
	"sslcert", "sslkey", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "sslsni", "target_session_attrs",
}

func whole(value string, least int, set func(int)) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > 1<<20 {
		return fmt.Errorf("%q: a whole number of at least %d is expected", value, least)
	}
	set(n)
	return nil
}

func span(value string, least time.Duration, into *time.Duration) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < least {
		return fmt.Errorf(`%q: a duration of at least %v is expected, such as "3s"`, value, least)
	}
	*into = d
	return nil
}

// readConfig reads URL and options. Its errors are Invalid, and never repeat what may be secret.
func readConfig(s transports.Settings) (*config, error) {
	address := cmp.Or(s.URL, "postgres:")
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, fault.New(fault.Invalid, `the URL cannot be parsed; write for example "postgres://user:password@127.0.0.1:5432/database", with special characters percent-encoded`)
	}
	query := u.Query()
	given := map[string]string{}
	for name := range query {
		switch {
		case own[name] != nil:
			given[name] = query.Get(name)
			query.Del(name)
		case !slices.Contains(drivers, name):
			return nil, unknownOption("URL parameter", name)
		}
	}
	u.RawQuery = query.Encode()
	if u.Opaque == "" && u.Host == "" && u.Path == "" {
		u.Path = "/"
	}
	pool, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, fault.New(fault.Invalid, `the URL's parts are not understood; write for example "postgres://user:password@127.0.0.1:5432/database?sslmode=require"`)
	}
	c := &config{pool: pool, schema: "backplane", silence: defaultSilence, timeout: defaultTimeout, attempts: defaultAttempts}
	pool.MaxConns = defaultPool
	for _, name := range slices.Sorted(maps.Keys(s.Options)) {
		if own[name] == nil {
			return nil, unknownOption("option", name)
		}
		given[name] = fmt.Sprint(s.Options[name])
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if err := own[name](c, given[name]); err != nil {
			return nil, fault.New(fault.Invalid, "option %q: %w", name, err)
		}
	}
	c.address = fmt.Sprintf("%s:%d/%s", pool.ConnConfig.Host, pool.ConnConfig.Port, pool.ConnConfig.Database)
	return c, nil
}

func unknownOption(what, name string) error {
	return fault.New(fault.Invalid, "%s %q is not known; there are: %s; and in a URL those of libpq: %s", what, name,
		strings.Join(slices.Sorted(maps.Keys(own)), ", "), strings.Join(drivers, ", "))
}
