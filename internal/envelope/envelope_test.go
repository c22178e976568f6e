package envelope_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const address = "node.abc"

func ring(t testing.TB, keys ...string) *envelope.Ring {
	t.Helper()
	r, err := envelope.ParseRing(keys)
	require.NoError(t, err)
	return r
}

func sealer(t testing.TB, r *envelope.Ring, p envelope.Protection) *envelope.Sealer {
	t.Helper()
	s, err := envelope.NewSealer(r, "web-1", envelope.NewIncarnation(time.Now()), p)
	require.NoError(t, err)
	return s
}

// protections are the ways a frame may travel.
func protections(t *testing.T, test func(t *testing.T, r *envelope.Ring, p envelope.Protection)) {
	t.Run("insecure", func(t *testing.T) { test(t, nil, envelope.Signed) })
	t.Run("signed", func(t *testing.T) { test(t, ring(t, envelope.NewKey()), envelope.Signed) })
	t.Run("secret", func(t *testing.T) { test(t, ring(t, envelope.NewKey()), envelope.Secret) })
}

func TestWhatIsSealedIsOpened(t *testing.T) {
	protections(t, func(t *testing.T, r *envelope.Ring, p envelope.Protection) {
		incarnation := envelope.NewIncarnation(time.Now())
		s, err := envelope.NewSealer(r, "web-1", incarnation, p)
		require.NoError(t, err)
		o := envelope.NewOpener(r, 0)

		for i, payload := range []string{"", "one", strings.Repeat("\x00", 100_000)} {
			frame := s.Lane(7).Seal([]byte("prefix"), 3, address, []byte(payload), []byte("!"))
			require.LessOrEqual(t, len(frame)-6, len(payload)+1+envelope.Overhead("web-1", incarnation, address))

			opened, err := o.Open(frame[6:], address)

			require.NoError(t, err)
			require.Equal(t, "web-1", opened.Sender)
			require.Equal(t, incarnation, opened.Incarnation)
			require.Equal(t, uint16(7), opened.Lane)
			require.Equal(t, uint64(i+1), opened.Seq)
			require.Equal(t, byte(3), opened.Kind)
			require.Equal(t, payload+"!", string(opened.Payload))
		}
	})
}

func TestASecretPayloadIsNotReadable(t *testing.T) {
	s := sealer(t, ring(t, envelope.NewKey()), envelope.Secret)

	frame := s.Lane(1).Seal(nil, 1, address, []byte("the plan"))

	require.NotContains(t, string(frame), "the plan")
}

