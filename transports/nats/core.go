package nats

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// core is what all parts of a transport share: the connection, and how the parts over JetStream keep their data.
type core struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	ns       string // the cluster's name: every subject, stream and bucket has it in its own
	log      *slog.Logger
	life     context.Context // ends when Close begins; whatever waits, waits on it too
	replicas int             // how many servers keep each stream
	storage  jetstream.StorageType

	address string        // for errors: never with a password
	watches reconnections // told of every reconnection
}
