package nats_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/nats"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func openURL(t *testing.T, url string, options map[string]any) transports.Transport {
	t.Helper()
	node, err := transports.OpenURL(t.Context(), url, transports.Settings{Namespace: testserver.Namespace(t), Options: options, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}

func refused(t *testing.T, url string, options map[string]any) error {
	t.Helper()
	node, err := transports.OpenURL(t.Context(), url, transports.Settings{Namespace: "shop", Options: options, Logger: quiet})
	if err == nil {
		_ = node.Close()
	}
	require.Error(t, err)
	return err
}

func TestEveryWayToAuthenticate(t *testing.T) {
	for name, c := range map[string]struct {
		server servers.NATSOptions
		wrong  string // a user's part of the URL
	}{
		"user":  {servers.NATSOptions{Username: "u", Password: "p@ss/w:rd", NoJetStream: true}, "u:wrong"},
		"token": {servers.NATSOptions{Token: "t0ken", NoJetStream: true}, "wrong"},
	} {
		server := testserver.NATS(t, c.server)
		node := openURL(t, server.URL(), nil)
		require.NoError(t, node.Health(t.Context()), name)

		for _, url := range []string{"nats://" + server.Addr(), "nats://" + c.wrong + "@" + server.Addr()} {
			err := refused(t, url, nil)
			require.ErrorIs(t, err, fault.Unauthenticated, name)
			require.NotContains(t, err.Error(), "wrong@", name)
		}
	}
}

func TestAnNkeyAuthenticates(t *testing.T) {
	key, err := nkeys.CreateUser()
	require.NoError(t, err)
	public, err := key.PublicKey()
	require.NoError(t, err)
	seed, err := key.Seed()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "user.nk")
	require.NoError(t, os.WriteFile(file, seed, 0o600))
	server := testserver.NATS(t, servers.NATSOptions{NKeys: []string{public}, NoJetStream: true})

	node := openURL(t, server.URL(), map[string]any{"nkey": file})

	require.NoError(t, node.Health(t.Context()))
	require.ErrorIs(t, refused(t, server.URL(), nil), fault.Unauthenticated)
	require.ErrorIs(t, refused(t, server.URL(), map[string]any{"nkey": file + "?"}), fault.Invalid)
}

func TestMutualTLS(t *testing.T) {
	files, err := servers.NewTLS(t.TempDir())
	require.NoError(t, err)
	server := testserver.NATS(t, servers.NATSOptions{TLS: files, NoJetStream: true})
	all := map[string]any{"tls_ca": files.CA, "tls_cert": files.ClientCert, "tls_key": files.ClientKey}

	node := openURL(t, server.URL(), all)

	require.NoError(t, node.Health(t.Context()))
	hears(t, node, node)
	for name, options := range map[string]map[string]any{
		"no authority":          {"tls_cert": files.ClientCert, "tls_key": files.ClientKey, "attempts": 1},
		"no client certificate": {"tls_ca": files.CA, "attempts": 1},
		"another name":          {"tls_ca": files.CA, "tls_cert": files.ClientCert, "tls_key": files.ClientKey, "tls_server_name": "elsewhere", "attempts": 1},
	} {
		err := refused(t, server.URL(), options)
		require.Contains(t, []fault.Code{fault.Unauthenticated, fault.Unavailable}, fault.CodeOf(err), "%s: %v", name, err)
	}
}

func TestSettingsThatCannotBeRight(t *testing.T) {
	for name, c := range map[string]struct {
		url     string
		options map[string]any
		says    string
	}{
		"unknown option":       {"nats://h", map[string]any{"user": "u"}, `"user" is not known`},
		"unknown parameter":    {"nats://h?pool=1", nil, `"pool" is not known`},
		"two ways":             {"nats://u:secret@h", map[string]any{"token": "secret"}, "give one"},
		"password alone":       {"nats://h", map[string]any{"password": "secret"}, "username"},
		"half a pair":          {"tls://h", map[string]any{"tls_cert": "f"}, "belong together"},
		"tls options for none": {"nats://h", map[string]any{"tls_ca": "f"}, "tls: true"},
		"no such file":         {"tls://h", map[string]any{"tls_ca": "/nowhere/ca.pem"}, "/nowhere/ca.pem"},
		"a path":               {"nats://h/0", nil, "path"},
		"cut password":         {"nats://u:1/secret@h", nil, "percent-encoded"},
		"short silence":        {"nats://h?silence=1ms", nil, "at least"},
		"odd silence":          {"nats://h?silence=soon", nil, "duration"},
		"replicas":             {"nats://h?replicas=7", nil, "at most 5"},
		"storage":              {"nats://h?storage=tape", nil, "one of file, memory"},
		"server with a user":   {"nats://h", map[string]any{"servers": []any{"nats://u:secret@g"}}, "server 2 of the list has a user"},
		"server of no address": {"nats://h?servers=:", nil, "server 2"},
	} {
		err := refused(t, c.url, c.options)
		require.ErrorIs(t, err, fault.Invalid, name)
		require.ErrorContains(t, err, c.says, name)
		require.NotContains(t, err.Error(), "secret", name)
	}
}

