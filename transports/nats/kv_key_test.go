package nats

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEveryKeyIsASubjectOfItsOwn(t *testing.T) {
	seen := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.OneOf(
			rapid.StringMatching(`[ab:/.=*> ]{1,8}`),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), func(b []byte) string { return string(b) }),
		).Draw(t, "key")

		subject := string(appendKey([]byte("p."), key))

		if !server.IsValidLiteralSubject(subject) {
			t.Fatalf("%q becomes %q, which is no subject", key, subject)
		}
		if other, known := seen[subject]; known && other != key {
			t.Fatalf("%q and %q both become %q", key, other, subject)
		}
		seen[subject] = key
		back, ok := readKey(strings.TrimPrefix(subject, "p."))
		if !ok || back != key {
			t.Fatalf("%q becomes %q, which is read as %q (%t)", key, subject, back, ok)
		}
	})
}

func TestThePrefixOfAKeyIsAPrefixOfItsTokens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[ab:/.=]{1,10}`).Draw(t, "key")
		prefix := key[:rapid.IntRange(0, len(key)).Draw(t, "length")]

		filter := string(appendPrefix([]byte("p."), prefix)) + ">"

		subject := string(appendKey([]byte("p."), key))
		if !server.SubjectsCollide(filter, subject) {
			t.Fatalf("the filter %q of %q does not find %q of %q", filter, prefix, subject, key)
		}
	})
}

func TestWhatNoKeyBecomesIsNotReadAsOne(t *testing.T) {
	for _, tokens := range []string{markToken, "user:." + markToken, "=4", "=4.1", "=zz", "a.b", ".", "a:.=.b"} {
		_, ok := readKey(tokens)
		require.False(t, ok, tokens)
	}
}

func TestALongKeyFitsIntoALineOfTheProtocol(t *testing.T) {
	subject := appendKey(nil, strings.Repeat(".", 512)) // each byte takes three, and a dot after
	require.Less(t, len(subject), server.MAX_CONTROL_LINE_SIZE/2+100)
}
