package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// link is one connection for notifications, from its dialling to its failure; it is never repaired.
//
// pgx logs in. Then the connection is taken over, because pgconn reads only while it is asked to wait, which it can be for
// one thing at a time: here a statement leaves while notifications come in. One goroutine reads and one writes. At most one
// statement is under way: a LISTEN for all that was asked for meanwhile, or an empty one, which is the ping.
//
// A server sends a session the notifications that were committed before a statement came in no later than the statement's
// end. So the end of a statement is a place in the stream that lies behind all that was published before it was sent.
type link struct {
	r    *receiver
	conn net.Conn
	wake chan struct{} // there may be something to write
	over chan struct{} // closed when it fails

	asked  []*request // of the statement under way; guarded by r.mu
	busy   bool       // a statement is under way; guarded by r.mu
	failed sync.Once
	err    error // why it failed; valid after over
}

var errSilence = errors.New("the server has been silent for too long")

// openLink dials and logs in, within the bound on silence.
func openLink(r *receiver) (*link, error) {
	ctx, cancel := context.WithTimeout(r.t.life, max(r.silence, time.Second))
	defer cancel()
	made, err := pgconn.ConnectConfig(ctx, &r.config.Config)
	if err != nil {
		return nil, err
	}
	taken, err := made.Hijack()
	if err != nil {
		return nil, errors.Join(err, made.Close(ctx))
	}
	return &link{r: r, conn: taken.Conn, wake: make(chan struct{}, 1), over: make(chan struct{})}, nil
}

// serve listens to all that was asked for, and hands on what comes until the link fails, which it tells why. lost says that
// there was a link before: then the consumers are told of a gap, as soon as this one listens.
func (l *link) serve(lost bool, up func()) error {
	// r.mu is held from here until the link is the receiver's, so that no channel is forgotten between.
	l.r.mu.Lock()
	names := make([]string, 0, len(l.r.consumers))
	for name := range l.r.consumers {
		names = append(names, name)
	}
	l.asked, l.r.requests = l.r.requests, nil
	l.busy = true
	l.r.link = l
	l.r.mu.Unlock()

	writing := make(chan struct{})
	go func() {
		defer close(writing)
		if err := l.send(listenTo(names)); err != nil {
			l.fail(err)
		}
		l.write()
	}()
	first := true
	err := l.read(func() {
		if first {
			first = false
			up()
			if lost {
				l.r.gaps()
			}
		}
	})
	l.fail(err)
	<-writing
	return l.err
}

func listenTo(names []string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString("LISTEN " + pgx.Identifier{name}.Sanitize() + ";")
	}
	return b.String()
}

// fail ends the link; the first reason counts. It does not wait.
func (l *link) fail(err error) {
	l.failed.Do(func() {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w (%v): %w", errSilence, l.r.silence, err)
		}
		l.err = err
		close(l.over)
		_ = l.conn.Close()
	})
}

// stir has the writer look for something to write.
func (l *link) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// write sends statements until the link fails.
func (l *link) write() {
	pings := time.NewTicker(l.r.silence / 3)
	defer pings.Stop()
	for {
		ping := false
		select {
		case <-l.over:
			return
		case <-l.wake:
		case <-pings.C:
			ping = true
		}
		if sql, due := l.next(ping); due {
			if err := l.send(sql); err != nil {
				l.fail(err)
				return
			}
		}
	}
}

// next makes the statement that is due, if none is under way.
func (l *link) next(ping bool) (sql string, due bool) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.busy || len(l.r.requests) == 0 && !ping {
		return "", false
	}
	var names []string
	for _, q := range l.r.requests {
		names = append(names, q.channels...)
	}
	l.asked, l.r.requests = l.r.requests, nil
	l.busy = true
	return listenTo(names), true
}

func (l *link) send(sql string) error {
	message, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err != nil {
		return err
	}
	if err := l.conn.SetWriteDeadline(time.Now().Add(l.r.silence)); err != nil {
		return err
	}
	_, err = l.conn.Write(message)
	return err
}

// read hands on what comes until the link fails. ready is called at the end of every statement, before its requests are
// answered.
func (l *link) read(ready func()) error {
	front := pgproto3.NewFrontend(l.conn, l.conn)
	var refusal error
	for {
		if err := l.conn.SetReadDeadline(time.Now().Add(l.r.silence)); err != nil {
			return err
		}
		message, err := front.Receive()
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pgproto3.NotificationResponse:
			l.r.mu.Lock()
			c := l.r.consumers[m.Channel]
			l.r.mu.Unlock()
			if c != nil {
				c.note(m.Channel, m.Payload)
			}
		case *pgproto3.ErrorResponse:
			refusal = pgconn.ErrorResponseToPgError(m)
			if m.Severity == "FATAL" || m.Severity == "PANIC" {
				return refusal
			}
		case *pgproto3.ReadyForQuery:
			if refusal != nil {
				return refusal // a LISTEN that fails is no passing trouble: the next link may have more luck
			}
			ready()
			l.settle()
		}
	}
}

// settle answers the requests of the statement that has ended.
func (l *link) settle() {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	for _, q := range l.asked {
		q.settle(nil)
	}
	l.asked, l.busy = nil, false
	if len(l.r.requests) > 0 {
		l.stir()
	}
}
