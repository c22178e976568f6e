package nats

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/options"
	"github.com/gobackplane/backplane/transports"
)

// config is what a URL and the options say together.
type config struct {
	servers  []string // URLs without user and password
	more     []string // servers beside the URL's, as given
	discover bool

	username string
	password string
	token    string
	creds    string
	nkey     string

	tls           bool
	tlsCA         string
	tlsCert       string
	tlsKey        string
	tlsServerName string
	tlsInsecure   bool

	attempts    int
	dialTimeout time.Duration
	silence     time.Duration

	domain   string
	replicas int
	storage  string

	queueMaxBytes int
}

// leastSilence is what a PING needs on a busy machine.
const leastSilence = 300 * time.Millisecond

func defaults() config {
	return config{
		discover:    true,
		attempts:    3,
		dialTimeout: 2 * time.Second,
		silence:     5 * time.Second,
		replicas:    1,
		storage:     "file",
	}
}

// known are the names that the query of a URL and Settings.Options may have; Open lists them.
var known = options.Set[config]{
	"servers":                  options.Texts(func(c *config) *[]string { return &c.more }),
	"discover":                 options.Truth(func(c *config) *bool { return &c.discover }),
	"username":                 options.Text(func(c *config) *string { return &c.username }),
	"password":                 options.Text(func(c *config) *string { return &c.password }),
	"token":                    options.Text(func(c *config) *string { return &c.token }),
	"creds":                    options.Text(func(c *config) *string { return &c.creds }),
	"nkey":                     options.Text(func(c *config) *string { return &c.nkey }),
	"tls":                      options.Truth(func(c *config) *bool { return &c.tls }),
	"tls_ca":                   options.Text(func(c *config) *string { return &c.tlsCA }),
	"tls_cert":                 options.Text(func(c *config) *string { return &c.tlsCert }),
	"tls_key":                  options.Text(func(c *config) *string { return &c.tlsKey }),
	"tls_server_name":          options.Text(func(c *config) *string { return &c.tlsServerName }),
	"tls_insecure_skip_verify": options.Truth(func(c *config) *bool { return &c.tlsInsecure }),
	"attempts":                 options.Whole(func(c *config) *int { return &c.attempts }, 1),
	"dial_timeout":             options.Span(func(c *config) *time.Duration { return &c.dialTimeout }),
	"silence":                  options.Span(func(c *config) *time.Duration { return &c.silence }),
	"domain":                   options.Text(func(c *config) *string { return &c.domain }),
	"replicas":                 options.Whole(func(c *config) *int { return &c.replicas }, 1),
	"queue_max_bytes":          options.Whole(func(c *config) *int { return &c.queueMaxBytes }, leastBound),
	"storage":                  options.OneOf(func(c *config) *string { return &c.storage }, "file", "memory"),
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
	if err := c.readServers(); err != nil {
		return c, err
	}
	return c, c.check()
}

// readURL reads nats://user:password@host:port?option=…; a user alone is a token, as in other clients of NATS.
func (c *config) readURL(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fault.New(fault.Invalid, "the URL cannot be parsed; name one server in it and others as option servers, and percent-encode a password with special characters, or give it as option password")
	}
	switch {
	case !schemes[u.Scheme]:
		return fault.New(fault.Invalid, "scheme %q is not known; use nats, tls, ws or wss", u.Scheme)
	case strings.Contains(u.Path+u.Fragment, "@"): // so it is not told
		return options.ErrCutPassword
	case u.Hostname() == "":
		return fault.New(fault.Invalid, `the URL has no host; write for example "nats://127.0.0.1:4222"`)
	case strings.Trim(u.Path, "/") != "" && u.Scheme[0] != 'w':
		return fault.New(fault.Invalid, "the URL has a path, which means nothing here; take it out")
	}
	if u.User != nil {
		password, has := u.User.Password()
		if has {
			c.username, c.password = u.User.Username(), password
		} else {
			c.token = u.User.Username()
		}
	}
	if err := known.ApplyQuery(c, u.RawQuery); err != nil {
		return err
	}
	first := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	c.servers = []string{first.String()}
	return nil
}

var schemes = map[string]bool{"nats": true, "tls": true, "ws": true, "wss": true}

