package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/cmd/backplane/internal/demo"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/nats/embedded"
)

// demoStore is what the demo's cluster works on.
type demoStore struct {
	kind       string
	transports map[string]backplane.TransportConfig // of nodes that only use it
	hosts      []demo.Host                          // of those that hold it, if nodes do
	stop       func()
}

// store starts what the flags ask for, or names what is there.
func (f demoFlags) store(ctx context.Context, cluster string) (demoStore, error) {
	switch {
	case f.transport == "redis:":
		return ownRedis(ctx)
	case f.transport != "":
		return givenStore(f.transport), nil
	case f.servers > 1:
		return serversInNodes(f.servers)
	}
	return serverInside(ctx, cluster, f.quiet())
}

func givenStore(address string) demoStore {
	kind, _, _ := strings.Cut(address, ":")
	return demoStore{kind: kind, transports: only(backplane.TransportConfig{URL: address}), stop: func() {}}
}

func only(t backplane.TransportConfig) map[string]backplane.TransportConfig {
	return map[string]backplane.TransportConfig{"store": t}
}

func ownRedis(ctx context.Context) (demoStore, error) {
	redis, err := servers.StartRedis(ctx, servers.RedisOptions{})
	if err != nil {
		return demoStore{}, err
	}
	s := givenStore(redis.URL())
	s.stop = redis.Stop
	return s, nil
}

// serverInside runs a NATS server in this process, which no kill meets.
func serverInside(ctx context.Context, cluster string, quiet bool) (demoStore, error) {
	dir, err := os.MkdirTemp("", "backplane-demo-")
	if err != nil {
		return demoStore{}, err
	}
	settings := transports.Settings{Kind: embedded.Kind, Namespace: cluster, Options: map[string]any{"folder": dir, "secret": rand.Text()}}
	if quiet {
		settings.Logger = slog.New(slog.DiscardHandler)
	}
	opened, err := embedded.Open(ctx, settings)
	if err != nil {
		_ = os.RemoveAll(dir)
		return demoStore{}, err
	}
	s := givenStore(opened.(*embedded.Transport).URL())
	s.kind = embedded.Kind
	s.stop = func() {
		_ = opened.Close() // always nil
		_ = os.RemoveAll(dir)
	}
	return s, nil
}

// serversInNodes has as many nodes run a NATS server each, of one cluster that keeps everything three times. The one who
// takes the place of a killed node starts the server again with what its folder holds.
func serversInNodes(n int) (demoStore, error) {
	const replicas = "3"
	dir, err := os.MkdirTemp("", "backplane-demo-")
	if err != nil {
		return demoStore{}, err
	}
	s := demoStore{kind: embedded.Kind, stop: func() { _ = os.RemoveAll(dir) }}
	addresses, err := freeAddresses(2 * n)
	if err != nil {
		s.stop()
		return demoStore{}, err
	}
	listens, peers := addresses[:n], addresses[n:]
	secret := rand.Text()
	for i := range n {
		s.hosts = append(s.hosts, only(backplane.TransportConfig{Kind: embedded.Kind, Options: map[string]any{
			"name": "server-" + strconv.Itoa(i+1), "folder": filepath.Join(dir, strconv.Itoa(i+1)), "secret": secret,
			"listen": listens[i], "cluster_listen": peers[i], "peers": strings.Join(peers, ","), "replicas": replicas,
		}}))
	}
	s.transports = only(backplane.TransportConfig{Kind: "nats", Options: map[string]any{
		"servers": strings.Join(listens, ","), "username": embedded.User, "password": secret, "replicas": replicas,
	}})
	return s, nil
}

// freeAddresses finds loopback ports that nobody listens on now.
func freeAddresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // all at the end, so that all are different
		addresses[i] = l.Addr().String()
	}
	return addresses, nil
}
