// Package embedded is the transport over NATS with the server inside the node's own process: no other program has to be
// installed. Importing it registers the kind "nats-embedded":
//
//	import _ "github.com/gobackplane/backplane/transports/nats/embedded"
//
//	bus: { kind: nats-embedded, listen: "10.0.0.5:4222", secret: "${SHOP_SECRET}", folder: /var/lib/shop }
//
// Other nodes connect to it with the kind "nats" and the URL nats://backplane:SECRET@10.0.0.5:4222, or run a server of
// their own: with option peers, several servers form one cluster, and three of them keep what JetStream stores (cache,
// locks, tasks) on three machines with replicas: 3.
//
// The server ends with its node. What its folder holds is there when it starts again with the same folder.
package embedded

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/nats"
)

// Kind is the name under which the transport is registered.
const Kind = "nats-embedded"

// User is the name with which clients authenticate; the password is the secret.
const User = "backplane"

func init() { transports.Register(Kind, Open) }

// Transport is a node with its own server.
type Transport struct {
	*nats.Transport
	config  config
	server  *server.Server
	closing sync.Once
}

// Open starts the server and connects to it. With peers and a folder it waits until so many of them are up that JetStream
// works, which takes more than half of them: start them at about the same time. Options, which may be given in the query
// of a URL too (nats-embedded:?listen=…):
//
//	listen            host:port for clients, port 0: a free one; 127.0.0.1:0
//	secret            the password of clients and peers
//	insecure          true: no password; whoever reaches the port may do everything
//	folder            where JetStream keeps its data; without one there is none, and neither cache nor queue
//	name              of the server, different from its peers', and the same each time; the listen address
//	cluster_listen    host:port for peers; needed with peers
//	peers             the cluster_listen addresses of all servers, or of some; a list
//	cluster_name      the same on all servers; the namespace
//	wait              how long Open waits for the server and its peers; 30s
//	max_payload       the largest message in bytes; 1 MiB
//	tls_cert, tls_key files of the server's certificate and key, PEM: then clients and peers must use TLS
//	tls_ca            file of the authorities, PEM, of which clients and peers must show a certificate; needed with both
//	                  TLS and peers. A secret is not needed with it
//	sync              true: what is acknowledged is on the disk, and survives a power failure; false
//
// and replicas, storage, queue_max_bytes, silence and attempts as of the kind "nats".
func Open(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	const op = "nats-embedded: open"
	c, err := readConfig(s)
	if err != nil {
		return nil, located(err, op, "")
	}
	if err := transports.CheckNamespace(s.Namespace); err != nil {
		return nil, located(err, op, s.Namespace)
	}
	t, err := c.start(ctx, s)
	if err != nil {
		return nil, located(err, op, c.listen)
	}
	return t, nil
}

func (c config) start(ctx context.Context, s transports.Settings) (*Transport, error) {
	log := s.Logger
	if log == nil {
		log = slog.Default()
	}
	t := &Transport{config: c}
	journal := &journal{log: log.With("transport", Kind, "server", c.name)}
	var err error
	if t.server, err = c.serve(journal); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.wait, fault.New(fault.Unavailable, "not ready within %v; with peers, see that enough of them are up (option wait)", c.wait))
	defer cancel()
	if err = t.await(ctx, journal); err == nil {
		t.Transport, err = nats.OpenThrough(ctx, c.client(s, t.server), func(string, string) (net.Conn, error) { return t.server.InProcessConn() })
	}
	if err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// client is how the node connects to its own server.
func (c config) client(s transports.Settings, own *server.Server) transports.Settings {
	given := map[string]any{"servers": own.Addr().String(), "discover": false}
	for _, name := range []string{"replicas", "storage", "queue_max_bytes", "silence", "attempts"} {
		if value, ok := c.forClient[name]; ok {
			given[name] = value
		}
	}
	if c.secret != "" {
		given["username"], given["password"] = User, c.secret
	}
	return transports.Settings{Kind: nats.Kind, Namespace: s.Namespace, Options: given, Logger: s.Logger, Clock: s.Clock}
}

