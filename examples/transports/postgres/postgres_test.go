//go:build unix

package postgres_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/examples/transports/postgres/internal/pgtest"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

func TestOpenTellsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		url     string
		options map[string]any
		code    fault.Code
		says    string
	}{
		"unknown parameter": {"postgres://h/d?shcema=x", nil, fault.Invalid, `URL parameter "shcema" is not known; there are: attempts, password, pool_size, schema`},
		"unknown option":    {"postgres://h/d", map[string]any{"poolsize": 3}, fault.Invalid, `option "poolsize" is not known`},
		"no number":         {"postgres://h/d", map[string]any{"pool_size": 0}, fault.Invalid, "at least 1 is expected"},
		"no duration":       {"postgres://h/d?silence=5", nil, fault.Invalid, `such as "3s"`},
		"no schema":         {"postgres://h/d?schema=pg_x", nil, fault.Invalid, "no schema's name"},
		"no URL":            {"postgres://u:secret@h:x/d", nil, fault.Invalid, "the URL cannot be parsed"},
		"nobody there":      {"postgres://u:secret@127.0.0.1:1/d?attempts=2", nil, fault.Unavailable, "attempt 2 of 2 failed: no answer from the server at 127.0.0.1:1/d"},
		"nobody at both":    {"postgres://u:secret@127.0.0.1:1,127.0.0.1:2/d?attempts=1", nil, fault.Unavailable, "127.0.0.1:2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := transports.OpenURL(t.Context(), c.url, transports.Settings{Namespace: "n", Options: c.options, Logger: quiet})

			require.ErrorIs(t, err, c.code)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "secret")
			var f *fault.Error
			require.ErrorAs(t, err, &f)
			require.Equal(t, "postgres", f.Transport)
		})
	}
}

func TestOpenOfADatabaseThatIsNotThereSaysSo(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	_, err := transports.OpenURL(t.Context(), "postgres://test@"+server.Addr()+"/none?sslmode=disable", transports.Settings{Namespace: "n", Logger: quiet})
	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, "create the database, or name another in the URL")
}

func TestOneOfManyNodesMakesTheSchema(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	errs := make(chan error, 8)
	var group sync.WaitGroup
	for range cap(errs) {
		group.Go(func() {
			node, err := transports.OpenURL(t.Context(), server.URL()+"&schema=Odd+name", transports.Settings{Namespace: "n", Logger: quiet})
			if err == nil {
				_, err = node.Cache().Set(t.Context(), []cache.Write{{Key: "k", Value: []byte("v")}})
				err = errors.Join(err, node.Close())
			}
			errs <- err
		})
	}
	group.Wait()
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	node := open(t, server.URL()+"&schema=Odd+name", "n")
	got, err := node.Cache().Get(t.Context(), []cache.Read{{Key: "k"}})
	require.NoError(t, err)
	require.Equal(t, "v", string(got[0].Entry.Value))
}

func TestASchemaThatIsTooNewIsRefused(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	require.NoError(t, open(t, server.URL(), "n").Close())
	db := connect(t, server)

	_, err := db.Exec(t.Context(), "UPDATE meta SET layout = 2") // which programs of layout 1 can still use
	require.NoError(t, err)
	require.NoError(t, open(t, server.URL(), "n").Close())

	_, err = db.Exec(t.Context(), "UPDATE meta SET layout = 9, oldest = 8")
	require.NoError(t, err)
	_, err = transports.OpenURL(t.Context(), server.URL(), transports.Settings{Namespace: "n", Logger: quiet})
	require.ErrorIs(t, err, fault.Unsupported)
	require.ErrorContains(t, err, "the schema has layout 9, which programs that know layout 8 or later can use; this one knows 1: update it")
}

