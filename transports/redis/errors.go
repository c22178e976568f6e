package redis

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/fault"
)

// fault gives an error its code, its circumstances and a remedy. Nil stays nil. What the server or the network says is
// never a secret: neither repeats a password.
func (t *Transport) fault(err error, op, subject string) error {
	if err == nil {
		return nil
	}
	f := t.classify(err)
	f.Transport = Kind
	if f.Op == "" {
		f.Op = op
	}
	if f.Subject == "" {
		f.Subject = subject
	}
	return f
}

func (t *Transport) classify(err error) *fault.Error {
	var known *fault.Error
	if errors.As(err, &known) {
		at := *known
		return &at
	}
	if t.life.Err() != nil || errors.Is(err, redis.ErrClosed) {
		return fault.New(fault.Closed, "the transport is closed")
	}
	var answer redis.Error
	if errors.As(err, &answer) {
		return t.classifyAnswer(answer)
	}
	return t.classifyLink(err)
}

// answers maps the first word of a server's error to a code and what to do about it.
var answers = map[string]struct {
	code   fault.Code
	remedy string
}{
	"NOAUTH":      {fault.Unauthenticated, "it wants a password; give one in the URL or as option password"},
	"WRONGPASS":   {fault.Unauthenticated, "user name or password is wrong; correct them in the URL or the options"},
	"NOPERM":      {fault.PermissionDenied, "its user lacks a right; allow it with ACL SETUSER"},
	"OOM":         {fault.Exhausted, "its memory is full; raise maxmemory or remove what is not needed"},
	"LOADING":     {fault.Unavailable, "it is loading its data; try again soon"},
	"READONLY":    {fault.Unavailable, "it is a replica; name the primary's address"},
	"MASTERDOWN":  {fault.Unavailable, "its primary is down; try again when there is one"},
	"TRYAGAIN":    {fault.Unavailable, "it is moving the keys; try again soon"},
	"CLUSTERDOWN": {fault.Unavailable, "the cluster is down; try again when it is up"},
	"NOREPLICAS":  {fault.Unavailable, "too few replicas are connected; try again when they are"},
	"MISCONF":     {fault.Unavailable, "it cannot write its data to disk and refuses changes; see its log"},
	"BUSY":        {fault.Unavailable, "a script keeps it busy; try again soon"},
	"MOVED":       {fault.Unsupported, "it belongs to a Redis Cluster; name a standalone server"},
	"WRONGTYPE":   {fault.Corrupt, "the key holds something else than this library wrote; remove it"},
}

func (t *Transport) classifyAnswer(answer redis.Error) *fault.Error {
	text := answer.Error()
	word, _, _ := strings.Cut(text, " ")
	at, known := answers[word]
	switch {
	case known:
	case strings.Contains(text, "max number of clients"):
		at.code, at.remedy = fault.Unavailable, "raise its maxclients, or lower pool_size"
	default:
		return fault.New(fault.Internal, "the server at %s answered: %w", t.address, answer)
	}
	f := fault.New(at.code, "the server at %s answered %q: %s", t.address, text, at.remedy)
	f.Err = answer
	// The server refused the command before it did anything, so repeating it does no harm.
	f.Retryable = at.code == fault.Unavailable
	return f
}

func (t *Transport) classifyLink(err error) *fault.Error {
	remedy := "see that it runs and can be reached"
	unsent := false
	var dial *net.OpError
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return fault.New(fault.Canceled, "%w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.DeadlineExceeded, "%w", err)
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		remedy, unsent = "all connections are busy; raise pool_size", true
	case errors.As(err, &dial) && dial.Op == "dial":
		unsent = true
	case errors.As(err, &timeout) && timeout.Timeout():
		remedy = "it did not answer in time; see that it runs, or raise read_timeout"
	}
	f := fault.New(fault.Unavailable, "no answer from the server at %s: %s; %s", t.address, err.Error(), remedy)
	f.Err = err
	// A command that was sent may have been done: whether to repeat it is for those to say who know what it does.
	f.Retryable = unsent
	return f
}
