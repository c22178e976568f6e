package envelope_test

import (
	"bytes"
	"testing"

	"github.com/gobackplane/backplane/internal/envelope"
)

// Whatever comes off the wire, the opener neither panics nor believes it.
func FuzzOpen(f *testing.F) {
	r := ring(f, envelope.NewKey())
	known := map[string]bool{}
	for _, s := range []*envelope.Sealer{sealer(f, r, envelope.Signed), sealer(f, r, envelope.Secret)} {
		frame := s.Lane(1).Seal(nil, 1, address, []byte("payload"))
		known[string(frame)] = true
		f.Add(frame)
	}
	f.Add(sealer(f, nil, envelope.Signed).Lane(1).Seal(nil, 1, address, []byte("payload")))
	f.Add([]byte{})

	f.Fuzz(func(t *testing.T, frame []byte) {
		mayPass := known[string(frame)]
		if _, err := envelope.NewOpener(r, 0).Open(bytes.Clone(frame), address); err == nil && !mayPass {
			t.Fatalf("a frame that nobody sealed was opened: %q", frame)
		}
		_, _ = envelope.NewOpener(nil, 0).Open(bytes.Clone(frame), address)
	})
}

func BenchmarkSealAndOpen(b *testing.B) {
	for name, size := range map[string]int{"256B": 256, "4KiB": 4096} {
		b.Run(name, func(b *testing.B) {
			r := ring(b, envelope.NewKey())
			lane, o := sealer(b, r, envelope.Signed).Lane(1), envelope.NewOpener(r, 0)
			payload, buffer := make([]byte, size), make([]byte, 0, size+256)
			b.ReportAllocs()
			for b.Loop() {
				buffer = lane.Seal(buffer[:0], 1, address, payload)
				if _, err := o.Open(buffer, address); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
