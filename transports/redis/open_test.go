package redis_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/redis"
)

// refused opens what cannot be opened, and gives the error.
func refused(t *testing.T, address string, options map[string]any) error {
	t.Helper()
	opened, err := redis.Open(t.Context(), transports.Settings{URL: address, Namespace: "n", Options: options})
	if err == nil {
		_ = opened.Close()
	}
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hush", "a password is never told")
	return err
}

func TestSettingsThatCannotBeRightAreNamed(t *testing.T) {
	const good = "redis://127.0.0.1:1"
	for _, c := range []struct {
		url     string
		options map[string]any
		says    string
	}{
		{good + "?pool=3", nil, `URL parameter "pool" is not known`},
		{good, map[string]any{"pool": 3}, `option "pool" is not known`},
		{good, map[string]any{"pool_size": "many"}, `option "pool_size": a whole number is expected`},
		{good, map[string]any{"pool_size": 1.5}, "a float64"},
		{good, map[string]any{"pool_size": 0}, "at least 1"},
		{good, map[string]any{"read_timeout": 5}, `option "read_timeout": a duration such as "3s" is expected, not a int`},
		{good, map[string]any{"read_timeout": "5"}, "a duration"},
		{good, map[string]any{"read_timeout": "-1s"}, "more than 0"},
		{good, map[string]any{"password": 12345}, `option "password": a string is expected`},
		{good, map[string]any{"tls": "perhaps"}, "true or false"},
		{good, map[string]any{"tls_ca": "x"}, "rediss://"},
		{good + "?attempts=1&attempts=2", nil, "given 2 times"},
		{"redis://:hush@host:port", nil, "cannot be parsed"},
		{"redis://us er:hush@host", nil, "cannot be parsed"},
		{"http://:hush@host", nil, `scheme "http"`},
		{"redis://:hush@/0", nil, "no host"},
		{"redis://:hush@host/zero", nil, `path is "zero"`},
		{"redis://u:12/hush@host", nil, "percent-encoded"},
		{"redis://u:12?hush@host", nil, "percent-encoded"},
		{"redis://u:12#hush@host", nil, "percent-encoded"},
		{"redis:u:hush@host", nil, "no host"},
		{"unix://relative/path", nil, "absolute"},
		{"rediss://host?tls_cert=c.pem", nil, "belong together"},
		{"rediss://host?tls_ca=/does/not/exist", nil, "tls_ca"},
		{"unix:///s.sock?tls=true", nil, "unix socket"},
		{"", nil, "no address"},
	} {
		err := refused(t, c.url, c.options)
		requireCode(t, fault.Invalid, err)
		require.Contains(t, err.Error(), c.says)
		require.NotContains(t, err.Error(), "hush")
	}
	garbage := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(garbage, []byte("garbage"), 0o600))
	require.ErrorContains(t, refused(t, "rediss://host", map[string]any{"tls_ca": garbage}), "no certificate")
	_, err := redis.Open(t.Context(), transports.Settings{URL: good, Namespace: "a:b"})
	requireCode(t, fault.Invalid, err)
}

func TestUnreachableServerIsNamedWithTheAttempts(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())

	err = refused(t, "redis://:hush@"+address, map[string]any{"attempts": 2})

	requireCode(t, fault.Unavailable, err)
	require.True(t, fault.IsRetryable(err))
	require.Contains(t, err.Error(), address)
	require.Contains(t, err.Error(), "attempt 2 of 2")
	require.Contains(t, err.Error(), "see that it runs")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = redis.Open(ctx, transports.Settings{URL: "redis://" + address, Namespace: "n", Options: map[string]any{"attempts": 1000}})
	requireCode(t, fault.DeadlineExceeded, err)
}

// silent accepts connections and says nothing, and counts them.
func silent(t *testing.T) (address string, accepted *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	accepted = &atomic.Int32{}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			t.Cleanup(func() { _ = c.Close() })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		accepting.Wait()
	})
	return listener.Addr().String(), accepted
}

func TestADialThatTakesTooLongIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct{ scheme, timeout string }{
		"in the handshake of TLS": {"rediss://", "200ms"},
		"while it connects":       {"redis://", "1ns"},
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := silent(t)

			err := refused(t, c.scheme+address, map[string]any{"dial_timeout": c.timeout, "attempts": 2})

			requireCode(t, fault.Unavailable, err)
			require.True(t, fault.IsRetryable(err))
			require.Contains(t, err.Error(), "attempt 2 of 2")
			require.ErrorContains(t, err, address)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		})
	}
}

func TestAServerThatIsSilentIsTriedAgain(t *testing.T) {
	address, accepted := silent(t)

	err := refused(t, "redis://"+address, map[string]any{"read_timeout": "100ms", "attempts": 2})

	requireCode(t, fault.Unavailable, err)
	require.Contains(t, err.Error(), "attempt 2 of 2")
	require.EqualValues(t, 2, accepted.Load())
}

func TestTheEndOfACallersTimeIsNoFailureOfTheServer(t *testing.T) {
	address, _ := silent(t)
	for _, scheme := range []string{"redis://", "rediss://"} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()

		_, err := redis.Open(ctx, transports.Settings{URL: scheme + address, Namespace: "n"})

		requireCode(t, fault.DeadlineExceeded, err)
	}
}

