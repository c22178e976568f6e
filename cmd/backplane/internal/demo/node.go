package demo

import (
	"context"
	"errors"
	"sync"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
)

// What the nodes share by name.
const (
	entryPrefix = "count/"
	shareMethod = "demo.share"
)

// countKind is the one kind of task: count the identifiers of a file.
var countKind = queue.NewKind[countTask]("demo.count")

type countTask struct {
	File string `json:"file"`
}

// progress is what a node tells after each file: its own total, so that a message that is missed costs nothing.
var progressTopic = pubsub.NewTopic[Share]("demo.progress")

// workNode is one node at work.
type workNode struct {
	node    *backplane.Node
	root    string
	entries *cache.View[Count]

	mu    sync.Mutex
	share Share
}

// runNode opens a node and works until ctx ends. ready is called when it can be given tasks.
func runNode(ctx context.Context, c backplane.Config, root string, ready func()) error {
	node, err := backplane.Open(ctx, c)
	if err != nil {
		return err
	}
	w := &workNode{node: node, root: root, entries: cache.Typed[Count](node.Cache(), nil), share: Share{Node: node.Name()}}
	worker, err := node.Worker(queue.WorkerOptions{Concurrency: 8})
	if err != nil {
		return errors.Join(err, node.Close())
	}
	err = errors.Join(
		queue.Handle(worker, countKind, w.count),
		rpc.Handle(node.RPC(), shareMethod, w.tellShare),
	)
	if err != nil {
		return errors.Join(err, node.Close())
	}
	ready()
	return node.Run(ctx)
}

// count is the whole job: read a file, write its entry unless there is one.
func (w *workNode) count(ctx context.Context, job *queue.Job[countTask]) error {
	count, err := countFile(w.root, job.Payload.File)
	if err != nil {
		return queue.Skip(err)
	}
	_, err = w.entries.Set(ctx, entryPrefix+count.File, count, cache.IfAbsent())
	repeated := errors.Is(err, cache.ErrConflict)
	if err != nil && !repeated {
		return err
	}
	share := w.add(count, repeated)
	// Progress is for the eye: a node that cannot tell it goes on.
	_, _ = progressTopic.Publish(ctx, w.node.PubSub(), share)
	return nil
}

func (w *workNode) add(c Count, repeated bool) Share {
	w.mu.Lock()
	defer w.mu.Unlock()
	if repeated {
		w.share.Repeated++
	} else {
		w.share.Files++
		w.share.Identifiers += c.Identifiers
	}
	return w.share
}

func (w *workNode) tellShare(context.Context, struct{}) (Share, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.share, nil
}
