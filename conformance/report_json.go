package conformance

import (
	"encoding/json"
	"io"
)

// WriteJSON writes one object for programs.
func (r Report) WriteJSON(w io.Writer) error {
	type entry struct {
		Name   string  `json:"name"`
		Result Outcome `json:"result"`
		Clause Clause  `json:"clause"`
		MS     int64   `json:"ms"`
		Reason string  `json:"reason"`
	}
	object := struct {
		Transport    string  `json:"transport"`
		Passed       int     `json:"passed"`
		Failed       int     `json:"failed"`
		Refused      int     `json:"refused"`
		NotExercised int     `json:"not_exercised"`
		Waived       int     `json:"waived"`
		Cases        []entry `json:"cases"`
	}{r.Transport, r.Count(Pass), r.Count(Fail), r.Count(Refused), r.Count(NotExercised), r.Count(Waived), []entry{}}
	for _, result := range r.Results {
		object.Cases = append(object.Cases, entry{
			result.Case.Name, result.Outcome, result.Case.Clause, result.Took.Milliseconds(), result.Reason,
		})
	}
	return json.NewEncoder(w).Encode(object)
}
