// Package demo is the main job of the command: a cluster that counts the identifiers of every Go file in a tree, while
// its nodes come and go, and the proof that nothing was lost and nothing was counted twice.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
)

// Options of a run.
type Options struct {
	Root   string           // the tree
	Nodes  int              // how many nodes work
	Kill   bool             // SIGKILL one in the middle, and start another
	Config backplane.Config // of the coordinating node; the workers' differ in their names
	Kind   string           // of its transport, for the report
	Local  bool             // the nodes run in this process
	Keep   bool             // leave the entries in the store
	Out    string           // write the counts to this file
	Events io.Writer        // what happens, for people
	Bar    func(done, total int)
}

// lease of the demo's queue: a killed node's tasks run elsewhere after this.
const lease = 2 * time.Second

// run is one run under way.
type run struct {
	Options
	node  *backplane.Node
	crew  crew
	hired int
	files []string
	done  chan int // how many files the nodes say they have done, the latest word only
}

// Run does it all. The report says whether the counts are right; the error says that it could not be found out.
func Run(ctx context.Context, o Options) (Report, error) {
	r := &run{Options: o, done: make(chan int, 1)}
	files, err := sourceFiles(o.Root)
	if err != nil {
		return Report{}, err
	}
	if len(files) == 0 {
		return Report{}, fmt.Errorf("there is no Go file under %s; name another tree with --root", o.Root)
	}
	r.files = files
	r.crew = &processes{stderr: o.Events}
	if o.Local {
		r.crew = &goroutines{}
	}
	if r.node, err = backplane.Open(ctx, o.Config); err != nil {
		return Report{}, err
	}
	report, err := r.work(ctx)
	return report, errors.Join(err, r.crew.dismiss(), r.node.Close())
}

func (r *run) work(ctx context.Context) (Report, error) {
	inspector := r.node.Inspector()
	if err := inspector.Configure(ctx, queue.DefaultQueue, queue.Properties{Lease: lease}); err != nil {
		return Report{}, err
	}
	before, err := inspector.Stats(ctx, queue.DefaultQueue)
	if err != nil {
		return Report{}, err
	}
	for range r.Nodes {
		if err := r.hire(ctx); err != nil {
			return Report{}, err
		}
	}
	stop, err := r.followProgress(ctx)
	if err != nil {
		return Report{}, err
	}
	defer stop()

	start := time.Now()
	if err := r.enqueue(ctx); err != nil {
		return Report{}, err
	}
	killed, err := r.watch(ctx, before)
	if err != nil {
		return Report{}, err
	}
	took := time.Since(start)
	shares, err := r.gatherShares(ctx)
	if err != nil {
		return Report{}, err
	}
	after, err := inspector.Stats(ctx, queue.DefaultQueue)
	if err != nil {
		return Report{}, err
	}
	report := Report{
		Transport: r.Kind, Files: len(r.files), Tasks: len(r.files), Killed: killed, Seconds: took.Seconds(), Shares: shares,
		Reruns: int(after.Totals.Lost - before.Totals.Lost + after.Totals.Retried - before.Totals.Retried),
		Double: max(0, int(after.Totals.Completed-before.Totals.Completed)-len(r.files)),
	}
	err = r.compare(ctx, &report)
	if !r.Keep {
		_, clearing := r.node.Cache().Clear(context.WithoutCancel(ctx), entryPrefix)
		err = errors.Join(err, clearing)
	}
	return report, err
}

func (r *run) hire(ctx context.Context) error {
	r.hired++
	c := r.Config
	c.Node.Name = fmt.Sprintf("node-%d", r.hired)
	return r.crew.hire(ctx, c, r.Root)
}

func (r *run) enqueue(ctx context.Context) error {
	tasks := make([]countTask, len(r.files))
	for i, file := range r.files {
		tasks[i].File = file
	}
	_, err := queue.EnqueueMany(ctx, r.node.Queue(), countKind, tasks)
	return err
}

