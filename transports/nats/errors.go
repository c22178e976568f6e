package nats

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
)

var errClosed = fault.New(fault.Closed, "the transport is closed")

// fault gives an error its code, its circumstances and a remedy. Nil stays nil. What the server or the network says is
// never a secret: neither repeats a password.
func (c *core) fault(err error, op, subject string) error {
	if err == nil {
		return nil
	}
	f := c.classify(err)
	f.Transport = Kind
	if f.Op == "" {
		f.Op = op
	}
	if f.Subject == "" {
		f.Subject = subject
	}
	return f
}

func (c *core) classify(err error) *fault.Error {
	var known *fault.Error
	if errors.As(err, &known) {
		at := *known
		return &at
	}
	if c.life.Err() != nil {
		return fault.New(fault.Closed, "the transport is closed")
	}
	var answer *jetstream.APIError
	if errors.As(err, &answer) {
		return c.classifyAnswer(answer, err)
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return c.remedied(k.code, k.remedy, k.retryable, err)
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return fault.New(fault.Canceled, "%w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.DeadlineExceeded, "%w", err)
	}
	var dial *net.OpError
	if errors.As(err, &dial) {
		return c.remedied(fault.Unavailable, "see that it runs and can be reached", dial.Op == "dial", err)
	}
	return fault.New(fault.Internal, "the server at %s: %w", c.address, err)
}

// kinds maps the client's errors to a code, what to do about it, and whether the request is known not to have been done.
var kinds = []struct {
	err       error
	code      fault.Code
	remedy    string
	retryable bool
}{
	{nats.ErrAuthorization, fault.Unauthenticated, "user, password, token or key is wrong or missing; correct it in the URL or the options", false},
	{nats.ErrAuthExpired, fault.Unauthenticated, "the credentials have expired; renew them", false},
	{nats.ErrAuthRevoked, fault.Unauthenticated, "the credentials were revoked; get new ones", false},
	{nats.ErrAccountAuthExpired, fault.Unauthenticated, "the account has expired; renew it", false},
	{nats.ErrPermissionViolation, fault.PermissionDenied, "its user lacks a right; allow it in the server's permissions", false},
	{nats.ErrTLS, fault.Unauthenticated, "the two do not trust each other; compare tls_ca, tls_cert, tls_key and tls_server_name with the server's", false},
	{nats.ErrMaxPayload, fault.TooLarge, "send less at once, or raise the server's max_payload", false},
	{nats.ErrConnectionClosed, fault.Unavailable, "the connection is closed for good; open a new one", false},
	{nats.ErrConnectionDraining, fault.Unavailable, "the connection is being closed; open a new one", false},
	{nats.ErrReconnectBufExceeded, fault.Unavailable, "the link is down, it is being made anew; try again soon", true},
	{nats.ErrConnectionReconnecting, fault.Unavailable, "the link is down, it is being made anew; try again soon", true},
	{nats.ErrDisconnected, fault.Unavailable, "the link was lost; see that the server runs and can be reached", false},
	{nats.ErrStaleConnection, fault.Unavailable, "the link is dead; see that the server runs and can be reached", false},
	{nats.ErrNoServers, fault.Unavailable, "see that it runs and can be reached", true},
	{nats.ErrTimeout, fault.Unavailable, "it did not answer in time; see that it runs and can be reached", false},
	{nats.ErrMaxConnectionsExceeded, fault.Unavailable, "raise its max_connections", true},
	{nats.ErrMaxAccountConnectionsExceeded, fault.Unavailable, "raise the account's connection limit", true},
	{nats.ErrMaxSubscriptionsExceeded, fault.Exhausted, "raise its max_subscriptions", false},
	{nats.ErrSecureConnRequired, fault.Invalid, "the server wants TLS; write tls:// or tls: true", false},
	{nats.ErrSecureConnWanted, fault.Invalid, "the server has no TLS; write nats://, or set TLS up there", false},
	{nats.ErrNkeysNotSupported, fault.Invalid, "the server knows no nkeys; configure some there, or use another way to authenticate", false},
	{jetstream.ErrNoStreamResponse, fault.Unavailable, "no server leads the stream now; see that JetStream runs, and that enough servers do", true},
	{nats.ErrNoResponders, fault.Unavailable, "nobody answers there; see that JetStream is enabled, and that enough servers run", true},
	{jetstream.ErrTooManyStalledMsgs, fault.Exhausted, "too many writes wait for an answer; try again soon", true},
	{jetstream.ErrAsyncPublishTimeout, fault.Unavailable, "it did not confirm in time; whether it was done is not known", false},
	{jetstream.ErrServerShutdown, fault.Unavailable, "the server is going down; try again soon", false},
	{jetstream.ErrConnectionClosed, fault.Unavailable, "the connection is closed for good; open a new one", false},
}

// Error codes of the JetStream API that jetstream has no name for (errors.json of nats-server).
const (
	apiInsufficientResources jetstream.ErrorCode = 10023
	apiClusterNotAvail       jetstream.ErrorCode = 10008
	apiClusterNotLeader      jetstream.ErrorCode = 10009
	apiClusterNoPeers        jetstream.ErrorCode = 10005
	apiClusterIncomplete     jetstream.ErrorCode = 10004
	apiStorageExceeded       jetstream.ErrorCode = 10047
	apiMemoryExceeded        jetstream.ErrorCode = 10028
	apiMaximumStreams        jetstream.ErrorCode = 10027
	apiStreamStoreFailed     jetstream.ErrorCode = 10077
	apiStreamOffline         jetstream.ErrorCode = 10118
	apiAccountExceeded       jetstream.ErrorCode = 10002
	apiWrongLastMsgID        jetstream.ErrorCode = 10070
)

func (c *core) classifyAnswer(answer *jetstream.APIError, err error) *fault.Error {
	if wantsRoom(answer) {
		return c.remedied(fault.Exhausted, usedUp, false, err)
	}
	switch answer.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant, apiWrongLastMsgID:
		return c.remedied(fault.Conflict, "another write came first", false, err)
	case jetstream.JSErrCodeStreamNotFound, jetstream.JSErrCodeMessageNotFound, jetstream.JSErrCodeConsumerNotFound, jetstream.JSErrCodeConsumerDoesNotExist:
		return c.remedied(fault.NotFound, "it is not there", false, err)
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		return c.remedied(fault.Unsupported, "enable JetStream for its account", false, err)
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return c.remedied(fault.TooLarge, "send less at once, or raise the stream's max_msg_size", false, err)
	case apiMaximumStreams, jetstream.JSErrCodeMaximumConsumersLimit:
		return c.remedied(fault.Exhausted, usedUp, false, err)
	case apiClusterNotAvail, apiClusterNotLeader, apiClusterNoPeers, apiClusterIncomplete, apiStreamOffline:
		return c.remedied(fault.Unavailable, "too few servers of the cluster are up; try again when they are", true, err)
	}
	if answer.ErrorCode == apiStreamStoreFailed && strings.HasPrefix(answer.Description, "maximum ") { // bytes, or messages
		return c.remedied(fault.Exhausted, "the stream is full; raise its limit, or remove what is not needed", false, err)
	}
	if answer.Code == 503 {
		return c.remedied(fault.Unavailable, "JetStream cannot serve this now; try again soon", true, err)
	}
	return fault.New(fault.Internal, "the server at %s answered: %w", c.address, err)
}

const usedUp = "its storage or a limit of the account is used up; raise it, or remove what is not needed"

// wantsRoom says whether something was refused because the server, or the account, has no room left.
func wantsRoom(answer *jetstream.APIError) bool {
	switch answer.ErrorCode {
	case apiInsufficientResources, apiStorageExceeded, apiMemoryExceeded, apiAccountExceeded:
		return true
	}
	return false
}

func (c *core) remedied(code fault.Code, remedy string, retryable bool, err error) *fault.Error {
	f := fault.New(code, "the server at %s: %s: %s", c.address, err.Error(), remedy)
	f.Err, f.Retryable = err, retryable
	return f
}
