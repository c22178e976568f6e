package conformance

import (
	"cmp"
	"time"
)

// Timing bounds how long cases wait. Waits for what must happen are generous, since they cost nothing when it does; no
// case waits to see whether something will not happen, but proves it by something that comes after.
type Timing struct {
	// Case is how long a whole case may take by the clock on the wall; then it fails with a dump of all goroutines and
	// the run goes on without it. Default 30 s, and twice that for cases that need a hook.
	Case time.Duration
	// Wait is how long a case waits for what must happen. Default 10 s.
	Wait time.Duration
	// Prompt is how late a call may return after its context has ended, or from a refusal. Default 2 s.
	Prompt time.Duration
	// Beat is the shortest time that a case can tell apart from nothing: lifetimes that are meant to end are made of it,
	// unless the transport's shortest lifetime is longer. Default 250 ms.
	Beat time.Duration
}

// scaled fills in the defaults and stretches everything by slow.
func (t Timing) scaled(slow float64) Timing {
	stretch := func(d, byDefault time.Duration) time.Duration {
		return time.Duration(float64(cmp.Or(d, byDefault)) * slow)
	}
	return Timing{
		Case:   stretch(t.Case, 30*time.Second),
		Wait:   stretch(t.Wait, 10*time.Second),
		Prompt: stretch(t.Prompt, 2*time.Second),
		Beat:   stretch(t.Beat, 250*time.Millisecond),
	}
}
