package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
)

func sampleTask() queue.Task {
	now := time.Unix(1_700_000_000, 123456789)
	return queue.Task{
		CallerID: true, Kind: "k", Priority: 3, Payload: []byte("payload"), Headers: map[string]string{"A": "b", "": "\xff"},
		EnqueuedAt: now, RunAt: now.Add(time.Hour), Deadline: time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC).Local(),
		MaxAttempts: 7, MaxLost: 2, Timeout: time.Second, UniqueKey: "u", UniqueFor: time.Minute, Retention: time.Hour,
	}
}

func TestATaskComesBackFromItsRecord(t *testing.T) {
	for _, want := range []queue.Task{sampleTask(), {Kind: "k"}, {}} {
		var got queue.Task
		require.NoError(t, decodeTask(encodeTask(&want), &got))
		require.Equal(t, want, got)
	}
}

func TestARecordThatIsCutIsCorrupt(t *testing.T) {
	task := sampleTask()
	whole := encodeTask(&task)
	for n := range len(whole) - len(task.Payload) {
		require.ErrorIs(t, decodeTask(whole[:n], new(queue.Task)), fault.Corrupt, "%d bytes of it", n)
	}
	whole[0] = bodyVersion + 1
	require.ErrorContains(t, decodeTask(whole, new(queue.Task)), "update it")
}

func FuzzDecodeTask(f *testing.F) {
	task := sampleTask()
	f.Add(encodeTask(&task))
	f.Add([]byte{bodyVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		var task queue.Task
		if err := decodeTask(b, &task); err != nil {
			require.ErrorIs(t, err, fault.Corrupt)
			return
		}
		var again queue.Task
		require.NoError(t, decodeTask(encodeTask(&task), &again))
		require.Equal(t, encodeHeadless(task), encodeHeadless(again))
	})
}

// encodeHeadless leaves the headers out, whose order is not kept.
func encodeHeadless(t queue.Task) string {
	t.Headers = nil
	return string(encodeTask(&t))
}

func TestAMessageComesBackFromItsNotification(t *testing.T) {
	want := pubsub.Message{Subject: "a.b", Payload: []byte{0, 1, 0xff}, Headers: map[string]string{"k": "v"}, Sender: "s", Seq: 1<<64 - 1, SubjectSeq: 3}
	id := messageID{1, 2, 3}
	text, parcel := note(appendFrame(nil, id, &want), id, want.Subject)
	require.False(t, parcel)
	f, parcel, err := readNote(text)
	require.NoError(t, err)
	require.False(t, parcel)
	got, ok := f.message()
	require.True(t, ok)
	require.Equal(t, &want, got)
	require.Equal(t, id, f.id)
}

func TestANotificationIsNeverTooLong(t *testing.T) {
	long := make([]byte, maxSubject)
	for i := range long {
		long[i] = 'x'
	}
	for _, size := range []int{0, longestFrame - 100, longestFrame, longestFrame + 1, 1 << 20} {
		m := pubsub.Message{Subject: string(long), Payload: make([]byte, size)}
		text, parcel := note(appendFrame(nil, messageID{}, &m), messageID{}, m.Subject)
		require.Less(t, len(text), 8000, "which is where PostgreSQL refuses it")
		f, isParcel, err := readNote(text)
		require.NoError(t, err)
		require.Equal(t, parcel, isParcel)
		require.Equal(t, m.Subject, f.subject)
	}
}

func FuzzReadNote(f *testing.F) {
	m := pubsub.Message{Subject: "a.b", Payload: []byte("p"), Headers: map[string]string{"k": "v"}, Sender: "s", Seq: 1, SubjectSeq: 2}
	text, _ := note(appendFrame(nil, messageID{9}, &m), messageID{9}, m.Subject)
	f.Add(text)
	f.Add("p AQ==")
	f.Add("m ")
	f.Fuzz(func(t *testing.T, text string) {
		frame, _, err := readNote(text)
		if err != nil {
			return
		}
		require.NoError(t, checkSubject(frame.subject, maxSubject, false))
		if m, ok := frame.message(); ok {
			require.Equal(t, frame.subject, m.Subject)
		}
	})
}

func TestMatching(t *testing.T) {
	for _, c := range []struct {
		filter, subject string
		want            bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "a.b", false}, {"a.b", "a", false}, {"*", "a", true}, {"*", "a.b", false},
		{"a.*", "a.b", true}, {"a.*", "a", false}, {"a.*.c", "a.b.c", true}, {">", "a.b", true}, {"a.>", "a", false}, {"a.>", "ab.c", false},
		{">", "$sys.a", false}, {"*.a", "$sys.a", false}, {"$sys.>", "$sys.a", true}, {"a.*", "a.$b", true}, {"a.*.>", "a.b", false},
	} {
		require.Equal(t, c.want, matches(c.filter, c.subject), "%s against %s", c.filter, c.subject)
	}
}

func TestAMatchingSubjectComesOnAChannelOfItsFilter(t *testing.T) {
	c := channelsOf("schema", "n")
	for _, pair := range [][2]string{{"a.b", "a.b"}, {"a.*", "a.b"}, {">", "a"}, {"$rpc.all", "$rpc.all"}, {"$rpc.>", "$rpc.x.y"}, {"*.b", "a.b"}} {
		require.True(t, matches(pair[0], pair[1]))
		require.Contains(t, c.matching(pair[0]), c.of(pair[1]), "%s of %s", pair[1], pair[0])
	}
	require.NotContains(t, c.matching(">"), c.of("$rpc.all"), "the library's own stay apart")
	require.LessOrEqual(t, len(c.wake), 63)
}

func TestARunTimeIsRoundedUp(t *testing.T) {
	at := time.Unix(5, 1)
	require.Equal(t, time.Unix(5, 1000).UnixNano(), dueOf(at).UnixNano())
	require.Equal(t, time.Unix(5, 1000).UnixNano(), dueOf(time.Unix(5, 1000)).UnixNano())
	require.Nil(t, dueOf(time.Time{}))
}
