package conformance

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"time"
)

// WriteJUnit writes what build servers read. What was not exercised or is waived is a skipped test there.
func (r Report) WriteJUnit(w io.Writer) error {
	type message struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Seconds string   `xml:"time,attr"`
		Failure *message `xml:"failure"`
		Skipped *message `xml:"skipped"`
	}
	type property struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	suite := struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Seconds  string     `xml:"time,attr"`
		Stamp    string     `xml:"timestamp,attr"`
		Props    []property `xml:"properties>property"`
		Cases    []testcase `xml:"testcase"`
	}{
		Name: "conformance " + r.Transport, Tests: len(r.Results), Failures: r.Count(Fail), Skipped: r.Count(NotExercised) + r.Count(Waived),
		Seconds: seconds(r.Took), Stamp: r.Started.UTC().Format("2006-01-02T15:04:05"),
	}
	suite.Props = []property{{"levels", r.Summary()}, {"seed", strconv.FormatUint(r.Seed, 10)}, {"rounds", strconv.Itoa(r.Rounds)}}
	for _, g := range r.Grades() {
		suite.Props = append(suite.Props, property{"level." + g.Concern, string(g.Standing)})
	}
	for _, result := range r.Results {
		c := testcase{Name: result.Case.Name, Class: r.Transport + "." + result.Case.Concern(), Seconds: seconds(result.Took)}
		switch result.Outcome {
		case Fail:
			text := fmt.Sprintf("%s\nsee %s\n%s", result.Reason, result.Case.Link(), result.trail())
			c.Failure = &message{string(result.Case.Clause) + result.flakes(), text}
		case NotExercised, Waived:
			c.Skipped = &message{Message: string(result.Outcome) + ": " + result.Reason}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
