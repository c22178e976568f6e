package translate

import (
	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// MaxItem is the largest value, payload or frame that crosses; a plugin that allows more is held to this.
const MaxItem = 64 << 20

// Offer is what a transport offers: its capabilities, and which of the optional abilities.
type Offer struct {
	Cache                   *cache.Capabilities
	Watcher, Lists, Holders bool
	Queue                   *queue.Capabilities
	Admin                   bool
	PubSub                  *pubsub.Capabilities
	RPC                     *rpc.Capabilities
	Erase                   bool
}

// OfferOf is what a transport offers.
func OfferOf(t transports.Transport) Offer {
	var o Offer
	if b := t.Cache(); b != nil {
		o.Cache = &b.Capabilities
		o.Watcher, o.Lists, o.Holders = b.Watcher != nil, b.Lists != nil, b.Holders != nil
	}
	if b := t.Queue(); b != nil {
		o.Queue = &b.Capabilities
		o.Admin = b.Admin != nil
	}
	if b := t.PubSub(); b != nil {
		o.PubSub = &b.Capabilities
	}
	if b := t.RPC(); b != nil {
		o.RPC = &b.Capabilities
	}
	_, o.Erase = t.(transports.Eraser)
	return o
}

// ToCapabilities is an offer as the wire has it.
func ToCapabilities(o Offer) *pb.Capabilities {
	m := &pb.Capabilities{Erase: o.Erase}
	if c := o.Cache; c != nil {
		m.Cache = &pb.CacheCapabilities{
			MaxKey: int64(c.MaxKey), MaxValue: int64(c.MaxValue), MaxBatch: int64(c.MaxBatch), MinTtl: int64(c.MinTTL),
			Granularity: int64(c.Granularity), ExpiryDelay: int64(c.ExpiryDelay), FenceMemory: int64(c.FenceMemory),
			Evicts: c.Evicts, Persistent: c.Persistent, Watcher: o.Watcher, Lists: o.Lists, Holders: o.Holders,
		}
	}
	if c := o.Queue; c != nil {
		m.Queue = &pb.QueueCapabilities{
			MaxPayload: int64(c.MaxPayload), MaxBatch: int64(c.MaxBatch), MaxClaim: int64(c.MaxClaim), MaxName: int64(c.MaxName),
			MinLease: int64(c.MinLease), Granularity: int64(c.Granularity), Lateness: int64(c.Lateness),
			IdMemory: int64(c.IDMemory), MaxPriority: int64(c.MaxPriority), Persistent: c.Persistent, Admin: o.Admin,
		}
	}
	if c := o.PubSub; c != nil {
		m.Pubsub = &pb.PubSubCapabilities{
			MaxPayload: int64(c.MaxPayload), MaxSubject: int64(c.MaxSubject), MaxBatch: int64(c.MaxBatch),
			Receivers: c.Receivers, ClusterWide: c.ClusterWide, Silence: int64(c.Silence),
		}
	}
	if c := o.RPC; c != nil {
		m.Rpc = &pb.RPCCapabilities{MaxFrame: int64(c.MaxFrame), NoReceiver: c.NoReceiver, Silence: int64(c.Silence)}
	}
	return m
}

// FromCapabilities reads an offer, within the bounds of what crosses. It refuses one that nobody could work with.
func FromCapabilities(m *pb.Capabilities) (Offer, error) {
	o := Offer{Erase: m.GetErase()}
	var needed []positive
	if c := m.GetCache(); c != nil {
		o.Cache = &cache.Capabilities{
			MaxKey: Whole(c.GetMaxKey()), MaxValue: item(c.GetMaxValue()), MaxBatch: Whole(c.GetMaxBatch()),
			MinTTL: duration(c.GetMinTtl()), Granularity: duration(c.GetGranularity()), ExpiryDelay: duration(c.GetExpiryDelay()),
			FenceMemory: duration(c.GetFenceMemory()), Evicts: c.GetEvicts(), Persistent: c.GetPersistent(),
		}
		o.Watcher, o.Lists, o.Holders = c.GetWatcher(), c.GetLists(), c.GetHolders()
		needed = append(needed, positive{"cache.max_key", o.Cache.MaxKey}, positive{"cache.max_value", o.Cache.MaxValue},
			positive{"cache.max_batch", o.Cache.MaxBatch})
	}
	if c := m.GetQueue(); c != nil {
		o.Queue = &queue.Capabilities{
			MaxPayload: item(c.GetMaxPayload()), MaxBatch: Whole(c.GetMaxBatch()), MaxClaim: Whole(c.GetMaxClaim()),
			MaxName: Whole(c.GetMaxName()), MinLease: duration(c.GetMinLease()), Granularity: duration(c.GetGranularity()),
			Lateness: duration(c.GetLateness()), IDMemory: duration(c.GetIdMemory()), MaxPriority: Whole(c.GetMaxPriority()),
			Persistent: c.GetPersistent(),
		}
		o.Admin = c.GetAdmin()
		needed = append(needed, positive{"queue.max_payload", o.Queue.MaxPayload}, positive{"queue.max_batch", o.Queue.MaxBatch},
			positive{"queue.max_claim", o.Queue.MaxClaim}, positive{"queue.max_name", o.Queue.MaxName})
	}
	if c := m.GetPubsub(); c != nil {
		o.PubSub = &pubsub.Capabilities{
			MaxPayload: item(c.GetMaxPayload()), MaxSubject: Whole(c.GetMaxSubject()), MaxBatch: Whole(c.GetMaxBatch()),
			Receivers: c.GetReceivers(), ClusterWide: c.GetClusterWide(), Silence: duration(c.GetSilence()),
		}
		needed = append(needed, positive{"pubsub.max_payload", o.PubSub.MaxPayload},
			positive{"pubsub.max_subject", o.PubSub.MaxSubject}, positive{"pubsub.max_batch", o.PubSub.MaxBatch})
	}
	if c := m.GetRpc(); c != nil {
		o.RPC = &rpc.Capabilities{MaxFrame: item(c.GetMaxFrame()), NoReceiver: c.GetNoReceiver(), Silence: duration(c.GetSilence())}
		needed = append(needed, positive{"rpc.max_frame", o.RPC.MaxFrame})
	}
	for _, n := range needed {
		if n.value <= 0 {
			return Offer{}, refuse("the plugin declares %s as %d; it must be above 0", n.name, n.value)
		}
	}
	return o, nil
}

type positive struct {
	name  string
	value int
}

func item(size int64) int { return Whole(min(size, MaxItem)) }
