package translate

import (
	"math"

	"github.com/gobackplane/backplane/cache"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

func toGuard(g cache.Guard) *pb.Guard {
	if g == (cache.Guard{}) {
		return nil
	}
	return &pb.Guard{Holder: Raw(g.Holder), Fence: g.Fence}
}

func fromGuard(m *pb.Guard) cache.Guard {
	return cache.Guard{Holder: Text[string](m.GetHolder()), Fence: m.GetFence()}
}

func toCondition(c cache.Condition) (pb.Condition, []byte) {
	if r, at := c.WantsRevision(); at {
		return pb.Condition_CONDITION_REVISION, Raw(r)
	}
	switch {
	case c.WantsAbsent():
		return pb.Condition_CONDITION_ABSENT, nil
	case c.WantsPresent():
		return pb.Condition_CONDITION_PRESENT, nil
	}
	return pb.Condition_CONDITION_UNSPECIFIED, nil
}

func fromCondition(c pb.Condition, revision []byte) (cache.Condition, error) {
	switch c {
	case pb.Condition_CONDITION_UNSPECIFIED:
		return cache.Always(), nil
	case pb.Condition_CONDITION_ABSENT:
		return cache.IfAbsent(), nil
	case pb.Condition_CONDITION_PRESENT:
		return cache.IfPresent(), nil
	case pb.Condition_CONDITION_REVISION:
		if len(revision) == 0 {
			return cache.Condition{}, refuse("the condition is a revision, and none is given")
		}
		return cache.IfRevision(Text[cache.Revision](revision)), nil
	}
	return cache.Condition{}, refuse("condition %d is not known", c)
}

func fromFlags(flags uint32) (uint8, error) {
	if flags > math.MaxUint8 {
		return 0, refuse("the flags are %d; they are 0 to %d", flags, math.MaxUint8)
	}
	return uint8(flags), nil
}

// ToRead fills in one read.
func ToRead(m *pb.Read, r *cache.Read) {
	m.Key, m.Guard, m.Expiry = Raw(r.Key), toGuard(r.Guard), r.Expiry
}

// FromRead reads one read.
func FromRead(m *pb.Read, r *cache.Read) error {
	*r = cache.Read{Key: Text[string](m.GetKey()), Guard: fromGuard(m.GetGuard()), Expiry: m.GetExpiry()}
	return nil
}

// ToGot fills in the answer to a read. The key is not in it: who has asked knows it.
func ToGot(m *pb.Got, g *cache.Got) {
	m.Fault = ToFault(g.Err)
	if m.Found = g.Found; !g.Found {
		return
	}
	e := &g.Entry
	m.Value, m.Flags, m.Revision = e.Value, uint32(e.Flags), Raw(e.Revision)
	m.Created, m.Expires = Moment(e.Created), Moment(e.Expires)
}

// FromGot reads the answer to a read, but for the key.
func FromGot(m *pb.Got, g *cache.Got) (err error) {
	if g.Err = FromFault(m.GetFault()); !m.GetFound() {
		return nil
	}
	g.Found = true
	e := &g.Entry
	e.Flags, err = fromFlags(m.GetFlags())
	e.Value, e.Revision = m.GetValue(), Text[cache.Revision](m.GetRevision())
	e.Created, e.Expires = Time(m.GetCreated()), Time(m.GetExpires())
	if e.Value == nil {
		e.Value = []byte{}
	}
	return err
}

// ToWrite fills in one write.
func ToWrite(m *pb.Write, w *cache.Write) {
	m.Key, m.Value, m.Flags, m.Ttl, m.Guard = Raw(w.Key), w.Value, uint32(w.Flags), int64(w.TTL), toGuard(w.Guard)
	m.Condition, m.Revision = toCondition(w.If)
}

// FromWrite reads one write.
func FromWrite(m *pb.Write, w *cache.Write) (err error) {
	w.Key, w.Value, w.TTL, w.Guard = Text[string](m.GetKey()), m.GetValue(), duration(m.GetTtl()), fromGuard(m.GetGuard())
	if w.Flags, err = fromFlags(m.GetFlags()); err != nil {
		return err
	}
	w.If, err = fromCondition(m.GetCondition(), m.GetRevision())
	return err
}

// ToWritten fills in the answer to a write.
func ToWritten(m *pb.Written, w *cache.Written) {
	m.Fault, m.Revision = ToFault(w.Err), Raw(w.Revision)
}

// FromWritten reads the answer to a write.
func FromWritten(m *pb.Written, w *cache.Written) error {
	w.Err, w.Revision = FromFault(m.GetFault()), Text[cache.Revision](m.GetRevision())
	return nil
}

// ToRemoval fills in one removal.
func ToRemoval(m *pb.Removal, r *cache.Removal) {
	m.Key, m.Guard = Raw(r.Key), toGuard(r.Guard)
	m.Condition, m.Revision = toCondition(r.If)
}

// FromRemoval reads one removal.
func FromRemoval(m *pb.Removal, r *cache.Removal) (err error) {
	r.Key, r.Guard = Text[string](m.GetKey()), fromGuard(m.GetGuard())
	r.If, err = fromCondition(m.GetCondition(), m.GetRevision())
	return err
}

// ToRemoved fills in the answer to a removal.
func ToRemoved(m *pb.Removed, r *cache.Removed) { m.Fault, m.Existed = ToFault(r.Err), r.Existed }

// FromRemoved reads the answer to a removal.
func FromRemoved(m *pb.Removed, r *cache.Removed) error {
	r.Err, r.Existed = FromFault(m.GetFault()), m.GetExisted()
	return nil
}

// ToLifetime fills in one lifetime.
func ToLifetime(m *pb.Lifetime, l *cache.Lifetime) {
	m.Key, m.Ttl, m.Guard = Raw(l.Key), int64(l.TTL), toGuard(l.Guard)
}

// FromLifetime reads one lifetime.
func FromLifetime(m *pb.Lifetime, l *cache.Lifetime) error {
	l.Key, l.TTL, l.Guard = Text[string](m.GetKey()), duration(m.GetTtl()), fromGuard(m.GetGuard())
	return nil
}

// ToTouched fills in the answer to a lifetime.
func ToTouched(m *pb.Done, t *cache.Touched) { ToDone(m, &t.Err) }

// FromTouched reads the answer to a lifetime.
func FromTouched(m *pb.Done, t *cache.Touched) error { return FromDone(m, &t.Err) }

// ToIncrement fills in one increment.
func ToIncrement(m *pb.Increment, i *cache.Increment) {
	m.Key, m.Delta, m.Ttl, m.Guard = Raw(i.Key), i.Delta, int64(i.TTL), toGuard(i.Guard)
}

// FromIncrement reads one increment.
func FromIncrement(m *pb.Increment, i *cache.Increment) error {
	i.Key, i.Delta, i.TTL, i.Guard = Text[string](m.GetKey()), m.GetDelta(), duration(m.GetTtl()), fromGuard(m.GetGuard())
	return nil
}

// ToSum fills in the answer to an increment.
func ToSum(m *pb.Sum, s *cache.Sum) {
	m.Fault, m.Value, m.Revision = ToFault(s.Err), s.Value, Raw(s.Revision)
}

// FromSum reads the answer to an increment.
func FromSum(m *pb.Sum, s *cache.Sum) error {
	s.Err, s.Value, s.Revision = FromFault(m.GetFault()), m.GetValue(), Text[cache.Revision](m.GetRevision())
	return nil
}

// ToPage is a request for a page.
func ToPage(p cache.Page) *pb.Page {
	return &pb.Page{Prefix: Raw(p.Prefix), Cursor: Raw(p.Cursor), Limit: int64(p.Limit)}
}

// FromPage reads a request for a page.
func FromPage(m *pb.Page) cache.Page {
	return cache.Page{Prefix: Text[string](m.GetPrefix()), Cursor: Text[string](m.GetCursor()), Limit: Whole(m.GetLimit())}
}

// ToChange fills in one change.
func ToChange(m *pb.Change, c *cache.Change) {
	m.Key, m.Deleted, m.Resync = Raw(c.Key), c.Deleted, c.Resync
}

// FromChange reads one change.
func FromChange(m *pb.Change, c *cache.Change) error {
	if c.Resync = m.GetResync(); !c.Resync {
		c.Key, c.Deleted = Text[string](m.GetKey()), m.GetDeleted()
	}
	return nil
}
