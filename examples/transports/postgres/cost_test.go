//go:build unix

package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/examples/transports/postgres/internal/pgtest"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

// TestNothingCostsMoreWithWhatIsStored counts the blocks that the server looks at for a call, where there is little and where
// there is much: what grows is only the height of the indexes.
func TestNothingCostsMoreWithWhatIsStored(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	little, much := open(t, server.URL(), "little"), open(t, server.URL(), "much")
	store(t, little, 100)
	store(t, much, 30_000)
	db := connect(t, server)
	_, err := db.Exec(t.Context(), "ANALYZE")
	require.NoError(t, err)

	for name, sql := range map[string]string{
		"claim":        `SELECT * FROM queue_claim(%d, ARRAY['q'::bytea], 2, 1000000, 'w', 'abc%d')`,
		"claim in 3":   `SELECT * FROM queue_claim(%d, ARRAY['q'::bytea, 'none', 'other'], 2, 1000000, 'w', 'abc%d')`,
		"enqueue":      `SELECT * FROM queue_enqueue(%d, ARRAY['q'::bytea], ARRAY[1], ARRAY['new%d'::bytea], ARRAY['b'::bytea], ARRAY[1], ARRAY[0::smallint], ARRAY[null::timestamptz], ARRAY[5], ARRAY[null::bigint], ARRAY[false], ARRAY[null::bytea], ARRAY[null::bigint], false, 'wake')`,
		"stale settle": `SELECT * FROM queue_settle(%d, 'w', %d, 1, ARRAY['q'::bytea], ARRAY['t7'::bytea], ARRAY['no'], ARRAY[1::smallint], ARRAY[0::bigint], ARRAY[null::bytea], ARRAY[null::bytea], 'wake')`,
		"stats":        `SELECT * FROM queue_stats(%d, 'q') -- %d`,
		"set":          `SELECT cache_put(%d, 0, ARRAY['k%d'::bytea], ARRAY['v'::bytea], ARRAY[0::smallint], ARRAY[3600000000], ARRAY['r'::bytea])`,
		"add":          `SELECT * FROM cache_add(%d, 0, ARRAY['n%d'::bytea], ARRAY[1::bigint], ARRAY[0::bigint], ARRAY['r'::bytea], ARRAY['h'::bytea], ARRAY[0::bigint])`,
		"lock":         `SELECT * FROM lock_acquire(%d, ARRAY['l%d'::bytea], ARRAY['h'::bytea], ARRAY[1000::bigint], false)`,
	} {
		t.Run(name, func(t *testing.T) {
			blocks := map[string]int{}
			for ns, namespace := range []string{"little", "much"} {
				for round := range 8 { // the first ones make plans
					blocks[namespace] = explained(t, db, fmt.Sprintf(sql, ns+1, 1000+round))
				}
			}

			t.Logf("blocks: %v", blocks)
			// 64: the rows of a tally, of which a queue has one for each connection that was used, up to 32.
			require.LessOrEqual(t, blocks["much"], blocks["little"]+blocks["little"]/2+64, "with 300 times as much stored")
		})
	}
}

// store fills a namespace: n tasks that are pending, n scheduled, n active and n dead, n entries and n locks.
func store(t *testing.T, node transports.Transport, n int) {
	t.Helper()
	ctx := t.Context()
	for at := 0; at < n; at += 1000 {
		part := min(1000, n-at)
		later := make([]queue.Task, part)
		writes, claims := make([]cache.Write, part), make([]cache.Claim, part)
		for i := range part {
			id := fmt.Sprint(at + i)
			later[i] = queue.Task{ID: "later" + id, Kind: "k", Queue: "q", RunAt: far, MaxAttempts: 5, MaxLost: 5}
			writes[i] = cache.Write{Key: "key" + id, Value: []byte("v"), TTL: 60 * minute}
			claims[i] = cache.Claim{Lock: "lock" + id, Holder: "h", TTL: minute}
		}
		for _, kind := range []string{"active", "dead", "pending"} {
			require.NoError(t, enqueueNamed(ctx, node, kind, at, part))
			if kind == "pending" {
				continue
			}
			claimed, err := node.Queue().Claim(ctx, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: part})
			require.NoError(t, err)
			if kind == "dead" {
				items := make([]queue.Settlement, len(claimed.Tasks))
				for i, l := range claimed.Tasks {
					items[i] = queue.Settlement{Ref: l.Ref(), Outcome: queue.Dead}
				}
				_, err := node.Queue().Settle(ctx, queue.Settlements{Worker: "filler", Number: uint64(at + 1), Items: items})
				require.NoError(t, err)
			}
		}
		_, err := node.Queue().Enqueue(ctx, later)
		require.NoError(t, err)
		_, err = node.Cache().Set(ctx, writes)
		require.NoError(t, err)
		_, err = node.Cache().Acquire(ctx, claims)
		require.NoError(t, err)
	}
	stats, err := node.Queue().Admin.Stats(ctx, "q")
	require.NoError(t, err)
	require.Equal(t, []int64{int64(n), int64(n), int64(n)}, []int64{stats.Active, stats.Dead, stats.Scheduled})
}

func enqueueNamed(ctx context.Context, node transports.Transport, kind string, at, n int) error {
	all := make([]queue.Task, n)
	for i := range all {
		all[i] = queue.Task{ID: fmt.Sprint(kind, at+i), Kind: "k", Queue: "q", MaxAttempts: 5, MaxLost: 5}
	}
	_, err := node.Queue().Enqueue(ctx, all)
	return err
}

// connect is a session with the settings of the transport's.
func connect(t *testing.T, server *pgtest.Server) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(server.URL())
	require.NoError(t, err)
	for name, value := range map[string]string{"search_path": "backplane", "enable_seqscan": "off", "jit": "off", "plan_cache_mode": "force_generic_plan"} {
		config.RuntimeParams[name] = value
	}
	db, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close(context.Background())) })
	return db
}

// explained runs a statement and tells how many blocks the server looked at.
func explained(t *testing.T, db *pgx.Conn, sql string) int {
	t.Helper()
	var text []byte
	require.NoError(t, db.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+sql).Scan(&text))
	var plans []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	require.NoError(t, json.Unmarshal(text, &plans))
	return plans[0].Plan.Hit + plans[0].Plan.Read
}