func TestEveryChangedBitIsRefused(t *testing.T) {
	for _, p := range []envelope.Protection{envelope.Signed, envelope.Secret} {
		r := ring(t, envelope.NewKey())
		frame := sealer(t, r, p).Lane(1).Seal(nil, 1, address, []byte("pay 10"))

		for bit := range len(frame) * 8 {
			forged := bytes.Clone(frame)
			forged[bit/8] ^= 1 << (bit % 8)
			_, err := envelope.NewOpener(r, 0).Open(forged, address)
			require.Error(t, err, "bit %d", bit)
		}
		for n := range frame {
			_, err := envelope.NewOpener(r, 0).Open(bytes.Clone(frame[:n]), address)
			require.Error(t, err, "cut to %d bytes", n)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	ours, theirs := envelope.NewKey(), envelope.NewKey()
	seal := func(r *envelope.Ring, p envelope.Protection) []byte {
		return sealer(t, r, p).Lane(1).Seal(nil, 1, address, nil)
	}
	tests := map[string]struct {
		frame  []byte
		opener *envelope.Ring
		code   fault.Code
		says   string
	}{
		"another key":      {seal(ring(t, theirs), envelope.Signed), ring(t, ours), fault.Unauthenticated, "does not have"},
		"no signature":     {seal(nil, envelope.Signed), ring(t, ours), fault.Unauthenticated, "not signed"},
		"we have no key":   {seal(ring(t, ours), envelope.Signed), nil, fault.Unauthenticated, "no key"},
		"secret, no key":   {seal(ring(t, ours), envelope.Secret), nil, fault.Unauthenticated, "no key"},
		"not a frame":      {[]byte("PING"), ring(t, ours), fault.Unsupported, "version"},
		"empty":            {nil, ring(t, ours), fault.Corrupt, "no frame"},
		"version 0":        {make([]byte, 200), ring(t, ours), fault.Corrupt, "no frame"},
		"a newer version":  {append([]byte{2}, seal(ring(t, ours), envelope.Signed)[1:]...), ring(t, ours), fault.Unsupported, "upgrade this one"},
		"too short":        {[]byte{1, 1, 0}, ring(t, ours), fault.Corrupt, "no frame"},
		"unknown flags":    {append([]byte{1, 9}, make([]byte, 200)...), ring(t, ours), fault.Corrupt, "no frame"},
		"not incarnations": {append([]byte{1, 1}, make([]byte, 200)...), ring(t, ours), fault.Corrupt, "no frame"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := envelope.NewOpener(tt.opener, 0).Open(tt.frame, address)

			require.ErrorIs(t, err, tt.code)
			require.ErrorContains(t, err, tt.says)
		})
	}
}

func TestAFrameIsForOneAddressOnly(t *testing.T) {
	r := ring(t, envelope.NewKey())
	frame := sealer(t, r, envelope.Signed).Lane(1).Seal(nil, 1, "node.b", []byte("x"))

	_, err := envelope.NewOpener(r, 0).Open(frame, "node.c")

	require.ErrorIs(t, err, fault.Unauthenticated)
}

func TestKeysRotateWithoutAPause(t *testing.T) {
	older, newer := envelope.NewKey(), envelope.NewKey()
	steps := []*envelope.Ring{ring(t, older), ring(t, older, newer), ring(t, newer, older), ring(t, newer)}

	for i := range steps[:3] {
		for _, p := range []envelope.Protection{envelope.Signed, envelope.Secret} {
			for _, pair := range [][2]*envelope.Ring{{steps[i], steps[i+1]}, {steps[i+1], steps[i]}} {
				frame := sealer(t, pair[0], p).Lane(1).Seal(nil, 1, address, []byte("x"))
				_, err := envelope.NewOpener(pair[1], 0).Open(frame, address)
				require.NoError(t, err, "step %d", i)
			}
		}
	}
}

func TestBadKeysAreNamedAndNeverShown(t *testing.T) {
	good := envelope.NewKey()
	tests := map[string]struct {
		keys []string
		says string
	}{
		"not base64":   {[]string{good, "hunter2!hunter2!"}, "key 2 of 2 is not base64"},
		"short":        {[]string{"aHVudGVyMg=="}, "has 7 bytes, 32 are needed"},
		"empty":        {[]string{""}, "has 0 bytes"},
		"listed twice": {[]string{good, good}, "twice"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := envelope.ParseRing(tt.keys)

			require.ErrorIs(t, err, fault.Invalid)
			require.ErrorContains(t, err, tt.says)
			for _, k := range tt.keys {
				if k != "" {
					require.NotContains(t, err.Error(), k)
				}
			}
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", ring(t, good), ring(t, good), ring(t, good), ring(t, good)), good)
}

func TestNoFrameIsAcceptedTwice(t *testing.T) {
	protections(t, func(t *testing.T, r *envelope.Ring, p envelope.Protection) {
		s, o := sealer(t, r, p), envelope.NewOpener(r, 0)
		var frames [][]byte
		for range 3000 {
			frames = append(frames, s.Lane(1).Seal(nil, 1, address, []byte("x")))
		}
		for i, f := range frames {
			_, err := o.Open(bytes.Clone(f), address)
			require.NoError(t, err, "frame %d", i)
		}

		for i, f := range frames {
			_, err := o.Open(bytes.Clone(f), address)
			require.ErrorIs(t, err, fault.Duplicate, "frame %d", i)
		}
	})
}

func TestFramesMayComeUpToAWindowOutOfOrder(t *testing.T) {
	r := ring(t, envelope.NewKey())
	s, o := sealer(t, r, envelope.Signed), envelope.NewOpener(r, 0)
	var frames [][]byte
	for range 2 * envelope.WindowSize {
		frames = append(frames, s.Lane(1).Seal(nil, 1, address, nil))
	}
	open := func(i int) error {
		_, err := o.Open(bytes.Clone(frames[i]), address)
		return err
	}
	require.NoError(t, open(0))
	require.NoError(t, open(envelope.WindowSize+100))

	require.NoError(t, open(101), "the last of the window")
	require.ErrorIs(t, open(100), fault.Duplicate, "one beyond")
}

func TestWhatWasSentBeforeTheFirstContactMustHaveOurTimeToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ring(t, envelope.NewKey())
		s, o := sealer(t, r, envelope.Signed), envelope.NewOpener(r, 0)
		old := s.Lane(1).Seal(nil, 1, address, nil)
		time.Sleep(envelope.FirstContact + time.Second)
		overtaken := s.Lane(1).Seal(nil, 1, address, nil)
		first := s.Lane(1).Seal(nil, 1, address, nil)
		_, err := o.Open(first, address)
		require.NoError(t, err)

		_, err = o.Open(bytes.Clone(overtaken), address)
		require.NoError(t, err)
		_, err = o.Open(overtaken, address)
		require.ErrorIs(t, err, fault.Duplicate)
		_, err = o.Open(old, address)
		require.ErrorIs(t, err, fault.Unauthenticated)
	})
}

func TestAnUnknownSenderMustHaveOurTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ring(t, envelope.NewKey())
		s := sealer(t, r, envelope.Signed)
		known := envelope.NewOpener(r, 0)
		frame := s.Lane(1).Seal(nil, 1, address, nil)
		_, err := known.Open(s.Lane(1).Seal(nil, 1, address, nil), address)
		require.NoError(t, err)

		time.Sleep(envelope.FirstContact)
		next := s.Lane(1).Seal(nil, 1, address, nil)
		_, err = envelope.NewOpener(r, 0).Open(bytes.Clone(frame), address)
		require.NoError(t, err, "just within")
		time.Sleep(time.Second)
		_, err = envelope.NewOpener(r, 0).Open(bytes.Clone(frame), address)
		require.ErrorIs(t, err, fault.Unauthenticated)
		require.ErrorContains(t, err, "clocks")

		time.Sleep(time.Hour)
		_, err = known.Open(next, address)
		require.NoError(t, err, "a known sender's frame may be late")
		_, err = known.Open(s.Lane(2).Seal(nil, 1, address, nil), address)
		require.NoError(t, err, "a new lane with our time")
	})
}

func TestAFormerLifeCannotBeReplayedWhileItsSuccessorIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ring(t, envelope.NewKey())
		elder := sealer(t, r, envelope.Signed)
		replayed := elder.Lane(1).Seal(nil, 1, address, nil)
		time.Sleep(time.Second)
		successor := sealer(t, r, envelope.Signed)
		o := envelope.NewOpener(r, 0)
		_, err := o.Open(successor.Lane(1).Seal(nil, 1, address, nil), address)
		require.NoError(t, err)

		_, err = o.Open(replayed, address)
		require.ErrorIs(t, err, fault.Unauthenticated)

		time.Sleep(time.Second)
		_, err = o.Open(elder.Lane(1).Seal(nil, 1, address, nil), address)
		require.NoError(t, err, "names may repeat: an elder that still speaks is another node")
	})
}

func TestARetiredIncarnationIsHeardNoMore(t *testing.T) {
	r := ring(t, envelope.NewKey())
	incarnation := envelope.NewIncarnation(time.Now())
	s, err := envelope.NewSealer(r, "web-1", incarnation, envelope.Signed)
	require.NoError(t, err)
	o := envelope.NewOpener(r, 0)
	_, err = o.Open(s.Lane(1).Seal(nil, 1, address, nil), address)
	require.NoError(t, err)

	o.Retire(incarnation)

	_, err = o.Open(s.Lane(1).Seal(nil, 1, address, nil), address)
	require.ErrorIs(t, err, fault.Duplicate)
}

