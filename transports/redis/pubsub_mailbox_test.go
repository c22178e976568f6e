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

func TestAMailboxesBoundCountsHeaders(t *testing.T) {
	m := &pubsub.Message{Headers: map[string]string{"k": string(make([]byte, mailboxBytes/2))}, Payload: []byte("x")}
	entered, release := make(chan struct{}), make(chan struct{})
	var b mailbox
	b.deliver = func([]pubsub.Event) {
		entered <- struct{}{}
		<-release
	}
	b.post(letter{message: m})
	<-entered

	b.post(letter{message: m})
	b.post(letter{message: m}) // one byte too much

	b.mu.Lock()
	queued := len(b.queue)
	last := b.queue[queued-1]
	b.mu.Unlock()
	close(release)
	go func() { <-entered }()
	b.finish()
	require.Equal(t, 2, queued)
	require.Equal(t, &pubsub.Gap{Cause: pubsub.Overflow, Lost: 1}, last.gap)
}
