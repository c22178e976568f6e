package servers_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/servers"
)

// startEcho answers every connection with what it says, until the test ends.
func startEcho(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() { listener.Close(); running.Wait() })
	return listener.Addr().String()
}

func startProxy(t *testing.T) *servers.Proxy {
	t.Helper()
	target := startEcho(t)
	p, err := servers.StartProxy(target)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *servers.Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// echo sends text and reads as much back, within patience.
func echo(conn net.Conn, text string, patience time.Duration) (string, error) {
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", err
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	back := make([]byte, len(text))
	n, err := io.ReadFull(conn, back)
	return string(back[:n]), err
}

func TestProxyCarriesBothWays(t *testing.T) {
	p := startProxy(t)
	conn := dial(t, p)
	sent := make([]byte, 4<<20)
	_, _ = rand.Read(sent)

	go func() {
		_, _ = conn.Write(sent)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	back, err := io.ReadAll(conn)

	require.NoError(t, err)
	require.True(t, bytes.Equal(sent, back))
}

func TestSwallowedBytesAreGoneAndTheConnectionStays(t *testing.T) {
	p := startProxy(t)
	old := dial(t, p)
	_, err := echo(old, "before", 5*time.Second)
	require.NoError(t, err)

	p.Swallow(true)
	_, err = echo(old, "eaten", 50*time.Millisecond)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	young := dial(t, p)
	_, err = echo(young, "eaten", 50*time.Millisecond)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	p.Swallow(false)

	for _, conn := range []net.Conn{old, young} {
		back, err := echo(conn, "after", 5*time.Second)
		require.NoError(t, err)
		require.Equal(t, "after", back)
	}
}

func TestEndOfAConnectionIsSwallowedToo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	p, err := servers.StartProxy(listener.Addr().String())
	require.NoError(t, err)
	defer p.Close()
	client := dial(t, p)
	server, err := listener.Accept()
	require.NoError(t, err)

	p.Swallow(true)
	server.Close()
	_ = client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	p.Swallow(false)
	_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestCutEndsWhatExistsAndRefuseWhatComes(t *testing.T) {
	p := startProxy(t)
	conn := dial(t, p)
	_, err := echo(conn, "x", 5*time.Second)
	require.NoError(t, err)

	p.Refuse(true)
	refused := dial(t, p)
	_, err = echo(refused, "x", 5*time.Second)
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	_, err = echo(conn, "x", 5*time.Second)
	require.NoError(t, err, "an existing connection stays")

	p.Cut()
	_, err = echo(conn, "x", 5*time.Second)
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	p.Refuse(false)
	_, err = echo(dial(t, p), "x", 5*time.Second)
	require.NoError(t, err)
}

func TestDelayAddsLatencyAndTakesNoBandwidth(t *testing.T) {
	const each, messages = 20 * time.Millisecond, 500
	p := startProxy(t)
	conn := dial(t, p)
	p.Delay(each)

	start := time.Now()
	_, err := echo(conn, "x", 5*time.Second)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), 2*each)

	// Sent one by one without waiting, each with its own latency: a proxy that slept for each would take 20 s.
	start = time.Now()
	go func() {
		for range messages {
			_, _ = conn.Write([]byte("0123456789"))
			time.Sleep(10 * time.Microsecond)
		}
	}()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = io.ReadFull(conn, make([]byte, messages*10))
	require.NoError(t, err)
	require.Less(t, time.Since(start), messages*each)
}

func TestClosedProxyWaitsForItsConnections(t *testing.T) {
	p := startProxy(t)
	conn := dial(t, p)
	_, err := echo(conn, "x", 5*time.Second)
	require.NoError(t, err)
	p.Swallow(true)

	p.Close()
	p.Close()

	_, err = echo(conn, "x", 5*time.Second)
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}
