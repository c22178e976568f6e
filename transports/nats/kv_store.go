package nats

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
)

// store is the stream that keeps entries, locks and lists: for each the last message of a subject,
//
//	bp.<namespace>.kv.e.<key>   the entry                     see kv_record.go
//	bp.<namespace>.kv.l.<key>   the lock of the same name     see lock_record.go
//	bp.<namespace>.kv.q.<key>   the list of the same name     see list_record.go
//	bp.<namespace>.kv.g.<key>   nothing, for a second: a guarded write needs a message that looks at the lock
//
// with keys written as kv_key.go says. The stream is made at the first use. A write that depends on what is there says at
// which sequence of the stream it saw it, and the server refuses it when another came between.
type store struct {
	core   *core
	x      *pipeline
	clock  storeClock
	stream string
	api    string // prefix of the JetStream API, with a dot at the end
	root   string // prefix of all subjects, with a dot at the end
	wake   string // prefix of the subjects on which the release of a lock is told; not kept

	open    atomic.Bool // the stream was seen
	opening chan struct{}
	leader  atomic.Bool   // reads must go through the server that leads the stream: others may lag behind
	batches chan struct{} // held by callers who have atomic batches under way
}

// These bound the atomic batches of one node: a server takes 50 of a stream at a time, and 1,000 of all. What is above is
// refused, and tried again.
const (
	batchesAtOnce = 4 // callers who have some under way
	batchesOfOne  = 4 // of one caller
)

func newStore(c *core, x *pipeline) *store {
	s := &store{
		core: c, x: x,
		stream:  "BP_" + c.ns + "_cache",
		api:     apiPrefix(c.js),
		root:    "bp." + c.ns + ".kv.",
		wake:    "bp." + c.ns + ".kvw.",
		opening: make(chan struct{}, 1),
		batches: make(chan struct{}, batchesAtOnce),
	}
	return s
}

const (
	entryKind = 'e'
	lockKind  = 'l'
	listKind  = 'q'
	guardKind = 'g'
)

// subject is where something of a kind is kept.
func (s *store) subject(kind byte, key string) string {
	b := make([]byte, 0, len(s.root)+2+3*len(key)/2)
	b = append(append(b, s.root...), kind, '.')
	return string(appendKey(b, key))
}

// key is what is kept at a subject of the kind.
func (s *store) key(kind byte, subject string) (key string, ok bool) {
	head := len(s.root) + 2
	if len(subject) <= head || subject[:len(s.root)] != s.root || subject[head-2] != kind {
		return "", false
	}
	return readKey(subject[head:])
}

// ready makes sure, once, that the stream is there and can do what is needed.
func (s *store) ready(ctx context.Context) error {
	if s.open.Load() {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, streamWithin)
	defer cancel()
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-within.Done(): // others have tried for as long
		return cmp.Or(ctx.Err(), nats.ErrTimeout)
	case <-s.core.life.Done():
		return errClosed
	}
	if s.open.Load() {
		return nil
	}
	err := s.provide(within)
	if err != nil && errors.Is(err, within.Err()) && ctx.Err() == nil {
		err = nats.ErrTimeout
	}
	if err != nil {
		return err
	}
	s.open.Store(true)
	return nil
}

// provide finds or makes the stream, and learns about it.
func (s *store) provide(ctx context.Context) error { return s.core.insist(ctx, s.provideOnce) }

func (s *store) provideOnce(ctx context.Context) error {
	stream, err := s.core.js.Stream(ctx, s.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = s.core.js.CreateStream(ctx, s.config())
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another node made it meanwhile, with another first sequence
			stream, err = s.core.js.Stream(ctx, s.stream)
		}
	}
	if err != nil {
		return err
	}
	have := stream.CachedInfo().Config
	if err := s.check(have); err != nil {
		return err
	}
	if have.Replicas != s.core.replicas || have.Storage != s.core.storage {
		s.core.log.Warn("nats: the stream is kept otherwise than this node would make it", "stream", s.stream,
			"replicas", have.Replicas, "wanted_replicas", s.core.replicas, "storage", have.Storage, "wanted_storage", s.core.storage)
	}
	s.leader.Store(have.Replicas > 1)
	return s.readClock(ctx)
}

// config is the stream as it is made.
func (s *store) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              s.stream,
		Description:       "backplane: cache, locks and lists of the cluster " + s.core.ns,
		Subjects:          []string{s.root + ">"},
		Storage:           s.core.storage,
		Replicas:          s.core.replicas,
		MaxMsgsPerSubject: 1,
		// What is full refuses more, and drops nothing.
		Discard: jetstream.DiscardNew,
		// Sequences are revisions, and none may come again when the stream was removed and made anew. No stream takes a
		// million messages a second all the time.
		FirstSeq:           uint64(time.Now().UnixMicro()),
		AllowDirect:        true,
		AllowMsgTTL:        true,
		AllowAtomicPublish: true,
		// No message has an ID to be known by; the window costs memory for those that have.
		Duplicates: 100 * time.Millisecond,
		Metadata:   map[string]string{"backplane": "cache/1"},
	}
}