// await returns when the server takes clients and, where it has JetStream, that answers.
func (t *Transport) await(ctx context.Context, j *journal) error {
	for !t.server.ReadyForConnections(10 * time.Millisecond) {
		if err := j.fatal(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fault.FromContext(ctx)
		}
	}
	if t.config.folder == "" {
		return nil
	}
	options := []client.Option{client.InProcessServer(t.server)}
	if t.config.secret != "" {
		options = append(options, client.UserInfo(User, t.config.secret))
	}
	nc, err := client.Connect("", options...)
	if err != nil {
		return fault.New(fault.Unavailable, "the server does not take clients: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fault.New(fault.Internal, "%w", err)
	}
	for {
		once, cancel := context.WithTimeout(ctx, time.Second)
		_, err := js.AccountInfo(once)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fault.New(fault.CodeOf(context.Cause(ctx)), "%w; JetStream says: %w", context.Cause(ctx), err)
		}
	}
}

// Kind is "nats-embedded".
func (t *Transport) Kind() string { return Kind }

// Addr is where clients connect, host:port.
func (t *Transport) Addr() string { return t.server.Addr().String() }

// URL is where clients connect, with the secret: for the kind "nats" on other nodes. It is not for logs.
func (t *Transport) URL() string {
	u := url.URL{Scheme: "nats", Host: t.Addr()}
	if t.config.tlsCert != "" {
		u.Scheme = "tls"
	}
	if t.config.secret != "" {
		u.User = url.UserPassword(User, t.config.secret)
	}
	return u.String()
}

// Close closes the node, and then its server, which takes other nodes' links with it. It may be called twice.
func (t *Transport) Close() error {
	err := t.Transport.Close()
	t.stop()
	return err
}

func (t *Transport) stop() {
	t.closing.Do(func() {
		t.server.Shutdown()
		t.server.WaitForShutdown()
	})
}

func located(err error, op, subject string) error {
	var f *fault.Error
	if errors.As(fault.In(err, op, subject), &f) {
		f.Transport = Kind
		return f
	}
	return err
}

// serve starts the server.
func (c config) serve(j *journal) (*server.Server, error) {
	host, port, err := address("listen", c.listen)
	if err != nil {
		return nil, err
	}
	o := &server.Options{
		ServerName: c.name, Host: host, Port: port, NoSigs: true, DisableJetStreamBanner: true,
		MaxPayload: int32(c.maxPayload), JetStream: c.folder != "", StoreDir: c.folder, SyncAlways: c.sync,
	}
	if port == 0 {
		o.Port = server.RANDOM_PORT
	}
	if c.secret != "" {
		o.CustomClientAuthentication = newGuard(c.secret)
	}
	if c.clusterListen != "" {
		if err := c.cluster(o); err != nil {
			return nil, err
		}
	}
	if err := c.encrypt(o); err != nil {
		return nil, err
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the server refuses its options: %w", err)
	}
	s.SetLoggerV2(j, false, false, false)
	s.Start()
	return s, nil
}

func (c config) cluster(o *server.Options) error {
	host, port, err := address("cluster_listen", c.clusterListen)
	if err != nil {
		return err
	}
	o.Cluster = server.ClusterOpts{Name: c.clusterName, Host: host, Port: port}
	if c.secret != "" {
		o.Cluster.Username, o.Cluster.Password = User, c.secret
	}
	for _, peer := range c.peers {
		if _, _, err := address("peers", peer); err != nil {
			return err
		}
		u := &url.URL{Scheme: "nats", Host: peer}
		if c.secret != "" {
			u.User = url.UserPassword(User, c.secret)
		}
		o.Routes = append(o.Routes, u)
	}
	return nil
}

func address(option, text string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(text)
	if err == nil {
		port, err = strconv.Atoi(digits)
	}
	if err != nil || host == "" || port < 0 || port > 65535 {
		return "", 0, fault.New(fault.Invalid, "option %s is %q; write host:port, as in 127.0.0.1:4222", option, text)
	}
	return host, port, nil
}
