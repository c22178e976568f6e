// Package backplane lets the nodes of a program act as one cluster. A node opens with a config that says which transport
// backs what, and offers the four concerns, each with a typed API of its own:
//
//	node, err := backplane.Open(ctx, backplane.URL("redis://127.0.0.1:6379?insecure=true"))
//	defer node.Close()
//	node.Cache()       // entries, counters, lists and locks that all nodes share
//	node.Queue()       // tasks that survive the node that enqueued them
//	node.PubSub()      // messages to whoever listens
//	node.RPC()         // calls to one node, any, or all of them
//
// Swapping a transport changes the config and no line of code.
package backplane

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// shutdownGrace is how much longer than Config.Shutdown Close waits for workers: handlers that were told to end, and the
// last settlements, take a moment.
const shutdownGrace = 10 * time.Second

// Node is one member of a cluster. All methods may be called concurrently.
type Node struct {
	config      Config
	log         *slog.Logger
	transports  *opened
	cache       *cache.Cache
	queue       *queue.Client
	pubsub      *pubsub.PubSub
	rpc         *rpc.Peer
	isMember    bool // a transport is named for RPC
	connections *Connections

	mu      sync.Mutex
	workers []*queue.Worker
	running bool
	closed  bool

	watching sync.WaitGroup // what waits for the workers to end

	ending  chan struct{} // closed when Close begins
	ended   chan struct{} // closed when it is over
	failure error         // of Close
}

