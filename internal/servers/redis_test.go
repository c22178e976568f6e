package servers_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/internal/servers"
)

func TestMain(m *testing.M) {
	servers.RunNATSChild()
	goleak.VerifyTestMain(m)
}

func startRedis(t *testing.T, o servers.RedisOptions) *servers.Redis {
	t.Helper()
	r, err := servers.StartRedis(t.Context(), o)
	if errors.Is(err, servers.ErrNoRedis) && !strings.Contains(os.Getenv("BACKPLANE_REQUIRE"), "redis") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(r.Stop)
	return r
}

// ask sends inline commands and gives the first line of the last answer.
func ask(addr string, config *tls.Config, commands ...string) (string, error) {
	dialer := &net.Dialer{Timeout: time.Second}
	conn, err := dialer.Dial("tcp", addr)
	if config != nil && err == nil {
		conn.Close()
		conn, err = tls.DialWithDialer(dialer, "tcp", addr, config)
	}
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	reader := bufio.NewReader(conn)
	line := ""
	for _, command := range commands {
		if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
			return "", err
		}
		if line, err = reader.ReadString('\n'); err != nil {
			return "", err
		}
		if strings.HasPrefix(line, "$") && line != "$-1\r\n" {
			if line, err = reader.ReadString('\n'); err != nil {
				return "", err
			}
		}
	}
	return strings.TrimSpace(line), nil
}

func TestServerAnswersUntilStoppedAndLeavesNothingBehind(t *testing.T) {
	r := startRedis(t, servers.RedisOptions{})

	answer, err := ask(r.Addr(), nil, "PING")
	require.NoError(t, err)
	require.Equal(t, "+PONG", answer)
	require.Equal(t, "redis://"+r.Addr(), r.URL())
	config, err := ask(r.Addr(), nil, "CONFIG GET dir", "PING")
	require.NoError(t, err)
	require.NotEmpty(t, config)

	r.Stop()
	r.Stop()
	_, err = ask(r.Addr(), nil, "PING")
	require.Error(t, err)
}

func TestPersistedDataSurvivesAKill(t *testing.T) {
	for _, persist := range []bool{true, false} {
		t.Run(fmt.Sprint(persist), func(t *testing.T) {
			r := startRedis(t, servers.RedisOptions{Persist: persist})
			_, err := ask(r.Addr(), nil, "SET k kept")
			require.NoError(t, err)
			addr := r.Addr()

			r.Kill()
			_, err = ask(addr, nil, "PING")
			require.Error(t, err)
			require.NoError(t, r.Restart(t.Context()))

			answer, err := ask(addr, nil, "GET k")
			require.NoError(t, err)
			require.Equal(t, map[bool]string{true: "kept", false: "$-1"}[persist], answer)
		})
	}
}

func TestServerWithPasswordAndSocketRefusesStrangers(t *testing.T) {
	r := startRedis(t, servers.RedisOptions{Password: "p@ss w:rd", UnixSocket: true})

	answer, err := ask(r.Addr(), nil, "PING")
	require.NoError(t, err)
	require.Contains(t, answer, "NOAUTH")
	require.Contains(t, r.URL(), "redis://:p%40ss%20w%3Ard@")
	require.FileExists(t, r.Socket())
}

func TestServerWithTLSAsksForACertificate(t *testing.T) {
	files, err := servers.NewTLS(t.TempDir())
	require.NoError(t, err)
	r := startRedis(t, servers.RedisOptions{TLS: files})
	config, err := files.Config()
	require.NoError(t, err)

	answer, err := ask(r.Addr(), config, "PING")
	require.NoError(t, err)
	require.Equal(t, "+PONG", answer)

	config.Certificates = nil
	_, err = ask(r.Addr(), config, "PING")
	require.Error(t, err)
}

func TestPausedServerIsSilentUntilResumed(t *testing.T) {
	r := startRedis(t, servers.RedisOptions{})
	require.NoError(t, r.Pause())

	_, err := ask(r.Addr(), nil, "PING")
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	require.NoError(t, r.Resume())
	_, err = ask(r.Addr(), nil, "PING")
	require.NoError(t, err)
	require.NoError(t, r.Pause()) // Stop must end a paused one too
}

func TestFailedStartSaysWhy(t *testing.T) {
	_, err := servers.StartRedis(t.Context(), servers.RedisOptions{Binary: "no-such-redis"})
	require.ErrorIs(t, err, servers.ErrNoRedis)
	require.ErrorContains(t, err, "make deps")

	r := startRedis(t, servers.RedisOptions{})
	var port int
	_, err = fmt.Sscanf(strings.Split(r.Addr(), ":")[1], "%d", &port)
	require.NoError(t, err)
	_, err = servers.StartRedis(t.Context(), servers.RedisOptions{Port: port})
	require.ErrorContains(t, err, "taken")

	_, err = servers.StartRedis(t.Context(), servers.RedisOptions{Args: []string{"--no-such-option", "1"}})
	require.ErrorContains(t, err, "no-such-option")

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = servers.StartRedis(canceled, servers.RedisOptions{})
	require.ErrorIs(t, err, context.Canceled)
}
