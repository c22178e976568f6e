package postgres

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// vacuum has the server clean up behind this node's claims.
//
// Each step of a task leaves a dead version of its row, and the index of the line has an entry for it. A claim begins at the
// front of the line, where the dead are, and passes over them: with 200,000 of them one of 100 tasks took 3.7 ms, not 2.1.
// Autovacuum comes once a minute unless configured otherwise, and a busy queue leaves a million in that time. So the node
// that has claimed vacuumEvery tasks asks for a vacuum itself. Of several at once the server does one.
type vacuum struct {
	claimed atomic.Int64 // since the last time
	running atomic.Bool
}

const (
	vacuumEvery   = 50_000
	vacuumTimeout = time.Minute
)

// after counts claimed tasks, and vacuums when there were enough. It does not wait for that.
func (v *vacuum) after(t *Transport, n int) {
	if n == 0 || v.claimed.Add(int64(n)) < vacuumEvery || v.running.Swap(true) {
		return
	}
	v.claimed.Store(0)
	if !t.waiting() {
		return
	}
	go func() {
		defer t.calls.Done()
		defer v.running.Store(false)
		ctx, cancel := context.WithTimeout(t.life, vacuumTimeout)
		defer cancel()
		_, err := t.store.pool.Exec(ctx, "VACUUM (SKIP_LOCKED, INDEX_CLEANUP ON, TRUNCATE OFF, PARALLEL 0) task, tally", pgx.QueryExecModeSimpleProtocol)
		if err != nil && t.life.Err() == nil {
			t.log.Warn("postgres: the table of tasks could not be vacuumed; claims are slower until autovacuum does it", "error", t.fault(err, "", ""))
		}
	}()
}