// Open opens the transports that the config uses, joins the cluster, and returns a node that can do everything but run
// tasks: its workers start with Run. An error names the transport that could not be opened, and what to do.
//
// A concern that no transport is named for is there all the same, and answers fault.Unsupported to every call.
func Open(ctx context.Context, c Config) (*Node, error) {
	c, err := c.resolve()
	if err != nil {
		return nil, err
	}
	all, err := openTransports(ctx, c)
	if err != nil {
		return nil, err
	}
	n := &Node{config: c, log: c.Logger, transports: all, ending: make(chan struct{}), ended: make(chan struct{})}
	if err := n.assemble(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// assemble puts the four concerns on their transports.
func (n *Node) assemble(ctx context.Context) error {
	c, all := n.config, n.transports
	if t := all.get(c.Use.Cache); t != nil {
		options := c.CacheOptions
		options.Transport, options.Node, options.Logger = t.Kind(), c.Node.Name, n.log
		n.cache = cache.New(t.Cache(), options)
	} else {
		n.cache = cache.New(nil, cache.Options{})
	}
	var tasks *queue.Backend
	if t := all.get(c.Use.Queue); t != nil {
		tasks = t.Queue()
	}
	n.queue = queue.NewClient(tasks, c.QueueOptions)

	if err := n.join(ctx); err != nil {
		return err
	}
	var bus *pubsub.Backend
	if t := all.get(c.Use.PubSub); t != nil {
		bus = t.PubSub()
	}
	seal, err := sealOf(c.Cluster)
	if err != nil {
		return err
	}
	options := c.PubSubOptions
	options.Sender, options.Logger, options.Seal = n.Incarnation(), n.log, seal
	n.pubsub = pubsub.New(bus, options)
	return nil
}

// join makes the node a member, able to call and to be called.
func (n *Node) join(ctx context.Context) error {
	c := n.config
	var backend *rpc.Backend
	if t := n.transports.get(c.Use.RPC); t != nil {
		backend = transports.RPCOf(t)
	}
	options := c.RPCOptions
	options.Name, options.Metadata, options.Logger = c.Node.Name, c.Node.Metadata, n.log
	options.Keys, options.Insecure = clusterKeys(c.Cluster), len(c.Cluster.Keys) == 0
	options.Secret = c.Cluster.Secret
	if options.Drain == 0 {
		options.Drain = c.Shutdown
	}
	if n.isMember = backend != nil; !n.isMember {
		backend = &rpc.Backend{Driver: noRPC{}}
		options.ClientMiddleware = append(slices.Clone(options.ClientMiddleware), refuseCalls)
	}
	var err error
	if n.rpc, err = rpc.New(backend, options); err != nil {
		return err
	}
	if n.connections, err = newConnections(n.rpc); err != nil || !n.isMember {
		return err
	}
	return n.rpc.Start(ctx)
}

// Name is the node's name. Others may have the same.
func (n *Node) Name() string { return n.config.Node.Name }

// Incarnation identifies this life of this node.
func (n *Node) Incarnation() string { return n.rpc.Self().Incarnation }

// Cache is what all nodes share: entries, counters, lists and locks.
func (n *Node) Cache() *cache.Cache { return n.cache }

// Queue enqueues tasks. What runs them is a worker: see Worker.
func (n *Node) Queue() *queue.Client { return n.queue }

// Inspector looks into the queues, for operators.
func (n *Node) Inspector() *queue.Inspector { return queue.NewInspector(n.queueBackend()) }

// PubSub publishes and subscribes.
func (n *Node) PubSub() *pubsub.PubSub { return n.pubsub }

// RPC calls other nodes, and registers what they may call here.
func (n *Node) RPC() *rpc.Peer { return n.rpc }

// Members lists the nodes of the cluster as this one knows them, itself included.
func (n *Node) Members() []rpc.Member { return n.rpc.Members() }

// Connections is the directory of client connections: those that this node holds, and the way to all others.
func (n *Node) Connections() *Connections { return n.connections }

func (n *Node) queueBackend() *queue.Backend {
	if t := n.transports.get(n.config.Use.Queue); t != nil {
		return t.Queue()
	}
	return nil
}

// Worker makes a worker that Run starts, and Close stops before anything that its handlers may need. Register its
// handlers with queue.Handle before Run. A worker made while Run is running must be started by the caller.
func (n *Node) Worker(o queue.WorkerOptions) (*queue.Worker, error) {
	if o.Name == "" {
		o.Name = n.Name()
	}
	if o.ShutdownTimeout == 0 {
		o.ShutdownTimeout = n.config.Shutdown
	}
	if o.Logger == nil {
		o.Logger = n.log
	}
	worker, err := queue.NewWorker(n.queueBackend(), o)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, &fault.Error{Code: fault.Closed, Op: "backplane: worker", Message: "the node is closed"}
	}
	n.workers = append(n.workers, worker)
	return worker, nil
}

// Run starts the node's workers and returns when ctx has ended and the node is closed in order (see Close), or when a
// worker could not start. It returns nil when ctx ended and everything was closed in time.
func (n *Node) Run(ctx context.Context) error {
	// Not with ctx: a worker ends in Close, at its place in the order.
	failed, err := n.begin(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	var failure error
	select {
	case <-ctx.Done():
	case <-n.ending:
	case failure = <-failed:
		select {
		case <-n.ending: // the node was closed before the worker had begun: Close tells what went wrong, if anything
			failure = nil
		default:
		}
	}
	return errors.Join(failure, n.Close())
}

// begin starts the workers, unless the node is closed: what it starts, Close waits for.
func (n *Node) begin(ctx context.Context) (failed <-chan error, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, &fault.Error{Code: fault.Closed, Op: "backplane: run", Message: "the node is closed"}
	case n.running:
		return nil, &fault.Error{Code: fault.Invalid, Op: "backplane: run", Message: "the node is running already"}
	}
	n.running = true
	failures := make(chan error, len(n.workers))
	for _, w := range n.workers {
		n.watching.Go(func() {
			if err := w.Run(ctx); err != nil {
				failures <- err
			}
		})
	}
	return failures, nil
}

// Close ends the node in the order in which things need each other, and waits:
//
//  1. workers claim nothing more; running tasks get Config.Shutdown to end, and are given back if they do not;
//  2. the node leaves the cluster: running calls get Config.Shutdown to be answered, and later ones go elsewhere;
//  3. subscriptions end, locks are given back, loaders are cancelled;
//  4. the transports close.
//
// It may be called twice; the second call waits for the first.
func (n *Node) Close() error {
	n.mu.Lock()
	first := !n.closed
	n.closed = true
	n.mu.Unlock()
	if first {
		close(n.ending)
		n.failure = n.shut()
		close(n.ended)
	}
	<-n.ended
	return n.failure
}

func (n *Node) shut() error {
	workers := n.allWorkers()
	// A worker bounds its shutdown itself; this is for one that cannot.
	ctx, cancel := context.WithTimeout(context.Background(), n.config.Shutdown+shutdownGrace)
	defer cancel()
	errs := make([]error, len(workers))
	var stopping sync.WaitGroup
	for i, w := range workers {
		stopping.Go(func() { errs[i] = w.Stop(ctx) })
	}
	stopping.Wait()
	n.watching.Wait()
	if n.rpc != nil {
		errs = append(errs, n.rpc.Close())
	}
	if n.pubsub != nil {
		errs = append(errs, n.pubsub.Close())
	}
	if n.cache != nil {
		errs = append(errs, n.cache.Close())
	}
	return errors.Join(append(errs, n.transports.close())...)
}
