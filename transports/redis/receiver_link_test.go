package redis

import (
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pipe is a watched connection and its other end, in the time of a bubble.
func pipe(t *testing.T, silence time.Duration) (*watchedConn, net.Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	return &watchedConn{Conn: near, silence: silence}, far
}

func TestBytesThatTrickleAreNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, far := pipe(t, time.Second)
		go func() {
			for range 20 {
				time.Sleep(900 * time.Millisecond)
				_, _ = far.Write([]byte("x"))
			}
		}()

		for range 20 {
			n, err := conn.Read(make([]byte, 10))
			require.NoError(t, err)
			require.Equal(t, 1, n)
		}
		began := time.Now()
		_, err := conn.Read(make([]byte, 10))

		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
	})
}

func TestAnEarlierDeadlineOfTheHandshakeHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := pipe(t, time.Minute)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Second)))

		began := time.Now()
		_, err := conn.Read(make([]byte, 10))

		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
	})
}

// late is a connection whose bytes are there only after the process stood still.
type late struct {
	net.Conn
	by time.Duration
}

func (late) SetReadDeadline(time.Time) error { return nil }

func (c late) Read(p []byte) (int, error) {
	time.Sleep(c.by)
	return len(p), nil
}

func TestWhatWaitedWhileTheProcessStoodStillIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for by, want := range map[time.Duration]error{time.Second: nil, 3 * time.Second: errStopped} {
			conn := &watchedConn{Conn: late{by: by}, silence: time.Second}

			_, err := conn.Read(make([]byte, 10))

			require.Equal(t, want, err, by)
		}
	})
}

// The reader is as often at work on what it has read as in a read, when a process is stopped.
func TestWhatWaitedWhileTheProcessStoodStillBetweenReadsIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for pause, want := range map[time.Duration]error{time.Second: nil, 3 * time.Second: errStopped} {
			conn := &watchedConn{Conn: late{}, silence: time.Second}
			_, err := conn.Read(make([]byte, 10))
			require.NoError(t, err)
			require.NoError(t, conn.current())

			time.Sleep(pause)

			require.Equal(t, want, conn.current(), "what was read before")
			_, err = conn.Read(make([]byte, 10))
			require.Equal(t, want, err, "what is there to be read")
		}
	})
}
