package embedded

import (
	"net/url"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/options"
	"github.com/gobackplane/backplane/transports"
)

// config is what a URL and the options say together.
type config struct {
	listen        string
	secret        string
	insecure      bool
	folder        string
	name          string
	clusterListen string
	clusterName   string
	peers         []string
	wait          time.Duration
	maxPayload    int
	sync          bool
	tlsCert       string
	tlsKey        string
	tlsCA         string
	forClient     map[string]any // as given, for the node's own connection, which checks them
}

func defaults(s transports.Settings) config {
	return config{
		listen: "127.0.0.1:0", wait: 30 * time.Second, maxPayload: 1 << 20, clusterName: s.Namespace, forClient: map[string]any{},
	}
}

// known are the names of the options; Open lists them.
var known = options.Set[config]{
	"listen":          options.Text(func(c *config) *string { return &c.listen }),
	"secret":          options.Text(func(c *config) *string { return &c.secret }),
	"insecure":        options.Truth(func(c *config) *bool { return &c.insecure }),
	"folder":          options.Text(func(c *config) *string { return &c.folder }),
	"name":            options.Text(func(c *config) *string { return &c.name }),
	"cluster_listen":  options.Text(func(c *config) *string { return &c.clusterListen }),
	"cluster_name":    options.Text(func(c *config) *string { return &c.clusterName }),
	"peers":           options.Texts(func(c *config) *[]string { return &c.peers }),
	"wait":            options.Span(func(c *config) *time.Duration { return &c.wait }),
	"max_payload":     options.Whole(func(c *config) *int { return &c.maxPayload }, 128<<10),
	"sync":            options.Truth(func(c *config) *bool { return &c.sync }),
	"tls_cert":        options.Text(func(c *config) *string { return &c.tlsCert }),
	"tls_key":         options.Text(func(c *config) *string { return &c.tlsKey }),
	"tls_ca":          options.Text(func(c *config) *string { return &c.tlsCA }),
	"replicas":        forClient("replicas"),
	"storage":         forClient("storage"),
	"queue_max_bytes": forClient("queue_max_bytes"),
	"silence":         forClient("silence"),
	"attempts":        forClient("attempts"),
}

func forClient(name string) options.Setter[config] {
	return func(c *config, value any) error {
		c.forClient[name] = value
		return nil
	}
}

// largestPayload is what nats-server takes without a warning.
const largestPayload = 8 << 20

// readConfig reads a transport's settings: first the URL, then the options, which win.
func readConfig(s transports.Settings) (config, error) {
	c := defaults(s)
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		if err != nil || u.Host != "" || u.Path != "" || u.Opaque != "" || u.User != nil {
			return c, fault.New(fault.Invalid, `the URL has more than options; write for example "nats-embedded:?listen=127.0.0.1:4222", and secret as an option`)
		}
		if err := known.ApplyQuery(&c, u.RawQuery); err != nil {
			return c, err
		}
	}
	if err := known.ApplyAll(&c, s.Options); err != nil {
		return c, err
	}
	if c.name == "" {
		c.name = c.listen
		if c.clusterListen != "" {
			c.name = c.clusterListen
		}
	}
	return c, c.check()
}

func (c *config) check() error {
	switch {
	case (c.tlsCert == "") != (c.tlsKey == ""):
		return fault.New(fault.Invalid, "options tls_cert and tls_key belong together; give both or neither")
	case c.tlsCA != "" && c.tlsCert == "":
		return fault.New(fault.Invalid, "tls_ca is given, but the server has no certificate of its own; give tls_cert and tls_key too")
	case c.tlsCA != "" && c.insecure:
		return fault.New(fault.Invalid, "tls_ca is given, which asks everybody for a certificate, and insecure: true; take one out")
	case c.tlsCert != "" && c.tlsCA == "" && c.clusterListen != "":
		return fault.New(fault.Invalid, "peers that use TLS have to know each other's certificates; give tls_ca")
	case c.secret == "" && c.tlsCA == "" && !c.insecure:
		return fault.New(fault.Invalid, "no secret is given, so whoever reaches the port could do everything; give option secret, the same on all nodes, ask for certificates (tls_ca), or allow to go without (insecure: true)")
	case c.secret != "" && c.insecure:
		return fault.New(fault.Invalid, "a secret is given, and insecure: true; take one out")
	case len(c.peers) > 0 && c.clusterListen == "":
		return fault.New(fault.Invalid, "peers are given, but not where they reach this server; give option cluster_listen")
	case c.maxPayload > largestPayload:
		return fault.New(fault.Invalid, "option max_payload is %d; at most %d are possible", c.maxPayload, largestPayload)
	}
	return nil
}
