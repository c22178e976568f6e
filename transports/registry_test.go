package transports_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// opened are the settings that the transport fake was opened with last.
var opened transports.Settings

// registerFake does it once, however often the tests run.
var registerFake = sync.OnceFunc(func() {
	transports.Register("fake", func(_ context.Context, s transports.Settings) (transports.Transport, error) {
		opened = s
		return nil, nil
	}, "fakes")
})

func TestOpenFindsTheKindOfAURL(t *testing.T) {
	registerFake()
	for _, url := range []string{"fake:x", "fakes://host/1", "FAKE:"} {
		_, err := transports.OpenURL(t.Context(), url, transports.Settings{Namespace: "shop"})
		require.NoError(t, err)
		require.Equal(t, transports.Settings{Kind: "fake", URL: url, Namespace: "shop"}, opened)
	}
	require.Contains(t, transports.Kinds(), "fake")
	require.Panics(t, func() { transports.Register("fake", nil) })
}

func TestOpenRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, c := range map[string]struct {
		settings transports.Settings
		says     string
	}{
		"unknown kind":   {transports.Settings{Kind: "rabbit", Namespace: "shop"}, `unknown transport kind "rabbit"; this program has:`},
		"unknown scheme": {transports.Settings{URL: "amqp://u:secret@h", Namespace: "shop"}, `unknown transport scheme "amqp"`},
		"no URL":         {transports.Settings{URL: "localhost", Namespace: "shop"}, "not a URL"},
		"no namespace":   {transports.Settings{Kind: "fake"}, "cluster.name"},
		"odd namespace":  {transports.Settings{Kind: "fake", Namespace: "a b"}, `byte ' '`},
		"long namespace": {transports.Settings{Kind: "fake", Namespace: strings.Repeat("a", 65)}, "64 are allowed"},
	} {
		_, err := transports.Open(t.Context(), c.settings)
		require.ErrorIs(t, err, fault.Invalid, name)
		require.ErrorContains(t, err, c.says, name)
		require.NotContains(t, err.Error(), "secret", name)
	}
}

func TestRedactHidesSecrets(t *testing.T) {
	require.Equal(t, "redis://u:xxxxx@h:1/0", transports.Redact("redis://u:secret@h:1/0"))
	require.NotContains(t, transports.Redact("redis://h?password=secret&db=1"), "secret")
	require.NotContains(t, transports.Redact("://u:secret@h"), "secret")
	for _, address := range []string{
		"plugin:/bin/x?url=redis%3A%2F%2Fu%3Asecret%40h", "plugin:/bin/x?env=PASS%3Dsecret", "plugin:/bin/x?options=%7B%22a%22%3A%22secret%22%7D",
		"redis:u:1secret@h", "redis:/u:1secret@h", "redis:///u:1secret@h", "redis://u:1/secret@h", "redis://u:1?secret@h", "redis://u:1#secret@h",
	} {
		require.NotContains(t, transports.Redact(address), "secret", address)
	}
	require.Equal(t, "rediss://h?tls_server_name=a%40b", transports.Redact("rediss://h?tls_server_name=a@b"))
}