// followProgress adds up what each node last said of itself. A node that was killed has said what it had done.
func (r *run) followProgress(ctx context.Context) (stop func(), err error) {
	latest := map[string]int{}
	sub, err := progressTopic.SubscribeFunc(ctx, r.node.PubSub(), func(_ context.Context, e pubsub.TopicEvent[Share]) {
		if e.Message == nil || e.Err != nil {
			return // a gap: the next message says it all again
		}
		s := e.Value
		latest[s.Node] = max(latest[s.Node], s.Files+s.Repeated)
		sum := 0
		for _, n := range latest {
			sum += n
		}
		select {
		case <-r.done: // nobody has read the last word: this one replaces it
		default:
		}
		r.done <- min(sum, len(r.files))
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Close() }, nil
}

// watch returns when the store has no unfinished task left. In the middle it kills a node, if it is to.
func (r *run) watch(ctx context.Context, before queue.Stats) (killed int, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return killed, context.Cause(ctx)
		case done := <-r.done:
			r.Bar(done, len(r.files))
			if r.Kill && killed == 0 && done >= len(r.files)/3 {
				if err := r.replace(ctx); err != nil {
					return killed, err
				}
				killed++
			}
		case <-tick.C:
			s, err := r.node.Inspector().Stats(ctx, queue.DefaultQueue)
			if err != nil {
				return killed, err
			}
			if s.Dead > before.Dead {
				return killed, fmt.Errorf("%d tasks are dead; \"backplane demo\" expects none", s.Dead-before.Dead)
			}
			if s.Pending+s.Scheduled+s.Active == 0 {
				r.Bar(len(r.files), len(r.files))
				return killed, nil
			}
		}
	}
}

func (r *run) replace(ctx context.Context) error {
	if err := r.crew.kill(); err != nil {
		return err
	}
	fmt.Fprintln(r.Events, "\nkilled a node; another takes its place")
	return r.hire(ctx)
}

// gatherShares asks every node that is alive what it did.
func (r *run) gatherShares(ctx context.Context) ([]Share, error) {
	replies, err := rpc.Gather[Share](ctx, r.node.RPC(), rpc.All(), shareMethod, struct{}{}, rpc.Timeout(5*time.Second))
	if err != nil && len(replies) == 0 {
		return nil, err
	}
	var shares []Share
	for _, reply := range replies {
		if reply.Err == nil { // a killed node is a member until its silence is noticed
			shares = append(shares, reply.Value)
		}
	}
	slices.SortFunc(shares, func(a, b Share) int {
		return cmp.Or(cmp.Compare(len(a.Node), len(b.Node)), cmp.Compare(a.Node, b.Node)) // node-2 before node-10
	})
	return shares, nil
}

// compare sums the entries up, counts everything again in this one goroutine, and compares file by file.
func (r *run) compare(ctx context.Context, report *Report) error {
	entries := cache.Typed[Count](r.node.Cache(), nil)
	counts := make([]Count, 0, len(r.files))
	for chunk := range slices.Chunk(r.files, 500) {
		keys := make([]string, len(chunk))
		for i, file := range chunk {
			keys[i] = entryPrefix + file
		}
		found, err := entries.GetMany(ctx, keys)
		if err != nil {
			return err
		}
		for i, file := range chunk {
			if err := r.compareFile(file, found[i], report); err != nil {
				return err
			}
			counts = append(counts, found[i].Value)
		}
	}
	stored, err := r.node.Cache().Size(ctx, entryPrefix)
	if err != nil {
		return err
	}
	report.Double += max(0, stored-(report.Files-report.Lost))
	report.OK = report.Lost == 0 && report.Double == 0 && len(report.Wrong) == 0
	if r.Out != "" {
		return writeCounts(r.Out, counts)
	}
	return nil
}

func (r *run) compareFile(file string, found cache.TypedGot[Count], report *Report) error {
	if found.Err != nil {
		return found.Err
	}
	if !found.Found {
		report.Lost++
		return nil
	}
	report.Identifiers += found.Value.Identifiers
	want, err := countFile(r.Root, file)
	if err != nil {
		return err
	}
	if found.Value != want {
		report.Wrong = append(report.Wrong, file)
	}
	return nil
}
