package backplane

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// Config says who a node is, which cluster it belongs to, and which transport backs each of the four concerns.
// It comes from a file ([Load]), from a URL ([URL]), or is filled in by hand.
//
//	node:     { name: web-1 }
//	cluster:  { name: shop, keys: ["${SHOP_KEY}"] }
//	transports:
//	  store:  { kind: redis, url: "redis://127.0.0.1:6379/0" }
//	use:      { cache: store, queue: store, pubsub: store, rpc: store }
type Config struct {
	Node    NodeConfig    `yaml:"node"`
	Cluster ClusterConfig `yaml:"cluster"`

	// Transports by a name of your choice.
	Transports map[string]TransportConfig `yaml:"transports"`

	// Use names the transport of each concern. Left out altogether, a single transport is used for all that it offers;
	// otherwise only the concerns that are named here are opened, and the others answer Unsupported.
	Use Use `yaml:"use"`

	// Shutdown bounds how long Close waits for running tasks, and then for running calls; default 30s.
	Shutdown time.Duration `yaml:"shutdown"`

	// Logger is where background events go; default slog.Default().
	Logger *slog.Logger `yaml:"-"`

	// What only a program can say: middleware, codecs, timings and bounds of the four. Names, keys and the logger are
	// the node's, whatever stands here.
	CacheOptions  cache.Options       `yaml:"-"`
	QueueOptions  queue.ClientOptions `yaml:"-"` // of Node.Queue; those of workers are given to Node.Worker
	PubSubOptions pubsub.Options      `yaml:"-"`
	RPCOptions    rpc.Options         `yaml:"-"`

	err    error   // what URL found wrong, told by Open
	origin *origin // of a file; nil: none
}

// NodeConfig says who the node is.
type NodeConfig struct {
	// Name is for people, and for calls to a node by name; default the host's name. Names may repeat: what identifies
	// a node is its incarnation.
	Name string `yaml:"name"`
	// Metadata is announced to the other members: version, zone, role.
	Metadata map[string]string `yaml:"metadata"`
}

// ClusterConfig says which cluster a node belongs to.
type ClusterConfig struct {
	// Name keeps clusters that share a store apart: 1 to 64 of a-z A-Z 0-9 _ -. Default "default".
	Name string `yaml:"name"`
	// Keys sign the frames between nodes: 32 bytes in base64 each, newest first. The first signs, all are accepted, so
	// that a key can be rotated without a pause: add the new one at the end everywhere, move it to the front
	// everywhere, drop the old one.
	Keys []string `yaml:"keys"`
	// Insecure lets nodes work without a key: whoever reaches the transport can then call any method.
	Insecure bool `yaml:"insecure"`
	// Secret also encrypts the frames between nodes, with keys made from Keys. The same on all nodes.
	Secret bool `yaml:"secret"`
	// SignPubSub protects messages of pub/sub as frames between nodes are: signed, encrypted with Secret, and refused
	// when forged, replayed or not signed. The same on all nodes.
	SignPubSub bool `yaml:"sign_pubsub"`
}

// TransportConfig says how to open one transport. What the kind understands beside the URL stands next to it, and is
// found in Options.
type TransportConfig struct {
	Kind    string         `yaml:"kind"` // may be left out when the URL's scheme says it
	URL     string         `yaml:"url"`
	Options map[string]any `yaml:",inline"`
}

// Use names the transport that backs each concern; an empty one is not offered.
type Use struct {
	Cache  string `yaml:"cache"`
	Queue  string `yaml:"queue"`
	PubSub string `yaml:"pubsub"`
	RPC    string `yaml:"rpc"`
}

// DefaultShutdown is how long Close waits for running tasks and calls unless told otherwise.
const DefaultShutdown = 30 * time.Second

// KeyVariable is the environment variable in which [URL] looks for the cluster's key.
const KeyVariable = "BACKPLANE_KEY"

