package envelope_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
)

func TestAVerifierOpensAFrameAnyNumberOfTimesAndTellsItsAge(t *testing.T) {
	protections(t, func(t *testing.T, r *envelope.Ring, p envelope.Protection) {
		synctest.Test(t, func(t *testing.T) {
			frame := sealer(t, r, p).Lane(1).Seal(nil, 3, address, []byte("x"))
			v := envelope.NewVerifier(r)

			for range 3 {
				opened, err := v.Verify(bytes.Clone(frame), address)
				require.NoError(t, err)
				require.Equal(t, "x", string(opened.Payload))
				require.Equal(t, byte(3), opened.Kind)
				require.True(t, opened.Fresh)
			}
			time.Sleep(envelope.FirstContact + time.Second)
			opened, err := v.Verify(frame, address)
			require.NoError(t, err)
			require.False(t, opened.Fresh)
		})
	})
}

func TestAVerifierBelievesNobodyElse(t *testing.T) {
	for _, p := range []envelope.Protection{envelope.Signed, envelope.Secret} {
		r := ring(t, envelope.NewKey())
		lane, v := sealer(t, r, p).Lane(1), envelope.NewVerifier(r)
		frame := lane.Seal(nil, 1, address, []byte("pay 10"))
		_, err := v.Verify(lane.Seal(nil, 1, address, nil), address)
		require.NoError(t, err)

		for bit := range len(frame) * 8 {
			forged := bytes.Clone(frame)
			forged[bit/8] ^= 1 << (bit % 8)
			_, err := v.Verify(forged, address)
			require.Error(t, err, "bit %d", bit)
		}
		_, err = v.Verify(bytes.Clone(frame), "node.other")
		require.ErrorIs(t, err, fault.Unauthenticated)
		_, err = v.Verify(sealer(t, nil, envelope.Signed).Lane(1).Seal(nil, 1, address, nil), address)
		require.ErrorContains(t, err, "not signed")
		_, err = envelope.NewVerifier(nil).Verify(bytes.Clone(frame), address)
		require.ErrorContains(t, err, "no key")
	}
}

func TestAFrameIsForOnePurposeOnly(t *testing.T) {
	key := envelope.NewKey()
	r := ring(t, key)
	frame := sealer(t, r.For("mail"), envelope.Signed).Lane(1).Seal(nil, 1, address, nil)

	_, err := envelope.NewVerifier(ring(t, key).For("mail")).Verify(bytes.Clone(frame), address)
	require.NoError(t, err, "every node makes the same of it")
	for _, other := range []*envelope.Ring{r, r.For("post")} {
		_, err = envelope.NewVerifier(other).Verify(bytes.Clone(frame), address)
		require.ErrorIs(t, err, fault.Unauthenticated)
	}
	var none *envelope.Ring
	require.Nil(t, none.For("mail"))
}
