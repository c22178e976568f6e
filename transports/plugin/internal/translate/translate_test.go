package translate_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

const nasty = "\x00\xff:{}*>. ü\n"

// crossed is a value after it went through a message, and that over the wire.
func crossed[V any, M any, P interface {
	*M
	proto.Message
}](t *testing.T, v V, to func(*M, *V), from func(*M, *V) error) V {
	t.Helper()
	sent := P(new(M))
	to(sent, &v)
	data, err := proto.Marshal(sent)
	require.NoError(t, err)
	received := P(new(M))
	require.NoError(t, proto.Unmarshal(data, received))
	var got V
	require.NoError(t, from(received, &got))
	return got
}

func keeps[V any, M any, P interface {
	*M
	proto.Message
}](t *testing.T, v V, to func(*M, *V), from func(*M, *V) error) {
	t.Helper()
	require.Equal(t, v, crossed[V, M, P](t, v, to, from))
}

func TestValuesCrossAsTheyAre(t *testing.T) {
	at := time.Unix(1_700_000_000, 123_456_789)
	guard := cache.Guard{Holder: nasty, Fence: math.MaxUint64}
	oops := &fault.Error{Code: fault.Conflict, Op: "o", Subject: nasty, Transport: "t", Message: "m", Retryable: true}

	keeps(t, cache.Read{Key: nasty, Guard: guard, Expiry: true}, translate.ToRead, translate.FromRead)
	keeps(t, cache.Got{}, translate.ToGot, translate.FromGot)
	keeps(t, cache.Got{Err: oops}, translate.ToGot, translate.FromGot)
	keeps(t, cache.Got{Found: true, Entry: cache.Entry{
		Value: []byte{}, Flags: 255, Revision: nasty, Created: at, Expires: at,
	}}, translate.ToGot, translate.FromGot)
	for _, condition := range []cache.Condition{cache.Always(), cache.IfAbsent(), cache.IfPresent(), cache.IfRevision(nasty)} {
		keeps(t, cache.Write{Key: nasty, Value: []byte(nasty), Flags: 7, TTL: 1, If: condition, Guard: guard}, translate.ToWrite, translate.FromWrite)
		keeps(t, cache.Removal{Key: nasty, If: condition, Guard: guard}, translate.ToRemoval, translate.FromRemoval)
	}
	keeps(t, cache.Written{Revision: nasty, Err: oops}, translate.ToWritten, translate.FromWritten)
	keeps(t, cache.Removed{Existed: true, Err: oops}, translate.ToRemoved, translate.FromRemoved)
	keeps(t, cache.Lifetime{Key: nasty, TTL: -1, Guard: guard}, translate.ToLifetime, translate.FromLifetime)
	keeps(t, cache.Touched{Err: oops}, translate.ToTouched, translate.FromTouched)
	keeps(t, cache.Increment{Key: nasty, Delta: math.MinInt64, TTL: 3, Guard: guard}, translate.ToIncrement, translate.FromIncrement)
	keeps(t, cache.Sum{Value: math.MinInt64, Revision: nasty, Err: oops}, translate.ToSum, translate.FromSum)
	keeps(t, cache.Claim{Lock: nasty, Holder: nasty, TTL: 1, Wait: -1}, translate.ToLockClaim, translate.FromLockClaim)
	keeps(t, cache.Lease{Lock: nasty, Holder: nasty, Fence: 9, TTL: 2, Expires: at, Err: oops}, translate.ToLockLease, translate.FromLockLease)
	keeps(t, cache.Push{List: nasty, Values: [][]byte{{}, {0}}, Front: true, TTL: 4, Guard: guard}, translate.ToPush, translate.FromPush)
	keeps(t, cache.Pop{List: nasty, Max: -1, Back: true, Guard: guard}, translate.ToPop, translate.FromPop)
	keeps(t, cache.Popped{Values: [][]byte{{}, {0}}, Err: oops}, translate.ToPopped, translate.FromPopped)
	keeps(t, cache.Range{List: nasty, Start: -1, Max: math.MaxInt32, Guard: guard}, translate.ToRange, translate.FromRange)
	keeps(t, cache.Length{Length: 5, Err: oops}, translate.ToLength, translate.FromLength)
	keeps(t, cache.Change{Key: nasty, Deleted: true}, translate.ToChange, translate.FromChange)
	keeps(t, cache.Change{Resync: true}, translate.ToChange, translate.FromChange)

	task := queue.Task{
		ID: nasty, CallerID: true, Kind: nasty, Queue: nasty, Priority: -1, Payload: []byte{}, Headers: map[string]string{nasty: nasty, "": ""},
		EnqueuedAt: at, RunAt: at, MaxAttempts: 1, MaxLost: -2, Timeout: 3, Deadline: at, UniqueKey: nasty, UniqueFor: 4, Retention: 5,
		Attempts: 6, Lost: 7, LastError: nasty,
	}
	keeps(t, task, translate.ToTask, translate.FromTask)
	keeps(t, queue.Task{}, translate.ToTask, translate.FromTask)
	keeps(t, queue.Receipt{ID: nasty, Duplicate: true, Err: oops}, translate.ToEnqueued, translate.FromEnqueued)
	keeps(t, queue.Leased{Task: task, Token: nasty, Lease: 8, Err: oops}, translate.ToLeased, translate.FromLeased)
	keeps(t, queue.Ref{Queue: nasty, ID: nasty, Token: nasty}, translate.ToRef, translate.FromRef)
	keeps(t, queue.Settlement{
		Ref: queue.Ref{Queue: nasty}, Outcome: queue.Release, Delay: -1, Error: nasty, Result: []byte{},
	}, translate.ToSettlement, translate.FromSettlement)
	keeps(t, queue.Info{
		Task: task, State: queue.DeadLetter, Since: at, Result: []byte{}, Holder: nasty, Expires: at, Err: oops,
	}, translate.ToInfo, translate.FromInfo)

	message := pubsub.Message{Subject: nasty, Payload: []byte{}, Headers: map[string]string{nasty: nasty}, Sender: nasty, Seq: 1, SubjectSeq: math.MaxUint64}
	keeps(t, message, translate.ToMessage, translate.FromMessage)
	keeps(t, pubsub.Message{}, translate.ToMessage, translate.FromMessage)
	keeps(t, pubsub.Receipt{Receivers: -1, Err: oops}, translate.ToPublished, translate.FromPublished)
	keeps(t, pubsub.Event{Message: &message}, translate.ToEvent, translate.FromEvent)
	for _, cause := range []pubsub.Cause{pubsub.Reconnected, pubsub.Overflow, pubsub.Skipped} {
		keeps(t, pubsub.Event{Gap: &pubsub.Gap{Cause: cause, Sender: nasty, Lost: pubsub.Unknown}}, translate.ToEvent, translate.FromEvent)
	}
	keeps(t, rpc.Frame{To: nasty, Payload: []byte{}}, translate.ToFrame, translate.FromFrame)
	keeps(t, rpc.Frame{To: nasty, Gap: true}, translate.ToFrame, translate.FromFrame)

	page := cache.Page{Prefix: nasty, Cursor: nasty, Limit: -1}
	require.Equal(t, page, translate.FromPage(translate.ToPage(page)))
	claim := queue.Claim{Worker: nasty, Queues: []string{nasty, ""}, Max: -1, Wait: -2}
	require.Equal(t, claim, translate.FromClaim(translate.ToClaim(claim)))
	for _, state := range []queue.State{queue.Scheduled, queue.Pending, queue.Active, queue.Completed, queue.DeadLetter, queue.Cancelled} {
		list := queue.List{Queue: nasty, State: state, Cursor: nasty, Limit: 7}
		require.Equal(t, list, translate.FromList(translate.ToList(list)))
	}
	stats := queue.Stats{Queue: nasty, Paused: true, Pending: 1, Scheduled: 2, Active: 3, Completed: 4, Dead: 5, Cancelled: 6, OldestPending: 7,
		Totals: queue.Totals{Enqueued: 1, Duplicates: 2, Completed: 3, Retried: 4, Snoozed: 5, Released: 6, Dead: 7, Cancelled: 8, Lost: 9, Stale: 10}}
	require.Equal(t, stats, translate.FromStats(translate.ToStats(stats), nasty))
	require.Equal(t, queue.Properties{Lease: 9}, translate.FromProperties(translate.ToProperties(queue.Properties{Lease: 9})))
}

