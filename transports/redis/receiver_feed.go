package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/internal/subject"
)

// feedKey is a channel or pattern as the server knows it.
type feedKey struct {
	name    string
	pattern bool
}

// patternKey is the pattern for all channels of a filter: its literal prefix, and whatever follows.
func patternKey(prefix, filter string) feedKey {
	return feedKey{name: escapeGlob(prefix+subject.LiteralPrefix(filter)) + "*", pattern: true}
}

// feed is one channel or pattern and who listens to it here. The receiver's mutex guards it.
type feed struct {
	key       feedKey
	listeners []*listener             // copied on write: the reader walks it without the lock
	filters   subject.Trie[*listener] // of a pattern: the same listeners by filter
	strip     int                     // of a pattern: the length of what stands before the subject in its channels

	asked     bool // the last command of this link was to subscribe
	confirmed bool // and its answer has come
	owed      int  // answers of this link to come
	changed   bool // it is in receiver.changed
	alone     bool // to be subscribed by a command of its own: the server refused one that named it with others
}

// listener is one subscription to a feed.
type listener struct {
	filter  string // of a pattern: which subjects
	strip   int    // of a pattern: the length of what stands before them
	deliver func(channel, payload string, gap bool)

	attempt uint64        // connection attempts begun before it
	ready   chan struct{} // closed when it is live, or has failed
	live    bool          // confirmed once: from then on a new confirmation means a gap
	err     error         // valid when ready is closed
}

func (l *listener) finish(err error) {
	l.live, l.err = err == nil, err
	close(l.ready)
}

func (l *listener) waiting() bool {
	select {
	case <-l.ready:
		return false
	default:
		return true
	}
}

// register adds a listener to its feed, and starts the receiver if it is the first.
func (r *receiver) register(key feedKey, l *listener) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	f := r.feeds[key]
	if f == nil {
		f = &feed{key: key, strip: l.strip}
		r.feeds[key] = f
	}
	f.listeners = append(slices.Clip(f.listeners), l)
	if key.pattern {
		f.filters.Add(l.filter, l)
	}
	l.attempt = r.attempt
	if f.confirmed {
		l.finish(nil)
	} else {
		r.change(f)
	}
	if !r.started {
		r.started = true
		r.status.Since = time.Now()
		r.running.Go(r.run)
	}
	return nil
}

func (r *receiver) remove(key feedKey, l *listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.feeds[key]
	if f == nil {
		return
	}
	r.drop(f, l)
	r.change(f)
	r.forget(f)
}

// drop takes a listener from its feed.
func (r *receiver) drop(f *feed, l *listener) {
	if i := slices.Index(f.listeners, l); i >= 0 {
		f.listeners = slices.Concat(f.listeners[:i], f.listeners[i+1:])
		if f.key.pattern {
			f.filters.Remove(l.filter, l)
		}
	}
}

// forget removes a feed that nobody listens to and the server is not asked for.
func (r *receiver) forget(f *feed) {
	if len(f.listeners) == 0 && !f.asked && f.owed == 0 && !f.changed {
		delete(r.feeds, f.key)
	}
}

// change has the writer look at a feed, if there is a link.
func (r *receiver) change(f *feed) {
	if r.link == nil || f.changed || f.asked == (len(f.listeners) > 0) {
		return
	}
	f.changed = true
	r.changed = append(r.changed, f)
	r.link.stir()
}

// attach begins with a new link, on which nothing is subscribed yet.
func (r *receiver) attach(l *link) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	if r.status.Err != nil {
		r.t.log.Info("redis: subscriber connection is up", "address", r.t.address, "channels", len(r.feeds))
	}
	r.link = l
	r.status.Connected, r.status.Since = true, time.Now()
	r.owed = append(r.owed[:0], answer{verb: pong, text: firstPing, since: time.Now()})
	for _, f := range r.feeds {
		r.change(f)
	}
	return nil
}

// detach forgets what was asked of a link that is gone.
func (r *receiver) detach(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link = nil
	r.status.Connected, r.status.Since, r.status.Err = false, time.Now(), err
	r.status.LinksLost++
	r.changed, r.owed = nil, nil
	for _, f := range r.feeds {
		f.asked, f.confirmed, f.owed, f.changed = false, false, 0, false
		r.forget(f)
	}
}

// failWaiting ends the wait of those who were there when an attempt to connect began, and it failed.
func (r *receiver) failWaiting(attempt uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status.Err == nil {
		r.status.Since = time.Now()
	}
	r.status.Err = err
	for _, f := range r.feeds {
		for _, l := range f.listeners {
			if l.attempt < attempt && l.waiting() {
				r.drop(f, l)
				l.finish(err)
			}
		}
		r.forget(f)
	}
}

// command is one SUBSCRIBE, UNSUBSCRIBE, PSUBSCRIBE or PUNSUBSCRIBE.
type command struct {
	verb  string
	names []string
}

const (
	// A command names at most so many channels, and at most so many answers are awaited before the next is written: a
	// server's replies stay far below its limit for subscribers.
	maxNames = 512
	maxOwed  = 2 * maxNames
)