func TestMemoryIsBoundedAndForgettingOpensNoDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ring(t, envelope.NewKey())
		o := envelope.NewOpener(r, 2)
		first := sealer(t, r, envelope.Signed)
		frame := first.Lane(1).Seal(nil, 1, address, nil)
		_, err := o.Open(bytes.Clone(frame), address)
		require.NoError(t, err)
		_, err = o.Open(sealer(t, r, envelope.Signed).Lane(1).Seal(nil, 1, address, nil), address)
		require.NoError(t, err)

		_, err = o.Open(sealer(t, r, envelope.Signed).Lane(1).Seal(nil, 1, address, nil), address)
		require.ErrorIs(t, err, fault.Exhausted, "both were heard just now")

		time.Sleep(2 * envelope.FirstContact)
		_, err = o.Open(sealer(t, r, envelope.Signed).Lane(1).Seal(nil, 1, address, nil), address)
		require.NoError(t, err, "the oldest makes room")
		_, err = o.Open(frame, address)
		require.Error(t, err, "what it had sent is too old for a first contact")
	})
}

func TestRepeatsKeepNobodyFromBeingForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ring(t, envelope.NewKey())
		o := envelope.NewOpener(r, 2)
		live, dead := sealer(t, r, envelope.Signed), sealer(t, r, envelope.Signed)
		last := dead.Lane(1).Seal(nil, 1, address, nil)
		_, err := o.Open(bytes.Clone(last), address)
		require.NoError(t, err)
		for range 200 {
			_, err = o.Open(live.Lane(1).Seal(nil, 1, address, nil), address)
			require.NoError(t, err)
			_, err = o.Open(bytes.Clone(last), address)
			require.ErrorIs(t, err, fault.Duplicate)
			time.Sleep(envelope.FirstContact / 60)
		}

		_, err = o.Open(sealer(t, r, envelope.Signed).Lane(1).Seal(nil, 1, address, nil), address)
		require.NoError(t, err, "the one that is only repeated makes room")
		_, err = o.Open(live.Lane(1).Seal(nil, 1, address, nil), address)
		require.NoError(t, err)
	})
}

func TestASenderMayNotHaveLanesWithoutEnd(t *testing.T) {
	s, o := sealer(t, nil, envelope.Signed), envelope.NewOpener(nil, 0)
	for n := range uint16(256) {
		_, err := o.Open(s.Lane(n).Seal(nil, 1, address, nil), address)
		require.NoError(t, err)
	}

	_, err := o.Open(s.Lane(256).Seal(nil, 1, address, nil), address)

	require.ErrorIs(t, err, fault.Exhausted)
}

func TestIncarnationsSortByStartAndNeverRepeat(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_123)
	var all []string
	for i := range 100 {
		all = append(all, envelope.NewIncarnation(at.Add(time.Duration(i)*time.Millisecond)))
	}

	require.True(t, slices.IsSorted(all))
	started, err := envelope.Started(all[0])
	require.NoError(t, err)
	require.True(t, at.Equal(started))
	require.NotEqual(t, envelope.NewIncarnation(at), envelope.NewIncarnation(at))
	require.Regexp(t, "^[a-z0-9]{22}$", all[0])
	for _, bad := range []string{"", "x", strings.Repeat("A", 22), strings.Repeat("a", 23), strings.Repeat(".", 22)} {
		_, err := envelope.Started(bad)
		require.ErrorIs(t, err, fault.Invalid)
	}
}

func TestASealerRefusesWhatItCannotSeal(t *testing.T) {
	now := envelope.NewIncarnation(time.Now())
	_, err := envelope.NewSealer(nil, strings.Repeat("n", 129), now, envelope.Signed)
	require.ErrorContains(t, err, "129 bytes")
	_, err = envelope.NewSealer(nil, "web", "not one", envelope.Signed)
	require.ErrorIs(t, err, fault.Invalid)
	_, err = envelope.NewSealer(nil, "web", now, envelope.Secret)
	require.ErrorContains(t, err, "cluster.keys")
}
