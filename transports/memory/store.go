package memory

import (
	"sync"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// Store is a store without a name, seen only by the nodes that were opened on it. The zero Store is ready. What a
// namespace holds lives until its last node has closed.
type Store struct {
	// Clock is the store's time; nil: the machine's. It must not be changed after the first Open.
	Clock transports.Clock

	mu     sync.Mutex
	spaces map[string]*space
}

// space is what the nodes of one namespace share.
type space struct {
	namespace string
	nodes     int // that are open; guarded by Store.mu

	entries *entries
	tasks   *tasks
	bus     *bus
}

// Open opens a node in a namespace.
func (s *Store) Open(namespace string) (*Transport, error) {
	if err := transports.CheckNamespace(namespace); err != nil {
		return nil, fault.In(err, "memory: open", namespace)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	shared := s.spaces[namespace]
	if shared == nil {
		clock := s.Clock
		if clock == nil {
			clock = machine{}
		}
		shared = &space{namespace: namespace, entries: newEntries(clock), tasks: newTasks(clock), bus: newBus()}
		if s.spaces == nil {
			s.spaces = map[string]*space{}
		}
		s.spaces[namespace] = shared
	}
	shared.nodes++
	return newTransport(s, shared), nil
}

// leave takes a node away, and the namespace with the last one.
func (s *Store) leave(shared *space) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if shared.nodes--; shared.nodes == 0 {
		delete(s.spaces, shared.namespace)
	}
}

func (s *Store) unused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.spaces) == 0
}
