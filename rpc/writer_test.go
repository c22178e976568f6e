package rpc

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
)

// gate is a driver whose Send waits until it is let through.
type gate struct {
	through chan error
	mu      sync.Mutex
	batches [][]uint64 // the sequences that each Send carried
	opener  *envelope.Opener
}

func (g *gate) Send(ctx context.Context, frames []Frame) ([]error, error) {
	var batch []uint64
	for _, f := range frames {
		opened, err := g.opener.Open(slices.Clone(f.Payload), string(f.To))
		if err != nil {
			return nil, err
		}
		batch = append(batch, opened.Seq)
	}
	g.mu.Lock()
	g.batches = append(g.batches, batch)
	g.mu.Unlock()
	select {
	case err := <-g.through:
		return make([]error, len(frames)), err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *gate) Listen(context.Context, Address, func([]Frame)) (io.Closer, error) { return nil, nil }

func newTestWriter(t *testing.T) (*writer, *gate, *[]error) {
	sealer, err := envelope.NewSealer(nil, "w", envelope.NewIncarnation(time.Now()), envelope.Signed)
	require.NoError(t, err)
	g := &gate{through: make(chan error), opener: envelope.NewOpener(nil, 0)}
	var lost []error
	w := &writer{driver: g, lifetime: t.Context(), endless: context.WithoutCancel(t.Context()),
		inbox: sealer.Lane(laneInbox), broadcast: sealer.Lane(laneBroadcast), notSent: func(err error) { lost = append(lost, err) }}
	w.start()
	return w, g, &lost
}

func TestWhatComesDuringASendGoesOutTogetherAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g, _ := newTestWriter(t)
		frame := outgoing{to: "node.x", kind: kindHeartbeat}

		for range 100 {
			w.post(frame)
			synctest.Wait()
		}
		g.through <- nil
		g.through <- nil
		w.close()

		require.Len(t, g.batches, 2)
		require.Equal(t, []uint64{1}, g.batches[0], "an idle writer sends at once")
		require.Len(t, g.batches[1], 99)
		require.True(t, slices.IsSorted(g.batches[1]))
	})
}

func TestFramesThatMayBeDroppedNeverWaitAndTheOthersDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g, _ := newTestWriter(t)
		frame := outgoing{to: "node.x", kind: kindHeartbeat}
		w.post(frame)
		synctest.Wait()
		for range maxQueueFrames + 10 {
			w.post(frame)
		}
		require.Equal(t, uint64(10), w.dropped.Load())

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, w.hand(ctx, frame), fault.DeadlineExceeded, "a full queue makes callers wait")
		require.Equal(t, time.Second, time.Since(began))
		w.mu.Lock()
		require.Len(t, w.queue, maxQueueFrames, "who leaves takes the frame along")
		w.mu.Unlock()

		close(g.through)
		w.close()
		require.Zero(t, w.bytes)
		require.Empty(t, w.queue)
		require.ErrorIs(t, w.hand(t.Context(), frame), fault.Closed)
	})
}

func TestEveryFailureToSendIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g, lost := newTestWriter(t)
		down := errors.New("down")
		var told error

		require.NoError(t, w.hand(t.Context(), outgoing{to: "node.x", failed: func(err error) { told = err }}))
		g.through <- down
		synctest.Wait()
		require.Equal(t, down, told)

		w.post(outgoing{to: "node.x"})
		g.through <- down
		synctest.Wait()
		require.Equal(t, []error{down}, *lost)

		go func() { g.through <- down }()
		require.Equal(t, down, w.send(t.Context(), outgoing{to: "node.x"}))
		w.close()
	})
}

func TestABatchThatTheTransportDoesNotTakeIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g, lost := newTestWriter(t)
		for range 3 {
			w.post(outgoing{to: "node.x"})
			synctest.Wait()
		}
		began := time.Now()
		g.through <- nil
		w.close()

		require.Equal(t, sendTimeout, time.Since(began))
		require.Len(t, *lost, 2)
		require.ErrorIs(t, (*lost)[0], fault.Unavailable)
	})
}