func TestAServerThatIsNotThereIsNamed(t *testing.T) {
	err := refused(t, "nats://u:secret@127.0.0.1:1?attempts=2", nil)

	require.ErrorIs(t, err, fault.Unavailable)
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.ErrorContains(t, err, "attempt 2 of 2")
	require.NotContains(t, err.Error(), "secret")
}

func TestOpeningEndsWithItsContext(t *testing.T) {
	silent := testserver.NewProxy(t, testserver.SharedNATS(t).Addr())
	silent.Swallow(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()

	start := time.Now()
	_, err := transports.OpenURL(ctx, "nats://"+silent.Addr(), transports.Settings{Namespace: "shop", Logger: quiet})

	require.ErrorIs(t, err, fault.DeadlineExceeded)
	require.Less(t, time.Since(start), time.Second)
	silent.Swallow(false) // so that the attempt behind it ends
}

func TestAServerWithSmallPayloadsIsRefused(t *testing.T) {
	server := testserver.NATS(t, servers.NATSOptions{MaxPayload: 1000, NoJetStream: true})

	err := refused(t, server.URL(), nil)

	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, "max_payload")
}

// hears requires that what one node publishes comes to the other.
func hears(t *testing.T, from, to transports.Transport) {
	t.Helper()
	heard := make(chan string, 64)
	sub, err := to.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func(events []pubsub.Event) {
		for _, e := range events {
			if e.Message != nil {
				heard <- string(e.Message.Payload)
			}
		}
	})
	require.NoError(t, err)
	defer sub.Close()
	_, err = from.PubSub().Publish(t.Context(), []pubsub.Message{{Subject: "s", Payload: []byte("hello"), Sender: "me", Seq: 1, SubjectSeq: 1}})
	require.NoError(t, err)
	require.Equal(t, "hello", await(t, heard))
}

func await[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
		panic("not reached")
	}
}

func TestAnApplicationsOwnConnection(t *testing.T) {
	server := testserver.NATS(t, servers.NATSOptions{NoJetStream: true})
	proxy := testserver.NewProxy(t, server.Addr())
	nc, err := natsgo.Connect("nats://"+proxy.Addr(), natsgo.MaxReconnects(-1), natsgo.ReconnectBufSize(-1),
		natsgo.ReconnectWait(10*time.Millisecond), natsgo.IgnoreDiscoveredServers())
	require.NoError(t, err)
	defer nc.Close()
	node, err := nats.New(t.Context(), nc, transports.Settings{Namespace: "shop", Logger: quiet})
	require.NoError(t, err)
	hears(t, node, node)

	gaps := make(chan pubsub.Gap, 8)
	sub, err := node.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func(events []pubsub.Event) {
		for _, e := range events {
			if e.Gap != nil {
				gaps <- *e.Gap
			}
		}
	})
	require.NoError(t, err)
	proxy.Cut()
	require.Equal(t, pubsub.Reconnected, await(t, gaps).Cause)
	require.NoError(t, sub.Close())

	require.NoError(t, node.Close())
	require.True(t, nc.IsConnected(), "it stays open")
	_, err = nats.New(t.Context(), nil, transports.Settings{Namespace: "shop"})
	require.ErrorIs(t, err, fault.Invalid)
}

