// Command chat is a chat server on two nodes: a client is connected to one of them, rooms are subjects that both nodes
// listen to, and a message to one person goes straight to the node that holds the connection.
//
//	go run ./examples/chat
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	_ "github.com/gobackplane/backplane/transports/memory"
	_ "github.com/gobackplane/backplane/transports/redis"
)

// Line is what is said in a room, or to one person.
type Line struct{ From, Text string }

// rooms are the subjects of all rooms; room is one of them.
var rooms = pubsub.NewTopic[Line]("rooms.*")

func room(name string) pubsub.Topic[Line] { return pubsub.NewTopic[Line]("rooms." + name) }

// server is one node of the chat.
type server struct{ *backplane.Node }

// client stands for a socket: what is written to it is what the person sees.
type client struct{ sees chan Line }

func main() {
	ctx := context.Background()
	one, two := start(ctx, "chat-1"), start(ctx, "chat-2")
	defer two.Close()
	ada, adaID := one.connect("ada", "garden")
	grace, graceID := two.connect("grace", "garden")

	// To a room: every node hears it, and hands it to those in the room whom it holds.
	_, err := room("garden").Publish(ctx, one.PubSub(), Line{"ada", "hello garden"})
	check(err)
	fmt.Println("ada sees:", <-ada.sees)
	fmt.Println("grace sees:", <-grace.sees)

	// To one person, wherever she is connected: her connection's ID says where.
	_, err = backplane.Apply[bool](ctx, one.Connections(), graceID, "say", Line{"ada", "hello grace"})
	check(err)
	fmt.Println("grace sees:", <-grace.sees)

	// Without a method, what is known of a connection.
	info, err := backplane.Apply[backplane.ConnectionInfo](ctx, two.Connections(), adaID, "", nil)
	check(err)
	fmt.Println("on", info.Node, "is", info.Details["user"])

	// A node that has gone took its connections with it, and everybody knows.
	one.Close()
	_, err = backplane.Apply[bool](ctx, two.Connections(), adaID, "say", Line{"grace", "still there?"})
	fmt.Println("ada is gone:", errors.Is(err, fault.NodeGone))
}

func start(ctx context.Context, name string) *server {
	config := backplane.URL(cmp.Or(os.Getenv("BACKPLANE_URL"), "memory:example-chat"))
	config.Node.Name = name
	node, err := backplane.Open(ctx, config)
	check(err)
	s := &server{node}
	check(backplane.HandleConnection(node.Connections(), "say", func(_ context.Context, c *backplane.Connection, line Line) (bool, error) {
		return c.Local.(*client).show(line), nil
	}))
	_, err = rooms.SubscribeFunc(ctx, node.PubSub(), s.hear) // ends with the node
	check(err)
	return s
}

// connect is what happens when a client's socket opens.
func (s *server) connect(user, room string) (*client, string) {
	c := &client{sees: make(chan Line, 16)}
	conn := s.Connections().Add(backplane.Details{"user": user, "room": room}, c)
	return c, conn.ID
}

// hear hands what is said in a room to the clients of this node that are in it.
func (s *server) hear(_ context.Context, e pubsub.TopicEvent[Line]) {
	if e.Gap != nil || e.Err != nil {
		return // a chat may tell its clients that something is missing, or load the history again
	}
	for conn := range s.Connections().All() {
		if "rooms."+conn.Details["room"] == e.Message.Subject {
			conn.Local.(*client).show(e.Value)
		}
	}
}

// show writes to the socket, and says whether there was room: one client that does not read must not hold up the rest.
func (c *client) show(l Line) bool {
	select {
	case c.sees <- l:
		return true
	default:
		return false
	}
}

// String is how a client shows a line.
func (l Line) String() string { return l.From + ": " + l.Text }

func check(err error) {
	if err != nil {
		panic(err)
	}
}
