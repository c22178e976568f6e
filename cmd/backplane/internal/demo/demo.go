// Package demo is the main job of the command: a cluster that counts the identifiers of every Go file in a tree, while
// its nodes come and go, and the proof that nothing was lost and nothing was counted twice.
package demo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
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
	Hosts  []Host           // the first workers' stores, where these hold it themselves
	Kind   string           // of the transport, for the report
	Local  bool             // the nodes run in this process
	Quiet  bool             // the nodes log nothing
	Keep   bool             // leave the entries in the store
	Out    string           // write the counts to this file; empty: to none
	Events io.Writer        // what happens, for people
	Bar    func(done, total int)
}

// Host is what a worker opens that holds a part of the cluster's store, a server of its own.
type Host = map[string]backplane.TransportConfig

const (
	// away is how long the store may be away: a node that held a part of it was killed, or a plugin.
	away = 30 * time.Second
	// lease of the demo's queue: a killed node's tasks run elsewhere after this.
	lease = 2 * time.Second
	// patience of what still has to be done after an interrupt.
	patience = 5 * time.Second
)

// run is one run under way.
type run struct {
	Options
	node   *backplane.Node
	crew   crew
	hired  int    // ever
	alive  int    // of them, as far as is known
	places []Host // that no worker holds
	files  []string
	output *output
	before queue.Stats // of the queue, when the run began
	done   chan int    // how many files the nodes say they have done, the latest word only
}

// Run does it all. The report says whether the counts are right; the error says that it could not be found out.
func Run(ctx context.Context, o Options) (report Report, err error) {
	r := &run{Options: o, places: o.Hosts, done: make(chan int, 1)}
	if r.files, err = sourceFiles(o.Root); err != nil {
		return Report{}, err
	}
	if len(r.files) == 0 {
		return Report{}, fmt.Errorf("there is no Go file under %s; name another tree with --root", o.Root)
	}
	if r.output, err = openOutput(o.Out); err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, r.output.close()) }()
	o.Config.Shutdown = patience
	if o.Quiet {
		o.Config.Logger = slog.New(slog.DiscardHandler)
	}
	r.Config = o.Config
	r.crew = newProcesses(o.Events, o.Quiet, o.Nodes+1)
	if o.Local {
		r.crew = newGoroutines(o.Nodes)
	}
	if len(o.Hosts) > 0 { // there is no store before they are there
		if err := r.hire(ctx, o.Nodes); err != nil {
			return Report{}, errors.Join(err, r.crew.dismiss())
		}
	}
	if r.node, err = backplane.Open(ctx, o.Config); err != nil {
		return Report{}, errors.Join(err, r.crew.dismiss())
	}
	fmt.Fprintf(o.Events, "%d nodes on %s count the identifiers of %d files under %s\n", o.Nodes, o.Kind, len(r.files), o.Root)
	report, err = r.work(ctx)
	ending := r.end(ctx)
	if err != nil && ending != nil { // most likely for the same reason
		fmt.Fprintf(o.Events, "and while ending: %v\n", ending)
		return report, err
	}
	return report, errors.Join(err, ending)
}

// end lets the nodes go, takes away what the run has left, and leaves. What nodes hold is gone with them.
func (r *run) end(ctx context.Context) error {
	if len(r.Hosts) > 0 {
		return errors.Join(r.node.Close(), r.crew.dismiss())
	}
	return errors.Join(r.crew.dismiss(), r.tidy(ctx), r.node.Close())
}

func (r *run) work(ctx context.Context) (Report, error) {
	if err := r.begin(ctx); err != nil {
		return Report{}, err
	}
	stop, err := r.followProgress(ctx)
	if err != nil {
		return Report{}, err
	}
	defer stop()

	start := time.Now()
	killed, err := r.count(ctx)
	if err != nil {
		return Report{}, err
	}
	took := time.Since(start)
	shares, err := r.gatherShares(ctx)
	if err != nil {
		return Report{}, err
	}
	after, err := r.stats(ctx)
	if err != nil {
		return Report{}, err
	}
	report := Report{
		Transport: r.Kind, Files: len(r.files), Tasks: len(r.files), Killed: killed, Seconds: float64(took.Milliseconds()) / 1000,
		Reruns: int(after.Totals.Lost - r.before.Totals.Lost + after.Totals.Retried - r.before.Totals.Retried),
		Double: max(0, r.completed(after)-len(r.files)),
		Shares: shares, Kept: r.Keep,
	}
	return report, r.compare(ctx, &report)
}

