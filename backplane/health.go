package backplane

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// Health is what a node knows of itself: for a health endpoint, and for operators.
type Health struct {
	Ready      bool              `json:"ready"`            // everything below is well
	Reason     string            `json:"reason,omitempty"` // why it is not
	Node       string            `json:"node"`
	Members    int               `json:"members"` // that this node knows, itself included
	Transports []TransportHealth `json:"transports"`
	Workers    []WorkerHealth    `json:"workers,omitempty"`
}

// TransportHealth is the state of one transport.
type TransportHealth struct {
	Name  string   `json:"name"` // in the config
	Kind  string   `json:"kind"`
	Uses  []string `json:"uses"` // cache, queue, pubsub, rpc
	OK    bool     `json:"ok"`
	Error string   `json:"error,omitempty"`
}

// WorkerHealth is the state of one worker.
type WorkerHealth struct {
	ID      string            `json:"id"`
	Running bool              `json:"running"`
	Error   string            `json:"error,omitempty"` // why it cannot claim tasks now
	Stats   queue.WorkerStats `json:"stats"`
}

// Health asks every transport now, at the same time, and the membership. It waits for nothing else, so it suits a health
// endpoint; give ctx a deadline for a store that does not answer.
func (n *Node) Health(ctx context.Context) Health {
	h := Health{Ready: true, Node: n.Name(), Members: len(n.Members())}
	names := slices.Sorted(maps.Keys(n.transports.all))
	h.Transports = make([]TransportHealth, len(names))
	var asking sync.WaitGroup
	for i, name := range names {
		asking.Go(func() { h.Transports[i] = n.ask(ctx, name) })
	}
	asking.Wait()
	for _, t := range h.Transports {
		if !t.OK {
			h.not("transport " + t.Name + ": " + t.Error)
		}
	}
	for _, w := range n.allWorkers() {
		state := w.Health()
		each := WorkerHealth{ID: w.ID(), Running: state.Running, Stats: w.Stats()}
		if state.Err != nil {
			each.Error = state.Err.Error()
			h.not("worker " + w.ID() + ": " + each.Error)
		}
		h.Workers = append(h.Workers, each)
	}
	if reason := n.outsider(ctx); reason != "" {
		h.not(reason)
	}
	return h
}

func (h *Health) not(reason string) {
	h.Ready = false
	if h.Reason == "" {
		h.Reason = reason
	}
}

func (n *Node) ask(ctx context.Context, name string) TransportHealth {
	t := n.transports.all[name]
	h := TransportHealth{Name: name, Kind: t.Kind(), OK: true}
	for _, u := range n.config.Use.each() {
		if u.transport == name {
			h.Uses = append(h.Uses, u.concern)
		}
	}
	if err := t.Health(ctx); err != nil {
		h.OK, h.Error = false, err.Error()
	}
	return h
}

func (n *Node) allWorkers() []*queue.Worker {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.workers)
}

// outsider says why the node is no full member of the cluster; "" when it is, or need not be.
func (n *Node) outsider(ctx context.Context) (reason string) {
	if !n.isMember {
		return ""
	}
	if n.rpc.Fenced() {
		return "the node does not hear its own heartbeat, and takes itself for dead"
	}
	now, cancel := context.WithCancel(ctx)
	cancel() // so that it does not wait
	if n.rpc.Ready(now) != nil {
		return "the membership is not complete yet"
	}
	return ""
}

// Ready is nil when Health says that the node is ready, and otherwise the reason. It waits for the membership to be
// complete, which takes a moment after Open, as long as ctx allows.
func (n *Node) Ready(ctx context.Context) error {
	const op = "backplane: ready"
	if n.isMember {
		if err := n.rpc.Ready(ctx); err != nil {
			return fault.In(err, op, n.Name())
		}
	}
	h := n.Health(ctx)
	if h.Ready {
		return nil
	}
	return &fault.Error{Code: fault.Unavailable, Op: op, Subject: n.Name(), Message: h.Reason, Retryable: true}
}
