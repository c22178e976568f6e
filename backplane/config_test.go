package backplane

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
)

const whole = `
node:     { name: web-1, metadata: {zone: a} }
cluster:  { name: shop, keys: ["${SHOP_KEY}", "${OLD_KEY:-BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=}"], sign_pubsub: true }
transports:
  store:
    kind: redis
    url: "redis://127.0.0.1:${PORT}/0"
    pool_size: ${POOL}
    tls: { ca: /etc/ca.pem, verify: true }
  bus: { url: "memory:" }
use: { cache: store, queue: store, pubsub: bus, rpc: bus }
shutdown: 10s
`

const (
	newKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	oldKey = "BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

func setWhole(t *testing.T) {
	t.Setenv("SHOP_KEY", newKey)
	t.Setenv("PORT", "6380")
	t.Setenv("POOL", "20")
}

func TestLoadReadsEverything(t *testing.T) {
	setWhole(t)
	path := filepath.Join(t.TempDir(), "backplane.yaml")
	require.NoError(t, os.WriteFile(path, []byte(whole), 0o600))

	c, err := Load(path)

	require.NoError(t, err)
	c.origin = nil
	require.Equal(t, Config{
		Node:    NodeConfig{Name: "web-1", Metadata: map[string]string{"zone": "a"}},
		Cluster: ClusterConfig{Name: "shop", Keys: []string{newKey, oldKey}, SignPubSub: true},
		Transports: map[string]TransportConfig{
			"store": {Kind: "redis", URL: "redis://127.0.0.1:6380/0", Options: map[string]any{
				"pool_size": 20, "tls": map[string]any{"ca": "/etc/ca.pem", "verify": true},
			}},
			"bus": {URL: "memory:"},
		},
		Use:      Use{Cache: "store", Queue: "store", PubSub: "bus", RPC: "bus"},
		Shutdown: 10 * time.Second,
	}, c)
}

func TestLoadIsStrict(t *testing.T) {
	const end = "\ntransports: {m: {url: 'memory:'}}\n"
	for name, c := range map[string]struct{ yaml, says string }{
		"unknown key":          {"node: {nmae: x}" + end, "f.yaml:1: node.nmae: unknown key; known here are: metadata, name"},
		"unknown key on top":   {"nodes: {}" + end, "f.yaml:1: nodes: unknown key; known here are: cluster, node, shutdown, transports, use"},
		"wrong line is named":  {"node:\n  name: a\n  names: b" + end, "f.yaml:3: node.names"},
		"number for a string":  {"node: {name: 12}" + end, "node.name: expected a string, found a number; put it in quotes"},
		"string for a list":    {"cluster: {keys: hush}" + end, "cluster.keys: expected a list, found a string"},
		"list for a string":    {"node: {name: [a]}" + end, "node.name: expected a string, found a list"},
		"word for a bool":      {"cluster: {insecure: maybe}" + end, `cluster.insecure: expected true or false, found a string`},
		"no unit":              {"shutdown: 30" + end, `shutdown: expected a duration such as "30s" or "5m", found "30"`},
		"negative":             {"shutdown: -3s" + end, "must not be negative"},
		"twice":                {"node: {name: a, name: b}" + end, "twice"},
		"missing variable":     {"node: {name: '${BACKPLANE_TEST_MISSING}'}" + end, "node.name: the environment variable BACKPLANE_TEST_MISSING is not set"},
		"missing in an option": {"transports: {m: {url: 'memory:', x: [{y: '${BACKPLANE_TEST_MISSING}'}]}}", "transports.m.x[0].y: the environment variable"},
		"unclosed":             {"node: {name: '${A'}" + end, "without a closing }"},
		"contains itself":      {"transports: {m: {url: 'memory:', x: &x [*x]}}", "nested too deeply"},
		"empty":                {"", "the file is empty"},
		"not YAML":             {"a: [", "f.yaml:2: did not find"},
		"braces, no quotes":    {"node:\n  name: a\ncluster: {keys: [${A}]}" + end, "f.yaml:3: did not find expected ',' or ']'; a value with ${ in it needs quotes within"},
		"no transport":         {"node: {name: a}", "no transport is configured"},
		"which one":            {"transports: {a: {url: 'memory:'}, b: {url: 'memory:'}}", "there are 2 transports (a, b); say under use:"},
		"unused":               {"transports: {a: {url: 'memory:'}, b: {url: 'memory:'}}\nuse: {cache: a}", `transport "b" is used for nothing`},
		"not configured":       {"use: {cache: c}" + end, `use.cache: it names transport "c", which is not configured; there are: m`},
		"neither kind nor url": {"transports: {m: {}}", "neither kind nor url"},
		"odd cluster":          {"cluster: {name: 'a b'}" + end, "cluster.name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(c.yaml))

			require.ErrorIs(t, err, fault.Invalid)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "hush", "a secret in the wrong place is not shown")
		})
	}
}

