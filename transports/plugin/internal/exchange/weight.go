package exchange

import pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"

// eventWeight is what an event weighs beside what it carries.
const eventWeight = 64

// WeightOfEvent is what an event of a subscription costs of its credit.
func WeightOfEvent(e *pb.Event) int64 {
	m := e.GetMessage()
	weight := eventWeight + len(m.GetPayload())
	for _, h := range m.GetHeaders() {
		weight += len(h.GetName()) + len(h.GetValue())
	}
	return int64(weight)
}

// WeightOfChange is what a change costs of its watch's credit.
func WeightOfChange(c *pb.Change) int64 { return int64(eventWeight + len(c.GetKey())) }

// WeightOfFrame is what a frame costs of its listener's credit.
func WeightOfFrame(f *pb.Frame) int64 { return int64(eventWeight + len(f.GetPayload())) }
