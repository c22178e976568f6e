package translate

import (
	"github.com/gobackplane/backplane/cache"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// ToPush fills in one push.
func ToPush(m *pb.Push, p *cache.Push) {
	m.List, m.Values, m.Front, m.Ttl, m.Guard = Raw(p.List), p.Values, p.Front, int64(p.TTL), toGuard(p.Guard)
}

// FromPush reads one push.
func FromPush(m *pb.Push, p *cache.Push) error {
	p.List, p.Values, p.Front = Text[string](m.GetList()), m.GetValues(), m.GetFront()
	p.TTL, p.Guard = duration(m.GetTtl()), fromGuard(m.GetGuard())
	return nil
}

// ToPop fills in one pop.
func ToPop(m *pb.Pop, p *cache.Pop) {
	m.List, m.Max, m.Back, m.Guard = Raw(p.List), int64(p.Max), p.Back, toGuard(p.Guard)
}

// FromPop reads one pop.
func FromPop(m *pb.Pop, p *cache.Pop) error {
	p.List, p.Max, p.Back, p.Guard = Text[string](m.GetList()), Whole(m.GetMax()), m.GetBack(), fromGuard(m.GetGuard())
	return nil
}

// ToPopped fills in the answer to a pop or a range.
func ToPopped(m *pb.Popped, p *cache.Popped) { m.Fault, m.Values = ToFault(p.Err), p.Values }

// FromPopped reads the answer to a pop or a range.
func FromPopped(m *pb.Popped, p *cache.Popped) error {
	p.Err, p.Values = FromFault(m.GetFault()), m.GetValues()
	return nil
}

// ToRange fills in one range.
func ToRange(m *pb.Range, r *cache.Range) {
	m.List, m.Start, m.Max, m.Guard = Raw(r.List), int64(r.Start), int64(r.Max), toGuard(r.Guard)
}

// FromRange reads one range.
func FromRange(m *pb.Range, r *cache.Range) error {
	r.List, r.Start, r.Max, r.Guard = Text[string](m.GetList()), Whole(m.GetStart()), Whole(m.GetMax()), fromGuard(m.GetGuard())
	return nil
}

// ToLength fills in a list's length.
func ToLength(m *pb.Length, l *cache.Length) { m.Fault, m.Length = ToFault(l.Err), int64(l.Length) }

// FromLength reads a list's length.
func FromLength(m *pb.Length, l *cache.Length) error {
	l.Err, l.Length = FromFault(m.GetFault()), Whole(m.GetLength())
	return nil
}
