package redis

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

func TestRevisionsNeverRepeat(t *testing.T) {
	seen := map[cache.Revision]bool{}
	for range 10_000 {
		r := revisionOf(newEntry(0, nil))
		require.Len(t, string(r), 12)
		require.False(t, seen[r])
		seen[r] = true
	}
}

func FuzzEntryRecord(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add([]byte("value"), uint8(255))
	f.Add(newEntry(3, []byte("a record in a record")), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, flags uint8) {
		entry, err := readEntry(newEntry(flags, b))
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, entry.Value))
		require.NotNil(t, entry.Value)
		require.Equal(t, flags, entry.Flags)
		require.WithinDuration(t, time.Now(), entry.Created, time.Minute)

		if _, err := readEntry(b); err != nil { // whatever else is read as a record is refused, or an entry
			require.Equal(t, fault.Corrupt, fault.CodeOf(err))
		}
	})
}

func FuzzLockRecord(f *testing.F) {
	f.Add("")
	f.Add("\x01" + strings.Repeat("\x00", 25) + "holder")
	f.Fuzz(func(t *testing.T, record string) {
		var lease cache.Lease
		if _, err := readLockRecord(record, time.Now(), &lease); err != nil {
			require.Equal(t, fault.Corrupt, fault.CodeOf(err))
		}
	})
}

func FuzzKeysAreReadBackAndKeptApart(f *testing.F) {
	f.Add("a", "b")
	f.Add("{", "%7B")
	f.Add("a}", "a%7D")
	f.Fuzz(func(t *testing.T, a, b string) {
		space := newKeyspace("n", entryKey)
		name, ok := space.name(space.key(a))
		require.True(t, ok)
		require.Equal(t, a, name)
		require.Equal(t, a == b, space.key(a) == space.key(b))
		tag := space.key(a)
		tag = tag[strings.IndexByte(tag, '{')+1:]
		require.Equal(t, len(tag)-1, strings.IndexByte(tag, '}'), "the tag ends where the key does")
		require.Equal(t, strings.HasPrefix(a, b), strings.HasPrefix(space.key(a), string(space)+escape(b)))
	})
}

func FuzzSettingsAreReadOrRefusedWithoutASecret(f *testing.F) {
	f.Add("redis://user:hush-hush@host:6379/0?pool_size=3", "read_timeout", "3s")
	f.Add("rediss://:hush-hush@[::1]", "tls_server_name", "x")
	f.Add("unix:///run/s.sock?database=2", "password", "hush-hush")
	f.Add("redis://u:hush-hush@h:badport", "database", "-1")
	f.Fuzz(func(t *testing.T, url, name, value string) {
		c, err := readConfig(transports.Settings{URL: url, Options: map[string]any{name: value}})
		if err != nil {
			require.Equal(t, fault.Invalid, fault.CodeOf(err))
			if strings.Contains(url, "hush-hush@") {
				require.NotContains(t, err.Error(), "hush-hush@")
			}
			return
		}
		require.NotEmpty(t, c.address)
	})
}

func TestEveryCodeOfTheServerHasARemedy(t *testing.T) {
	node := &Transport{life: context.Background(), address: "host:1"}
	for text, want := range map[string]fault.Code{
		"NOAUTH Authentication required.":          fault.Unauthenticated,
		"WRONGPASS invalid username-password pair": fault.Unauthenticated,
		"NOPERM this user has no permissions":      fault.PermissionDenied,
		"OOM command not allowed when used memory": fault.Exhausted,
		"LOADING Redis is loading the dataset":     fault.Unavailable,
		"READONLY You can't write against a read":  fault.Unavailable,
		"MASTERDOWN Link with MASTER is down":      fault.Unavailable,
		"TRYAGAIN Multiple keys request":           fault.Unavailable,
		"ERR max number of clients reached":        fault.Unavailable,
		"WRONGTYPE Operation against a key":        fault.Corrupt,
		"ERR something that nobody has thought of": fault.Internal,
	} {
		err := node.fault(reply(text), "cache: get", "k")

		require.Equal(t, want, fault.CodeOf(err), text)
		require.Contains(t, err.Error(), `cache: get "k": the server at host:1`)
		require.Equal(t, want == fault.Unavailable, fault.IsRetryable(err))
	}
	require.Equal(t, fault.DeadlineExceeded, fault.CodeOf(node.fault(context.DeadlineExceeded, "", "")))
	require.Equal(t, fault.Canceled, fault.CodeOf(node.fault(context.Canceled, "", "")))
	require.NoError(t, node.fault(nil, "", ""))
}

// reply is an error of the server, as go-redis has it.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}
