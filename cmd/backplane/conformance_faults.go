package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/transports"
)

// faultFlags say which faults the command can bring about: those of a link by itself, those of the store by commands
// that its operator gives.
type faultFlags struct {
	links                  bool
	restart, pause, resume string
}

func (f *faultFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.links, "faults", false, "exercise faults of links: each node reaches the store through a proxy that can cut and swallow")
	flags.StringVar(&f.restart, "restart-command", "", "exercise restarts of the store, with this shell command; it may return before the store answers")
	flags.StringVar(&f.pause, "pause-command", "", "exercise pauses of the store: this shell command stops it (as docker pause does) …")
	flags.StringVar(&f.resume, "resume-command", "", "… and this one lets it go on")
}

// harness opens nodes on a target, with the hooks that the flags give.
func (f faultFlags) harness(t target) (conformance.Harness, error) {
	if (f.pause == "") != (f.resume == "") {
		return conformance.Harness{}, errors.New("--pause-command and --resume-command belong together; give both or neither")
	}
	if f.links {
		for _, part := range t.parts {
			if _, err := linkOf(part); err != nil {
				return conformance.Harness{}, fmt.Errorf("--faults: %w", err)
			}
		}
	}
	return conformance.Harness{New: func(c conformance.T) conformance.Cluster {
		faulty := &faulty{flags: f, target: t}
		c.Cleanup(faulty.close) // after the sweep, which goes by the proxies too
		faulty.Cluster = conformance.OfFunc(faulty.open).New(c)
		return faulty
	}}, nil
}

// link is where a part of a target is, as a proxy needs to know it.
type link struct {
	url  *url.URL
	addr string
	tls  bool
}

// defaultPorts by scheme.
var defaultPorts = map[string]string{
	"redis": "6379", "rediss": "6379", "nats": "4222", "tls": "4222", "ws": "80", "wss": "443",
}

func linkOf(s transports.Settings) (link, error) {
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || u.Host == "" || s.Options["address"] != nil:
		return link{}, fmt.Errorf("a proxy needs a URL with one host, and %q has none; leave --faults out", transports.Redact(s.URL))
	case strings.Contains(u.Host, ","):
		return link{}, fmt.Errorf("a proxy needs a URL with one host, and %q has several; give one of them", transports.Redact(s.URL))
	}
	port := cmp.Or(u.Port(), defaultPorts[u.Scheme])
	if port == "" {
		return link{}, fmt.Errorf("a proxy needs a port, and %q names none", transports.Redact(s.URL))
	}
	secure := u.Scheme == "rediss" || u.Scheme == "tls" || u.Scheme == "wss" || s.Options["tls"] == true || u.Query().Get("tls") == "true"
	return link{url: u, addr: net.JoinHostPort(u.Hostname(), port), tls: secure}, nil
}

// by are settings that go through a proxy.
func (l link) by(proxy *servers.Proxy, s transports.Settings) transports.Settings {
	detour := *l.url
	detour.Host = proxy.Addr()
	s.URL = detour.String()
	s.Options = maps.Clone(s.Options)
	if s.Options == nil {
		s.Options = map[string]any{}
	}
	if l.tls && s.Options["tls_server_name"] == nil && !detour.Query().Has("tls_server_name") {
		s.Options["tls_server_name"] = l.url.Hostname()
	}
	switch l.url.Scheme {
	case "nats", "tls", "ws", "wss":
		s.Options["discover"] = false // past the proxy there is no fault
	}
	return s
}

// faulty is a cluster whose links and store can be made to fail, as far as its flags go.
type faulty struct {
	conformance.Cluster
	flags  faultFlags
	target target

	mu    sync.Mutex
	links [][]*servers.Proxy // of each node, one for each part
}

// open opens the next node.
func (f *faulty) open(ctx context.Context, namespace string) (transports.Transport, error) {
	if !f.flags.links {
		return f.target.open(ctx, namespace, nil)
	}
	var proxies []*servers.Proxy
	node, err := f.target.open(ctx, namespace, func(s transports.Settings) (transports.Settings, error) {
		to, err := linkOf(s)
		if err != nil {
			return s, err
		}
		proxy, err := servers.StartProxy(to.addr)
		if err != nil {
			return s, err
		}
		proxies = append(proxies, proxy)
		return to.by(proxy, s), nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links = append(f.links, proxies)
	return node, err
}

func (f *faulty) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, proxies := range f.links {
		for _, proxy := range proxies {
			proxy.Close()
		}
	}
}

// Offers says which hooks the flags give.
func (f *faulty) Offers(h conformance.Hook) bool {
	switch h {
	case conformance.Cut, conformance.Partition, conformance.Crash:
		return f.flags.links
	case conformance.Restart:
		return f.flags.restart != ""
	case conformance.Pause:
		return f.flags.pause != ""
	}
	return false
}

// each does something to every link of a node.
func (f *faulty) each(node int, do func(*servers.Proxy)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, proxy := range f.links[node] {
		do(proxy)
	}
}

func (f *faulty) Partition(_ context.Context, node int) (heal func(), err error) {
	f.each(node, func(p *servers.Proxy) { p.Swallow(true) })
	return func() { f.each(node, func(p *servers.Proxy) { p.Swallow(false) }) }, nil
}

func (f *faulty) Cut(_ context.Context, node int) error {
	f.each(node, (*servers.Proxy).Cut)
	return nil
}

// Crash takes the node off the store for good, which to the store and to all others is the same as its end.
func (f *faulty) Crash(_ context.Context, node int) error {
	f.each(node, func(p *servers.Proxy) {
		p.Refuse(true)
		p.Cut()
	})
	return nil
}

// restartPatience is how long a store may take to answer after it was restarted.
const restartPatience = time.Minute

// Restart runs the operator's command, and waits until the store answers.
func (f *faulty) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restartPatience)
	defer cancel()
	if err := shell(ctx, f.flags.restart); err != nil {
		return err
	}
	for {
		err := f.answers(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the store does not answer after %q: %w", f.flags.restart, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (f *faulty) answers(ctx context.Context) error {
	node, err := f.target.open(ctx, "conformance", nil)
	if err != nil {
		return err
	}
	return errors.Join(node.Health(ctx), node.Close())
}

// Pause runs the operator's commands.
func (f *faulty) Pause(ctx context.Context) (resume func(), err error) {
	if err := shell(ctx, f.flags.pause); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restartPatience)
		defer cancel()
		_ = shell(ctx, f.flags.resume) // the case fails by itself when the store stays silent
	}), nil
}

// shell runs a command line.
func shell(ctx context.Context, line string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.WaitDelay = 500 * time.Millisecond // what it leaves running, a server perhaps, may keep the output open
	output, err := cmd.CombinedOutput()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%q: %w: %s", line, err, bytes.TrimSpace(output))
	}
	return nil
}
