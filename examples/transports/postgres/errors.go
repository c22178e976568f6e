package postgres

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gobackplane/backplane/fault"
)

var (
	errClosed = fault.New(fault.Closed, "the transport is closed")
	errLate   = errors.New("the server did not answer in time")
	errLink   = errors.New("the connection failed")
)

// fault gives an error its code, its circumstances and a remedy. Nil stays nil. What the server and the network say never
// repeats a password.
func (t *Transport) fault(err error, op, subject string) error {
	if err == nil {
		return nil
	}
	f := classify(err, t.address)
	if t.life.Err() != nil && f.Code == fault.Unavailable {
		f = fault.New(fault.Closed, "the transport is closed")
	}
	return located(f, op, subject)
}

// located says where a fault was met, where it does not say so itself.
func located(f *fault.Error, op, subject string) *fault.Error {
	at := *f
	at.Transport = Kind
	if at.Op == "" {
		at.Op = op
	}
	if at.Subject == "" {
		at.Subject = subject
	}
	return &at
}

func classify(err error, address string) *fault.Error {
	var known *fault.Error
	if errors.As(err, &known) {
		at := *known
		return &at
	}
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return classifyAnswer(answer, err, address)
	}
	var dial *net.OpError
	unsent := pgconn.SafeToRetry(err) || errors.As(err, &dial) && dial.Op == "dial"
	remedy := "see that it runs and can be reached"
	switch {
	case errors.Is(err, errLate), errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded):
		remedy = "it did not answer in time; see that it runs, or raise option timeout"
	case errors.Is(err, context.Canceled):
		return fault.New(fault.Canceled, "%w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.DeadlineExceeded, "%w", err)
	}
	f := fault.New(fault.Unavailable, "no answer from the server at %s: %s; %s", address, err.Error(), remedy)
	f.Err = err
	// What was sent may have been done: whether to repeat it is for those to say who know what it does.
	f.Retryable = unsent
	return f
}

type meaning struct {
	code   fault.Code
	remedy string
}

// answers maps a server's SQLSTATE to a code and what to do about it; classes those that are not named, by their first two
// characters.
var answers = map[string]meaning{
	"28P01": {fault.Unauthenticated, "user name or password is wrong; correct them in the URL or the options"},
	"28000": {fault.Unauthenticated, "the user may not log in from here; see pg_hba.conf"},
	"42501": {fault.PermissionDenied, "its user lacks a right; to make the schema, CREATE on the database is needed"},
	"3D000": {fault.Invalid, "create the database, or name another in the URL"},
	"53300": {fault.Unavailable, "raise its max_connections, or lower pool_size"},
	"53100": {fault.Exhausted, "its disk is full"},
	"53200": {fault.Exhausted, "its memory or its lock table is full; raise max_locks_per_transaction, or send smaller batches"},
	"54000": {fault.Exhausted, "one of its limits was reached; if it is the queue of notifications, some session listens and does not read"},
	"57014": {fault.Unavailable, "it gave the statement up; try again, or raise its statement_timeout"},
	"25006": {fault.Unavailable, "it is a standby; name the primary's address, or add target_session_attrs=read-write"},
	"42P01": {fault.Unavailable, "a table of the transport's schema is gone; open the transport again, which makes it"},
	"42883": {fault.Unavailable, "a function of the transport's schema is gone; open the transport again, which makes it"},
}

var classes = map[string]meaning{
	"08": {fault.Unavailable, "the connection was lost; try again"},
	"40": {fault.Unavailable, "it was undone for the sake of another transaction; try again"},
	"53": {fault.Exhausted, "it lacks a resource; see its log"},
	"57": {fault.Unavailable, "it is shutting down, or starting; try again soon"},
	"58": {fault.Unavailable, "it has trouble with its files; see its log"},
}

func classifyAnswer(answer *pgconn.PgError, err error, address string) *fault.Error {
	at, known := answers[answer.Code]
	if !known && len(answer.Code) == 5 {
		at, known = classes[answer.Code[:2]]
	}
	if !known {
		f := fault.New(fault.Internal, "the server at %s answered: %s", address, err.Error())
		f.Err = err
		return f
	}
	f := fault.New(at.code, "the server at %s answered %q: %s", address, answer.Message, at.remedy)
	f.Err = err
	// The server has undone the statement, so repeating it does no harm; a lost connection is the exception.
	f.Retryable = at.code == fault.Unavailable && answer.Code[:2] != "08"
	return f
}

// again reports whether a statement was certainly not done, and may be at once: it was undone in favour of another, or a
// connection was broken before it was sent.
func again(err error) bool {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code == "40P01" || answer.Code == "40001"
	}
	return pgconn.SafeToRetry(err)
}
