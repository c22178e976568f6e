package rpc

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/fault"
)

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, number := rapid.String(), rapid.Uint64()
		pairs := rapid.MapOfN(text, text, 0, 5)
		empty := func(m map[string]string) map[string]string {
			if len(m) == 0 {
				return nil
			}
			return m
		}
		payload := rapid.SliceOf(rapid.Byte()).Draw(t, "payload")

		r := request{id: number.Draw(t, "id"), cast: rapid.Bool().Draw(t, "cast"), method: text.Draw(t, "method"),
			budget:  time.Duration(rapid.Int64Range(0, int64(maxBudget/time.Microsecond)).Draw(t, "budget")) * time.Microsecond,
			headers: empty(pairs.Draw(t, "headers")), payload: payload}
		gotRequest, ok := decodeRequest(append(r.head(), payload...))
		require.True(t, ok)
		require.Equal(t, r, gotRequest)

		s := response{id: number.Draw(t, "id"), payload: payload}
		if rapid.Bool().Draw(t, "failed") {
			s.refused = rapid.Bool().Draw(t, "refused")
			s.fault = &fault.Error{Code: rapid.SampledFrom(fault.Codes()).Draw(t, "code"), Op: text.Draw(t, "op"),
				Subject: text.Draw(t, "subject"), Message: text.Draw(t, "message"), Retryable: rapid.Bool().Draw(t, "retryable")}
		}
		gotResponse, ok := decodeResponse(append(s.head(), payload...))
		require.True(t, ok)
		require.Equal(t, s, gotResponse)

		a := announcement{revision: number.Draw(t, "revision"), known: number.Draw(t, "known"), ready: rapid.Bool().Draw(t, "ready"),
			answer: rapid.Bool().Draw(t, "answer"), metadata: empty(pairs.Draw(t, "metadata")), methods: rapid.SliceOfN(text, 0, 5).Draw(t, "methods")}
		gotAnnouncement, ok := decodeAnnouncement(a.body())
		require.True(t, ok)
		require.Equal(t, a.methods, gotAnnouncement.methods)
		a.methods, gotAnnouncement.methods = nil, nil
		require.Equal(t, a, gotAnnouncement)

		o := opening{transfer: number.Draw(t, "transfer"), kind: kindResponse, call: number.Draw(t, "call"), total: number.Draw(t, "total")}
		gotOpening, ok := decodeOpening(o.body())
		require.True(t, ok)
		require.Equal(t, o, gotOpening)

		at := position{transfer: number.Draw(t, "transfer"), offset: number.Draw(t, "offset")}
		gotPosition, rest, ok := decodePosition(append(at.body(), payload...))
		require.True(t, ok)
		require.Equal(t, at, gotPosition)
		require.Equal(t, payload, append([]byte{}, rest...))

		b := abortion{transfer: number.Draw(t, "transfer"), byReceiver: rapid.Bool().Draw(t, "by receiver"), ofRequest: rapid.Bool().Draw(t, "of request"), call: number.Draw(t, "call"), code: fault.Exhausted, message: text.Draw(t, "why")}
		gotAbortion, ok := decodeAbortion(b.body())
		require.True(t, ok)
		require.Equal(t, b, gotAbortion)
	})
}

func TestLongFaultsAreCutBetweenRunes(t *testing.T) {
	s := response{id: 1, fault: &fault.Error{Code: fault.Internal, Message: strings.Repeat("é", 5000)}}

	got, ok := decodeResponse(s.head())

	require.True(t, ok)
	require.Less(t, len(got.fault.Message), 8100)
	require.True(t, strings.HasSuffix(got.fault.Message, "é…"))
}

func TestACodeOfANewerNodeIsInternal(t *testing.T) {
	require.Equal(t, fault.Internal, knownCode(200))
	require.Equal(t, fault.Internal, knownCode(0))
	require.Equal(t, fault.Locked, knownCode(uint64(fault.Locked)))
}

// Whatever is signed by a node of another version or by a broken one, decoding ends, and costs no more memory than the
// frame has bytes.
func FuzzDecode(f *testing.F) {
	r := request{id: 7, method: "m", headers: map[string]string{"k": "v"}, budget: time.Second}
	s := response{id: 7, fault: &fault.Error{Code: fault.Locked, Message: "m"}}
	a := announcement{revision: 3, metadata: map[string]string{"k": "v"}, methods: []string{"a", "b"}}
	for _, seed := range [][]byte{r.head(), s.head(), a.body(), number(300), {}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, ok := decodeRequest(body); ok {
			again, ok := decodeRequest(append(r.head(), r.payload...))
			if !ok || again.id != r.id || again.method != r.method || len(again.headers) != len(r.headers) || string(again.payload) != string(r.payload) {
				t.Fatalf("a request changes when it is encoded again: %+v, %+v", r, again)
			}
		}
		if s, ok := decodeResponse(body); ok {
			if again, ok := decodeResponse(append(s.head(), s.payload...)); !ok || again.id != s.id {
				t.Fatalf("a response changes when it is encoded again: %+v, %+v", s, again)
			}
		}
		decodeAnnouncement(body)
		decodeOpening(body)
		decodePosition(body)
		decodeAbortion(body)
		decodeNumber(body)
	})
}