func TestTimesThatAreFarAreAsFarAsTheWireReaches(t *testing.T) {
	require.Zero(t, translate.Moment(time.Time{}))
	require.True(t, translate.Time(0).IsZero())
	require.Equal(t, int64(math.MaxInt64), translate.Moment(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)))
	require.Equal(t, int64(math.MinInt64), translate.Moment(time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC)))
}

func TestErrorsCross(t *testing.T) {
	for _, code := range fault.Codes() {
		err := translate.FromFault(translate.ToFault(&fault.Error{Code: code, Op: "o", Subject: nasty, Node: "n", Remote: true}))
		require.Equal(t, &fault.Error{Code: code, Op: "o", Subject: nasty, Node: "n", Remote: true}, err)
	}
	require.NoError(t, translate.FromFault(translate.ToFault(nil)))
	inner := errors.New("the cause")
	for _, err := range []error{
		&fault.Error{Code: fault.Corrupt, Op: "cache: get", Subject: "k", Message: "what", Err: inner},
		&fault.Error{Code: fault.Corrupt, Err: inner},
		fmt.Errorf("around: %w", &fault.Error{Code: fault.Locked, Retryable: true, Message: "held"}),
		inner,
	} {
		got := translate.FromFault(translate.ToFault(err))
		require.Equal(t, fault.CodeOf(err), fault.CodeOf(got))
		require.Equal(t, fault.IsRetryable(err), fault.IsRetryable(got))
		require.Contains(t, got.Error(), err.Error())
	}
	long := translate.ToFault(fault.New(fault.Internal, "%s", string(make([]byte, 1<<20))+"\xff"))
	require.Less(t, len(long.GetMessage()), 1<<13)
	_, err := proto.Marshal(translate.ToFault(fault.New(fault.Internal, "\xff\xfe")))
	require.NoError(t, err, "what people read is made UTF-8")
}

