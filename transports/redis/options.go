package redis

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/options"
	"github.com/gobackplane/backplane/transports"
)

// config is what a URL and the options say together.
type config struct {
	address  string
	unix     bool
	username string
	password string
	database int

	tls           bool
	tlsCA         string
	tlsCert       string
	tlsKey        string
	tlsServerName string
	tlsInsecure   bool

	poolSize     int
	dialTimeout  time.Duration
	readTimeout  time.Duration
	writeTimeout time.Duration
	attempts     int
	silence      time.Duration
}

// defaults are chosen for a server nearby: a lane needs few connections, so pool_size bounds heavy calls, waits and
// the application's bursts rather than throughput.
func defaults() config {
	return config{
		poolSize:     16,
		dialTimeout:  3 * time.Second,
		readTimeout:  5 * time.Second,
		writeTimeout: 5 * time.Second,
		attempts:     3,
		silence:      defaultSilence,
	}
}

// known are the names that the query of a URL and Settings.Options may have; Open lists them.
var known = options.Set[config]{
	"address":                  options.Text(func(c *config) *string { return &c.address }),
	"username":                 options.Text(func(c *config) *string { return &c.username }),
	"password":                 options.Text(func(c *config) *string { return &c.password }),
	"database":                 options.Whole(func(c *config) *int { return &c.database }, 0),
	"tls":                      options.Truth(func(c *config) *bool { return &c.tls }),
	"tls_ca":                   options.Text(func(c *config) *string { return &c.tlsCA }),
	"tls_cert":                 options.Text(func(c *config) *string { return &c.tlsCert }),
	"tls_key":                  options.Text(func(c *config) *string { return &c.tlsKey }),
	"tls_server_name":          options.Text(func(c *config) *string { return &c.tlsServerName }),
	"tls_insecure_skip_verify": options.Truth(func(c *config) *bool { return &c.tlsInsecure }),
	"pool_size":                options.Whole(func(c *config) *int { return &c.poolSize }, 1),
	"dial_timeout":             options.Span(func(c *config) *time.Duration { return &c.dialTimeout }),
	"read_timeout":             options.Span(func(c *config) *time.Duration { return &c.readTimeout }),
	"write_timeout":            options.Span(func(c *config) *time.Duration { return &c.writeTimeout }),
	"attempts":                 options.Whole(func(c *config) *int { return &c.attempts }, 1),
	"silence":                  options.Span(func(c *config) *time.Duration { return &c.silence }),
}

// readConfig reads a transport's settings: first the URL, then the options, which win. The error names what is wrong and
// never repeats a value that may be secret.
func readConfig(s transports.Settings) (config, error) {
	c := defaults()
	if s.URL != "" {
		if err := c.readURL(s.URL); err != nil {
			return c, err
		}
	}
	if err := known.ApplyAll(&c, s.Options); err != nil {
		return c, err
	}
	switch {
	case c.silence < leastSilence:
		return c, fault.New(fault.Invalid, "option silence is %v; it must be at least %v, and several times a round trip", c.silence, leastSilence)
	case c.address == "":
		return c, fault.New(fault.Invalid, `no address is given; write for example url: "redis://127.0.0.1:6379"`)
	case (c.tlsCert == "") != (c.tlsKey == ""):
		return c, fault.New(fault.Invalid, "options tls_cert and tls_key belong together; give both or neither")
	case !c.tls && (c.tlsCA != "" || c.tlsCert != "" || c.tlsServerName != "" || c.tlsInsecure):
		return c, fault.New(fault.Invalid, "TLS options are given, but the connection is not to be encrypted; write rediss:// or tls: true")
	case c.tls && c.unix:
		return c, fault.New(fault.Invalid, "TLS over a unix socket is not supported; take out the TLS options")
	}
	if !c.unix {
		if _, _, err := net.SplitHostPort(c.address); err != nil {
			c.address = net.JoinHostPort(strings.Trim(c.address, "[]"), "6379")
		}
	}
	return c, nil
}

func (c *config) readURL(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fault.New(fault.Invalid, "the URL cannot be parsed; a password with special characters must be percent-encoded, or given as option password")
	}
	switch u.Scheme {
	case "redis", "rediss":
		err = c.readHost(u)
	case "unix", "redis+unix":
		c.unix, c.address = true, u.Path
		if u.Host != "" || u.Path == "" {
			err = fault.New(fault.Invalid, `the socket's path must be absolute, as in "unix:///run/redis.sock"`)
		}
	default:
		err = fault.New(fault.Invalid, "scheme %q is not known; use redis, rediss (TLS) or unix", u.Scheme)
	}
	if err != nil {
		return err
	}
	if u.User != nil {
		c.username = u.User.Username()
		c.password, _ = u.User.Password()
	}
	return known.ApplyQuery(c, u.RawQuery)
}

// readHost reads redis://host:port/database.
func (c *config) readHost(u *url.URL) error {
	c.tls = u.Scheme == "rediss"
	host, port := u.Hostname(), u.Port()
	if host == "" {
		return fault.New(fault.Invalid, `the URL has no host; write for example "redis://127.0.0.1:6379"`)
	}
	if port == "" {
		port = "6379"
	}
	c.address = net.JoinHostPort(host, port)
	if strings.Contains(u.Path+u.Fragment, "@") { // so it is not told
		return options.ErrCutPassword
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		database, err := strconv.Atoi(path)
		if err != nil || database < 0 {
			return fault.New(fault.Invalid, "the URL's path is %q; it must be the number of a database, as in redis://host:6379/0", path)
		}
		c.database = database
	}
	return nil
}

// clients makes the clients of a config: one for all, and one for lone callers. They connect when they are first used.
func (c config) clients() (*redis.Client, *solo, error) {
	network := "tcp"
	if c.unix {
		network = "unix"
	}
	secure, err := c.tlsConfig()
	if err != nil {
		return nil, nil, err
	}
	o := redis.Options{
		Network: network, Addr: c.address, Username: c.username, Password: c.password, DB: c.database, TLSConfig: secure,
		PoolSize: c.poolSize, DialTimeout: c.dialTimeout, ReadTimeout: c.readTimeout, WriteTimeout: c.writeTimeout,
		// Replies mean the same in both protocols; the older spares a look for push messages before each command.
		Protocol: 2,
		// A command that was sent may have been done: go-redis would count twice. See lane for what is repeated.
		MaxRetries:               -1,
		DialerRetries:            1,
		ContextTimeoutEnabled:    true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	alone := newSolo(o)
	o.Dialer = dialer(&o, nil)
	return redis.NewClient(&o), alone, nil
}

func (c config) tlsConfig() (*tls.Config, error) {
	if !c.tls {
		return nil, nil
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.tlsServerName, InsecureSkipVerify: c.tlsInsecure}
	if secure.ServerName == "" {
		secure.ServerName, _, _ = net.SplitHostPort(c.address)
	}
	if c.tlsCA != "" {
		pem, err := os.ReadFile(c.tlsCA)
		if err != nil {
			return nil, fault.New(fault.Invalid, "option tls_ca: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.New(fault.Invalid, "option tls_ca: %s holds no certificate in PEM form", c.tlsCA)
		}
	}
	if c.tlsCert != "" {
		pair, err := tls.LoadX509KeyPair(c.tlsCert, c.tlsKey)
		if err != nil {
			return nil, fault.New(fault.Invalid, "options tls_cert and tls_key: %w", err)
		}
		secure.Certificates = []tls.Certificate{pair}
	}
	return secure, nil
}
