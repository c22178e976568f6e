package translate

import (
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/rpc"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// ToMessage fills in one message.
func ToMessage(m *pb.Message, v *pubsub.Message) {
	m.Subject, m.Payload, m.Headers = Raw(v.Subject), v.Payload, toHeaders(v.Headers)
	m.Sender, m.Seq, m.SubjectSeq = Raw(v.Sender), v.Seq, v.SubjectSeq
}

// FromMessage reads one message.
func FromMessage(m *pb.Message, v *pubsub.Message) error {
	v.Subject, v.Payload, v.Headers = Text[string](m.GetSubject()), m.GetPayload(), fromHeaders(m.GetHeaders())
	v.Sender, v.Seq, v.SubjectSeq = Text[string](m.GetSender()), m.GetSeq(), m.GetSubjectSeq()
	return nil
}

// ToPublished fills in the answer to a message.
func ToPublished(m *pb.Published, r *pubsub.Receipt) {
	m.Fault, m.Receivers = ToFault(r.Err), int64(r.Receivers)
}

// FromPublished reads the answer to a message.
func FromPublished(m *pb.Published, r *pubsub.Receipt) error {
	r.Err, r.Receivers = FromFault(m.GetFault()), max(Whole(m.GetReceivers()), -1)
	return nil
}

var causes = map[pubsub.Cause]pb.Cause{
	pubsub.Reconnected: pb.Cause_CAUSE_RECONNECTED,
	pubsub.Overflow:    pb.Cause_CAUSE_OVERFLOW,
	pubsub.Skipped:     pb.Cause_CAUSE_SKIPPED,
}

func fromCause(m pb.Cause) pubsub.Cause {
	switch m {
	case pb.Cause_CAUSE_OVERFLOW:
		return pubsub.Overflow
	case pb.Cause_CAUSE_SKIPPED:
		return pubsub.Skipped
	}
	return pubsub.Reconnected
}

// ToEvent fills in one event.
func ToEvent(m *pb.Event, e *pubsub.Event) {
	if g := e.Gap; g != nil {
		m.Gap = &pb.Gap{Cause: causes[g.Cause], Sender: Raw(g.Sender), Lost: int64(g.Lost)}
		return
	}
	m.Message = &pb.Message{}
	ToMessage(m.Message, e.Message)
}

// FromEvent reads one event.
func FromEvent(m *pb.Event, e *pubsub.Event) error {
	switch g := m.GetGap(); {
	case g != nil:
		e.Gap = &pubsub.Gap{Cause: fromCause(g.GetCause()), Sender: Text[string](g.GetSender()), Lost: max(Whole(g.GetLost()), pubsub.Unknown)}
		return nil
	case m.GetMessage() == nil:
		return fault.New(fault.Corrupt, "an event is neither a message nor a gap")
	}
	e.Message = &pubsub.Message{}
	return FromMessage(m.GetMessage(), e.Message)
}

// ToFrame fills in one frame.
func ToFrame(m *pb.Frame, f *rpc.Frame) { m.To, m.Payload, m.Gap = Raw(f.To), f.Payload, f.Gap }

// FromFrame reads one frame.
func FromFrame(m *pb.Frame, f *rpc.Frame) error {
	f.To, f.Payload, f.Gap = Text[rpc.Address](m.GetTo()), m.GetPayload(), m.GetGap()
	switch {
	case f.Gap:
		f.Payload = nil
	case f.Payload == nil:
		f.Payload = []byte{}
	}
	return nil
}
