package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
)

func TestCodesHaveStableNumbersAndNames(t *testing.T) {
	// These cross the wire between nodes of different versions: a change here breaks running clusters.
	want := map[int]string{
		1: "canceled", 2: "deadline exceeded", 3: "not found", 4: "conflict", 5: "locked", 6: "duplicate", 7: "lease lost",
		8: "no receiver", 9: "node gone", 10: "unimplemented", 11: "unauthenticated", 12: "permission denied",
		13: "too large", 14: "exhausted", 15: "unsupported", 16: "unavailable", 17: "invalid", 18: "corrupt", 19: "closed",
		20: "internal",
	}

	got := map[int]string{}
	for _, c := range fault.Codes() {
		got[int(c)] = c.String()
	}

	require.Equal(t, want, got)
	require.Equal(t, "code 200", fault.Code(200).String())
}

func TestCodesSurviveText(t *testing.T) {
	for _, c := range fault.Codes() {
		text, err := json.Marshal(c)
		require.NoError(t, err)
		var back fault.Code
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, c, back)
	}
	var unknown fault.Code
	require.NoError(t, json.Unmarshal([]byte(`"from the future"`), &unknown))
	require.Equal(t, fault.Internal, unknown)
}

func TestErrorIsItsCodeAndItsCause(t *testing.T) {
	cause := io.ErrUnexpectedEOF
	err := fmt.Errorf("outer: %w", &fault.Error{Code: fault.Unavailable, Err: cause})

	require.ErrorIs(t, err, fault.Unavailable)
	require.ErrorIs(t, err, cause)
	require.NotErrorIs(t, err, fault.Closed)
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
}

func TestCodeOf(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want fault.Code
	}{
		"nil":                     {nil, fault.OK},
		"a code":                  {fault.Locked, fault.Locked},
		"a wrapped code":          {fmt.Errorf("x: %w", fault.Locked), fault.Locked},
		"cancelled":               {context.Canceled, fault.Canceled},
		"deadline":                {fmt.Errorf("x: %w", context.DeadlineExceeded), fault.DeadlineExceeded},
		"foreign":                 {io.EOF, fault.Internal},
		"an error around a code":  {fault.New(fault.Invalid, "because %w", fault.Locked), fault.Invalid},
		"an error around context": {fault.New(fault.Unavailable, "because %w", context.Canceled), fault.Unavailable},
	} {
		require.Equal(t, c.want, fault.CodeOf(c.err), name)
	}
}

func TestContextErrorsAreBoth(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	require.NoError(t, fault.FromContext(ctx))
	cancel(io.ErrClosedPipe)

	err := fault.FromContext(ctx)

	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, fault.Canceled)
	require.ErrorIs(t, err, io.ErrClosedPipe, "the cause is kept")
	late, stop := context.WithTimeout(context.Background(), 0)
	defer stop()
	require.ErrorIs(t, fault.FromContext(late), context.DeadlineExceeded)
}

func TestMessagesNameTheThingAndTheRemedy(t *testing.T) {
	err := fault.In(fault.New(fault.TooLarge, "value is 2.1 MiB, nats allows 1 MiB (max_payload)"), "cache: set", "user:42")

	require.EqualError(t, err, `cache: set "user:42": value is 2.1 MiB, nats allows 1 MiB (max_payload)`)
	require.EqualError(t, fault.In(io.EOF, "cache: get", "k"), `cache: get "k": internal: EOF`)
	require.EqualError(t, &fault.Error{Code: fault.Closed, Op: "cache: get"}, "cache: get: closed")
	require.EqualError(t, fault.New(fault.Corrupt, "line 3: %w", io.EOF), "line 3: EOF")
	remote := &fault.Error{Code: fault.NotFound, Remote: true, Node: "web-2", Message: "no such user"}
	require.EqualError(t, remote, "no such user (on node web-2)")
}

func TestInnermostCircumstancesWin(t *testing.T) {
	inner := fault.In(fault.New(fault.Locked, "held by web-2"), "cache: set", "a")

	outer := fault.In(inner, "cache: load", "b")

	var f *fault.Error
	require.ErrorAs(t, outer, &f)
	require.Equal(t, "cache: set", f.Op)
	require.Equal(t, "a", f.Subject)
	require.NoError(t, fault.In(nil, "x", "y"))
}

func TestRemoteFaultsAreNotLocalOnes(t *testing.T) {
	remote := &fault.Error{Code: fault.NodeGone, Remote: true}

	require.True(t, fault.IsRemote(remote))
	require.Equal(t, fault.OK, fault.LocalCode(remote))
	require.Equal(t, fault.NodeGone, fault.LocalCode(&fault.Error{Code: fault.NodeGone}))
	require.True(t, fault.IsRetryable(fmt.Errorf("x: %w", &fault.Error{Retryable: true})))
	require.False(t, fault.IsRetryable(errors.New("x")))
}

func ExampleCodeOf() {
	err := fault.In(fault.New(fault.Locked, "web-2 holds it for another 3s"), "cache: set", "user:42")
	fmt.Println(errors.Is(err, fault.Locked), fault.CodeOf(err))
	fmt.Println(err)
	// Output:
	// true locked
	// cache: set "user:42": web-2 holds it for another 3s
}
