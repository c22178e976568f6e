package nats

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// setting is what the store has of a queue beside its tasks. A queue that has none is unknown.
type setting struct {
	LeaseMS int64  `json:"lease,omitempty"` // 0: the default
	Paused  bool   `json:"paused,omitempty"`
	Levels  uint16 `json:"levels"` // a bit for each priority at which there were tasks

	seq uint64 // of the message; 0: the queue is unknown
}

func (s setting) known() bool { return s.seq > 0 }

func (s setting) lease() time.Duration {
	if s.LeaseMS == 0 {
		return queue.DefaultLease
	}
	return time.Duration(s.LeaseMS) * time.Millisecond
}

func (s setting) has(priority int) bool { return s.Levels&(1<<priority) != 0 }

// settingAge is how long a setting is remembered at most, in case that the news of a change was lost.
const settingAge = time.Second

// settings remembers the settings of queues by their token. Whoever changes one tells all nodes; on a single server the
// news is here before any answer to a request that was sent after the change.
type settings struct {
	mu      sync.Mutex
	known   map[string]remembered
	changed chan struct{}      // closed at the next change of any
	levels  map[level]struct{} // that are in use: these never end
}

// level is one priority of a queue.
type level struct {
	queue    string // token
	priority int
}

type remembered struct {
	setting
	until time.Time
}

// mostRemembered bounds what a node remembers of queues: names may come from outside.
const mostRemembered = 10_000

func (s *settings) init() {
	s.known, s.levels, s.changed = map[string]remembered{}, map[level]struct{}{}, make(chan struct{})
}

// expire forgets one queue's settings, because they have changed.
func (s *settings) expire(q string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, q)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *settings) expireAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
	close(s.changed)
	s.changed = make(chan struct{})
}

// change is closed when any settings change from now on.
func (s *settings) change() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// sameSettings reports whether settings have not changed.
func sameSettings(a, b []setting) bool {
	return slices.EqualFunc(a, b, func(a, b setting) bool { return a.seq == b.seq })
}

// put remembers a setting that was asked for before any change that change would tell of.
func (s *settings) put(q string, is setting, change <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != change {
		return
	}
	if len(s.known) >= mostRemembered {
		clear(s.known)
	}
	s.known[q] = remembered{is, time.Now().Add(settingAge)}
}

// settingsOf gives the settings of queues, as remembered where that is possible: news that the connection has brought
// may not have been read yet, so who has not asked the server anything since must not rely on them.
func (d *queueDriver) settingsOf(ctx context.Context, queues []string) ([]setting, error) {
	return d.settingsFrom(ctx, queues, d.alone)
}

// settingsNow asks the store for the settings of queues.
func (d *queueDriver) settingsNow(ctx context.Context, queues []string) ([]setting, error) {
	return d.settingsFrom(ctx, queues, false)
}

func (d *queueDriver) settingsFrom(ctx context.Context, queues []string, memory bool) ([]setting, error) {
	s := &d.settings
	all := make([]setting, len(queues))
	var missing []int
	s.mu.Lock()
	now, change := time.Now(), s.changed
	for i, q := range queues {
		have, found := s.known[q]
		if found && memory && now.Before(have.until) {
			all[i] = have.setting
		} else {
			missing = append(missing, i)
		}
	}
	s.mu.Unlock()
	if len(missing) == 0 {
		return all, nil
	}
	asked := make([]wanted, len(missing))
	for k, i := range missing {
		asked[k].Last = d.names.settings(queues[i])
	}
	found, err := d.read(ctx, d.names.stream, asked...)
	if err != nil {
		return nil, err
	}
	for k, i := range missing {
		if all[i], err = readSetting(found[k]); err != nil {
			return nil, err
		}
		s.put(queues[i], all[i], change)
	}
	return all, nil
}

// settingOf asks the store for the settings of one queue.
func (d *queueDriver) settingOf(ctx context.Context, q string) (setting, error) {
	all, err := d.settingsNow(ctx, []string{q})
	if err != nil {
		return setting{}, err
	}
	return all[0], nil
}

func readSetting(m kept) (s setting, err error) {
	if m.seq == 0 {
		return s, nil
	}
	if err := json.Unmarshal(m.data, &s); err != nil {
		return s, fault.New(fault.Corrupt, "the settings of the queue cannot be decoded: %w", err)
	}
	s.seq = m.seq
	return s, nil
}

// changeSetting changes a queue's settings, for all nodes. change says whether there is anything to do.
func (d *queueDriver) changeSetting(ctx context.Context, q string, change func(*setting) bool) error {
	for {
		m, err := d.readOne(ctx, d.names.stream, wanted{Last: d.names.settings(q)})
		if err != nil {
			return err
		}
		s, err := readSetting(m)
		if err != nil {
			return err
		}
		if !change(&s) {
			return nil
		}
		data, err := json.Marshal(s)
		if err != nil {
			return err
		}
		subject := d.names.settings(q)
		answers, err := d.write(ctx, []write{{subject: subject, data: data, of: subject, expected: m.seq, rollup: true}})
		if err != nil {
			return err
		}
		if answers[0].err != nil {
			return answers[0].err
		}
		if !answers[0].refused {
			d.settings.expire(q)
			d.wire.tell(d.names.notify+"."+q, nil)
			told, cancel := context.WithTimeout(ctx, courierPatience)
			defer cancel()
			return d.core.round(told) // who asks the server from now on has heard of it
		}
	}
}

// ensureLevel has a queue known, and that it has tasks of a priority, before the first is stored.
func (d *queueDriver) ensureLevel(ctx context.Context, q string, priority int) error {
	key := level{q, priority}
	s := &d.settings
	s.mu.Lock()
	_, known := s.levels[key]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := d.changeSetting(ctx, q, func(s *setting) bool {
		had := s.has(priority)
		s.Levels |= 1 << priority
		return !had
	}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.levels) >= mostRemembered {
		clear(s.levels)
	}
	s.levels[key] = struct{}{}
	return nil
}
