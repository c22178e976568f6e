package demo

import (
	"fmt"
	"io"
)

// Report is what a run of the demo found. It is the last line of its output under --json.
type Report struct {
	OK        bool    `json:"ok"`
	Transport string  `json:"transport"`
	Files     int     `json:"files"`
	Tasks     int     `json:"tasks"`
	Lost      int     `json:"lost"`    // files without an entry
	Double    int     `json:"double"`  // tasks completed more than once, and entries that nobody asked for
	Killed    int     `json:"killed"`  // nodes that got a SIGKILL
	Reruns    int     `json:"reruns"`  // runs of a task beyond its first, all of which found the entry or wrote the only one
	Seconds   float64 `json:"seconds"` // from the first task enqueued to the last one done

	// What Write tells beside.
	Kept        bool     `json:"-"` // entries of earlier runs may have been there
	Identifiers int      `json:"-"`
	Shares      []Share  `json:"-"`
	Wrong       []string `json:"-"` // files whose count differs from that of a single goroutine
}

// Share is what one node did, gathered by RPC.
type Share struct {
	Node        string `json:"node"`
	Files       int    `json:"files"`
	Identifiers int    `json:"identifiers"`
	Repeated    int    `json:"repeated"` // files whose entry was there already
}

// Write says it for people.
func (r Report) Write(w io.Writer) {
	for _, s := range r.Shares {
		fmt.Fprintf(w, "  %-12s %6d files %9d identifiers", s.Node, s.Files, s.Identifiers)
		if s.Repeated > 0 {
			fmt.Fprintf(w, "  (%d found done already)", s.Repeated)
		}
		fmt.Fprintln(w)
	}
	verdict := "every count is equal to a single goroutine's"
	if !r.OK {
		verdict = "NOT what a single goroutine counts"
	}
	fmt.Fprintf(w, "%d files, %d identifiers in %.1f s on %s: %s; lost %d, double %d, nodes killed %d, tasks run again %d\n",
		r.Files, r.Identifiers, r.Seconds, r.Transport, verdict, r.Lost, r.Double, r.Killed, r.Reruns)
	for _, file := range r.Wrong {
		fmt.Fprintf(w, "  wrong: %s\n", file)
	}
	if len(r.Wrong) > 0 && r.Kept {
		fmt.Fprintln(w, "  entries of an earlier run are kept: if it counted another tree, or files have changed since, give another --cluster")
	}
}
