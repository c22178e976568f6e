package rpc

import (
	"log/slog"
	"maps"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
)

// Options of a peer. Only Name is needed, and Keys or Insecure.
type Options struct {
	// Name of this node, 1 to 128 bytes. It is for people, and may repeat in a cluster.
	Name string
	// Metadata that the other nodes see; see Peer.SetMetadata.
	Metadata map[string]string

	// Keys of the cluster, 32 bytes in base64 each, newest first: frames are signed with the first, and accepted with any.
	Keys []string
	// Insecure allows to go without keys, where nobody else can reach the transport.
	Insecure bool
	// Secret encrypts every frame too.
	Secret bool

	// Heartbeat is how often this node says that it lives. Default: 1 s.
	Heartbeat time.Duration
	// DeadAfter is the silence after which a node is dead; at least three heartbeats. It is noticed within a fifth of a
	// heartbeat more. The same on all nodes. Default: five heartbeats.
	DeadAfter time.Duration

	// CallTimeout ends calls whose context has no deadline. Default: 10 s.
	CallTimeout time.Duration
	// Drain is how long Close waits for running handlers before it cancels them. Default: 5 s.
	Drain time.Duration

	Limits Limits
	// Codec of typed values. Default: JSON().
	Codec Codec

	// ClientMiddleware goes around every call that this node makes, the first outermost.
	ClientMiddleware []func(Invoker) Invoker
	// ServerMiddleware goes around every handler that is registered here, the first outermost.
	ServerMiddleware []func(Handler) Handler

	// Logger for what nobody waits for. Default: slog.Default().
	Logger *slog.Logger
}

// Limits of a peer. Zero is the default of each.
type Limits struct {
	// Payload is the largest request or answer, in bytes, that this node sends or takes. Default: 64 MiB.
	Payload int
	// Concurrency is how many calls of one method may run here at once; see the option of that name. Default: 256.
	Concurrency int
	// Assembly is the memory for payloads that are coming in chunks, in bytes, and AssemblyPerNode what one sender may use
	// of it; what does not fit waits. At least Payload. Default: four times and twice Payload.
	Assembly, AssemblyPerNode int
}

// withDefaults fills in what was left out, and refuses what cannot be.
func (o Options) withDefaults() (Options, error) {
	if o.Name == "" || len(o.Name) > envelope.MaxName {
		return o, fault.New(fault.Invalid, "the node's name has %d bytes; 1 to %d are allowed", len(o.Name), envelope.MaxName)
	}
	if len(o.Keys) == 0 && !o.Insecure {
		return o, fault.New(fault.Invalid, "the cluster has no keys: make one with `backplane key` and give it to all nodes (cluster.keys), or allow to go without (insecure: true)")
	}
	for _, d := range []struct {
		name string
		of   *time.Duration
		is   time.Duration
	}{
		{"Heartbeat", &o.Heartbeat, time.Second},
		{"DeadAfter", &o.DeadAfter, 5 * max(o.Heartbeat, 0)},
		{"CallTimeout", &o.CallTimeout, 10 * time.Second},
		{"Drain", &o.Drain, 5 * time.Second},
	} {
		if *d.of == 0 {
			*d.of = d.is
		}
		if *d.of == 0 { // DeadAfter, when Heartbeat was left out too
			*d.of = 5 * o.Heartbeat
		}
		if *d.of < time.Millisecond {
			return o, fault.New(fault.Invalid, "%s is %s; at least 1 ms is needed", d.name, *d.of)
		}
	}
	if o.DeadAfter < 3*o.Heartbeat {
		return o, fault.New(fault.Invalid, "DeadAfter is %s, less than three heartbeats of %s: a lost frame would be a death", o.DeadAfter, o.Heartbeat)
	}
	if err := o.Limits.fill(); err != nil {
		return o, err
	}
	if o.Codec == nil {
		o.Codec = JSON()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Metadata = maps.Clone(o.Metadata)
	return o, nil
}

func (l *Limits) fill() error {
	for _, n := range []struct {
		name        string
		of          *int
		usual, most int
	}{
		{"Payload", &l.Payload, 64 << 20, 1 << 30},
		{"Concurrency", &l.Concurrency, 256, 1 << 20},
	} {
		if *n.of == 0 {
			*n.of = n.usual
		}
		if *n.of < 1 || *n.of > n.most {
			return fault.New(fault.Invalid, "Limits.%s is %d; 1 to %d are allowed", n.name, *n.of, n.most)
		}
	}
	largest := largestAssembly(l.Payload)
	if l.AssemblyPerNode == 0 {
		l.AssemblyPerNode = 2 * largest
	}
	if l.Assembly == 0 {
		l.Assembly = max(4*largest, l.AssemblyPerNode)
	}
	l.AssemblyPerNode, l.Assembly = max(l.AssemblyPerNode, largest), max(l.Assembly, largest)
	return nil
}

// largestAssembly is a payload with all that stands before it in a request or a response.
func largestAssembly(payload int) int { return payload + maxHeaders + 4096 }
