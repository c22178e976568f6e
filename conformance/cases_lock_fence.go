package conformance

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
)

func fencesOverReleases(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open()), on(e, e.Open())}
	last := uint64(0)
	for i := range 30 {
		lease := nodes[i%3].mustAcquire("l", fmt.Sprint("owner", i%4), time.Minute)
		require.Greater(e, lease.Fence, last, "the fence of lease %d", i+1)
		last = lease.Fence
		require.NoError(e, nodes[(i+1)%3].release(lease))
	}
}

func fencesOverEnds(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	last := uint64(0)
	for i := range 3 {
		lease, err := obtain(e.Context(), nodes[i%2], "l", fmt.Sprint("owner", i), nodes[0].span(1))
		require.NoError(e, err)
		require.Greater(e, lease.Fence, last, "the fence of a lease after one that ended by itself")
		last = lease.Fence
	}
}

func fencesUnderContention(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	fences := make([][]uint64, 8)
	errs := together(len(fences), func(i int) error {
		for n := range 8 {
			lease, err := obtain(e.Context(), nodes[i%2], "l", fmt.Sprintf("%d.%d", i, n), time.Minute)
			if err != nil {
				return err
			}
			fences[i] = append(fences[i], lease.Fence)
			r, err := nodes[i%2].Release(e.Context(), []cache.Lease{lease})
			if err := first(r, err, itself); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	for _, mine := range fences {
		require.True(e, slices.IsSorted(mine), "one owner's fences increase: %v", mine)
	}
	all := slices.Concat(fences...)
	slices.Sort(all)
	require.Len(e, slices.Compact(slices.Clone(all)), len(all), "a fence was given twice: %v", all)
}

func fenceNotTold(e *Env) {
	here := on(e, e.Node)
	here.mustAcquire("l", "a", time.Minute)
	require.Zero(e, on(e, e.Open()).mustBeLocked("l", "b").Fence, "whoever has a lock's fence passes for its holder")
}

func fenceRemembered(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "a", here.span(1))
	require.NoError(e, here.release(lease))
	here.outlive(here.span(2)) // longer than the lease would have lasted
	require.Greater(e, there.mustAcquire("l", "b", time.Minute).Fence, lease.Fence)
}
