// Command bench measures Backplane and its peers side by side.
//
//	cd bench && go run . [-cases PATTERN] [-rounds 5] [-json]
//
// Every row runs ours and the peer alternately in one run, on servers that it starts itself, and prints the medians,
// the spread and the ratio. A ratio over 1 means that ours is better; bar is what the project holds itself to. The
// machine's speed drifts, so read the ratios, not the absolute figures.
//
// Rows with one caller run with client and server on one and the same core, both sides alike: unpinned they are bimodal
// (9 µs or 69 µs for one and the same round trip, as the scheduler likes).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	serveNATS()
	servePlugin()
	pattern := flag.String("cases", ".", "run the rows whose name matches this regular expression")
	rounds := flag.Int("rounds", 5, "rounds per row; each measures both sides")
	asJSON := flag.Bool("json", false, "print one JSON object a row")
	markdown := flag.Bool("markdown", false, "print a Markdown table")
	profile := flag.String("profile", "", "write a CPU profile of our side's measurements to this file")
	list := flag.Bool("list", false, "list the rows")
	flag.Parse()

	matches, err := regexp.Compile(*pattern)
	if err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			fail(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			fail(err)
		}
		defer pprof.StopCPUProfile()
	}

	var results []result
	for _, r := range slices.Concat(rows, natsRows, natsCacheRows, natsQueueRows, pluginRows) {
		if !matches.MatchString(r.name) {
			continue
		}
		if *list {
			fmt.Println(r.name)
			continue
		}
		res, err := r.run(ctx, *rounds)
		if err != nil {
			fail(fmt.Errorf("%s: %w", r.name, err))
		}
		results = append(results, res)
		switch {
		case *asJSON:
			line, _ := json.Marshal(res)
			fmt.Println(string(line))
		case !*markdown:
			fmt.Println(res)
		}
	}
	switch {
	case *list || *asJSON:
	case *markdown:
		writeMarkdown(results)
	default:
		summarise(results)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

func machine() string {
	redis, _ := exec.Command("redis-server", "--version").Output()
	version := ""
	for _, field := range strings.Fields(string(redis)) {
		if v, ok := strings.CutPrefix(field, "v="); ok {
			version = v
		}
	}
	return fmt.Sprintf("%s/%s, %d cores, %s, Redis %s on loopback without persistence, %s",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), version, time.Now().Format(time.DateOnly))
}

func summarise(results []result) {
	short := 0
	for _, r := range results {
		if r.Ratio < r.Bar {
			short++
		}
	}
	fmt.Printf("\n%d rows, %d below their bar. %s\n", len(results), short, machine())
}

func writeMarkdown(results []result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| row\t| ours\t| peer\t| theirs\t| ratio\t| bar\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, r := range results {
		fmt.Fprintf(w, "| %s\t| %s\t| %s\t| %s\t| **%.2f** (%.2f–%.2f)\t| %g\t|\n",
			r.Case, figure(r.Ours, r.Unit), r.Peer, figure(r.Theirs, r.Unit), r.Ratio, r.Low, r.High, r.Bar)
	}
	w.Flush()
	fmt.Printf("\n%s; medians of alternating rounds, lowest and highest ratio of a round in parentheses.\n", machine())
}
