package plugin

import (
	"context"
	"sync"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports/plugin/internal/exchange"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// closeWait is how long Close waits for what should take no time: the plugin's answer, and functions that events are
// delivered to.
const closeWait = 5 * time.Second

// feed is a subscription, watch or listener of a node. It outlives the plugin's process: with the next one it is begun
// anew, and its receiver is told that something may be missing.
type feed[E, M any] struct {
	mailbox[E]
	node    *node
	request func(r *pb.Request, credit uint64)
	events  func(*pb.Events) []*M
	from    func(*M, *E) error
	weight  func(*M) int64
	gap     func() E

	at sync.Mutex // line and id
	// Where it is open; nil while it is not.
	line *line
	id   uint64
}

// opened is a feed of whatever kind, as its node knows it.
type opened interface {
	// renew begins the feed on another plugin's line.
	renew(ctx context.Context, l *line) error
	shut()
	await(limit time.Duration) bool
}

// receive takes in what the plugin sent.
func (f *feed[E, M]) receive(m *pb.Events) error {
	messages := f.events(m)
	events, err := translate.Unpack(messages, f.from)
	if err != nil {
		return err
	}
	weight := int64(0)
	for _, m := range messages {
		weight += f.weight(m)
	}
	return f.post(events, weight)
}

// open begins the feed for the first time.
func (f *feed[E, M]) open(ctx context.Context, op, subject string) error {
	s, err := f.node.ready(ctx, op, subject)
	if err != nil {
		return err
	}
	if err := f.start(ctx, s.lines[feedLane], op, subject); err != nil {
		return err
	}
	if !f.node.keep(s, f) { // the plugin or the node ended just now, and with it the feed
		f.shut()
		return f.node.failed(broken{errEnded, false}, about{op: op, subject: subject})
	}
	f.confirm()
	return nil
}

// renew begins the feed again after its plugin was replaced.
func (f *feed[E, M]) renew(ctx context.Context, l *line) error {
	if err := f.start(ctx, l, "plugin: resume", ""); err != nil {
		return err
	}
	if !f.node.keeps(f) { // closed meanwhile
		f.stop(func(l *line, id uint64) { l.cast(unsubscribe(id)) })
		return nil
	}
	f.confirm(f.gap())
	return nil
}

// start asks the plugin for the feed.
func (f *feed[E, M]) start(ctx context.Context, l *line, op, subject string) error {
	c := about{op: op, subject: subject, harmless: true}
	id := l.newID()
	f.begin(func(bytes int64) { l.credit(id, bytes) })
	r := &pb.Request{Id: id}
	f.request(r, window)
	answer, err := l.do(ctx, r, how{feed: f, waits: true, late: func() { l.cast(unsubscribe(id)) }})
	if err != nil {
		l.drop(id)
		return f.node.failed(err, c)
	}
	if err := translate.FromFault(answer.GetFault()); err != nil {
		l.drop(id)
		return f.node.answered(ctx, err, c)
	}
	f.at.Lock()
	f.line, f.id = l, id
	f.at.Unlock()
	return nil
}

func unsubscribe(id uint64) *pb.Request {
	return &pb.Request{Call: &pb.Request_Unsubscribe{Unsubscribe: &pb.Unsubscribe{Subscription: id}}}
}

// stop takes the feed off its line, if it is on one, and has how end it there.
func (f *feed[E, M]) stop(how func(l *line, id uint64)) {
	f.at.Lock()
	l, id := f.line, f.id
	f.line = nil
	f.at.Unlock()
	if l != nil {
		l.drop(id)
		how(l, id)
	}
}

// Close ends the feed, here and in the plugin. It may be called twice, and from within deliver.
func (f *feed[E, M]) Close() error {
	f.shut()
	f.node.drop(f)
	f.stop(func(l *line, id uint64) {
		if withinDeliver() {
			l.cast(unsubscribe(id))
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		defer cancel()
		_, _ = l.do(ctx, unsubscribe(id), how{waits: true}) // without a plugin it is over just as well
	})
	f.await(0)
	return nil
}

func newWatch(n *node, prefix string, deliver func([]cache.Change)) *feed[cache.Change, pb.Change] {
	return &feed[cache.Change, pb.Change]{
		mailbox: mailbox[cache.Change]{deliver: deliver}, node: n,
		request: func(r *pb.Request, credit uint64) {
			r.Call = &pb.Request_WatchEntries{WatchEntries: &pb.WatchEntries{Prefix: translate.Raw(prefix), Credit: credit}}
		},
		events: (*pb.Events).GetChanges, from: translate.FromChange, weight: exchange.WeightOfChange,
		gap: func() cache.Change { return cache.Change{Resync: true} },
	}
}

func newSubscription(n *node, filter pubsub.Filter, deliver func([]pubsub.Event)) *feed[pubsub.Event, pb.Event] {
	return &feed[pubsub.Event, pb.Event]{
		mailbox: mailbox[pubsub.Event]{deliver: deliver}, node: n,
		request: func(r *pb.Request, credit uint64) {
			r.Call = &pb.Request_Subscribe{Subscribe: &pb.Subscribe{
				Subject: translate.Raw(filter.Subject), Group: translate.Raw(filter.Group), Credit: credit,
			}}
		},
		events: (*pb.Events).GetEvents, from: translate.FromEvent, weight: exchange.WeightOfEvent,
		gap: func() pubsub.Event {
			return pubsub.Event{Gap: &pubsub.Gap{Cause: pubsub.Reconnected, Lost: pubsub.Unknown}}
		},
	}
}

func newListener(n *node, address rpc.Address, deliver func([]rpc.Frame)) *feed[rpc.Frame, pb.Frame] {
	return &feed[rpc.Frame, pb.Frame]{
		mailbox: mailbox[rpc.Frame]{deliver: deliver}, node: n,
		request: func(r *pb.Request, credit uint64) {
			r.Call = &pb.Request_Listen{Listen: &pb.Listen{Address: translate.Raw(address), Credit: credit}}
		},
		events: (*pb.Events).GetFrames, from: translate.FromFrame, weight: exchange.WeightOfFrame,
		gap: func() rpc.Frame { return rpc.Frame{To: address, Gap: true} },
	}
}
