package conformance

import (
	"encoding/json"
	"io"
	"time"
)

// WriteJSON writes one object for programs. Members are added, and never changed or removed.
func (r Report) WriteJSON(w io.Writer) error {
	object := jsonReport{
		Transport: r.Transport, Passed: r.Count(Pass), Failed: r.Count(Fail), Refused: r.Count(Refused),
		NotExercised: r.Count(NotExercised), Waived: r.Count(Waived), Summary: r.Summary(), Badge: r.Badge(),
		Started: r.Started.UTC().Format(time.RFC3339Nano), MS: r.Took.Milliseconds(), Seed: r.Seed, Rounds: r.Rounds,
		Levels: []jsonLevel{}, Cases: []jsonCase{},
	}
	for _, g := range r.Grades() {
		object.Levels = append(object.Levels, jsonLevel{g.Concern, g.Standing, g.Missing})
	}
	for _, result := range r.Results {
		object.Cases = append(object.Cases, result.json())
	}
	return json.NewEncoder(w).Encode(object)
}

type jsonReport struct {
	Transport    string      `json:"transport"`
	Passed       int         `json:"passed"`
	Failed       int         `json:"failed"`
	Refused      int         `json:"refused"`
	NotExercised int         `json:"not_exercised"`
	Waived       int         `json:"waived"`
	Summary      string      `json:"summary"`
	Badge        string      `json:"badge"` // a line of Markdown
	Started      string      `json:"started"`
	MS           int64       `json:"ms"`
	Seed         uint64      `json:"seed"` // 0: in the order of the table
	Rounds       int         `json:"rounds"`
	Levels       []jsonLevel `json:"levels"`
	Cases        []jsonCase  `json:"cases"`
}

type jsonLevel struct {
	Concern string   `json:"concern"`
	Level   Standing `json:"level"`
	Missing string   `json:"missing"` // for the next level
}

type jsonCase struct {
	Name        string        `json:"name"`
	Result      Outcome       `json:"result"`
	Clause      Clause        `json:"clause"`
	Link        string        `json:"link"`
	MS          int64         `json:"ms"`
	LimitMS     int64         `json:"limit_ms"`
	Runs        int           `json:"runs"`
	RunsFailed  int           `json:"runs_failed"`
	Reason      string        `json:"reason"`
	Failures    []jsonFailure `json:"failures,omitempty"`
	CallsBefore int           `json:"calls_before,omitempty"`
	Calls       []jsonCall    `json:"calls,omitempty"`
	Drawings    []string      `json:"drawings,omitempty"`
}

type jsonFailure struct {
	Expected string `json:"expected"` // empty: as the case's name says
	Seen     string `json:"seen"`
	Where    string `json:"where"`
}

type jsonCall struct {
	AtUS     int64  `json:"at_us"`
	Who      string `json:"who"`
	Method   string `json:"method"`
	Asked    string `json:"asked"`
	Answered string `json:"answered"`
	TookUS   int64  `json:"took_us"`
	Pending  bool   `json:"pending"`
}

func (r Result) json() jsonCase {
	c := jsonCase{
		Name: r.Case.Name, Result: r.Outcome, Clause: r.Case.Clause, Link: r.Case.Link(), MS: r.Took.Milliseconds(),
		LimitMS: r.Limit.Milliseconds(), Runs: r.Runs, RunsFailed: r.Failed, Reason: r.Reason, CallsBefore: r.CallsBefore, Drawings: r.Drawings,
	}
	for _, f := range r.Failures {
		c.Failures = append(c.Failures, jsonFailure(f))
	}
	for _, call := range r.Calls {
		c.Calls = append(c.Calls, jsonCall{
			AtUS: call.At.Microseconds(), Who: call.Who(), Method: call.Method, Asked: call.Asked, Answered: call.Answered,
			TookUS: call.Took.Microseconds(), Pending: call.Pending,
		})
	}
	return c
}
