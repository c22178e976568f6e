package embedded_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/nats/embedded"
)

func certificates(t *testing.T) *servers.TLS {
	t.Helper()
	files, err := servers.NewTLS(t.TempDir())
	require.NoError(t, err)
	return files
}

func connectWith(t *testing.T, url string, options map[string]any) (transports.Transport, error) {
	t.Helper()
	options["attempts"] = 1
	node, err := transports.OpenURL(t.Context(), url, transports.Settings{Namespace: "shop", Options: options})
	if err == nil {
		t.Cleanup(func() { require.NoError(t, node.Close()) })
	}
	return node, err
}

func TestClientsMustUseTLS(t *testing.T) {
	files, strangers := certificates(t), certificates(t)
	server := open(t, map[string]any{"secret": "s3cret", "tls_cert": files.ServerCert, "tls_key": files.ServerKey})

	other, err := connectWith(t, server.URL(), map[string]any{"tls_ca": files.CA})
	require.NoError(t, err)
	talk(t, server, other)
	talk(t, other, server)

	_, err = connectWith(t, server.URL(), map[string]any{"tls_ca": strangers.CA})
	require.ErrorIs(t, err, fault.Unauthenticated, "who does not trust it")
	_, err = connectWith(t, "tls://backplane:wrong@"+server.Addr(), map[string]any{"tls_ca": files.CA})
	require.ErrorIs(t, err, fault.Unauthenticated, "who does not know the secret")
	_, err = connectWith(t, "nats://backplane:s3cret@"+server.Addr(), map[string]any{})
	require.Error(t, err, "who speaks no TLS")
}

func TestACertificateIsEnough(t *testing.T) {
	files, strangers := certificates(t), certificates(t)
	server := open(t, map[string]any{"tls_cert": files.ServerCert, "tls_key": files.ServerKey, "tls_ca": files.CA})

	other, err := connectWith(t, server.URL(), map[string]any{"tls_ca": files.CA, "tls_cert": files.ClientCert, "tls_key": files.ClientKey})
	require.NoError(t, err)
	talk(t, server, other)

	_, err = connectWith(t, server.URL(), map[string]any{"tls_ca": files.CA})
	require.Error(t, err, "without one")
	_, err = connectWith(t, server.URL(), map[string]any{"tls_ca": files.CA, "tls_cert": strangers.ClientCert, "tls_key": strangers.ClientKey})
	require.Error(t, err, "with a stranger's")
}

func TestPeersUseTLS(t *testing.T) {
	files := certificates(t)
	peers := ports(t, 2)
	nodes, errs := make([]transports.Transport, 2), make([]error, 2)
	var starting sync.WaitGroup
	for i := range nodes {
		starting.Go(func() {
			nodes[i], errs[i] = embedded.Open(context.Background(), transports.Settings{Namespace: "shop", Options: map[string]any{
				"secret": "s3cret", "name": fmt.Sprint("node-", i), "cluster_listen": peers[i], "peers": peers,
				"tls_cert": files.ServerCert, "tls_key": files.ServerKey, "tls_ca": files.CA,
			}})
		})
	}
	starting.Wait()
	for i, node := range nodes {
		require.NoError(t, errs[i])
		t.Cleanup(func() { require.NoError(t, node.Close()) })
	}

	talk(t, nodes[0], nodes[1])
	talk(t, nodes[1], nodes[0])

	// A stranger is asked for a certificate before anything else.
	conn, err := net.Dial("tcp", peers[0])
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	pem, err := os.ReadFile(files.CA)
	require.NoError(t, err)
	authorities := x509.NewCertPool()
	require.True(t, authorities.AppendCertsFromPEM(pem))
	stranger := tls.Client(conn, &tls.Config{RootCAs: authorities, ServerName: "localhost"})
	if err = stranger.Handshake(); err == nil { // of TLS 1.3 the client is the last to know
		_, err = stranger.Read(make([]byte, 1))
	}
	require.ErrorContains(t, err, "certificate required")
}

func TestSettingsOfTLSThatCannotBeRight(t *testing.T) {
	files := certificates(t)
	for name, c := range map[string]struct {
		options map[string]any
		says    string
	}{
		"half a pair":              {map[string]any{"secret": "x", "tls_cert": files.ServerCert}, "belong together"},
		"authorities alone":        {map[string]any{"secret": "x", "tls_ca": files.CA}, "tls_cert and tls_key too"},
		"insecure certificates":    {map[string]any{"insecure": true, "tls_cert": files.ServerCert, "tls_key": files.ServerKey, "tls_ca": files.CA}, "take one out"},
		"peers without authority":  {map[string]any{"secret": "x", "tls_cert": files.ServerCert, "tls_key": files.ServerKey, "cluster_listen": "127.0.0.1:1"}, "give tls_ca"},
		"no such file":             {map[string]any{"secret": "x", "tls_cert": "/nowhere/cert.pem", "tls_key": files.ServerKey}, "/nowhere/cert.pem"},
		"another's key":            {map[string]any{"secret": "x", "tls_cert": files.ServerCert, "tls_key": files.ClientKey}, "tls_cert and tls_key"},
		"authorities that are not": {map[string]any{"secret": "x", "tls_cert": files.ServerCert, "tls_key": files.ServerKey, "tls_ca": files.ServerKey}, "no certificate"},
	} {
		_, err := embedded.Open(t.Context(), transports.Settings{Namespace: "shop", Options: c.options})
		require.ErrorIs(t, err, fault.Invalid, name)
		require.ErrorContains(t, err, c.says, name)
	}
}

// A warning at each start would be read once.
func TestStartingWarnsOfNothing(t *testing.T) {
	var log bytes.Buffer
	node, err := embedded.Open(t.Context(), transports.Settings{
		Namespace: "shop", Options: map[string]any{"secret": "s3cret", "folder": t.TempDir(), "name": "only"},
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	require.NoError(t, err)
	require.NoError(t, node.Close())

	require.Empty(t, log.String())
}