func TestWhatIsWrongWithTheYAMLIsSaidOnce(t *testing.T) {
	_, err := Parse("f.yaml", []byte("a: ["))

	require.Equal(t, 1, strings.Count(err.Error(), "did not find"), err.Error())
}

func TestLoadNamesTheFileThatIsNotThere(t *testing.T) {
	_, err := Load("/nowhere/backplane.yaml")

	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "/nowhere/backplane.yaml")
}

func TestOnlyTransportBacksEverything(t *testing.T) {
	c, err := Config{Transports: map[string]TransportConfig{"m": {URL: "memory:"}}}.resolve()

	require.NoError(t, err)
	require.Equal(t, Use{Cache: "m", Queue: "m", PubSub: "m", RPC: "m"}, c.Use)
	require.Equal(t, "default", c.Cluster.Name)
	require.NotEmpty(t, c.Node.Name)
}

func TestSecrecyAndSigningNeedAKey(t *testing.T) {
	for key, cluster := range map[string]ClusterConfig{
		"cluster.secret":      {Secret: true},
		"cluster.sign_pubsub": {SignPubSub: true},
	} {
		c := URL("memory:")
		c.Cluster = cluster

		_, err := c.resolve()

		require.ErrorIs(t, err, fault.Invalid)
		require.ErrorContains(t, err, key)
		require.ErrorContains(t, err, "backplane key")
	}
}

func TestURLKeepsOursApart(t *testing.T) {
	t.Setenv(KeyVariable, "k")

	c := URL("redis://h:1/0?cluster=shop&node=web-1&insecure=true&pool_size=3")

	require.Equal(t, "shop", c.Cluster.Name)
	require.Equal(t, "web-1", c.Node.Name)
	require.True(t, c.Cluster.Insecure)
	require.Equal(t, []string{"k"}, c.Cluster.Keys)
	require.Equal(t, "redis://h:1/0?pool_size=3", c.Transports["default"].URL)

	_, err := URL("redis://u:hush@h?insecure=perhaps").resolve()
	require.ErrorContains(t, err, "insecure=perhaps: write true or false")
	_, err = URL("redis://u:hush@h?%zz").resolve()
	require.ErrorIs(t, err, fault.Invalid)
	require.NotContains(t, err.Error(), "hush")
}

func TestExpand(t *testing.T) {
	lookup := func(name string) (string, bool) {
		values := map[string]string{"A": "1", "EMPTY": ""}
		v, ok := values[name]
		return v, ok
	}
	for in, want := range map[string]string{
		"": "", "plain": "plain", "${A}": "1", "x${A}y${A}": "x1y1", "${B:-d}": "d", "${EMPTY:-d}": "d", "${EMPTY}": "",
		"$$": "$", "$${A}": "${A}", "$A": "$A", "a$": "a$", "${B:-}": "", "${B:-a:-b}": "a:-b",
	} {
		got, _, err := expand(in, lookup)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, bad := range []string{"${", "${A", "${}", "${:-x}", "${B}"} {
		_, _, err := expand(bad, lookup)
		require.Error(t, err, bad)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("a: &x [*x]")
	f.Add("node: *a")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "/dev/") {
			return
		}
		_, err := Parse("f.yaml", []byte(text))
		if err != nil {
			require.ErrorIs(t, err, fault.Invalid)
		}
	})
}

