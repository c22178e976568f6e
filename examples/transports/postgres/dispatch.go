package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/gobackplane/backplane/pubsub"
)

// inbox stands between the goroutine that reads notifications and the one that dispatches them, which may have to fetch
// parcels. What comes in keeps its order. It is bounded: beyond that every subscription gets a gap.
type inbox struct {
	mu       sync.Mutex
	come     sync.Cond
	arrivals []arrival
	bytes    int
	over     bool
	running  bool
	done     chan struct{}
}

// arrival is a notification, a subscription that is live from here on, or a gap for all.
type arrival struct {
	note string
	at   time.Time
	live *subscription
	gap  *pubsub.Gap
}

const (
	inboxArrivals = 1 << 16
	inboxBytes    = 64 << 20
)

func (i *inbox) init() {
	i.come.L = &i.mu
	i.done = make(chan struct{})
}

// start begins dispatching, once.
func (i *inbox) start(dispatch func([]arrival)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.running || i.over {
		return
	}
	i.running = true
	go func() {
		defer close(i.done)
		for all := i.take(); all != nil; all = i.take() {
			dispatch(all)
		}
	}()
}

func (i *inbox) put(a arrival) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.over {
		return
	}
	if a.note != "" && (len(i.arrivals) >= inboxArrivals || i.bytes+len(a.note) > inboxBytes) {
		if last := i.arrivals[len(i.arrivals)-1]; last.gap != nil {
			return
		}
		a = arrival{gap: &pubsub.Gap{Cause: pubsub.Overflow, Lost: pubsub.Unknown}}
	}
	i.arrivals = append(i.arrivals, a)
	i.bytes += len(a.note)
	i.come.Signal()
}

// take waits for arrivals; nil when it is over.
func (i *inbox) take() []arrival {
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(i.arrivals) == 0 && !i.over {
		i.come.Wait()
	}
	if i.over {
		return nil
	}
	all := i.arrivals
	i.arrivals, i.bytes = nil, 0
	return all
}

// close ends dispatching and waits for it, unless it is called from within.
func (i *inbox) close() {
	i.mu.Lock()
	i.over = true
	i.arrivals = nil
	running := i.running
	i.come.Broadcast()
	i.mu.Unlock()
	if running {
		<-i.done
	}
}

// note and gap make the bus a consumer of the receiver.
func (b *bus) note(_, payload string) { b.inbox.put(arrival{note: payload, at: time.Now()}) }

func (b *bus) gap() { b.inbox.put(arrival{gap: reconnected()}) }

func reconnected() *pubsub.Gap { return &pubsub.Gap{Cause: pubsub.Reconnected, Lost: pubsub.Unknown} }

// dispatch hands arrivals to subscriptions, in order.
func (b *bus) dispatch(all []arrival) {
	var found []*subscription
	var fetched map[messageID][]byte
	for n, a := range all {
		switch {
		case a.live != nil:
			b.enlist(a.live)
			continue
		case a.gap != nil:
			b.tellAll(*a.gap)
			continue
		}
		f, parcel, err := readNote(a.note)
		if err != nil {
			if before, due := b.undecodable.due(); due {
				b.t.log.Error("postgres: a message was dropped: it cannot be decoded", "error", err, "more", before)
			}
			continue
		}
		if found = b.matching(f.subject, found[:0]); len(found) == 0 {
			continue
		}
		if parcel {
			if _, there := fetched[f.id]; !there {
				fetched = b.fetch(all[n:])
			}
			if f, err = readFrame(fetched[f.id]); err != nil {
				b.hand(found, letter{gap: &pubsub.Gap{Cause: pubsub.Skipped, Lost: pubsub.Unknown}}, a.at)
				continue
			}
		}
		b.hand(found, letter{frame: &f}, a.at)
	}
}

// tellAll gives every subscription a gap, members of groups behind what is being voted on for them.
func (b *bus) tellAll(gap pubsub.Gap) {
	b.mu.Lock()
	all := append([]*subscription(nil), b.wild...)
	for _, some := range b.literal {
		all = append(all, some...)
	}
	b.mu.Unlock()
	b.hand(all, letter{gap: &gap}, time.Now())
}

// hand gives a letter to subscriptions; where they are members of groups, a message to one that this node may yet win.
func (b *bus) hand(all []*subscription, l letter, at time.Time) {
	var members map[string][]*subscription
	for _, s := range all {
		switch {
		case s.filter.Group == "" && l.gap != nil:
			gap := *l.gap
			s.box.post(letter{gap: &gap})
		case s.filter.Group == "":
			s.box.post(l)
		default:
			if members == nil {
				members = map[string][]*subscription{}
			}
			members[s.filter.Group] = append(members[s.filter.Group], s)
		}
	}
	for group, of := range members {
		b.votes.post(ballot{group: group, members: of, letter: l, at: at})
	}
}

// So many parcels, or bytes of them, are fetched together.
const (
	fetchAtOnce = 256
	fetchBytes  = 8 << 20
)

// fetch reads the parcels of the next arrivals, up to the next change of who is there. What is missing was too old.
func (b *bus) fetch(next []arrival) map[messageID][]byte {
	var ids [][]byte
	bytes := 0
	for _, a := range next {
		if a.live != nil || len(ids) == fetchAtOnce || bytes > fetchBytes {
			break
		}
		if f, parcel, err := readNote(a.note); a.note != "" && err == nil && parcel && len(b.matching(f.subject, nil)) > 0 {
			ids = append(ids, f.id[:])
			bytes += f.length()
		}
	}
	fetched := make(map[messageID][]byte, len(ids))
	for _, id := range ids {
		fetched[messageID(id)] = nil
	}
	for attempt := 0; attempt < 3 && b.t.life.Err() == nil; attempt++ {
		var id, whole []byte
		err := b.t.store.rows(b.t.life, "SELECT id, frame FROM parcel WHERE ns = $1 AND id = ANY ($2)", []any{b.t.ns, ids}, []any{&id, &whole}, func() error {
			if len(id) == len(messageID{}) {
				fetched[messageID(id)] = append([]byte(nil), whole...)
			}
			return nil
		})
		if err == nil {
			break
		}
		if before, due := b.unfetched.due(); due {
			b.t.log.Warn("postgres: messages could not be fetched; trying again", "messages", len(ids), "error", b.t.fault(err, "", ""), "more", before)
		}
		pause(b.t.life, 100*time.Millisecond)
	}
	return fetched
}

// pause lets time pass, or ctx end.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