// next takes changed feeds and makes the command for them; false when there is nothing to do, or too much is owed
// already. The answers are owed from here on, so it must be written before next is called again.
func (r *receiver) next() (command, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var c command
	for len(r.changed) > 0 && len(c.names) < maxNames && len(r.owed) < maxOwed {
		f := r.changed[0]
		verb, needed := f.want()
		if needed && c.verb != "" && (verb != c.verb || f.alone) {
			break
		}
		r.changed = r.changed[1:]
		f.changed = false
		if !needed {
			r.forget(f)
			continue
		}
		if c.verb == "" {
			c.verb = verb
			r.commands++
		}
		c.names = append(c.names, f.key.name)
		f.asked, f.confirmed = !f.asked, false
		f.owed++
		r.owed = append(r.owed, answer{verb: verb, feed: f, command: r.commands, since: time.Now()})
		if f.alone {
			break
		}
	}
	return c, len(c.names) > 0
}

// want is the command that a feed needs now, if any.
func (f *feed) want() (verb string, needed bool) {
	verb = "subscribe"
	if f.asked {
		verb = "unsubscribe"
	}
	if f.key.pattern {
		verb = "p" + verb
	}
	return verb, f.asked != (len(f.listeners) > 0)
}

// answer is a reply that the server owes us. Replies come in the order of the commands, so one that is skipped, or
// anything else in its place, means that a part of the stream is lost.
type answer struct {
	verb    string
	text    string // of a pong
	feed    *feed
	command uint64
	since   time.Time
}

const pong = "pong"

var errOutOfStep = errors.New("an answer of the server is missing: a part of the stream was lost")

// answered takes the next answer owed, which must be this one.
func (r *receiver) answered(verb, text string) (answer, error) {
	if len(r.owed) == 0 {
		return answer{}, errOutOfStep
	}
	a := r.owed[0]
	if a.verb != verb || verb == pong && a.text != text || verb != pong && a.feed.key.name != text {
		return answer{}, errOutOfStep
	}
	r.owed = r.owed[1:]
	if len(r.changed) > 0 && len(r.owed) == maxOwed/2 {
		r.link.stir()
	}
	return a, nil
}

// ponged takes the answer to a ping.
func (r *receiver) ponged(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.answered(pong, text)
	return err
}

// settled takes the server's word that a channel or pattern is subscribed, or no longer. Listeners that were live on an
// earlier link missed what was published until now.
func (r *receiver) settled(verb, name string) error {
	missed, err := r.settle(verb, name)
	for _, l := range missed {
		l.deliver("", "", true)
	}
	return err
}

func (r *receiver) settle(verb, name string) (missed []*listener, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, err := r.answered(verb, name)
	if err != nil {
		return nil, err
	}
	f := a.feed
	f.owed--
	if f.owed > 0 || !f.asked {
		r.forget(f)
		return nil, nil // another command has followed, or nobody listens any more
	}
	f.confirmed, f.alone = true, false
	for _, l := range f.listeners {
		if l.live {
			missed = append(missed, l)
		} else if l.waiting() {
			l.finish(nil)
		}
	}
	return missed, nil
}

// refused takes an error reply: to a whole command, which may have named many. Each is then asked for alone, and what is
// refused alone has failed.
func (r *receiver) refused(reply redis.Error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.owed) == 0 || r.owed[0].verb == pong {
		return fmt.Errorf("the server ended the subscriptions: %w", reply)
	}
	number := r.owed[0].command
	n := 0
	for n < len(r.owed) && r.owed[n].command == number && r.owed[n].verb != pong {
		n++
	}
	for _, a := range r.owed[:n] {
		f := a.feed
		f.owed--
		if f.owed == 0 {
			f.asked = strings.HasSuffix(a.verb, "unsubscribe")
		}
		if n > 1 {
			f.alone = true
			r.change(f)
		} else {
			r.fail(f, reply)
		}
	}
	r.owed = r.owed[n:]
	r.link.stir()
	return nil
}

// fail ends the wait of a feed's new listeners. The live ones, which an earlier link served, stay: the next may again.
func (r *receiver) fail(f *feed, err error) {
	r.status.Refused++
	r.t.log.Error("redis: subscription refused", "channel", f.key.name, "error", err)
	for _, l := range f.listeners {
		if l.waiting() {
			r.drop(f, l)
			l.finish(err)
		}
	}
	r.forget(f)
}

// message hands a message to its listeners. One that matches a channel and patterns comes once for each of them, and a
// listener belongs to one.
func (r *receiver) message(m *redis.Message) {
	r.arrival++
	subject := m.Channel
	r.mu.Lock()
	r.status.Received++
	var listeners []*listener
	if f := r.feeds[feedKey{m.Pattern, true}]; m.Pattern != "" && f != nil {
		subject = m.Channel[f.strip:]
		r.matches = f.filters.Match(subject, r.matches[:0])
		listeners = r.matches
	} else if f := r.feeds[feedKey{m.Channel, false}]; m.Pattern == "" && f != nil {
		listeners = f.listeners
	}
	r.mu.Unlock()
	for _, l := range listeners {
		l.deliver(subject, m.Payload, false)
	}
}