// Load reads a YAML file, strictly: an unknown key, a wrong type or an impossible combination is Invalid, and the
// message names file, line and key, and what was expected. ${VAR} and ${VAR:-default} are replaced in values by the
// environment's, after parsing; a variable that is missing and has no default is an error, and $$ stands for a $.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fault.New(fault.Invalid, "backplane: cannot read the config: %w", err)
	}
	return Parse(path, data)
}

// Parse is Load for a file that is in memory. The name is for messages.
func Parse(name string, data []byte) (Config, error) {
	var c Config
	d := decoder{file: name, lookup: os.LookupEnv, lines: map[string]int{}}
	if err := d.decode(data, &c); err != nil {
		return Config{}, err
	}
	c.origin = &origin{file: name, lines: d.lines}
	if _, err := c.resolve(); err != nil {
		return Config{}, c.origin.place(err)
	}
	return c, nil
}

// resolve fills in the defaults and refuses impossible combinations.
func (c Config) resolve() (Config, error) {
	if c.err != nil {
		return c, c.err
	}
	if c.Node.Name == "" {
		host, err := os.Hostname()
		if err != nil || host == "" {
			host = "node"
		}
		c.Node.Name = host
	}
	if len(c.Node.Name) > 128 {
		return c, invalid("node.name", "it has %d bytes, 128 are allowed", len(c.Node.Name))
	}
	if c.Cluster.Name == "" {
		c.Cluster.Name = "default"
	}
	if err := transports.CheckNamespace(c.Cluster.Name); err != nil {
		return c, fault.In(err, "backplane: config", "cluster.name")
	}
	for _, k := range []struct {
		key string
		is  bool
	}{{"secret", c.Cluster.Secret}, {"sign_pubsub", c.Cluster.SignPubSub}} {
		if k.is && len(c.Cluster.Keys) == 0 {
			return c, invalid("cluster."+k.key, "it needs a key; make one with \"backplane key\" and give it as cluster.keys")
		}
	}
	if _, err := envelope.ParseRing(c.Cluster.Keys); err != nil {
		return c, fault.In(err, "backplane: config", "cluster.keys")
	}
	if c.Shutdown < 0 {
		return c, invalid("shutdown", "it is %s; it must not be negative", c.Shutdown)
	}
	if c.Shutdown == 0 {
		c.Shutdown = DefaultShutdown
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, c.resolveUse()
}

func (c *Config) resolveUse() error {
	names := slices.Sorted(maps.Keys(c.Transports))
	if len(names) == 0 {
		return invalid("transports", `no transport is configured; add one, for example transports: {store: {url: "redis://127.0.0.1:6379"}}`)
	}
	if c.Use == (Use{}) {
		if len(names) > 1 {
			return invalid("transports", "there are %d transports (%s); say under use: which one backs cache, queue, pubsub and rpc", len(names), strings.Join(names, ", "))
		}
		only := names[0]
		c.Use = Use{Cache: only, Queue: only, PubSub: only, RPC: only}
	}
	used := map[string]bool{}
	for _, u := range c.Use.each() {
		if u.transport == "" {
			continue
		}
		if _, ok := c.Transports[u.transport]; !ok {
			return invalid("use."+u.concern, "it names transport %q, which is not configured; there are: %s", u.transport, strings.Join(names, ", "))
		}
		used[u.transport] = true
	}
	for _, name := range names {
		t := c.Transports[name]
		if !used[name] {
			return invalid("transports."+name, "transport %q is used for nothing; name it under use:, or remove it", name)
		}
		if t.Kind == "" && t.URL == "" {
			return invalid("transports."+name, "transport %q has neither kind nor url", name)
		}
	}
	return nil
}

type usage struct{ concern, transport string }

func (u Use) each() []usage {
	return []usage{{"cache", u.Cache}, {"queue", u.Queue}, {"pubsub", u.PubSub}, {"rpc", u.RPC}}
}

// invalid is what is wrong with the value of a key, or with its absence.
func invalid(key, format string, args ...any) error {
	return &fault.Error{Code: fault.Invalid, Op: "backplane: config", Subject: key, Message: fmt.Sprintf(format, args...)}
}
