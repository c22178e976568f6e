package saboteurs

import "sync"

// shared is what the nodes of a cluster remember together.
type shared[V any] struct {
	mu sync.Mutex
	of map[string]V
}

// first keeps a value unless there is one, and answers what is kept.
func (s *shared[V]) first(key string, v V) V {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept, is := s.of[key]; is {
		return kept
	}
	s.of[key] = v
	return v
}

func (s *shared[V]) set(key string, v V) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[key] = v
}

func (s *shared[V]) get(key string) (V, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, is := s.of[key]
	return v, is
}

// take forgets a value, and answers it.
func (s *shared[V]) take(key string) (V, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, is := s.of[key]
	delete(s.of, key)
	return v, is
}

// counter counts for all nodes of a cluster.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}
