package backplane

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
)

// Connections is the directory of client connections (sockets, streams) that the nodes of a cluster hold. There is no
// table of them anywhere: a connection's ID names the life of the node that holds it, so that a call to it is one round
// trip to that node, and one that is gone is known to be gone as soon as its node is.
//
// A node that takes itself for dead, because it does not hear its own heartbeat, withdraws its connections until it does
// again: no method runs on them, Apply is Unavailable on that node, and NodeGone on the others once they miss it too. Its
// own program still finds them with Local and All, to end them or to wait.
//
//	conn := node.Connections().Add(backplane.Details{"user": "ada"}, socket)
//	defer node.Connections().Remove(conn.ID)
//
//	err := backplane.HandleConnection(node.Connections(), "say", func(ctx context.Context, c *backplane.Connection, text string) (bool, error) {
//		return true, c.Local.(*Socket).Write(text)
//	})
//
//	// on any node:
//	said, err := backplane.Apply[bool](ctx, node.Connections(), id, "say", "hello")
type Connections struct {
	peer *rpc.Peer

	mu      sync.RWMutex
	held    map[string]*Connection
	methods map[string]connectionMethod
}

// Connection is one client connection that this node holds.
type Connection struct {
	ID      string
	Details Details
	Since   time.Time
	Local   any // the application's own object; it never leaves the node
}

// Details describe a connection to other nodes: the user, the address, the room.
type Details map[string]string

// ConnectionInfo is what Apply answers without a method.
type ConnectionInfo struct {
	ID      string    `json:"id"`
	Node    string    `json:"node"` // the name of the node that holds it
	Since   time.Time `json:"since"`
	Details Details   `json:"details"`
}

type connectionMethod func(ctx context.Context, c *Connection, args json.RawMessage) (any, error)

// applyMethod is the RPC method behind Apply.
const applyMethod = "backplane.connections.apply"

type application struct {
	ID     string          `json:"id"`
	Method string          `json:"method,omitempty"`
	Args   json.RawMessage `json:"args,omitempty"`
}

func newConnections(peer *rpc.Peer) (*Connections, error) {
	c := &Connections{peer: peer, held: map[string]*Connection{}, methods: map[string]connectionMethod{}}
	return c, rpc.Handle(peer, applyMethod, c.serve)
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Add takes a connection into the directory and gives it an ID, which nobody can guess and which never comes again.
// Local is whatever the methods of this node need to reach the client.
func (c *Connections) Add(details Details, local any) *Connection {
	var unique [10]byte
	_, _ = rand.Read(unique[:]) // never fails
	conn := &Connection{
		ID:      c.peer.Self().Incarnation + "." + idEncoding.EncodeToString(unique[:]),
		Details: details, Since: time.Now(), Local: local,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[conn.ID] = conn
	return conn
}

// Remove takes a connection of this node out of the directory; later calls to it are NotFound. It reports whether it was
// there.
func (c *Connections) Remove(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, was := c.held[id]
	delete(c.held, id)
	return was
}

// Local gives a connection that this node holds.
func (c *Connections) Local(id string) (*Connection, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	conn, ok := c.held[id]
	return conn, ok
}

// All lists the connections that this node held when it was called, in no order.
func (c *Connections) All() iter.Seq[*Connection] {
	c.mu.RLock()
	held := make([]*Connection, 0, len(c.held))
	for _, conn := range c.held {
		held = append(held, conn)
	}
	c.mu.RUnlock()
	return func(yield func(*Connection) bool) {
		for _, conn := range held {
			if !yield(conn) {
				return
			}
		}
	}
}

// Len is how many connections this node holds.
func (c *Connections) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.held)
}

// HandleConnection registers a method that any node can apply to a connection of this one. Nothing else can be called.
// Invalid when the name is empty or taken, or f is nil.
func HandleConnection[Args, Result any](c *Connections, method string, f func(ctx context.Context, conn *Connection, args Args) (Result, error)) error {
	const op = "backplane: handle connection"
	if method == "" || f == nil {
		return &fault.Error{Code: fault.Invalid, Op: op, Subject: method, Message: "the method needs a name and a function"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.methods[method]; taken {
		return &fault.Error{Code: fault.Invalid, Op: op, Subject: method, Message: "the method is registered already"}
	}
	c.methods[method] = func(ctx context.Context, conn *Connection, raw json.RawMessage) (any, error) {
		var args Args
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &args); err != nil {
				return nil, fault.New(fault.Invalid, "the arguments are not a %T: %w", args, err)
			}
		}
		return f(ctx, conn, args)
	}
	return nil
}

// Apply runs a method on the node that holds the connection, and answers what it returned. Without a method (and with
// Result ConnectionInfo) it answers what is known of the connection.
//
// It costs one round trip to that node, and nothing when it is this one. NotFound: the node does not hold that connection
// any more. NodeGone: its node has left or died. Unavailable: this node is cut off from the others. Unimplemented: the
// node has no such method. Invalid: that is no connection's ID.
func Apply[Result any](ctx context.Context, c *Connections, id, method string, args any) (Result, error) {
	var result Result
	raw, err := c.Apply(ctx, id, method, args)
	if err != nil {
		return result, err
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return result, fault.In(fault.New(fault.Corrupt, "the answer is not a %T: %w", result, err), opApply, id)
	}
	return result, nil
}

const opApply = "backplane: apply"

// Apply is the function Apply for a result that is left as JSON.
func (c *Connections) Apply(ctx context.Context, id, method string, args any) (json.RawMessage, error) {
	incarnation, rest, ok := strings.Cut(id, ".")
	if !ok || incarnation == "" || rest == "" {
		return nil, &fault.Error{Code: fault.Invalid, Op: opApply, Subject: id, Message: "this is no connection's ID"}
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, fault.In(fault.New(fault.Invalid, "the arguments cannot be encoded: %w", err), opApply, id)
	}
	answer, err := rpc.Call[json.RawMessage](ctx, c.peer, rpc.Node(incarnation), applyMethod, application{ID: id, Method: method, Args: raw})
	if fault.LocalCode(err) == fault.NoReceiver {
		err = fault.New(fault.NodeGone, "the node that held the connection is gone: %w", err)
	}
	return answer, fault.In(err, opApply, id)
}

// serve is the other end of Apply, on the node that holds the connection.
func (c *Connections) serve(ctx context.Context, a application) (any, error) {
	c.mu.RLock()
	conn, held := c.held[a.ID]
	method := c.methods[a.Method]
	c.mu.RUnlock()
	switch {
	case c.peer.Fenced(): // since the call was taken in
		return nil, &fault.Error{Code: fault.Unavailable, Op: opApply, Subject: a.ID, Message: "the node that holds the connection does not hear its own heartbeat, and takes itself for dead"}
	case !held:
		return nil, &fault.Error{Code: fault.NotFound, Op: opApply, Subject: a.ID, Message: "the node does not hold that connection any more"}
	case a.Method == "":
		return ConnectionInfo{ID: conn.ID, Node: c.peer.Self().Name, Since: conn.Since, Details: conn.Details}, nil
	case method == nil:
		return nil, &fault.Error{Code: fault.Unimplemented, Op: opApply, Subject: a.ID, Message: fmt.Sprintf("the node has no method %q for connections", a.Method)}
	}
	return method(ctx, conn, a.Args)
}