// A link that swallows everything is noticed, and made anew, within ten seconds with the default settings.
func TestASwallowingLinkRecovers(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	server := testserver.NATS(t, servers.NATSOptions{NoJetStream: true})
	proxy := testserver.NewProxy(t, server.Addr())
	namespace := testserver.Namespace(t)
	open := func(addr string) transports.Transport {
		node, err := transports.OpenURL(t.Context(), "nats://"+addr+"?discover=false", transports.Settings{Namespace: namespace, Logger: quiet})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, node.Close()) })
		return node
	}
	far, near := open(proxy.Addr()), open(server.Addr())
	events := make(chan pubsub.Event, 1<<16)
	_, err := far.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func(all []pubsub.Event) {
		for _, e := range all {
			events <- e
		}
	})
	require.NoError(t, err)
	say := func(seq uint64) {
		_, err := near.PubSub().Publish(t.Context(), []pubsub.Message{{Subject: "s", Payload: fmt.Append(nil, seq), Sender: "me", Seq: seq, SubjectSeq: seq}})
		require.NoError(t, err)
	}
	say(1)
	require.EqualValues(t, 1, await(t, events).Message.Seq)

	proxy.Swallow(true)
	start := time.Now()
	say(2) // lost
	seq := uint64(2)
	time.AfterFunc(far.PubSub().Capabilities.Silence, func() { proxy.Swallow(false) })

	gap := await(t, events)
	require.NotNil(t, gap.Gap, "the gap comes before what follows it")
	require.Equal(t, pubsub.Reconnected, gap.Gap.Cause)
	require.Less(t, time.Since(start), 10*time.Second)
	seq++
	say(seq)
	require.Equal(t, seq, await(t, events).Message.Seq)
}

// A publisher whose link has hung is not held up: neither by the lock over a write, nor for longer than a moment.
func TestAHangingLinkHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	server := testserver.NATS(t, servers.NATSOptions{Process: true, NoJetStream: true})
	node := openURL(t, server.URL(), map[string]any{"silence": "30s"})
	require.NoError(t, server.Pause())
	defer func() { require.NoError(t, server.Resume()) }()

	message := pubsub.Message{Subject: "s", Payload: make([]byte, 64<<10), Sender: "me", Seq: 1, SubjectSeq: 1}
	start := time.Now()
	for range 160 { // 10 MiB: more than the sockets hold, and less than the backlog beside them
		_, err := node.PubSub().Publish(t.Context(), []pubsub.Message{message})
		require.NoError(t, err)
	}

	require.Less(t, time.Since(start), 5*time.Second)
}

// What a subscriber that is stuck cannot hold is counted exactly.
func TestWhatDoesNotFitIsCounted(t *testing.T) {
	t.Parallel()
	server := testserver.SharedNATS(t)
	namespace := testserver.Namespace(t)
	node, err := transports.OpenURL(t.Context(), server.URL(), transports.Settings{Namespace: namespace, Logger: quiet})
	require.NoError(t, err)
	defer node.Close()
	stuck, release := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	var got, lost atomic.Int64
	done := make(chan struct{})
	const all = 200_000
	sub, err := node.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func(events []pubsub.Event) {
		if !first.Swap(true) {
			close(stuck)
			<-release
		}
		for _, e := range events {
			switch {
			case e.Gap != nil:
				require.Equal(t, pubsub.Overflow, e.Gap.Cause)
				require.Positive(t, e.Gap.Lost)
				lost.Add(int64(e.Gap.Lost))
			default:
				got.Add(1)
				if e.Message.Seq == all+1 {
					close(done)
				}
			}
		}
	})
	require.NoError(t, err)
	defer sub.Close()
	unstick := sync.OnceFunc(func() { close(release) })
	defer unstick() // Close waits for deliver
	say := func(from, to uint64) {
		var batch []pubsub.Message
		for seq := from; seq <= to; seq++ {
			batch = append(batch, pubsub.Message{Subject: "s", Payload: []byte("x"), Sender: "me", Seq: seq, SubjectSeq: seq})
			if len(batch) == 1000 || seq == to {
				_, err := node.PubSub().Publish(t.Context(), batch)
				require.NoError(t, err)
				batch = batch[:0]
			}
		}
	}
	say(1, 1)
	await(t, stuck)
	say(2, all)
	require.Eventually(t, func() bool { return node.Health(t.Context()) == nil }, time.Minute, time.Millisecond, "everything comes back: the link is read on")
	unstick()
	say(all+1, all+1)
	await(t, done)

	require.EqualValues(t, all+1, got.Load()+lost.Load())
	require.Positive(t, lost.Load())
}
