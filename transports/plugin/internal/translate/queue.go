package translate

import (
	"math"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

func duration(nanoseconds int64) time.Duration { return time.Duration(nanoseconds) }

func toHeaders(headers map[string]string) []*pb.Header {
	if len(headers) == 0 {
		return nil
	}
	space, all := make([]pb.Header, len(headers)), make([]*pb.Header, 0, len(headers))
	for name, value := range headers {
		m := &space[len(all)]
		m.Name, m.Value = Raw(name), Raw(value)
		all = append(all, m)
	}
	return all
}

func fromHeaders(messages []*pb.Header) map[string]string {
	if len(messages) == 0 {
		return nil
	}
	headers := make(map[string]string, len(messages))
	for _, m := range messages {
		headers[Text[string](m.GetName())] = Text[string](m.GetValue())
	}
	return headers
}

// ToTask fills in one task.
func ToTask(m *pb.Task, t *queue.Task) {
	m.Id, m.CallerId, m.Kind, m.Queue, m.Priority = Raw(t.ID), t.CallerID, Raw(t.Kind), Raw(t.Queue), int64(t.Priority)
	m.Payload, m.Headers = t.Payload, toHeaders(t.Headers)
	m.EnqueuedAt, m.RunAt, m.Deadline = Moment(t.EnqueuedAt), Moment(t.RunAt), Moment(t.Deadline)
	m.MaxAttempts, m.MaxLost, m.Timeout = int64(t.MaxAttempts), int64(t.MaxLost), int64(t.Timeout)
	m.UniqueKey, m.UniqueFor, m.Retention = Raw(t.UniqueKey), int64(t.UniqueFor), int64(t.Retention)
	m.Attempts, m.Lost, m.LastError = int64(t.Attempts), int64(t.Lost), Raw(t.LastError)
}

// FromTask reads one task.
func FromTask(m *pb.Task, t *queue.Task) error {
	*t = queue.Task{
		ID: Text[string](m.GetId()), CallerID: m.GetCallerId(), Kind: Text[string](m.GetKind()), Queue: Text[string](m.GetQueue()),
		Priority: Whole(m.GetPriority()), Payload: m.GetPayload(), Headers: fromHeaders(m.GetHeaders()),
		EnqueuedAt: Time(m.GetEnqueuedAt()), RunAt: Time(m.GetRunAt()), Deadline: Time(m.GetDeadline()),
		MaxAttempts: Whole(m.GetMaxAttempts()), MaxLost: Whole(m.GetMaxLost()), Timeout: duration(m.GetTimeout()),
		UniqueKey: Text[string](m.GetUniqueKey()), UniqueFor: duration(m.GetUniqueFor()), Retention: duration(m.GetRetention()),
		Attempts: Whole(m.GetAttempts()), Lost: Whole(m.GetLost()), LastError: Text[string](m.GetLastError()),
	}
	return nil
}

// ToEnqueued fills in the answer to an enqueued task.
func ToEnqueued(m *pb.Enqueued, r *queue.Receipt) {
	m.Fault, m.Id, m.Duplicate = ToFault(r.Err), Raw(r.ID), r.Duplicate
}

// FromEnqueued reads the answer to an enqueued task.
func FromEnqueued(m *pb.Enqueued, r *queue.Receipt) error {
	r.Err, r.ID, r.Duplicate = FromFault(m.GetFault()), Text[string](m.GetId()), m.GetDuplicate()
	return nil
}

// ToClaim is a claim of tasks.
func ToClaim(c queue.Claim) *pb.ClaimTasks {
	return &pb.ClaimTasks{Worker: Raw(c.Worker), Queues: Names(c.Queues), Max: int64(c.Max), Wait: int64(c.Wait)}
}

// FromClaim reads a claim of tasks.
func FromClaim(m *pb.ClaimTasks) queue.Claim {
	return queue.Claim{
		Worker: Text[string](m.GetWorker()), Queues: Texts[string](m.GetQueues()), Max: Whole(m.GetMax()), Wait: duration(m.GetWait()),
	}
}

// ToLeased fills in one claimed task.
func ToLeased(m *pb.Leased, l *queue.Leased) {
	m.Fault, m.Task, m.Token, m.Lease = ToFault(l.Err), &pb.Task{}, Raw(l.Token), int64(l.Lease)
	ToTask(m.Task, &l.Task)
}

// FromLeased reads one claimed task.
func FromLeased(m *pb.Leased, l *queue.Leased) error {
	if m.GetTask() == nil {
		return fault.New(fault.Corrupt, "a claimed task is empty")
	}
	l.Err, l.Token, l.Lease = FromFault(m.GetFault()), Text[string](m.GetToken()), duration(m.GetLease())
	return FromTask(m.GetTask(), &l.Task)
}

// ToRef fills in the name of a claim.
func ToRef(m *pb.Ref, r *queue.Ref) { m.Queue, m.Id, m.Token = Raw(r.Queue), Raw(r.ID), Raw(r.Token) }

// FromRef reads the name of a claim.
func FromRef(m *pb.Ref, r *queue.Ref) error {
	r.Queue, r.ID, r.Token = Text[string](m.GetQueue()), Text[string](m.GetId()), Text[string](m.GetToken())
	return nil
}

// ToSettlement fills in one settlement.
func ToSettlement(m *pb.Settlement, s *queue.Settlement) {
	m.Ref = &pb.Ref{}
	ToRef(m.Ref, &s.Ref)
	m.Outcome, m.Delay, m.Error, m.Result = pb.Outcome(s.Outcome), int64(s.Delay), Raw(s.Error), s.Result
}

// FromSettlement reads one settlement. An outcome that is none is for the store to refuse.
func FromSettlement(m *pb.Settlement, s *queue.Settlement) error {
	if o := m.GetOutcome(); o >= 0 && o <= math.MaxUint8 {
		s.Outcome = queue.Outcome(o)
	}
	s.Delay, s.Error, s.Result = duration(m.GetDelay()), Text[string](m.GetError()), m.GetResult()
	return FromRef(m.GetRef(), &s.Ref)
}

// ToSettlements is one batch of a worker.
func ToSettlements(s queue.Settlements) *pb.SettleTasks {
	return &pb.SettleTasks{Worker: Raw(s.Worker), Number: s.Number, Items: Pack(s.Items, ToSettlement)}
}

// FromSettlements reads one batch of a worker.
func FromSettlements(m *pb.SettleTasks) (queue.Settlements, error) {
	items, err := Unpack(m.GetItems(), FromSettlement)
	return queue.Settlements{Worker: Text[string](m.GetWorker()), Number: m.GetNumber(), Items: items}, err
}
