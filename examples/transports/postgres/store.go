package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// store sends statements, over a pool. Each is prepared once a connection, and is a transaction of its own.
type store struct {
	pool    *pgxpool.Pool
	timeout time.Duration // of a statement

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // all sockets, those of the receiver too
	closed bool
}

// grace is how long a call may go on after its context has ended, from the wait for a connection on. Most are over by
// then, and their answer is known; to end a statement at once costs the connection, and the server a process.
const grace = 200 * time.Millisecond

// settings are those of every connection. Each statement here means to walk an index; what the server believes of a table
// that was empty a moment ago must not make it read the whole of it.
var settings = map[string]string{
	"enable_seqscan":          "off",
	"jit":                     "off",
	"plan_cache_mode":         "force_generic_plan",
	"timezone":                "UTC",
	"client_encoding":         "UTF8",
	"tcp_keepalives_idle":     "10", // a node that is gone without a goodbye is gone for the server within half a minute
	"tcp_keepalives_interval": "5",
	"tcp_keepalives_count":    "4",
}

func newStore(c *config) (*store, error) {
	s := &store{timeout: c.timeout, conns: map[net.Conn]struct{}{}}
	conn := c.pool.ConnConfig
	for name, value := range settings {
		conn.RuntimeParams[name] = value
	}
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = "backplane"
	}
	conn.RuntimeParams["search_path"] = pgx.Identifier{c.schema}.Sanitize()
	dial := conn.DialFunc
	conn.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		made, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return s.track(made)
	}
	conn.ConnectTimeout = min(c.timeout, 5*time.Second)
	c.pool.PingTimeout = c.timeout
	pool, err := pgxpool.NewWithConfig(context.Background(), c.pool) // it connects when it is asked to
	if err != nil {
		return nil, err
	}
	s.pool = pool
	return s, nil
}

// socket is a connection that close can end, whatever is being done with it.
type socket struct {
	net.Conn
	store *store
}

func (s *store) track(made net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = made.Close()
		return nil, errClosed
	}
	s.conns[made] = struct{}{}
	return &socket{made, s}, nil
}

// Close also forgets it.
func (c *socket) Close() error {
	c.store.mu.Lock()
	delete(c.store.conns, c.Conn)
	c.store.mu.Unlock()
	return c.Conn.Close()
}

// close gives what is under way closePatience, and then closes its connections.
func (s *store) close() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.pool.Close()
	}()
	timer := time.NewTimer(closePatience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	<-done
}

// tries is how often a statement is sent that was certainly not done.
const tries = 6

// do runs a statement within the bound of its time. Once more, too, when it is certain that it was not done.
func (s *store) do(ctx context.Context, statement func(context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.timeout, errLate)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(limited, func() { timer.Stop() })
	})
	defer stop()
	for attempt := 1; ; attempt++ {
		err := statement(limited)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if limited.Err() != nil {
			return fmt.Errorf("%w (%v)", errLate, s.timeout)
		}
		if attempt == tries || !again(err) {
			return notTheCallers(err)
		}
		pause := time.NewTimer(time.Duration(attempt*attempt) * time.Millisecond)
		select {
		case <-pause.C:
		case <-limited.Done():
			pause.Stop()
		}
	}
}

// notTheCallers keeps apart the contexts of pgx, such as that of a connection being made, and the caller's, which is live.
func notTheCallers(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %v", errLink, err)
	}
	return err
}

// exec runs a statement whose rows do not matter.
func (s *store) exec(ctx context.Context, sql string, args ...any) error {
	return s.do(ctx, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, sql, args...)
		return err
	})
}

// row runs a statement that answers one row.
func (s *store) row(ctx context.Context, sql string, args []any, into ...any) error {
	return s.do(ctx, func(ctx context.Context) error { return s.pool.QueryRow(ctx, sql, args...).Scan(into...) })
}

// rows runs a statement and calls each for every row, after scanning it into the targets. A statement is repeated only
// when it was not done, and then it has answered no row.
func (s *store) rows(ctx context.Context, sql string, args []any, into []any, each func() error) error {
	return s.do(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, into, each)
		return err
	})
}

// isMissing reports that what a statement names is not there.
func isMissing(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && (answer.Code == "42P01" || answer.Code == "3F000")
}