func TestSchemasOfOneDatabaseAreApart(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	a, b := open(t, server.URL()+"&schema=a", "n"), open(t, server.URL()+"&schema=b", "n")
	heard := make(chan string, 8)
	for name, node := range map[string]transports.Transport{"a": a, "b": b} {
		_, err := node.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func(events []pubsub.Event) {
			for _, e := range events {
				heard <- name + " heard " + string(e.Message.Payload)
			}
		})
		require.NoError(t, err)
	}
	for _, node := range []transports.Transport{a, b} {
		_, err := node.Cache().Set(t.Context(), []cache.Write{{Key: "k", If: cache.IfAbsent()}})
		require.NoError(t, err)
	}

	_, err := a.PubSub().Publish(t.Context(), []pubsub.Message{{Subject: "s", Payload: []byte("from a")}})
	require.NoError(t, err)
	_, err = b.PubSub().Publish(t.Context(), []pubsub.Message{{Subject: "s", Payload: []byte("from b")}})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"a heard from a", "b heard from b"}, []string{<-heard, <-heard})
	require.Empty(t, heard)
}

func TestEraseLeavesNothing(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	node, other := open(t, server.URL(), "n"), open(t, server.URL(), "other")
	for _, n := range []transports.Transport{node, other} {
		store(t, n, 20)
		_, err := n.Cache().Lists.Push(t.Context(), []cache.Push{{List: "l", Values: [][]byte{{1}, {2}}}})
		require.NoError(t, err)
		_, err = n.Queue().Enqueue(t.Context(), []queue.Task{{ID: "u", CallerID: true, Kind: "k", Queue: "q", UniqueKey: "u", MaxAttempts: 1, MaxLost: 1}})
		require.NoError(t, err)
		_, err = n.PubSub().Publish(t.Context(), []pubsub.Message{{Subject: "s", Payload: make([]byte, 20_000)}})
		require.NoError(t, err)
	}
	before := rowsOf(t, server)

	require.NoError(t, node.(transports.Eraser).Erase(t.Context()))

	after := rowsOf(t, server)
	for table, n := range after {
		switch table {
		case "meta", "namespace":
			require.Equal(t, before[table], n, table)
		default:
			require.Equal(t, before[table], 2*n, "rows in %s: half of them were of the namespace", table)
		}
	}
	stats, err := other.Queue().Admin.Stats(t.Context(), "q")
	require.NoError(t, err)
	require.Equal(t, int64(21), stats.Pending)
}

// rowsOf counts the rows of every table.
func rowsOf(t *testing.T, server *pgtest.Server) map[string]int {
	t.Helper()
	db := connect(t, server)
	rows, err := db.Query(t.Context(), "SELECT table_name FROM information_schema.tables WHERE table_schema = 'backplane'")
	require.NoError(t, err)
	var names []string
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	require.NotEmpty(t, names)
	counts := map[string]int{}
	for _, name := range names {
		var n int
		require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM "+name).Scan(&n))
		counts[name] = n
	}
	return counts
}

