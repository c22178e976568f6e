package plugin

import (
	"context"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

var acquireLocks = batch[cache.Claim, cache.Lease, pb.LockClaim, pb.LockLease]{
	lane: cacheLane, op: "cache: acquire", to: translate.ToLockClaim, from: translate.FromLockLease,
	ask: func(m []*pb.LockClaim, r *pb.Request) {
		r.Call = &pb.Request_AcquireLocks{AcquireLocks: &pb.AcquireLocks{Claims: m}}
	},
	answers: func(a *pb.Answer) []*pb.LockLease { return a.GetAcquireLocks().GetResults() },
	errOf:   func(l *cache.Lease) *error { return &l.Err },
}

func (d *cacheDriver) Acquire(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	if err := d.batch(ctx, acquireLocks.op, len(claims)); err != nil {
		return nil, err
	}
	waits := false
	for i := range claims {
		waits = waits || claims[i].Wait > 0
	}
	return acquireLocks.call(ctx, d.node, claims, func(c *cache.Claim) error { return d.check.Claim(*c) }, how{waits: waits})
}

// Renewing twice does no harm: it only makes the lease end later.
var renewLocks = batch[cache.Lease, cache.Lease, pb.LockLease, pb.LockLease]{
	lane: cacheLane, op: "cache: renew", harmless: true, to: toLease, from: translate.FromLockLease,
	ask: func(m []*pb.LockLease, r *pb.Request) {
		r.Call = &pb.Request_RenewLocks{RenewLocks: &pb.RenewLocks{Leases: m}}
	},
	answers: func(a *pb.Answer) []*pb.LockLease { return a.GetRenewLocks().GetResults() },
	errOf:   func(l *cache.Lease) *error { return &l.Err },
}

func (d *cacheDriver) Renew(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
	if err := d.batch(ctx, renewLocks.op, len(leases)); err != nil {
		return nil, err
	}
	return renewLocks.call(ctx, d.node, leases, func(l *cache.Lease) error { return d.check.Renewal(*l) }, how{})
}

var releaseLocks = batch[cache.Lease, error, pb.LockLease, pb.Done]{
	lane: cacheLane, op: "cache: release", to: toLease, from: translate.FromDone,
	ask: func(m []*pb.LockLease, r *pb.Request) {
		r.Call = &pb.Request_ReleaseLocks{ReleaseLocks: &pb.ReleaseLocks{Leases: m}}
	},
	answers: func(a *pb.Answer) []*pb.Done { return a.GetReleaseLocks().GetResults() },
	errOf:   itself,
}

func (d *cacheDriver) Release(ctx context.Context, leases []cache.Lease) ([]error, error) {
	if err := d.batch(ctx, releaseLocks.op, len(leases)); err != nil {
		return nil, err
	}
	return releaseLocks.call(ctx, d.node, leases, func(l *cache.Lease) error { return d.check.Release(*l) }, how{})
}

// toLease is a lease as it is asked about: what was said of it before does not matter.
func toLease(m *pb.LockLease, l *cache.Lease) {
	translate.ToLockLease(m, &cache.Lease{Lock: l.Lock, Holder: l.Holder, Fence: l.Fence, TTL: l.TTL})
}