// check says why a stream that is there already cannot be used.
func (s *store) check(have jetstream.StreamConfig) error {
	want := s.config()
	if layout := have.Metadata["backplane"]; layout != want.Metadata["backplane"] {
		return fault.New(fault.Invalid, "the stream %s has layout %q, and this program knows %q; upgrade the older one, or use another namespace", s.stream, layout, want.Metadata["backplane"])
	}
	for _, need := range []struct {
		ok   bool
		what string
	}{
		{have.MaxMsgsPerSubject == 1, "max_msgs_per_subject: 1"},
		{have.AllowDirect, "allow_direct: true"},
		{have.AllowMsgTTL, "allow_msg_ttl: true"},
		{have.AllowAtomicPublish, "allow_atomic: true (of NATS 2.12)"},
		{have.Discard == jetstream.DiscardNew, "discard: new"},
		{have.MaxAge == 0, "max_age: 0"},
		{len(have.Subjects) == 1 && have.Subjects[0] == want.Subjects[0], "the subjects " + want.Subjects[0]},
	} {
		if !need.ok {
			return fault.New(fault.Invalid, "the stream %s was changed and lacks %s; set it, or remove the stream", s.stream, need.what)
		}
	}
	return nil
}

// do sends requests and waits for their answers. Where nobody was there to take one, it was not done: a stream without a
// leader has one again soon, and one that was removed is made anew.
func (s *store) do(ctx context.Context, requests ...*request) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	deadline := time.Now().Add(answerWithin)
	for {
		if err := s.x.do(ctx, requests...); err != nil {
			return err
		}
		var again []*request
		for _, r := range requests {
			if nobodyTook(r) {
				again = append(again, r)
			}
		}
		if len(again) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return jetstream.ErrNoStreamResponse
		}
		s.open.Store(false)
		if err := s.core.pause(ctx, noLeaderPause); err != nil {
			return err
		}
		if err := s.ready(ctx); err != nil {
			return err
		}
		requests = again
	}
}

// nobodyTook says whether a request was not done because there was nobody to do it.
func nobodyTook(r *request) bool {
	if r.err == nats.ErrNoResponders {
		return true
	}
	if r.answer == nil || len(r.answer.Data) == 0 || r.answer.Data[0] != '{' {
		return false
	}
	switch refusal := readRefusal(r.answer.Data); {
	case refusal == nil:
		return false
	default:
		return refusal.ErrorCode == jetstream.JSErrCodeStreamNotFound || refusal.ErrorCode == apiClusterNotAvail || refusal.ErrorCode == apiClusterNotLeader
	}
}

// readClock asks the stream's leader what time it is there, and learns the stream's last sequence on the way.
func (s *store) readClock(ctx context.Context) error {
	_, err := s.state(ctx, s.x.do)
	return err
}

// state is the stream's last sequence, as its leader knows it.
func (s *store) state(ctx context.Context, do func(context.Context, ...*request) error) (last uint64, err error) {
	r := &request{subject: s.api + "STREAM.INFO." + s.stream, repeats: true}
	asked := time.Now()
	if err := do(ctx, r); err != nil {
		return 0, err
	}
	told := time.Now()
	if r.err != nil {
		return 0, r.err
	}
	if refusal := readRefusal(r.answer.Data); refusal != nil {
		return 0, refusal
	}
	var info struct {
		TimeStamp time.Time `json:"ts"`
		State     struct {
			LastSeq uint64 `json:"last_seq"`
		} `json:"state"`
	}
	if err := json.Unmarshal(r.answer.Data, &info); err != nil {
		return 0, err
	}
	if !info.TimeStamp.IsZero() {
		s.clock.add(sample{server: info.TimeStamp, asked: asked, told: told})
	}
	return info.State.LastSeq, nil
}

// keepTime reads the server's clock now and then, for as long as the transport lives.
func (s *store) keepTime() {
	for s.core.pause(s.core.life, sampleEvery) == nil {
		if !s.open.Load() {
			continue
		}
		if err := s.readClock(s.core.life); err != nil && s.core.life.Err() == nil {
			s.core.log.Debug("nats: the server's clock could not be read", "error", err)
		}
	}
}

// readRefusal is the error that an answer of the JetStream API holds, or nil.
func readRefusal(data []byte) *jetstream.APIError {
	if !tellsError(data) {
		return nil
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if json.Unmarshal(data, &answer) != nil {
		return nil
	}
	return answer.Error
}

func formatSequence(n uint64) string { return strconv.FormatUint(n, 10) }