func TestOffersCross(t *testing.T) {
	full := translate.Offer{
		Cache:   &cache.Capabilities{MaxKey: 1, MaxValue: 2, MaxBatch: 3, MinTTL: 4, Granularity: 5, ExpiryDelay: 6, FenceMemory: 7, Evicts: true, Persistent: true},
		Watcher: true, Lists: true, Holders: true,
		Queue:  &queue.Capabilities{MaxPayload: 1, MaxBatch: 2, MaxClaim: 3, MaxName: 4, MinLease: 5, Granularity: 6, Lateness: 7, IDMemory: 8, MaxPriority: 9, Persistent: true},
		Admin:  true,
		PubSub: &pubsub.Capabilities{MaxPayload: 1, MaxSubject: 2, MaxBatch: 3, Receivers: true, ClusterWide: true, Silence: 4},
		RPC:    &rpc.Capabilities{MaxFrame: 1, NoReceiver: true, Silence: 2},
		Erase:  true,
	}
	for _, offer := range []translate.Offer{{}, full} {
		got, err := translate.FromCapabilities(translate.ToCapabilities(offer))
		require.NoError(t, err)
		require.Equal(t, offer, got)
	}
	full.Cache.MaxValue = 1 << 40
	got, err := translate.FromCapabilities(translate.ToCapabilities(full))
	require.NoError(t, err)
	require.Equal(t, translate.MaxItem, got.Cache.MaxValue, "what does not cross is not offered")
	full.Queue.MaxName = -1
	_, err = translate.FromCapabilities(translate.ToCapabilities(full))
	require.ErrorIs(t, err, fault.Invalid)
}

// FuzzFrom reads whatever decodes as an exchange. What can be read crosses once more without a change.
func FuzzFrom(f *testing.F) {
	for _, m := range []proto.Message{
		&pb.ExchangeRequest{Requests: []*pb.Request{
			{Call: &pb.Request_SetEntries{SetEntries: &pb.SetEntries{Writes: []*pb.Write{{Flags: 256, Condition: 9}}}}},
			{Call: &pb.Request_EnqueueTasks{EnqueueTasks: &pb.EnqueueTasks{Tasks: []*pb.Task{{Headers: []*pb.Header{{}}}}}}},
			{Call: &pb.Request_SettleTasks{SettleTasks: &pb.SettleTasks{Items: []*pb.Settlement{{Outcome: -1}}}}},
		}},
		&pb.ExchangeResponse{
			Answers: []*pb.Answer{
				{Fault: &pb.Fault{Code: -1}},
				{Result: &pb.Answer_ClaimTasks{ClaimTasks: &pb.ClaimTasksResult{Tasks: []*pb.Leased{{}}}}},
				{Result: &pb.Answer_FindTask{FindTask: &pb.FindTaskResult{Task: &pb.TaskInfo{Task: &pb.Task{}, State: 77}}}},
			},
			Events: []*pb.Events{{Events: []*pb.Event{{}}, Changes: []*pb.Change{{Resync: true}}, Frames: []*pb.Frame{{Gap: true}}}},
		},
	} {
		data, err := proto.Marshal(m)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, a := &pb.ExchangeRequest{}, &pb.ExchangeResponse{}
		if proto.Unmarshal(data, q) == nil {
			for _, r := range q.GetRequests() {
				readRequest(t, r)
			}
		}
		if proto.Unmarshal(data, a) == nil {
			for _, r := range a.GetAnswers() {
				readAnswer(t, r)
			}
			for _, e := range a.GetEvents() {
				again(t, e.GetEvents(), translate.FromEvent, translate.ToEvent)
				again(t, e.GetChanges(), translate.FromChange, translate.ToChange)
				again(t, e.GetFrames(), translate.FromFrame, translate.ToFrame)
			}
		}
	})
}

