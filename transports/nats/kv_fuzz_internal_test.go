package nats

import (
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func FuzzCacheRecord(f *testing.F) {
	for _, ttl := range []time.Duration{0, 1, time.Hour, math.MaxInt64} {
		r := newRecord(7, []byte("value"), ttl)
		r.random, r.created = 1, 2
		f.Add(r.encode())
		r.traits, r.origin = r.traits|traitMoved, 42
		f.Add(r.encode())
	}
	f.Add([]byte{recordVersion + 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRecord(b)
		if err != nil {
			require.Equal(t, fault.Corrupt, fault.CodeOf(err))
			return
		}
		require.Equal(t, b, r.encode())
		now := time.Now()
		_, _, _ = r.ends(now), r.left(now), formatTTL(r.left(now))
		_, _ = atOnce(r.revision(1))
		if values, err := readValues(r.value); err == nil {
			again, err := readValues(encodeValues(values))
			require.NoError(t, err)
			require.Equal(t, values, again)
		}
	})
}

func FuzzLockRecord(f *testing.F) {
	held := lock{held: true, fence: 42, ttl: time.Second, holder: "h"}
	f.Add(held.encode(), "2026-01-02T03:04:05.678Z")
	f.Add([]byte{lockVersion}, "")
	f.Add([]byte{lockVersion + 1}, "")
	f.Fuzz(func(t *testing.T, b []byte, at string) {
		l, err := readLock(stored{sequence: 1, data: b, at: at})
		if err != nil {
			require.Contains(t, []fault.Code{fault.Corrupt, fault.Internal}, fault.CodeOf(err))
			return
		}
		if len(b) > 0 {
			again, err := readLock(stored{sequence: 1, data: l.encode(), at: at})
			require.NoError(t, err)
			require.Equal(t, l, again)
		}
		_ = l.live(new(storeClock).look())
		_ = admits(cache.Guard{Holder: "x", Fence: 1}, stored{sequence: 1, data: b, at: at}, new(storeClock).look())
	})
}

func FuzzCacheSubject(f *testing.F) {
	f.Add("a/b:c.d", "a.b")
	f.Add("\x00*> ", "=.=")
	f.Fuzz(func(t *testing.T, key, tokens string) {
		if key != "" {
			back, ok := readKey(string(appendKey(nil, key)))
			require.True(t, ok)
			require.Equal(t, key, back)
		}
		if read, ok := readKey(tokens); ok {
			require.Equal(t, tokens, string(appendKey(nil, read)), "one key has one subject")
		}
		_, _ = readCursor(tokens)
	})
}

func FuzzCacheAnswers(f *testing.F) {
	f.Add("", "", []byte(`{"stream":"s","seq":42}`))
	f.Add("42", "", []byte(`value`))
	f.Add("", "404", []byte(`{"error":{"code":404,"err_code":10037}}`))
	f.Add("", "", []byte(`{"message":{"seq":1,"data":"AA==","time":"2026-01-02T03:04:05Z"}}`))
	f.Fuzz(func(t *testing.T, sequence, status string, data []byte) {
		r := &request{answer: &nats.Msg{Data: data, Header: nats.Header{}}}
		if sequence != "" {
			r.answer.Header[jetstream.SequenceHeader] = []string{sequence}
		}
		if status != "" {
			r.answer.Header["Status"] = []string{status}
		}
		if m, err := readStored(r); err != nil {
			require.Zero(t, m)
		}
		if n, err := written(r); err != nil {
			require.Zero(t, n)
		}
		_ = readRefusal(data)
	})
}
