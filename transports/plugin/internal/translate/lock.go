package translate

import (
	"github.com/gobackplane/backplane/cache"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// ToLockClaim fills in a claim of a lock.
func ToLockClaim(m *pb.LockClaim, c *cache.Claim) {
	m.Lock, m.Holder, m.Ttl, m.Wait = Raw(c.Lock), Raw(c.Holder), int64(c.TTL), int64(c.Wait)
}

// FromLockClaim reads a claim of a lock.
func FromLockClaim(m *pb.LockClaim, c *cache.Claim) error {
	c.Lock, c.Holder = Text[string](m.GetLock()), Text[string](m.GetHolder())
	c.TTL, c.Wait = duration(m.GetTtl()), duration(m.GetWait())
	return nil
}

// ToLockLease fills in a lease of a lock.
func ToLockLease(m *pb.LockLease, l *cache.Lease) {
	m.Fault, m.Lock, m.Holder = ToFault(l.Err), Raw(l.Lock), Raw(l.Holder)
	m.Fence, m.Ttl, m.Expires = l.Fence, int64(l.TTL), Moment(l.Expires)
}

// FromLockLease reads a lease of a lock.
func FromLockLease(m *pb.LockLease, l *cache.Lease) error {
	l.Err, l.Lock, l.Holder = FromFault(m.GetFault()), Text[string](m.GetLock()), Text[string](m.GetHolder())
	l.Fence, l.TTL, l.Expires = m.GetFence(), duration(m.GetTtl()), Time(m.GetExpires())
	return nil
}