// again reads messages, and what was read must read the same after it was written.
func again[M, V any](t *testing.T, messages []*M, from func(*M, *V) error, to func(*M, *V)) {
	t.Helper()
	values, err := translate.Unpack(messages, from)
	if err != nil {
		require.NotEqual(t, fault.Internal, fault.CodeOf(err))
		return
	}
	once, err := translate.Unpack(translate.Pack(values, to), from)
	require.NoError(t, err)
	require.Equal(t, values, once)
}

func readRequest(t *testing.T, r *pb.Request) {
	again(t, r.GetGetEntries().GetReads(), translate.FromRead, translate.ToRead)
	again(t, r.GetSetEntries().GetWrites(), translate.FromWrite, translate.ToWrite)
	again(t, r.GetDeleteEntries().GetRemovals(), translate.FromRemoval, translate.ToRemoval)
	again(t, r.GetTouchEntries().GetLifetimes(), translate.FromLifetime, translate.ToLifetime)
	again(t, r.GetAddCounters().GetIncrements(), translate.FromIncrement, translate.ToIncrement)
	again(t, r.GetAcquireLocks().GetClaims(), translate.FromLockClaim, translate.ToLockClaim)
	again(t, r.GetRenewLocks().GetLeases(), translate.FromLockLease, translate.ToLockLease)
	again(t, r.GetPushLists().GetPushes(), translate.FromPush, translate.ToPush)
	again(t, r.GetPopLists().GetPops(), translate.FromPop, translate.ToPop)
	again(t, r.GetRangeLists().GetRanges(), translate.FromRange, translate.ToRange)
	again(t, r.GetEnqueueTasks().GetTasks(), translate.FromTask, translate.ToTask)
	again(t, r.GetSettleTasks().GetItems(), translate.FromSettlement, translate.ToSettlement)
	again(t, r.GetExtendTasks().GetRefs(), translate.FromRef, translate.ToRef)
	again(t, r.GetPublishMessages().GetMessages(), translate.FromMessage, translate.ToMessage)
	again(t, r.GetSendFrames().GetFrames(), translate.FromFrame, translate.ToFrame)
	list := translate.FromList(r.GetListTasks())
	require.Equal(t, list, translate.FromList(translate.ToList(list)))
	claim := translate.FromClaim(r.GetClaimTasks())
	require.Equal(t, claim, translate.FromClaim(translate.ToClaim(claim)))
	translate.FromPage(r.GetListKeys().GetPage())
	translate.FromProperties(r.GetConfigureQueue().GetProperties())
}

func readAnswer(t *testing.T, a *pb.Answer) {
	if err := translate.FromFault(a.GetFault()); err != nil {
		require.NotEqual(t, fault.OK, fault.CodeOf(err))
	}
	again(t, a.GetGetEntries().GetResults(), translate.FromGot, translate.ToGot)
	again(t, a.GetSetEntries().GetResults(), translate.FromWritten, translate.ToWritten)
	again(t, a.GetDeleteEntries().GetResults(), translate.FromRemoved, translate.ToRemoved)
	again(t, a.GetAddCounters().GetResults(), translate.FromSum, translate.ToSum)
	again(t, a.GetPushLists().GetResults(), translate.FromLength, translate.ToLength)
	again(t, a.GetPopLists().GetResults(), translate.FromPopped, translate.ToPopped)
	again(t, a.GetEnqueueTasks().GetResults(), translate.FromEnqueued, translate.ToEnqueued)
	again(t, a.GetClaimTasks().GetTasks(), translate.FromLeased, translate.ToLeased)
	again(t, a.GetListTasks().GetTasks(), translate.FromInfo, translate.ToInfo)
	again(t, a.GetPublishMessages().GetResults(), translate.FromPublished, translate.ToPublished)
	var info queue.Info
	_ = translate.FromInfo(a.GetFindTask().GetTask(), &info)
	translate.FromStats(a.GetCountQueue(), "q")
}
