package redis

import (
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

func drawTime(t *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(t, label+" zero") {
		return time.Time{}
	}
	seconds := rapid.Int64Range(-62135596799, 253402300799).Draw(t, label)
	return time.Unix(seconds, rapid.Int64Range(0, 999_999_999).Draw(t, label+" ns")).UTC()
}

func drawTask(t *rapid.T) queue.Task {
	millis := rapid.Map(rapid.Int64Range(0, math.MaxInt64/int64(time.Millisecond)), func(ms int64) time.Duration {
		return time.Duration(ms) * time.Millisecond
	})
	task := queue.Task{
		CallerID: rapid.Bool().Draw(t, "caller"), Kind: rapid.String().Draw(t, "kind"),
		Priority: rapid.IntRange(0, 9).Draw(t, "priority"),
		RunAt:    drawTime(t, "run"), EnqueuedAt: drawTime(t, "enqueued"), Deadline: drawTime(t, "deadline"),
		MaxAttempts: rapid.IntRange(1, math.MaxInt).Draw(t, "attempts"),
		MaxLost:     rapid.IntRange(1, math.MaxUint32).Draw(t, "lost"),
		Timeout:     time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "timeout")),
		UniqueKey:   rapid.StringN(0, 512, 512).Draw(t, "unique"),
		Retention:   millis.Draw(t, "retention"),
	}
	if task.UniqueKey != "" {
		task.UniqueFor = millis.Draw(t, "unique for")
	}
	if rapid.Bool().Draw(t, "payload") {
		task.Payload = rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
	}
	if headers := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "headers"); len(headers) > 0 {
		task.Headers = headers
	}
	return task
}

func TestRecordGivesBackItsTask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawTask(t)

		var got queue.Task
		storedAt, err := readRecord(string(appendRecord(nil, &want)), &got)

		require.NoError(t, err)
		require.Equal(t, want, got)
		require.False(t, storedAt.IsZero())
	})
}

func TestRecordIsNotLongerThanItMustBe(t *testing.T) {
	task := queue.Task{Kind: "mail", Payload: make([]byte, 100), EnqueuedAt: time.Now(), MaxAttempts: 25, MaxLost: 10}
	require.LessOrEqual(t, len(appendRecord(nil, &task)), 100+32)
}

func TestDurationsAreRoundedUpAndNeverWrap(t *testing.T) {
	require.Equal(t, int64(0), millis(0))
	require.Equal(t, int64(1), millis(1))
	require.Equal(t, int64(1), millis(time.Millisecond))
	require.Equal(t, int64(2), millis(time.Millisecond+1))
	require.Equal(t, int64(math.MaxInt64)/1e6+1, millis(math.MaxInt64))
}

func TestTaskKeyIsUniqueAndReadsBack(t *testing.T) {
	id := rapid.OneOf(rapid.StringN(1, 512, 512), rapid.Custom(func(t *rapid.T) string {
		return uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")).String()
	}))
	rapid.Check(t, func(t *rapid.T) {
		a, b := id.Draw(t, "a"), id.Draw(t, "b")

		back, err := taskID(taskKey(a))

		require.NoError(t, err)
		require.Equal(t, a, back)
		require.Equal(t, a == b, taskKey(a) == taskKey(b))
		if a != b {
			require.NotContains(t, taskKey(a)+"p", taskKey(b)+"p", "one is where the other begins")
		}
	})
}

func TestTokenNamesItsWorker(t *testing.T) {
	for _, worker := range []string{"w", "-:-", "a worker of more than sixty-four bytes, which is longer than the padding reaches"} {
		token := plainToken + newToken(worker)
		require.Equal(t, worker, holderOf(token))
		require.GreaterOrEqual(t, len(token), tokenSize)
		require.NotEqual(t, token, plainToken+newToken(worker))
	}
}

func FuzzRecord(f *testing.F) {
	whole := queue.Task{
		Kind: "k", Payload: []byte("p"), Headers: map[string]string{"a": "b"}, UniqueKey: "u", UniqueFor: time.Second,
		Retention: time.Second, Timeout: time.Second, RunAt: time.Unix(1, 1), Deadline: time.Unix(2, 2), MaxAttempts: 3, MaxLost: 4,
	}
	record := appendRecord(nil, &whole)
	f.Add(string(record), "1 2 0 err")
	f.Add(string(record[:len(record)-4]), "")
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, record, state string) {
		if task, err := readTask("q", taskKey("id"), record, state); err != nil {
			require.Equal(t, fault.Corrupt, fault.CodeOf(err))
			require.Equal(t, queue.Task{ID: "id", Queue: "q"}, task)
		}
		// What comes behind the checksum has to bear anything as well: a later version may write it.
		r := reader{rest: record}
		r.task(&queue.Task{})
	})
}

func FuzzClaimReply(f *testing.F) {
	whole := "\x00\x05\x00\x00\x00\x01\x00\x00\x00\x01:\x00\x02idrs"
	f.Add(int64(1), int64(1), whole)
	f.Add(int64(1), int64(2), whole+whole)
	f.Add(int64(1), int64(2), whole[:len(whole)-1])
	f.Add(int64(-1), int64(1<<62), "")
	f.Fuzz(func(t *testing.T, at, n int64, packed string) {
		if tasks, _, ok := readClaim([]any{int64(1), int64(2), at, int64(1000), n, packed}, []string{"q"}, "token"); ok {
			require.Len(t, tasks, int(n))
		}
		_, _, _ = readClaim([]any{packed, n}, []string{"q"}, "token")
		_, _, _ = readCursor(packed)
	})
}
