package nats

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/gobackplane/backplane/queue"
)

// The layout of the queue's stream, bpq.NS being the root. Names are tokens: see taskToken. N is fresh in every message
// (see nonces), so that what the server does late, for a message that was replaced, never hits its successor.
//
//	bpq.NS.t.r.QUEUE.LANE.ID.N    a task that is ready: pending. LANE is f9, b9, f8 … b0: front or back of a priority
//	bpq.NS.t.h.QUEUE.STATE.ID.N   a task that is held:
//	    l   active: the lease, a message that the server turns into a ready one (in front) when the lease ends
//	    s   scheduled: the server turns it into a ready one at its time
//	    d   completed and kept        x   dead        c   cancelled
//	    t   a tombstone: done or removed a moment ago, or an ID that its caller chose and that is remembered
//	bpq.NS.c.QUEUE                what is known of a queue: lease, paused, priorities in use
//	bpq.NS.u.QUEUE.KEY            who holds a unique key
//	bpq.NS.w.SENDER               the answer to a sender's last batch of settlements
//	bpq.NS.z                      nothing: where messages would go that are schedules only so that they can be purged
//
// One consumer for each queue and lane hands out ready tasks. A second stream, of counters, has bpt.NS.QUEUE.COUNTER.
//
// A task is in the state of its held message, and pending when it has none and is ready. The last token but one of both
// shapes is the ID, so one filter finds all that there is of a task (anyOf), and one its held message (heldOf). Every
// change of state is one publish under the condition that the held message is still the one that was seen; a message
// that takes the place of another purges it in the same step, which the server does for schedules. A ready message whose
// task is held is a leftover, and dropped by whoever meets it.
type queueSubjects struct {
	root   string // bpq.NS
	totals string // bpt.NS
	notify string // bpn.NS: told, and not kept, when a queue's settings change
	stream string
	counts string // the stream of counters
}

func queueSubjectsOf(ns string) queueSubjects {
	return queueSubjects{
		root: "bpq." + ns, totals: "bpt." + ns, notify: "bpn." + ns,
		stream: "BP_" + ns + "_queue", counts: "BP_" + ns + "_queue_totals",
	}
}

// The states of held messages.
const (
	heldLease     = "l"
	heldScheduled = "s"
	heldCompleted = "d"
	heldDead      = "x"
	heldCancelled = "c"
	heldTombstone = "t"
)

// taskState is what a held message says of its task; false for a tombstone, which is no task.
func taskState(held string) (queue.State, bool) {
	switch held {
	case heldLease:
		return queue.Active, true
	case heldScheduled:
		return queue.Scheduled, true
	case heldCompleted:
		return queue.Completed, true
	case heldDead:
		return queue.DeadLetter, true
	case heldCancelled:
		return queue.Cancelled, true
	}
	return "", false
}

// heldState is the inverse of taskState.
var heldState = map[queue.State]string{
	queue.Active: heldLease, queue.Scheduled: heldScheduled, queue.Completed: heldCompleted,
	queue.DeadLetter: heldDead, queue.Cancelled: heldCancelled,
}

func (s *queueSubjects) ready(q, lane, id, n string) string {
	return s.root + ".t.r." + q + "." + lane + "." + id + "." + n
}

func (s *queueSubjects) held(q, state, id, n string) string {
	return s.root + ".t.h." + q + "." + state + "." + id + "." + n
}

func (s *queueSubjects) anyOf(q, id string) string   { return s.root + ".t.*." + q + ".*." + id + ".*" }
func (s *queueSubjects) heldOf(q, id string) string  { return s.root + ".t.h." + q + ".*." + id + ".*" }
func (s *queueSubjects) readyOf(q, id string) string { return s.root + ".t.r." + q + ".*." + id + ".*" }

func (s *queueSubjects) lane(q, lane string) string { return s.root + ".t.r." + q + "." + lane + ".>" }
func (s *queueSubjects) state(q, state string) string {
	return s.root + ".t.h." + q + "." + state + ".>"
}

func (s *queueSubjects) settings(q string) string     { return s.root + ".c." + q }
func (s *queueSubjects) unique(q, key string) string  { return s.root + ".u." + q + "." + key }
func (s *queueSubjects) answer(sender string) string  { return s.root + ".w." + queueHash(sender) }
func (s *queueSubjects) nowhere() string              { return s.root + ".z" }
func (s *queueSubjects) total(q, count string) string { return s.totals + "." + q + "." + count }

// consumer is the name of a lane's consumer. Names of consumers are short, so a queue's is queueHash.
func (s *queueSubjects) consumer(q, lane string) string { return queueHash(q) + "_" + lane }

// taskPlace is a task's subject taken apart.
type taskPlace struct {
	queue string // token
	isRaw bool   // ready
	kind  string // the lane of a ready one, the state of a held one
	id    string // token
	n     string
}

func (s *queueSubjects) parse(subject string) (taskPlace, bool) {
	rest, found := strings.CutPrefix(subject, s.root+".t.")
	parts := strings.Split(rest, ".")
	if !found || len(parts) != 5 || parts[0] != "r" && parts[0] != "h" {
		return taskPlace{}, false
	}
	return taskPlace{queue: parts[1], isRaw: parts[0] == "r", kind: parts[2], id: parts[3], n: parts[4]}, true
}

// laneIn is the part of a ready message's subject that names its lane.
func (s *queueSubjects) laneIn(subject string) string {
	rest := subject[min(len(s.root)+len(".t.r."), len(subject)):]
	if at := strings.IndexByte(rest, '.'); at >= 0 {
		if end := strings.IndexByte(rest[at+1:], '.'); end >= 0 {
			return rest[:at+1+end]
		}
	}
	return rest
}

// taskToken makes a name fit to be one token of a subject: as it is if it is of letters, digits, _ and - alone, and
// otherwise = and itself in base64. No two names share a token.
func taskToken(name string) string {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return "=" + base64.RawURLEncoding.EncodeToString([]byte(name))
		}
	}
	if name == "" {
		return "="
	}
	return name
}

var errNoName = errors.New("it is no name")

// taskName is the inverse of taskToken.
func taskName(token string) (string, error) {
	coded, is := strings.CutPrefix(token, "=")
	if !is {
		if taskToken(token) != token {
			return "", errNoName
		}
		return token, nil
	}
	name, err := base64.RawURLEncoding.DecodeString(coded)
	if err != nil || taskToken(string(name)) != token {
		return "", errNoName
	}
	return string(name), nil
}

func queueHash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// maxPriority is the highest priority; each has two lanes.
const maxPriority = 9

// laneOf names a lane. Its front is for tasks that were there before and come back.
func laneOf(priority int, front bool) string {
	if front {
		return "f" + strconv.Itoa(priority)
	}
	return "b" + strconv.Itoa(priority)
}