func TestWhatCannotGoTogetherIsToldWithFileLineAndKey(t *testing.T) {
	for name, c := range map[string]struct{ yaml, says string }{
		"not configured":       {"transports:\n  m: {url: 'memory:'}\nuse:\n  cache: m\n  rpc: c\n", `f.yaml:5: use.rpc`},
		"unused":               {"transports:\n  a: {url: 'memory:'}\n  b:\n    url: 'memory:'\nuse: {cache: a}\n", `f.yaml:3: transports.b`},
		"neither kind nor url": {"node: {name: a}\ntransports:\n  m: {}\n", `f.yaml:3: transports.m`},
		"which one":            {"transports:\n  a: {url: 'memory:'}\n  b: {url: 'memory:'}\n", "f.yaml:1: transports"},
		"no transport":         {"node: {name: a}\n", "f.yaml:1: transports"},
		"odd cluster":          {"transports: {m: {url: 'memory:'}}\ncluster:\n  name: a b\n", "f.yaml:3: cluster.name"},
		"negative":             {"transports: {m: {url: 'memory:'}}\nshutdown: -3s\n", "f.yaml:2: shutdown"},
		"long name":            {"transports: {m: {url: 'memory:'}}\nnode:\n  name: " + strings.Repeat("n", 129) + "\n", "f.yaml:3: node.name"},
		"secret without a key": {"transports: {m: {url: 'memory:'}}\ncluster:\n  secret: true\n", "f.yaml:3: cluster.secret"},
		"signed without a key": {"transports: {m: {url: 'memory:'}}\ncluster:\n  sign_pubsub: true\n", "f.yaml:3: cluster.sign_pubsub"},
		"no key":               {"transports: {m: {url: 'memory:'}}\ncluster:\n  keys: ['" + newKey + "', hush]\n", "f.yaml:3: cluster.keys"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(c.yaml))

			require.ErrorIs(t, err, fault.Invalid)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "hush")
		})
	}
}

func TestWhatATransportRefusesIsToldWithFileLineAndKey(t *testing.T) {
	c, err := Parse("f.yaml", []byte("transports:\n  m:\n    url: 'memory:'\n    pool_size: 3\n"))
	require.NoError(t, err)

	_, err = Open(t.Context(), c)

	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, "f.yaml:4: transports.m.pool_size")
}

func TestOnlyOneDocumentIsRead(t *testing.T) {
	_, err := Parse("f.yaml", []byte("transports: {m: {url: 'memory:'}}\n---\ncluster: {name: shop}\n"))

	require.ErrorIs(t, err, fault.Invalid, "the second would be left out without a word")
	require.ErrorContains(t, err, "f.yaml")
}

func TestAKeyThatStandsTwiceInAnOptionIsRefused(t *testing.T) {
	_, err := Parse("f.yaml", []byte("transports:\n  m:\n    url: 'memory:'\n    x:\n      y: 1\n      y: 2\n"))

	require.ErrorContains(t, err, "f.yaml:6: transports.m.x.y: the key stands here twice")
}

// Its name invites it.
func TestASecretInPlaceOfTrueIsNotShown(t *testing.T) {
	t.Setenv("HUSH", "hush")
	for _, value := range []string{"hush", "${HUSH}", "'hush'"} {
		_, err := Parse("f.yaml", []byte("transports: {m: {url: 'memory:'}}\ncluster:\n  secret: "+value+"\n"))

		require.ErrorContains(t, err, "f.yaml:3: cluster.secret: expected true or false")
		require.NotContains(t, err.Error(), "hush")
	}
	_, err := Parse("f.yaml", []byte("transports: {m: {url: 'memory:'}}\nshutdown: ${HUSH}\n"))
	require.ErrorContains(t, err, "shutdown: expected a duration")
	require.NotContains(t, err.Error(), "hush")
}

func TestADefaultMayHoldADollar(t *testing.T) {
	lookup := func(string) (string, bool) { return "", false }

	got, _, err := expand("${A:-pa$$word}", lookup)

	require.NoError(t, err)
	require.Equal(t, "pa$word", got, "as outside of one")
	_, _, err = expand("${A:-${B}}", lookup)
	require.ErrorContains(t, err, "default", "it would be the text ${B")
}
