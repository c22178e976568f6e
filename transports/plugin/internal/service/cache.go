package service

import (
	"context"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// runCache does a call of the cache. It answers false for any other.
func runCache(ctx context.Context, b *cache.Backend, r *pb.Request, a *pb.Answer) (bool, error) {
	if b == nil {
		b = &cache.Backend{}
	}
	switch call := r.GetCall().(type) {
	case *pb.Request_GetEntries, *pb.Request_SetEntries, *pb.Request_DeleteEntries, *pb.Request_TouchEntries,
		*pb.Request_AddCounters, *pb.Request_ListKeys:
		if b.Driver == nil {
			return true, missing("a cache")
		}
		return true, runEntries(ctx, b.Driver, r, a)
	case *pb.Request_AcquireLocks, *pb.Request_RenewLocks, *pb.Request_ReleaseLocks:
		if b.Driver == nil {
			return true, missing("locks")
		}
		return true, runLocks(ctx, b.Driver, r, a)
	case *pb.Request_ListLocks:
		if b.Holders == nil {
			return true, missing("a list of locks")
		}
		page, err := b.Holders.Held(ctx, translate.FromPage(call.ListLocks.GetPage()))
		leases := translate.Pack(page.Leases, translate.ToLockLease)
		a.Result = &pb.Answer_ListLocks{ListLocks: &pb.ListLocksResult{Leases: leases, Next: translate.Raw(page.Next)}}
		return true, err
	case *pb.Request_PushLists, *pb.Request_PopLists, *pb.Request_RangeLists, *pb.Request_CountLists,
		*pb.Request_DropLists, *pb.Request_ListLists:
		if b.Lists == nil {
			return true, missing("lists")
		}
		return true, runLists(ctx, b.Lists, r, a)
	}
	return false, nil
}

func runEntries(ctx context.Context, d cache.Driver, r *pb.Request, a *pb.Answer) error {
	switch call := r.GetCall().(type) {
	case *pb.Request_GetEntries:
		results, err := batch(ctx, call.GetEntries.GetReads(), translate.FromRead, d.Get, translate.ToGot)
		a.Result = &pb.Answer_GetEntries{GetEntries: &pb.GetEntriesResult{Results: results}}
		return err
	case *pb.Request_SetEntries:
		results, err := batch(ctx, call.SetEntries.GetWrites(), translate.FromWrite, d.Set, translate.ToWritten)
		a.Result = &pb.Answer_SetEntries{SetEntries: &pb.SetEntriesResult{Results: results}}
		return err
	case *pb.Request_DeleteEntries:
		results, err := batch(ctx, call.DeleteEntries.GetRemovals(), translate.FromRemoval, d.Delete, translate.ToRemoved)
		a.Result = &pb.Answer_DeleteEntries{DeleteEntries: &pb.DeleteEntriesResult{Results: results}}
		return err
	case *pb.Request_TouchEntries:
		results, err := batch(ctx, call.TouchEntries.GetLifetimes(), translate.FromLifetime, d.Touch, translate.ToTouched)
		a.Result = &pb.Answer_TouchEntries{TouchEntries: &pb.TouchEntriesResult{Results: results}}
		return err
	case *pb.Request_AddCounters:
		results, err := batch(ctx, call.AddCounters.GetIncrements(), translate.FromIncrement, d.Add, translate.ToSum)
		a.Result = &pb.Answer_AddCounters{AddCounters: &pb.AddCountersResult{Results: results}}
		return err
	default:
		page, err := d.Keys(ctx, translate.FromPage(r.GetListKeys().GetPage()))
		a.Result = &pb.Answer_ListKeys{ListKeys: &pb.ListKeysResult{Keys: translate.Names(page.Keys), Next: translate.Raw(page.Next)}}
		return err
	}
}

func runLocks(ctx context.Context, d cache.Driver, r *pb.Request, a *pb.Answer) error {
	switch call := r.GetCall().(type) {
	case *pb.Request_AcquireLocks:
		results, err := batch(ctx, call.AcquireLocks.GetClaims(), translate.FromLockClaim, d.Acquire, translate.ToLockLease)
		a.Result = &pb.Answer_AcquireLocks{AcquireLocks: &pb.AcquireLocksResult{Results: results}}
		return err
	case *pb.Request_RenewLocks:
		results, err := batch(ctx, call.RenewLocks.GetLeases(), translate.FromLockLease, d.Renew, translate.ToLockLease)
		a.Result = &pb.Answer_RenewLocks{RenewLocks: &pb.RenewLocksResult{Results: results}}
		return err
	default:
		results, err := batch(ctx, r.GetReleaseLocks().GetLeases(), translate.FromLockLease, d.Release, translate.ToDone)
		a.Result = &pb.Answer_ReleaseLocks{ReleaseLocks: &pb.ReleaseLocksResult{Results: results}}
		return err
	}
}

func runLists(ctx context.Context, l cache.Lists, r *pb.Request, a *pb.Answer) error {
	switch call := r.GetCall().(type) {
	case *pb.Request_PushLists:
		results, err := batch(ctx, call.PushLists.GetPushes(), translate.FromPush, l.Push, translate.ToLength)
		a.Result = &pb.Answer_PushLists{PushLists: &pb.PushListsResult{Results: results}}
		return err
	case *pb.Request_PopLists:
		results, err := batch(ctx, call.PopLists.GetPops(), translate.FromPop, l.Pop, translate.ToPopped)
		a.Result = &pb.Answer_PopLists{PopLists: &pb.PopListsResult{Results: results}}
		return err
	case *pb.Request_RangeLists:
		results, err := batch(ctx, call.RangeLists.GetRanges(), translate.FromRange, l.Range, translate.ToPopped)
		a.Result = &pb.Answer_RangeLists{RangeLists: &pb.RangeListsResult{Results: results}}
		return err
	case *pb.Request_CountLists:
		results, err := batch(ctx, call.CountLists.GetReads(), translate.FromRead, l.Length, translate.ToLength)
		a.Result = &pb.Answer_CountLists{CountLists: &pb.CountListsResult{Results: results}}
		return err
	case *pb.Request_DropLists:
		results, err := batch(ctx, call.DropLists.GetRemovals(), translate.FromRemoval, l.Drop, translate.ToRemoved)
		a.Result = &pb.Answer_DropLists{DropLists: &pb.DropListsResult{Results: results}}
		return err
	default:
		page, err := l.Names(ctx, translate.FromPage(r.GetListLists().GetPage()))
		a.Result = &pb.Answer_ListLists{ListLists: &pb.ListListsResult{Names: translate.Names(page.Keys), Next: translate.Raw(page.Next)}}
		return err
	}
}
