package conformance

import (
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/transports"
)

// Ability is something that a transport may offer or not, as its capabilities say. The empty Ability is what every
// transport has.
type Ability string

// The abilities.
const (
	NeedsCache       Ability = "cache"
	NeedsWatcher     Ability = "cache.watcher"
	NeedsLists       Ability = "cache.lists"
	NeedsHolders     Ability = "cache.holders"
	NeedsQueue       Ability = "queue"
	NeedsAdmin       Ability = "queue.admin"
	NeedsPubSub      Ability = "pubsub"
	NeedsReceivers   Ability = "pubsub.receivers"
	NeedsClusterWide Ability = "pubsub.cluster-wide"
	NeedsRPC         Ability = "rpc"
	NeedsNoReceiver  Ability = "rpc.no-receiver"
)

// offeredBy reports whether the transport declares the ability.
func (a Ability) offeredBy(t transports.Transport) bool {
	switch a {
	case NeedsCache:
		return t.Cache() != nil
	case NeedsWatcher:
		return t.Cache() != nil && t.Cache().Watcher != nil
	case NeedsLists:
		return t.Cache() != nil && t.Cache().Lists != nil
	case NeedsHolders:
		return t.Cache() != nil && t.Cache().Holders != nil
	case NeedsQueue:
		return t.Queue() != nil
	case NeedsAdmin:
		return t.Queue() != nil && t.Queue().Admin != nil
	case NeedsPubSub:
		return t.PubSub() != nil
	case NeedsReceivers:
		return t.PubSub() != nil && t.PubSub().Capabilities.Receivers
	case NeedsClusterWide:
		return t.PubSub() != nil && t.PubSub().Capabilities.ClusterWide
	case NeedsRPC:
		return transports.RPCOf(t) != nil
	case NeedsNoReceiver:
		return transports.RPCOf(t) != nil && transports.RPCOf(t).Capabilities.NoReceiver
	}
	return true
}

// refusal checks that an ability which is not declared is refused properly: by every node alike, at once, without
// touching anything else. What answers Unsupported stands above the transport, and is asked through it.
func (a Ability) refusal(e *Env) {
	other := e.Open()
	require.Falsef(e, a.offeredBy(other), "one node declares %s, another does not", a)
	if ask := refusals[a]; ask != nil {
		e.Promptly("refusing "+string(a), func() { ask(e) })
	}
	require.NoError(e, e.Node.Health(e.Context()), "the transport must stay usable after it refused %s", a)
	require.False(e, a.offeredBy(e.Node), "%s is declared after it was refused", a)
}

// refusals ask for an ability that is not there, and require what the answer must be. An ability without an entry is a
// parameter that callers read, with nothing to call.
var refusals = map[Ability]func(e *Env){
	NeedsCache:   func(e *Env) { refuseCache(e, cacheOf(e, e.Node)) },
	NeedsWatcher: func(e *Env) { refuseWatch(e, cacheOf(e, e.Node)) },
	NeedsLists:   func(e *Env) { refuseLists(e, cacheOf(e, e.Node)) },
	NeedsHolders: func(e *Env) { refuseHolders(e, cacheOf(e, e.Node)) },
	NeedsQueue:   func(e *Env) { refuseQueue(e, e.Node.Queue()) },
	NeedsAdmin:   func(e *Env) { refuseAdmin(e, e.Node.Queue()) },
	NeedsPubSub:  func(e *Env) { refusePubSub(e, e.Node.PubSub()) },
	NeedsRPC:     func(e *Env) { refuseRPC(e, transports.RPCOf(e.Node)) },
}
