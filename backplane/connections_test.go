package backplane_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/fault"
)

// socket is what an application may hold of a client.
type socket struct{ written []string }

func say(_ context.Context, c *backplane.Connection, text string) (int, error) {
	if text == "" {
		return 0, errors.New("nothing to say")
	}
	s := c.Local.(*socket)
	s.written = append(s.written, text)
	return len(s.written), nil
}

func TestApplyReachesTheConnectionOnItsNode(t *testing.T) {
	holder, other := open(t, "holder"), open(t, "other")
	require.NoError(t, backplane.HandleConnection(holder.Connections(), "say", say))
	client := &socket{}
	conn := holder.Connections().Add(backplane.Details{"user": "ada"}, client)

	for i, node := range []*backplane.Node{other, holder} {
		said, err := backplane.Apply[int](t.Context(), node.Connections(), conn.ID, "say", "hello")

		require.NoError(t, err)
		require.Equal(t, i+1, said)
	}
	require.Equal(t, []string{"hello", "hello"}, client.written)
}

func TestApplyWithoutAMethodAnswersTheDetails(t *testing.T) {
	holder, other := open(t, "holder"), open(t, "other")
	conn := holder.Connections().Add(backplane.Details{"user": "ada"}, nil)

	info, err := backplane.Apply[backplane.ConnectionInfo](t.Context(), other.Connections(), conn.ID, "", nil)

	require.NoError(t, err)
	require.Equal(t, conn.ID, info.ID)
	require.Equal(t, "holder", info.Node)
	require.Equal(t, backplane.Details{"user": "ada"}, info.Details)
	require.WithinDuration(t, conn.Since, info.Since, 0)
}

func TestApplySaysWhyItCannot(t *testing.T) {
	holder, other := open(t, "holder"), open(t, "other")
	require.NoError(t, backplane.HandleConnection(holder.Connections(), "say", say))
	conn := holder.Connections().Add(nil, &socket{})
	closed := holder.Connections().Add(nil, &socket{})
	require.True(t, holder.Connections().Remove(closed.ID))
	require.False(t, holder.Connections().Remove(closed.ID))

	for name, c := range map[string]struct {
		id, method string
		args       any
		code       fault.Code
	}{
		"no ID":            {"", "say", "x", fault.Invalid},
		"not an ID":        {"ada", "say", "x", fault.Invalid},
		"gone":             {closed.ID, "say", "x", fault.NotFound},
		"unknown node":     {"0000000000000000000000.abc", "say", "x", fault.NodeGone},
		"no such method":   {conn.ID, "shout", "x", fault.Unimplemented},
		"wrong arguments":  {conn.ID, "say", 7, fault.Invalid},
		"unencodable":      {conn.ID, "say", func() {}, fault.Invalid},
		"the method fails": {conn.ID, "say", "", fault.Internal},
	} {
		for _, from := range []*backplane.Node{holder, other} {
			_, err := from.Connections().Apply(t.Context(), c.id, c.method, c.args)
			require.ErrorIs(t, err, c.code, "%s, from %s: %v", name, from.Name(), err)
		}
	}
}

// Nobody waits for a node that is gone: it has said goodbye, or was silent for five seconds.
func TestApplyToANodeThatLeftIsNodeGoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		holder, other := open(t, "holder"), open(t, "other")
		require.NoError(t, other.Ready(t.Context()))
		conn := holder.Connections().Add(nil, nil)
		require.NoError(t, holder.Close())
		synctest.Wait()
		start := time.Now()

		_, err := other.Connections().Apply(t.Context(), conn.ID, "", nil)

		require.ErrorIs(t, err, fault.NodeGone)
		require.LessOrEqual(t, time.Since(start), 200*time.Millisecond)
		require.NoError(t, other.Close())
	})
}

func TestANodeThatTakesItselfForDeadWithdrawsItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := backplane.URL("cuttable:" + t.Name())
		c.Node.Name = "holder"
		holder, other := openConfig(t, c), open(t, "other")
		require.NoError(t, holder.Ready(t.Context()))
		require.NoError(t, other.Ready(t.Context()))
		require.NoError(t, backplane.HandleConnection(holder.Connections(), "say", say))
		client := &socket{}
		conn := holder.Connections().Add(nil, client)

		cut.Store(true)
		defer cut.Store(false)
		time.Sleep(10 * time.Second)

		for node, code := range map[*backplane.Node]fault.Code{holder: fault.Unavailable, other: fault.NodeGone} {
			for _, method := range []string{"say", ""} {
				_, err := node.Connections().Apply(t.Context(), conn.ID, method, "hello")
				require.ErrorIs(t, err, code, "%q on %s", method, node.Name())
			}
		}
		require.Empty(t, client.written)
		health := holder.Health(t.Context())
		require.False(t, health.Ready)
		require.Contains(t, health.Reason, "heartbeat")
		require.ErrorIs(t, holder.Ready(t.Context()), fault.Unavailable)

		cut.Store(false)
		time.Sleep(10 * time.Second)

		_, err := other.Connections().Apply(t.Context(), conn.ID, "say", "hello")
		require.NoError(t, err)
		require.Equal(t, []string{"hello"}, client.written)
		require.NoError(t, holder.Ready(t.Context()))
		require.NoError(t, holder.Close())
		require.NoError(t, other.Close())
	})
}

func TestConnectionMethodsAreRegisteredOnce(t *testing.T) {
	c := open(t, "a").Connections()
	require.NoError(t, backplane.HandleConnection(c, "say", say))

	require.ErrorIs(t, backplane.HandleConnection(c, "say", say), fault.Invalid)
	require.ErrorIs(t, backplane.HandleConnection(c, "", say), fault.Invalid)
	require.ErrorIs(t, backplane.HandleConnection[string, int](c, "x", nil), fault.Invalid)
}

func TestConnectionsAreListedWhereTheyAreHeld(t *testing.T) {
	a, b := open(t, "a"), open(t, "b")
	first, second := a.Connections().Add(nil, 1), a.Connections().Add(nil, 2)
	require.NotEqual(t, first.ID, second.ID)

	var local []any
	for c := range a.Connections().All() {
		local = append(local, c.Local)
	}

	require.ElementsMatch(t, []any{1, 2}, local)
	require.Equal(t, 2, a.Connections().Len())
	require.Zero(t, b.Connections().Len())
	got, ok := a.Connections().Local(first.ID)
	require.True(t, ok)
	require.Same(t, first, got)
	_, ok = b.Connections().Local(first.ID)
	require.False(t, ok)
}