// TestWhatHasEndedIsSweptAway looks at the tables: to callers what has ended is gone at once.
func TestWhatHasEndedIsSweptAway(t *testing.T) {
	clock := pgtest.NewClock(t)
	if clock == nil {
		t.Skip("the server's clock cannot be moved here; NewClock has said why")
	}
	server := pgtest.Start(t, pgtest.Options{Clock: clock})
	node := open(t, server.URL(), "n")
	large := pubsub.Message{Subject: "s", Payload: make([]byte, 20_000)}
	fill := func(n int) {
		t.Helper()
		for i := range n {
			id := fmt.Sprint(i)
			_, err := node.Cache().Set(t.Context(), []cache.Write{{Key: id, TTL: minute}})
			require.NoError(t, err)
			leases, err := node.Cache().Acquire(t.Context(), []cache.Claim{{Lock: id, Holder: "h", TTL: minute}})
			require.NoError(t, err)
			_, err = node.Cache().Release(t.Context(), leases)
			require.NoError(t, err)
			_, err = node.Cache().Lists.Push(t.Context(), []cache.Push{{List: id, Values: [][]byte{{1}}, TTL: minute}})
			require.NoError(t, err)
			_, err = node.PubSub().Publish(t.Context(), []pubsub.Message{large})
			require.NoError(t, err)
			_, err = node.Queue().Enqueue(t.Context(), []queue.Task{{ID: id, CallerID: true, Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 1, Retention: minute}})
			require.NoError(t, err)
			claimed, err := node.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1})
			require.NoError(t, err)
			require.Len(t, claimed.Tasks, 1)
			_, err = node.Queue().Settle(t.Context(), queue.Settlements{Worker: "w" + id, Number: 1, Items: []queue.Settlement{{Ref: claimed.Tasks[0].Ref(), Outcome: queue.Done}}})
			require.NoError(t, err)
		}
	}
	fill(20)
	before := rowsOf(t, server)
	for _, table := range []string{"entry", "lock", "list", "item", "parcel", "task", "answer"} {
		require.Equal(t, 20, before[table], table)
	}

	require.NoError(t, clock.Advance(30*time.Hour))
	fill(20) // with the same names: who comes again replaces what it was, and takes others along

	after := rowsOf(t, server)
	for _, table := range []string{"entry", "lock", "list", "item", "parcel", "task", "answer"} {
		require.Equal(t, 20, after[table], table)
	}
	require.Zero(t, after["gone"], "IDs that are remembered for 5 minutes")

	require.NoError(t, clock.Advance(30*time.Hour))
	fill(12) // fewer
	after = rowsOf(t, server)
	for _, table := range []string{"entry", "lock", "list", "item", "parcel", "task", "answer"} {
		require.Less(t, after[table], 20, table)
	}
}

// TestCallersInEachOthersWayGoOn has transactions wait for each other in a circle, of which the server undoes one.
func TestCallersInEachOthersWayGoOn(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	nodes := []transports.Transport{open(t, server.URL(), "n"), open(t, server.URL(), "n")}
	const rounds, tasks = 10, 40
	var group sync.WaitGroup
	errs := make(chan error, 2*rounds)
	stored := make(chan int, 2*rounds)
	for round := range rounds {
		for who, node := range nodes {
			group.Go(func() {
				batch := make([]queue.Task, tasks)
				for i := range batch {
					key := i
					if who == 1 {
						key = tasks - 1 - i // from the other end
					}
					batch[i] = queue.Task{ID: fmt.Sprint(who, ".", round, ".", i), Kind: "k", Queue: "q", UniqueKey: fmt.Sprint(round, ".", key), MaxAttempts: 1, MaxLost: 1}
				}
				receipts, err := node.Queue().Enqueue(t.Context(), batch)
				n := 0
				for _, r := range receipts {
					err = errors.Join(err, r.Err)
					if !r.Duplicate {
						n++
					}
				}
				errs <- err
				stored <- n
			})
		}
		group.Wait()
	}
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	close(stored)
	sum := 0
	for n := range stored {
		sum += n
	}
	require.Equal(t, rounds*tasks, sum, "each unique key is held by one task")
}

func TestMessagesOfAllSizesKeepTheirOrder(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	here, there := open(t, server.URL(), "n"), open(t, server.URL(), "n")
	heard := make(chan *pubsub.Message, 1024)
	_, err := there.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func(events []pubsub.Event) {
		for _, e := range events {
			heard <- e.Message
		}
	})
	require.NoError(t, err)
	sizes := []int{0, 1, 5700, 5900, 6000, 8000, 100, 1 << 20, 3}
	var batch []pubsub.Message
	for i := range 90 {
		batch = append(batch, pubsub.Message{Subject: "s", Seq: uint64(i + 1), Sender: "me", Payload: bytes.Repeat([]byte{byte(i)}, sizes[i%len(sizes)])})
	}
	_, err = here.PubSub().Publish(t.Context(), batch)
	require.NoError(t, err)

	for i := range batch {
		m := <-heard
		require.NotNil(t, m, "a gap instead of message %d", i)
		require.Equal(t, batch[i].Seq, m.Seq)
		require.True(t, bytes.Equal(batch[i].Payload, m.Payload), "the payload of message %d", i)
	}
}

var quiet = slog.New(slog.DiscardHandler)
