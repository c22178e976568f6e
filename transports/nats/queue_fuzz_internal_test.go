package nats

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// What a task's message says is written by other nodes, by other versions of this program, and by whoever has access.
func FuzzTaskRecord(f *testing.F) {
	at := time.Unix(1_700_000_000, 5).UTC()
	task := appendTask(nil, &queue.Task{
		ID: "i", Kind: "k", Queue: "q", Priority: 3, MaxAttempts: 2, MaxLost: 3, Payload: []byte{}, CallerID: true, UniqueKey: "u", UniqueFor: time.Hour,
		Headers: map[string]string{"a": "b"}, EnqueuedAt: at, RunAt: at, Timeout: time.Second, Deadline: at, Retention: time.Minute,
	})
	for _, p := range []progress{
		{since: at, stored: at},
		{since: at, stored: at, attempts: 1, lost: 2, error: "e", due: at, ends: at, settled: 7, hold: "h", claim: "c", worker: "w", cancel: true, callerID: true, result: []byte{}},
	} {
		whole := appendTaskRecord(nil, &p, task)
		f.Add(whole)
		f.Add(whole[:len(whole)/2])
	}
	f.Add([]byte{taskRecordVersion + 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		p, record, err := readTaskRecord(message)
		if err != nil {
			require.Equal(t, fault.Corrupt, fault.CodeOf(err))
			return
		}
		require.LessOrEqual(t, len(record), len(message))
		again, same, err := readTaskRecord(appendTaskRecord(nil, &p, record))
		require.NoError(t, err, "what was read can be written")
		require.Equal(t, p, again)
		require.Equal(t, record, same)

		found, err := readTask(record, &p)
		if err != nil {
			require.Equal(t, fault.Corrupt, fault.CodeOf(err))
			return
		}
		require.GreaterOrEqual(t, found.MaxAttempts, 0)
		require.GreaterOrEqual(t, found.Retention, time.Duration(0))
	})
}

// A claim's token comes back from whoever settles.
func FuzzClaimToken(f *testing.F) {
	place := taskPlace{queue: "q", id: "i"}
	f.Add("q", "i", newClaimToken(place, "node-1", 42, claimCallerID|3<<claimPriority))
	f.Add("q", "i", "node-1.z.1.00000000")
	f.Add("", "", "...")
	f.Fuzz(func(t *testing.T, q, id, token string) {
		read, ok := readClaimToken(q, id, token)
		if !ok {
			return
		}
		back, ok := readClaimToken(q, id, newClaimToken(taskPlace{queue: q, id: id}, read.n, read.seq, read.flags))
		require.True(t, ok)
		require.Equal(t, read, back)
		_, ok = readClaimToken(q, id+"x", token)
		require.False(t, ok, "another task's")
	})
}

// Names of queues and tasks become tokens of subjects, and are read from them.
func FuzzTaskSubject(f *testing.F) {
	names := queueSubjectsOf("ns")
	f.Add("q", "i", names.ready("q", "a0", "i", "n-1"))
	f.Add("a.b*>", "\x00\xff ", names.held("=", heldLease, "=", "n-1"))
	f.Add("", "=", "bpq.ns.t.r....")
	f.Fuzz(func(t *testing.T, q, id, subject string) {
		for _, name := range []string{q, id} {
			back, err := taskName(taskToken(name))
			require.NoError(t, err)
			require.Equal(t, name, back)
		}
		place, ok := names.parse(names.ready(taskToken(q), "a0", taskToken(id), "n-1"))
		require.True(t, ok)
		require.Equal(t, taskPlace{queue: taskToken(q), isRaw: true, kind: "a0", id: taskToken(id), n: "n-1"}, place)

		if place, ok = names.parse(subject); ok {
			_ = priorityOf(place.kind)
			if name, err := taskName(place.queue); err == nil {
				require.Equal(t, place.queue, taskToken(name), "one name has one token")
			}
		}
		_ = names.laneIn(subject)
	})
}

// Answers come from a server, or from whoever may publish to this node's inbox.
func FuzzAnswers(f *testing.F) {
	f.Add("$JS.ACK.s.c.1.42.7.1700000000.3", "", "", []byte(`{"stream":"s","seq":42}`))
	f.Add("$JS.ACK.d.a.s.c.1.42.7.1700000000.3.x", "503", "", []byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 9"}}`))
	f.Add("_INBOX.x.1.0", "404", "18446744073709551615", []byte(`{"message":{"seq":1,"subject":"s","data":"AA=="}}`))
	f.Add("$JS.ACK.", "", "-1", []byte(`{"seq":99999999999999999999}`))
	f.Fuzz(func(t *testing.T, reply, status, sequence string, data []byte) {
		m := &nats.Msg{Subject: reply, Reply: reply, Data: data, Header: nats.Header{
			headerStatus: {status}, headerSequence: {sequence}, headerSubject: {reply},
		}}
		if wrote := readWrote(m); wrote.err != nil {
			require.False(t, wrote.refused)
		}
		if found, err := readDirect(m); err != nil {
			require.Zero(t, found)
		}
		if found, err := readByLeader(m); err != nil {
			require.Zero(t, found)
		}
		_, _ = readSetting(kept{seq: 1, data: data})
		_, _ = readClaimKey(kept{seq: 1, data: data})
		_ = isTask(m)
		require.GreaterOrEqual(t, restOf(m), 0)
		_ = sequenceOf(m)
		if place, err := readPlace(reply); err == nil && reply != "" {
			back, err := readPlace(place.String())
			require.NoError(t, err)
			require.Equal(t, place, back)
		}
		asked := &exchange{take: func(int, *nats.Msg) bool { return true }, over: make([]bool, 2), left: 2, done: make(chan struct{})}
		w := &courier{prefix: "_INBOX.x.", under: map[uint64]*exchange{1: asked}}
		w.answered(m)
	})
}