// begin hires the nodes, and has them finish what an earlier run of the same cluster may have left.
func (r *run) begin(ctx context.Context) error {
	if err := r.insist(ctx, func() error {
		return r.node.Inspector().Configure(ctx, queue.DefaultQueue, queue.Properties{Lease: lease})
	}); err != nil {
		return err
	}
	if r.hired == 0 {
		if err := r.hire(ctx, r.Nodes); err != nil {
			return err
		}
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := r.stats(ctx)
		if err != nil {
			return err
		}
		if r.before = s; unfinished(s) == 0 {
			return nil
		}
		if err := r.wait(ctx, tick.C); err != nil {
			return err
		}
	}
}

func (r *run) wait(ctx context.Context, tick <-chan time.Time) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case loss := <-r.crew.lost():
		return r.mourn(loss)
	case <-tick:
		return nil
	}
}

// mourn goes on without a node that ended by itself, as long as another is there.
func (r *run) mourn(loss error) error {
	if r.alive--; r.alive == 0 {
		return fmt.Errorf("no node is left: %w", loss)
	}
	fmt.Fprintf(r.Events, "\n%v; the others go on\n", loss)
	return nil
}

func (r *run) stats(ctx context.Context) (s queue.Stats, err error) {
	err = r.insist(ctx, func() (err error) {
		s, err = r.node.Inspector().Stats(ctx, queue.DefaultQueue)
		return err
	})
	return s, err
}

// insist asks the store again while it, or a part of it, is away.
func (r *run) insist(ctx context.Context, ask func() error) error {
	pause := backoff.NewConstantBackOff(100 * time.Millisecond)
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := ask()
		if err != nil && fault.CodeOf(err) != fault.Unavailable && fault.CodeOf(err) != fault.DeadlineExceeded {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(away))
	return err
}

func unfinished(s queue.Stats) int64 { return s.Pending + s.Scheduled + s.Active }

// completed says how many tasks of this run are done.
func (r *run) completed(s queue.Stats) int {
	return int(s.Totals.Completed - r.before.Totals.Completed)
}

// hire adds so many nodes, all at once: servers of one cluster wait for each other.
func (r *run) hire(ctx context.Context, n int) error {
	configs := make([]backplane.Config, n)
	for i := range configs {
		r.hired++
		c := r.Config
		c.Node.Name = fmt.Sprintf("node-%d", r.hired)
		if len(r.places) > 0 {
			c.Transports, r.places = r.places[0], r.places[1:]
		}
		configs[i] = c
	}
	if err := r.crew.hire(ctx, r.Root, configs...); err != nil {
		return err
	}
	r.alive += n
	return nil
}

// enqueue stores a task for each file. The IDs are ours, so that the store knows those again that it had before it went
// away.
func (r *run) enqueue(ctx context.Context, files []string) error {
	tasks := make([]queue.Task, len(files))
	for i, file := range files {
		task, err := countKind.Task(countTask{File: file}, queue.ID(rand.Text()))
		if err != nil {
			return err
		}
		tasks[i] = task
	}
	return r.insist(ctx, func() error {
		_, err := r.node.Queue().Enqueue(ctx, tasks...)
		return err
	})
}