func TestPasswordAndUserAreAsked(t *testing.T) {
	server := testserver.Redis(t, servers.RedisOptions{Password: "hush"})
	admin := plain(t, server.URL())
	require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "app", "on", ">hush2", "~*", "&*", "+@all", "-info", "-del", "-unlink").Err())

	openURL(t, server.URL(), "n")
	requireCode(t, fault.Unauthenticated, refused(t, "redis://"+server.Addr(), nil))
	requireCode(t, fault.Unauthenticated, refused(t, "redis://:hushhush@"+server.Addr(), nil))
	requireCode(t, fault.Unauthenticated, refused(t, "redis://nobody:hush@"+server.Addr(), nil))

	node, err := redis.Open(t.Context(), transports.Settings{
		URL: "redis://" + server.Addr(), Namespace: "n", Options: map[string]any{"username": "app", "password": "hush2"},
	})
	require.NoError(t, err, "INFO is not needed")
	defer func() { require.NoError(t, node.Close()) }()
	removed, err := node.Cache().Delete(t.Context(), []cache.Removal{{Key: "k"}})
	requireCode(t, fault.PermissionDenied, one(t, removed, err).Err)
	require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "app", "-ping").Err())
	requireCode(t, fault.PermissionDenied, node.Health(t.Context()))
}

func TestTLSWithClientCertificate(t *testing.T) {
	files, err := servers.NewTLS(t.TempDir())
	require.NoError(t, err)
	server := testserver.Redis(t, servers.RedisOptions{TLS: files})
	query := url.Values{"tls_ca": {files.CA}, "tls_cert": {files.ClientCert}, "tls_key": {files.ClientKey}}

	node := openURL(t, server.URL()+"?"+query.Encode(), "n")

	require.NoError(t, set(t, node, cache.Write{Key: "k"}).Err)
	require.True(t, get(t, node, "k").Found)
	once := map[string]any{"attempts": 1}
	requireCode(t, fault.Unavailable, refused(t, server.URL(), once))
	requireCode(t, fault.Unavailable, refused(t, server.URL()+"?tls_ca="+url.QueryEscape(files.CA), once))
	requireCode(t, fault.Unavailable, refused(t, "redis://"+server.Addr(), map[string]any{"attempts": 1, "read_timeout": "1s"}))
	require.ErrorContains(t, refused(t, server.URL()+"?tls_server_name=elsewhere&"+query.Encode(), once), "elsewhere")
	query.Del("tls_ca")
	query.Set("tls_insecure_skip_verify", "true")
	openURL(t, server.URL()+"?"+query.Encode(), "n")
}

func TestUnixSocketAndDatabase(t *testing.T) {
	server := testserver.Redis(t, servers.RedisOptions{UnixSocket: true})
	socket := openURL(t, "unix://"+server.Socket(), "n")
	other := openURL(t, "redis+unix://"+server.Socket()+"?database=1", "n")
	byPath := openURL(t, server.URL()+"/1", "n")

	set(t, socket, cache.Write{Key: "k"})
	set(t, other, cache.Write{Key: "k1"})

	require.True(t, get(t, openURL(t, server.URL(), "n"), "k").Found)
	require.False(t, get(t, other, "k").Found)
	require.True(t, get(t, byPath, "k1").Found)
}

func TestWhatTheServerKeepsIsDeclared(t *testing.T) {
	log := &bytes.Buffer{}
	kept := testserver.Redis(t, servers.RedisOptions{Persist: true})
	lossy := testserver.Redis(t, servers.RedisOptions{Args: []string{"--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"}})

	a := openURL(t, kept.URL(), "n").Cache().Capabilities
	opened, err := redis.Open(t.Context(), transports.Settings{
		URL: lossy.URL(), Namespace: "n", Logger: slog.New(slog.NewTextHandler(log, nil)).With("transport", "store"),
	})
	require.NoError(t, err)
	b := opened.Cache().Capabilities
	require.NoError(t, opened.Close())

	require.True(t, a.Persistent)
	require.False(t, a.Evicts)
	require.False(t, b.Persistent)
	require.True(t, b.Evicts)
	require.Contains(t, log.String(), "noeviction")
	require.Contains(t, log.String(), "kind=redis namespace=n")
	require.Equal(t, 1, strings.Count(log.String(), "transport="), "a node has said which it is: %s", log)
}

func TestServerThatIsTooOldIsRefused(t *testing.T) {
	for answer, want := range map[string]string{
		"redis_version:6.2.14": "6.2.14; Redis 7.0",
		"nothing:1":            "does not tell its version",
		"redis_version:7.2.4\r\nredis_mode:cluster": "Redis Cluster",
	} {
		err := refused(t, "redis://"+impostor(t, answer), nil)

		requireCode(t, fault.Unsupported, err)
		require.Contains(t, err.Error(), want)
	}
	openURL(t, "redis://"+impostor(t, "redis_version:7.0.0"), "n")
	openURL(t, "redis://"+impostor(t, "redis_version:7.2.4\r\nvalkey_version:8.1.0"), "n")
}

// impostor answers PING, and INFO with what it is told to; anything else is an error.
func impostor(t *testing.T, info string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go pretend(conn, info)
		}
	}()
	return listener.Addr().String()
}

func pretend(conn net.Conn, info string) {
	defer conn.Close()
	for buffer := make([]byte, 4096); ; {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		var reply strings.Builder
		for request := range strings.SplitSeq(string(buffer[:n]), "*") {
			switch request = strings.ToLower(request); {
			case request == "":
			case strings.Contains(request, "ping"):
				reply.WriteString("+PONG\r\n")
			case strings.Contains(request, "\r\ninfo\r\n"):
				bulk := info + "\r\n"
				reply.WriteString("$" + strconv.Itoa(len(bulk)) + "\r\n" + bulk + "\r\n")
			default:
				reply.WriteString("-ERR unknown command\r\n")
			}
		}
		if _, err := conn.Write([]byte(reply.String())); err != nil {
			return
		}
	}
}
