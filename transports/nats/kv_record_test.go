package nats

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func TestARecordComesBackAsItWasWritten(t *testing.T) {
	for _, ttl := range []time.Duration{0, 1, time.Hour, math.MaxInt64} {
		r := newRecord(7, []byte("value"), ttl)

		back, err := readRecord(r.encode())

		require.NoError(t, err)
		require.Equal(t, r, back)
	}
	touched := newRecord(7, nil, 0)
	touched.traits |= traitMoved
	touched.origin = 42
	touched.live(time.Minute)
	back, err := readRecord(touched.encode())
	require.NoError(t, err)
	require.Equal(t, touched.origin, back.origin)
	require.Equal(t, touched.life, back.life)
}

func TestACutRecordIsCorrupt(t *testing.T) {
	r := newRecord(0, nil, time.Hour)
	r.traits |= traitMoved
	whole := r.encode()
	for n := range whole {
		_, err := readRecord(whole[:n])
		require.Equal(t, fault.Corrupt, fault.CodeOf(err), "%d of %d bytes", n, len(whole))
	}
}

func TestANewerRecordSaysThatTheProgramIsTooOld(t *testing.T) {
	b := (&record{}).encode()
	b[0] = recordVersion + 1
	_, err := readRecord(b)
	require.ErrorContains(t, err, "upgrade")
}

func TestARevisionStaysWhenALifetimeChanges(t *testing.T) {
	r := newRecord(0, nil, 0)
	written := r.revision(10)
	r.traits |= traitMoved
	r.origin = 10
	r.live(time.Hour)

	require.Equal(t, written, r.revision(20))
	require.NotEqual(t, written, func() cache.Revision { other := newRecord(0, nil, 0); return other.revision(10) }(),
		"the same sequence of another life of the stream")
}

func TestOnlyWhatHasNoEndIsWrittenWithoutReading(t *testing.T) {
	forever, hour := newRecord(0, nil, 0), newRecord(0, nil, time.Hour)

	sequence, ok := atOnce(forever.revision(10))
	require.True(t, ok)
	require.Equal(t, uint64(10), sequence)
	_, ok = atOnce(hour.revision(10))
	require.False(t, ok)
	_, ok = atOnce("never given")
	require.False(t, ok)
}

func TestTheServersLifetimeIsNeverShorterThanTheRecords(t *testing.T) {
	for ttl, want := range map[time.Duration]string{
		1: "1s", time.Millisecond: "1s", time.Second: "1s", time.Second + 1: "2s", 1900 * time.Millisecond: "2s", time.Hour: "3600s",
	} {
		require.Equal(t, want, formatTTL(ttl), "%v", ttl)
	}
	now := time.Now()
	r := newRecord(0, nil, 0)
	r.keepEnd(now.Add(1500 * time.Millisecond))
	require.Greater(t, r.left(now), 1500*time.Millisecond)
}

func TestTheLongestLifetimeIsWithoutEnd(t *testing.T) {
	r := newRecord(0, nil, math.MaxInt64)
	require.Zero(t, r.ends(time.Now()))
	require.Zero(t, r.left(time.Now()))
}