// readServers brings the servers into one form, and learns from their schemes whether TLS is wanted.
func (c *config) readServers() error {
	c.servers = append(c.servers, c.more...)
	for i, server := range c.servers {
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" {
			return fault.New(fault.Invalid, "server %d of the list is no address; write host:port or a URL", i+1)
		}
		if !schemes[u.Scheme] {
			return fault.New(fault.Invalid, "server %d of the list has scheme %q; use nats, tls, ws or wss", i+1, u.Scheme)
		}
		if u.User != nil {
			return fault.New(fault.Invalid, "server %d of the list has a user; give it in the URL or the options, for all servers", i+1)
		}
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"ws": "80", "wss": "443"}[u.Scheme])
			if strings.HasSuffix(u.Host, ":") {
				u.Host += "4222"
			}
		}
		c.tls = c.tls || u.Scheme == "tls" || u.Scheme == "wss"
		c.servers[i] = u.String()
	}
	return nil
}

func (c *config) check() error {
	ways := 0
	for _, way := range []string{c.username, c.token, c.creds, c.nkey} {
		if way != "" {
			ways++
		}
	}
	switch {
	case len(c.servers) == 0:
		return fault.New(fault.Invalid, `no address is given; write for example url: "nats://127.0.0.1:4222"`)
	case c.silence < leastSilence:
		return fault.New(fault.Invalid, "option silence is %v; it must be at least %v, and several times a round trip", c.silence, leastSilence)
	case ways > 1:
		return fault.New(fault.Invalid, "more than one of username, token, creds and nkey is given; give one")
	case c.password != "" && c.username == "":
		return fault.New(fault.Invalid, "a password is given without a user name; give username too, or use token")
	case (c.tlsCert == "") != (c.tlsKey == ""):
		return fault.New(fault.Invalid, "options tls_cert and tls_key belong together; give both or neither")
	case !c.tls && (c.tlsCA != "" || c.tlsCert != "" || c.tlsServerName != "" || c.tlsInsecure):
		return fault.New(fault.Invalid, "TLS options are given, but the connection is not to be encrypted; write tls:// or tls: true")
	case c.replicas > 5:
		return fault.New(fault.Invalid, "option replicas is %d; at most 5 are possible, and 3 are usual", c.replicas)
	}
	return nil
}

func (c *config) storageType() jetstream.StorageType {
	if c.storage == "memory" {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

// address is where the transport connects to, for errors.
func (c *config) address() string { return strings.Join(c.servers, ", ") }

// connectOptions are the client's options, apart from those that need the transport.
func (c *config) connectOptions(s transports.Settings) ([]nats.Option, error) {
	o := []nats.Option{
		nats.Name("backplane " + s.Namespace),
		nats.Timeout(c.dialTimeout),
		// An outage may take long; the default gives up after two minutes, for ever.
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		// What was published while the link is down would arrive late, long after its publisher was told of a failure.
		nats.ReconnectBufSize(-1),
		// The third PING without an answer ends the link.
		nats.PingInterval(c.silence / (maxPingsOut + 1)),
		nats.MaxPingsOutstanding(maxPingsOut),
		// Writes hold the client's lock: without this a dead link with full buffers would not be noticed for a minute.
		nats.FlusherTimeout(c.silence),
		nats.ReconnectOnFlusherError(),
		// Credentials are changed while programs run.
		nats.IgnoreAuthErrorAbort(),
		nats.NoCallbacksAfterClientClose(),
		// Subjects are checked by us, before.
		nats.SkipSubjectValidation(),
	}
	if !c.discover {
		o = append(o, nats.IgnoreDiscoveredServers())
	}
	secure, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	if secure != nil {
		o = append(o, nats.Secure(secure))
	}
	switch {
	case c.username != "":
		o = append(o, nats.UserInfo(c.username, c.password))
	case c.token != "":
		o = append(o, nats.Token(c.token))
	case c.creds != "":
		if _, err := os.Stat(c.creds); err != nil {
			return nil, fault.New(fault.Invalid, "option creds: %w", err)
		}
		o = append(o, nats.UserCredentials(c.creds))
	case c.nkey != "":
		key, err := nats.NkeyOptionFromSeed(c.nkey)
		if err != nil {
			return nil, fault.New(fault.Invalid, "option nkey: %w", err)
		}
		o = append(o, key)
	}
	return o, nil
}

const (
	maxPingsOut   = 2
	reconnectWait = 100 * time.Millisecond
)

func (c *config) tlsConfig() (*tls.Config, error) {
	if !c.tls {
		return nil, nil
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.tlsServerName, InsecureSkipVerify: c.tlsInsecure}
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
