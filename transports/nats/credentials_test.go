package nats_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
)

// serve runs a server with options that only these tests need.
func serve(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoLog, o.NoSigs = "127.0.0.1", true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(30*time.Second))
	return s
}

// identity is one key and what it is called by.
func identity(t *testing.T, make func() (nkeys.KeyPair, error)) (key nkeys.KeyPair, public string) {
	t.Helper()
	key, err := make()
	require.NoError(t, err)
	public, err = key.PublicKey()
	require.NoError(t, err)
	return key, public
}

func TestACredentialsFileAuthenticates(t *testing.T) {
	operator, operatorID := identity(t, nkeys.CreateOperator)
	operatorClaims := jwt.NewOperatorClaims(operatorID)
	operatorToken, err := operatorClaims.Encode(operator)
	require.NoError(t, err)
	trusted, err := jwt.DecodeOperatorClaims(operatorToken)
	require.NoError(t, err)
	account, accountID := identity(t, nkeys.CreateAccount)
	accountToken, err := jwt.NewAccountClaims(accountID).Encode(operator)
	require.NoError(t, err)
	accounts := &server.MemAccResolver{}
	require.NoError(t, accounts.Store(accountID, accountToken))
	s := serve(t, &server.Options{TrustedOperators: []*jwt.OperatorClaims{trusted}, AccountResolver: accounts})
	file := func(by nkeys.KeyPair, until time.Time) string {
		user, userID := identity(t, nkeys.CreateUser)
		claims := jwt.NewUserClaims(userID)
		claims.Expires = until.Unix()
		token, err := claims.Encode(by)
		require.NoError(t, err)
		seed, err := user.Seed()
		require.NoError(t, err)
		text, err := jwt.FormatUserConfig(token, seed)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "user.creds")
		require.NoError(t, os.WriteFile(path, text, 0o600))
		return path
	}

	node := openURL(t, s.ClientURL(), map[string]any{"creds": file(account, time.Now().Add(time.Hour))})

	require.NoError(t, node.Health(t.Context()))
	hears(t, node, node)
	stranger, _ := identity(t, nkeys.CreateAccount)
	for name, creds := range map[string]string{
		"of another account": file(stranger, time.Now().Add(time.Hour)),
		"that has expired":   file(account, time.Now().Add(-time.Hour)),
	} {
		require.ErrorIs(t, refused(t, s.ClientURL(), map[string]any{"creds": creds, "attempts": 1}), fault.Unauthenticated, name)
	}
	require.ErrorIs(t, refused(t, s.ClientURL(), nil), fault.Unauthenticated)
	require.ErrorIs(t, refused(t, s.ClientURL(), map[string]any{"creds": "/nowhere/user.creds"}), fault.Invalid)
}

func TestAWebSocketIsALink(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	require.NoError(t, free.Close())
	s := serve(t, &server.Options{
		Username: "u", Password: "p",
		Websocket: server.WebsocketOpts{Host: "127.0.0.1", Port: port, NoTLS: true},
	})
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))

	over, direct := openURL(t, "ws://u:p@"+address, map[string]any{"discover": false}), openURL(t, "nats://u:p@"+s.Addr().String(), nil)

	require.NoError(t, over.Health(t.Context()))
	hears(t, over, over)
	require.NoError(t, direct.Health(t.Context()))
	require.Eventually(t, func() bool { // the server may hang up before its reason has arrived
		return errors.Is(refused(t, "ws://u:wrong@"+address, map[string]any{"attempts": 1}), fault.Unauthenticated)
	}, 10*time.Second, time.Millisecond)
}
