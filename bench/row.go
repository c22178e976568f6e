package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// row is one comparison. Its setup starts what both sides need, and returns a function for each that takes one
// measurement: the more the better, or the less, as less says.
type row struct {
	name   string
	peer   string
	unit   string
	less   bool    // a smaller figure is better: latency, memory
	bar    float64 // the ratio that we hold ourselves to
	pinned bool    // client and server on one core
	nats   bool    // on a nats-server instead of Redis
	delay  time.Duration
	setup  func(*env) (ours, theirs side, err error)
}

// side takes one measurement of one side.
type side func(context.Context) (float64, error)

// result is one row of output.
type result struct {
	Case   string  `json:"case"`
	Ours   float64 `json:"ours"`
	Peer   string  `json:"peer"`
	Theirs float64 `json:"theirs"`
	Unit   string  `json:"unit"`
	Ratio  float64 `json:"ratio"`
	Bar    float64 `json:"bar"`
	Low    float64 `json:"ratio_low"`
	High   float64 `json:"ratio_high"`
	Rounds int     `json:"rounds"`
}

func (r result) String() string {
	verdict := ""
	if r.Ratio < r.Bar {
		verdict = "  BELOW"
	}
	return fmt.Sprintf("%-44s %14s  %-28s %14s  ratio %7.2f (%.2f–%.2f)  bar %g%s",
		r.Case, figure(r.Ours, r.Unit), r.Peer, figure(r.Theirs, r.Unit), r.Ratio, r.Low, r.High, r.Bar, verdict)
}

func figure(v float64, unit string) string {
	switch {
	case v >= 10_000:
		return fmt.Sprintf("%.1f k%s", v/1000, unit)
	case v >= 100:
		return fmt.Sprintf("%.0f %s", v, unit)
	}
	return fmt.Sprintf("%.2f %s", v, unit)
}

// run takes one unmeasured round to warm both sides up, then the rounds, with the side that goes first alternating, so
// that neither always runs on the machine that the other has left behind. The ratio is the median of the rounds' own
// ratios: the two halves of a round are neighbours in time, which takes out the machine's slow drift.
func (r row) run(ctx context.Context, rounds int) (result, error) {
	e, err := newEnv(ctx, r)
	if err != nil {
		return result{}, err
	}
	defer e.close()
	ours, theirs, err := r.setup(e)
	if err != nil {
		return result{}, err
	}
	var a, b, ratios []float64
	for round := -1; round < rounds; round++ {
		var x, y float64
		sides := []func() error{
			func() (err error) { x, err = ours(ctx); return wrap("ours", err) },
			func() (err error) { y, err = theirs(ctx); return wrap(r.peer, err) },
		}
		if round%2 != 0 {
			slices.Reverse(sides)
		}
		for _, measure := range sides {
			if err := measure(); err != nil {
				return result{}, err
			}
		}
		if round < 0 {
			continue
		}
		ratio := x / y
		if r.less {
			ratio = y / x
		}
		a, b, ratios = append(a, x), append(b, y), append(ratios, ratio)
	}
	return result{
		Case: r.name, Ours: median(a), Peer: r.peer, Theirs: median(b), Unit: r.unit, Ratio: median(ratios), Bar: r.bar,
		Low: slices.Min(ratios), High: slices.Max(ratios), Rounds: rounds,
	}, nil
}

func wrap(who string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", who, err)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
