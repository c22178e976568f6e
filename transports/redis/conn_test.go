package redis

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// deadlines notes what is set on a connection.
type deadlines struct {
	net.Conn
	read []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}

func TestADeadlineIsLeftOnlyWhereItIsATenthTooEarlyAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := &deadlines{}
		c := &conn{Conn: under}
		in := func(d time.Duration) time.Time { return time.Now().Add(d) }

		require.NoError(t, c.SetReadDeadline(in(5*time.Second)))
		time.Sleep(499 * time.Millisecond)
		require.NoError(t, c.SetReadDeadline(in(5*time.Second)))
		require.Len(t, under.read, 1, "close enough")

		long := in(6 * time.Second)
		short := in(200 * time.Millisecond)
		require.NoError(t, c.SetReadDeadline(long))
		require.NoError(t, c.SetReadDeadline(short))
		time.Sleep(30 * time.Millisecond)
		next := in(200 * time.Millisecond)
		require.NoError(t, c.SetReadDeadline(next))
		time.Sleep(time.Second)
		after := in(500 * time.Millisecond)
		require.NoError(t, c.SetReadDeadline(after))
		require.Equal(t, []time.Time{long, short, next, after}, under.read[1:])
	})
}
