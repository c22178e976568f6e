package wire_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/wire"
)

func TestAMessageArrivesAsItWasSent(t *testing.T) {
	text := rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOf(rapid.Byte()).Draw(t, "text")) })
	rapid.Check(t, func(t *rapid.T) {
		sent := wire.Message{
			Sender:     text.Draw(t, "sender"),
			Seq:        rapid.Uint64().Draw(t, "seq"),
			SubjectSeq: rapid.Uint64().Draw(t, "subject seq"),
		}
		if rapid.Bool().Draw(t, "payload") {
			sent.Payload = append([]byte{}, text.Draw(t, "bytes")...)
		}
		if rapid.Bool().Draw(t, "headers") {
			sent.Headers = rapid.MapOf(text, text).Draw(t, "map")
		}
		sent.ID = wire.MessageID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))

		frame := wire.AppendMessage(nil, &sent)
		got, err := wire.ReadMessage(string(frame))

		require.NoError(t, err)
		require.Equal(t, sent, got)
		require.GreaterOrEqual(t, wire.MessageSize(&sent), len(frame))

		for _, known := range []string{"", sent.Sender} {
			given := append([]byte(nil), frame...)
			got, err := wire.OpenMessage(given, known)
			require.NoError(t, err)
			require.Equal(t, sent, got)
			require.Equal(t, len(got.Payload), cap(got.Payload), "appending to the payload writes to nothing else")
			if n := len(given) - len(got.Payload); n > 0 {
				clear(given[:n]) // what was read beside the payload is a copy
				require.Equal(t, sent, got)
			}
		}
	})
}

func TestWhatIsNoMessageIsRefusedWithAReason(t *testing.T) {
	whole := string(wire.AppendMessage(nil, &wire.Message{
		Sender: "a", Seq: 300, SubjectSeq: 2, Headers: map[string]string{"k": "v"},
	}))
	for name, c := range map[string]struct{ frame, says string }{
		"empty":           {"", "no frame of ours"},
		"foreign":         {"hello", "version 104"},
		"newer version":   {"\x02\x00", "upgrade"},
		"unknown field":   {"\x01\xf0", "upgrade"},
		"cut short":       {whole[:len(whole)-1], "too early"},
		"trailing bytes":  {whole + "x", "too many"},
		"endless number":  {"\x01\x01\x00" + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "too early"},
		"absurd headers":  {"\x01\x04\xff\xff\xff\xff\x0f", "too early"},
		"absurd length":   {"\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "too early"},
		"overflow number": {"\x01\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x00", "too early"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.ReadMessage(c.frame)

			require.ErrorIs(t, err, fault.Corrupt)
			require.ErrorContains(t, err, c.says)
			_, opened := wire.OpenMessage([]byte(c.frame), "")
			require.EqualError(t, opened, err.Error())
		})
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add("")
	f.Add("\x01\x00")
	f.Add(string(wire.AppendMessage(nil, &wire.Message{
		Sender: "n1", Seq: 1, SubjectSeq: 1, Payload: []byte("p"), Headers: map[string]string{"Trace": "1", "": "\xff"}, ID: wire.MessageID{1},
	})))
	f.Fuzz(func(t *testing.T, frame string) {
		m, err := wire.ReadMessage(frame)
		if err != nil {
			require.ErrorIs(t, err, fault.Corrupt)
			return
		}
		again, err := wire.ReadMessage(string(wire.AppendMessage(nil, &m)))
		require.NoError(t, err)
		require.Equal(t, m.Payload, again.Payload)
		require.True(t, maps.Equal(m.Headers, again.Headers))
		require.Equal(t, []any{m.Sender, m.Seq, m.SubjectSeq, m.ID}, []any{again.Sender, again.Seq, again.SubjectSeq, again.ID})
	})
}