// followProgress adds up what each node last said of itself. A node that was killed has said what it had done.
func (r *run) followProgress(ctx context.Context) (stop func(), err error) {
	latest := map[string]int{}
	hear := func(_ context.Context, e pubsub.TopicEvent[Share]) {
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
	}
	var sub *pubsub.Stream
	err = r.insist(ctx, func() (err error) {
		sub, err = progressTopic.SubscribeFunc(ctx, r.node.PubSub(), hear)
		return err
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Close() }, nil
}

// count enqueues a task for each file, and returns when the store has no unfinished one left. If it is to kill, it does so
// after a third of the files, and holds half of them back until then: so the kill is in the middle, however fast the
// nodes are.
func (r *run) count(ctx context.Context) (killed int, err error) {
	now, later := r.files, []string(nil)
	if r.Kill {
		half := (len(r.files) + 1) / 2
		now, later = r.files[:half], r.files[half:]
	}
	if err := r.enqueue(ctx, now); err != nil {
		return 0, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return killed, context.Cause(ctx)
		case loss := <-r.crew.lost():
			if err := r.mourn(loss); err != nil {
				return killed, err
			}
			continue
		case done := <-r.done:
			r.Bar(done, len(r.files))
			continue
		case <-tick.C:
		}
		s, err := r.stats(ctx)
		switch {
		case err != nil:
			return killed, err
		case s.Totals.Dead > r.before.Totals.Dead:
			return killed, r.whyDead(ctx)
		case r.Kill && killed == 0 && r.completed(s) >= len(r.files)/3:
			if err := errors.Join(r.enqueue(ctx, later), r.replace(ctx)); err != nil {
				return killed, err
			}
			killed = 1
		case unfinished(s) == 0:
			r.Bar(len(r.files), len(r.files))
			return killed, nil
		}
	}
}

// whyDead shows the first task that failed for good: here none should.
func (r *run) whyDead(ctx context.Context) error {
	for info, err := range r.node.Inspector().Tasks(ctx, queue.DefaultQueue, queue.DeadLetter) {
		if err != nil {
			return err
		}
		return fmt.Errorf("a file cannot be counted: %s", info.LastError)
	}
	return errors.New("a file could not be counted, and its task is gone")
}

func (r *run) replace(ctx context.Context) error {
	if err := r.crew.kill(); err != nil {
		return err
	}
	r.alive--
	if len(r.Hosts) > 0 { // the oldest was killed, which had the first place
		r.places = append(r.places, r.Hosts[0])
	}
	fmt.Fprintln(r.Events, "\nkilled a node; another takes its place")
	return r.hire(ctx, 1)
}

// gatherShares asks every node what it did. One that was killed is a member until its silence is noticed: it is not
// waited for, because as many as should be alive answer.
func (r *run) gatherShares(ctx context.Context) ([]Share, error) {
	var replies []rpc.Result[Share]
	err := r.insist(ctx, func() (err error) {
		replies, err = rpc.Gather[Share](ctx, r.node.RPC(), rpc.All(), shareMethod, struct{}{}, rpc.Quorum(r.alive))
		return err
	})
	if err != nil {
		return nil, err
	}
	var shares []Share
	for _, reply := range replies {
		if reply.Err == nil {
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
		var found []cache.TypedGot[Count]
		err := r.insist(ctx, func() (err error) {
			found, err = entries.GetMany(ctx, keys)
			return err
		})
		if err != nil {
			return err
		}
		for i, file := range chunk {
			if err := r.compareFile(file, found[i], report); err != nil {
				return err
			}
			if found[i].Found {
				counts = append(counts, found[i].Value)
			}
		}
	}
	stored := 0
	err := r.insist(ctx, func() (err error) {
		stored, err = r.node.Cache().Size(ctx, entryPrefix)
		return err
	})
	if err != nil {
		return err
	}
	report.Double += max(0, stored-(report.Files-report.Lost))
	report.OK = report.Lost == 0 && report.Double == 0 && len(report.Wrong) == 0
	return r.output.write(counts)
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

// tidy takes away what the run leaves in the store: its entries, unless they are to be kept, and the tasks that an
// interrupt left over. The nodes are gone by now.
func (r *run) tidy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var errs []error
	for _, state := range []queue.State{queue.Pending, queue.DeadLetter} {
		errs = append(errs, r.insist(ctx, func() error { return r.removeTasks(ctx, state) }))
	}
	if !r.Keep {
		errs = append(errs, r.insist(ctx, func() error {
			_, err := r.node.Cache().Clear(ctx, entryPrefix)
			return err
		}))
	}
	return errors.Join(errs...)
}

func (r *run) removeTasks(ctx context.Context, state queue.State) error {
	var ids []string
	for info, err := range r.node.Inspector().Tasks(ctx, queue.DefaultQueue, state) {
		if err != nil {
			return err
		}
		ids = append(ids, info.ID)
	}
	for chunk := range slices.Chunk(ids, 500) {
		if err := r.node.Inspector().Remove(ctx, queue.DefaultQueue, chunk...); err != nil {
			return err
		}
	}
	return nil
}
