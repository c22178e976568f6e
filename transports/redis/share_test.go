package redis

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/pubsub"
)

// The first has given up its queue already and only waits for its last delivery; the other left within the election.
func TestWhatIsWonWhileAllLeaveGoesToTheOneThatWaitsForIt(t *testing.T) {
	deliver := func([]pubsub.Event) {}
	finished, waiting := &subscription{leaving: true}, &subscription{leaving: true}
	finished.box.deliver, waiting.box.deliver = deliver, deliver
	finished.box.finish()
	sh := &share{members: []*subscription{finished, waiting}}

	for range 4 {
		require.Same(t, waiting, sh.next(&pubsub.Message{}))
	}
	waiting.box.finish()
	require.Nil(t, sh.next(&pubsub.Message{}))
}
