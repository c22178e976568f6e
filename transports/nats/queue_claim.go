package nats

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// Claim leases due tasks; see [queue.Driver].
func (d *queueDriver) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	const op = "queue: claim"
	if err := d.begin(ctx, op, c.Worker); err != nil {
		return queue.Claimed{}, err
	}
	if err := d.check.Claim(c); err != nil {
		return queue.Claimed{}, err
	}
	c.Max = min(c.Max, d.caps.MaxClaim)
	queues := make([]string, len(c.Queues))
	for i, name := range c.Queues {
		queues[i] = taskToken(name)
	}
	deadline := time.Now().Add(c.Wait)
	var first *nats.Msg
	for {
		change := d.settings.change()
		tasks, err := d.collect(ctx, &c, queues, first)
		if err == nil && len(tasks) == 0 && ctx.Err() == nil {
			if left := time.Until(deadline); left > 0 {
				first, err = d.await(ctx, queues, change, left)
				if err == nil {
					continue
				}
			}
		}
		if ctx.Err() != nil && len(tasks) == 0 && d.core.life.Err() == nil {
			return queue.Claimed{}, nil
		}
		return queue.Claimed{Tasks: tasks}, d.core.fault(err, op, c.Worker)
	}
}

// collect takes what there is now. When ctx ends meanwhile it returns at once, and what comes all the same is given back.
func (d *queueDriver) collect(ctx context.Context, c *queue.Claim, queues []string, first *nats.Msg) ([]queue.Leased, error) {
	type answer struct {
		tasks []queue.Leased
		err   error
	}
	answers, left := make(chan answer), make(chan struct{})
	defer close(left)
	if !d.start(func() {
		free, cancel := context.WithTimeout(context.WithoutCancel(ctx), courierPatience)
		defer cancel()
		tasks, err := d.gather(free, c, queues, first)
		select {
		case answers <- answer{tasks, err}:
		case <-left:
			d.giveBack(tasks)
		}
	}) {
		return nil, errClosed
	}
	select {
	case a := <-answers:
		if errors.Is(a.err, context.DeadlineExceeded) && ctx.Err() == nil { // it was the courier's patience
			a.err = nats.ErrTimeout
		}
		return a.tasks, a.err
	case <-ctx.Done():
		return nil, nil
	case <-d.core.life.Done():
		return nil, errClosed
	}
}

// giveBackTries is how often that is tried: leases may be long.
const giveBackTries = 3

// giveBack releases tasks that nobody waits for any more, so that they need not wait for their leases to end.
func (d *queueDriver) giveBack(tasks []queue.Leased) {
	if len(tasks) == 0 {
		return
	}
	items := make([]queue.Settlement, len(tasks))
	for i, l := range tasks {
		items[i] = queue.Settlement{Ref: l.Ref(), Outcome: queue.Release}
	}
	var err error
	for range giveBackTries {
		ctx, cancel := context.WithTimeout(d.core.life, courierPatience)
		_, err = d.settle(ctx, queue.Settlements{Items: items})
		cancel()
		if err == nil || d.core.life.Err() != nil {
			break
		}
	}
	if err != nil {
		d.core.log.Warn("queue: tasks of an abandoned claim come back when their leases end", "tasks", len(tasks), "error", err)
	}
}

// gather claims what the queues have now, lane by lane. first is a task that was handed out already.
//
// Lanes that were empty lately are asked together with the first that was not: mostly they still are. What they give
// beyond Max is handed back.
func (d *queueDriver) gather(ctx context.Context, c *queue.Claim, queues []string, first *nats.Msg) ([]queue.Leased, error) {
	var leased []queue.Leased
	if first != nil {
		got, _, err := d.take(ctx, c, queues, []*nats.Msg{first})
		if err != nil || len(got) > 0 && (len(got) == c.Max || restOf(first) == 0) {
			return got, err
		}
		leased = got
	}
	all, err := d.settingsOf(ctx, queues)
	if err != nil {
		return leased, ifNone(leased, err)
	}
	ahead := d.lanesOf(queues, all)
	if len(ahead) == 0 { // nothing will be asked, so what is remembered must not decide
		if all, err = d.settingsNow(ctx, queues); err != nil {
			return leased, ifNone(leased, err)
		}
		ahead = d.lanesOf(queues, all)
	}
	for len(ahead) > 0 && len(leased) < c.Max {
		n := 1
		for n < len(ahead) && !ahead[n-1].hasMore.Load() {
			n++
		}
		want := c.Max - len(leased)
		perLane, err := d.pull(ctx, ahead[:n], want)
		if err != nil {
			return leased, ifNone(leased, err)
		}
		now, err := d.settingsOf(ctx, queues) // the answers have come after whatever news there was
		if err == nil && !sameSettings(all, now) {
			for _, some := range perLane {
				d.handBackAll(ctx, some)
			}
			all, ahead = now, d.lanesOf(queues, now)
			continue
		}
		var messages, excess []*nats.Msg
		isEmpty := true
		for _, some := range perLane {
			isEmpty = isEmpty && len(some) < want
			messages = append(messages, some...)
		}
		if len(messages) > want {
			messages, excess = messages[:want], messages[want:]
			d.handBackAll(ctx, excess)
		}
		got, dropped, err := d.take(ctx, c, queues, messages)
		leased = append(leased, got...)
		if err != nil {
			return leased, ifNone(leased, err)
		}
		if isEmpty || dropped == 0 {
			ahead = ahead[n:] // what is left to take is in the lanes behind
		}
	}
	return leased, nil
}

// ifNone is an error that matters only if there is nothing to give.
func ifNone(leased []queue.Leased, err error) error {
	if len(leased) > 0 {
		return nil
	}
	return err
}

// take claims tasks that were handed out. dropped is how many were leftovers, or have ended.
func (d *queueDriver) take(ctx context.Context, c *queue.Claim, queues []string, messages []*nats.Msg) (leased []queue.Leased, dropped int, err error) {
	if len(messages) == 0 {
		return nil, 0, nil
	}
	all, err := d.settingsOf(ctx, queues) // as they are now that the tasks are here
	if err != nil {
		for _, m := range messages {
			d.handBack(m)
		}
		return nil, 0, err
	}
	settings := make(map[string]setting, len(queues))
	for i, q := range queues {
		settings[q] = all[i]
	}
	now := d.clock.now()
	moves := make([]claimMove, 0, len(messages))
	for _, m := range messages {
		place, ok := d.names.parse(m.Subject)
		s := settings[place.queue]
		if !ok || !s.known() || s.Paused {
			d.handBack(m)
			continue
		}
		moves = append(moves, d.claimMove(c, m, place, s, now))
	}
	writes := make([]write, len(moves))
	for i := range moves {
		writes[i] = moves[i].write
	}
	answers, err := d.write(ctx, writes)
	if err == nil && !d.direct {
		err = d.insist(ctx, moves, answers)
	}
	if err != nil { // what was done is found out when the leases end, or by who is handed the tasks next
		return nil, 0, err
	}
	var counted tally
	var gone []*nats.Msg
	leased = make([]queue.Leased, 0, len(moves))
	for i := range moves {
		m := &moves[i]
		switch a := answers[i]; {
		case errors.Is(a.err, errBehind):
			d.handBack(m.message)
		case a.err != nil:
			d.handBack(m.message)
			err = a.err
		case a.refused: // it is a leftover: the task has another state
			gone = append(gone, m.message)
			dropped++
		default:
			gone = append(gone, m.message)
			if m.lost {
				counted.add(m.place.queue, countLost, 1)
			}
			if m.ended != "" {
				counted.add(m.place.queue, m.ended, 1)
				dropped++
				continue
			}
			m.task.Token = newClaimToken(m.place, m.n, a.seq, m.flags)
			leased = append(leased, m.task)
		}
	}
	d.drop(ctx, gone)
	if len(counted) > 0 {
		if err := d.addTotals(ctx, counted); err != nil {
			d.core.log.Warn("queue: lost leases were not counted", "error", err)
		}
	}
	return leased, dropped, ifNone(leased, err)
}

// manyClaimed is how many tasks at once make a claim one of a worker under load.
const manyClaimed = 16

// errBehind says that the leader has not got as far as the server that handed a task out.
var errBehind = errors.New("the leader is behind")

// leaderPause is for a leader that has stored a message and is about to purge what the message replaces.
const leaderPause = 2 * time.Millisecond

// insist asks again where the refusal of a claim may be out of date. With several replicas a task may be handed out by one
// that is ahead of the leader: there the held message that the ready one has replaced still stands in the way. A ready
// message is a leftover only if what holds its task came after it, or still holds it when the leader has the ready one.
func (d *queueDriver) insist(ctx context.Context, moves []claimMove, answers []wrote) error {
	var doubtful []int
	var asked []wanted
	for i, a := range answers {
		if seq := sequenceOf(moves[i].message); a.refused && a.last < seq {
			doubtful, asked = append(doubtful, i), append(asked, wanted{Seq: seq})
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	found, err := d.read(ctx, d.names.stream, asked...)
	if err != nil {
		return err
	}
	var again []int
	var writes []write
	for k, i := range doubtful {
		if found[k].seq == 0 {
			answers[i] = wrote{err: errBehind}
			continue
		}
		again, writes = append(again, i), append(writes, moves[i].write)
	}
	if err := rest(ctx, leaderPause); err != nil {
		return err
	}
	second, err := d.write(ctx, writes)
	if err != nil {
		return err
	}
	for k, i := range again {
		answers[i] = second[k]
	}
	return nil
}

// drop takes ready messages away, and waits until they are, so that nobody counts them any more. A consumer works off
// such words in order: it answers to the last of its own. (With several replicas its answer does not mean that the message
// is gone; there the leader counts, and sees what is a leftover. Neither is it waited for after a claim of many, where a
// round trip costs tasks and a count is a moment old anyway.) They are remembered in case that the words are lost.
func (d *queueDriver) drop(ctx context.Context, all []*nats.Msg) {
	last := make(map[string]*nats.Msg, 2)
	for i := len(all) - 1; i >= 0; i-- {
		lane := d.names.laneIn(all[i].Subject)
		if _, later := last[lane]; !later {
			last[lane] = all[i]
		}
	}
	var ends []*nats.Msg
	waits := d.direct && len(all) < manyClaimed
	for _, m := range all {
		d.recent.add(sequenceOf(m))
		if waits && last[d.names.laneIn(m.Subject)] == m {
			ends = append(ends, m)
		} else {
			d.wire.tell(m.Reply, []byte("+ACK"))
		}
	}
	err := d.wire.ask(ctx, len(ends), func(i int) *nats.Msg {
		return &nats.Msg{Subject: ends[i].Reply, Data: []byte("+ACK")}
	}, func(int, *nats.Msg) bool { return true })
	if err != nil {
		d.core.log.Debug("queue: what was claimed is cleared away later", "tasks", len(all), "error", err)
	}
}

// claimMove is one ready task on its way to a lease, or to its end if its last lease was one too many.
type claimMove struct {
	message *nats.Msg
	place   taskPlace
	task    queue.Leased
	write   write
	n       string
	flags   claimFlags
	lost    bool   // it comes from a lease that was lost
	ended   string // what is counted, if it ends here
}

func (d *queueDriver) claimMove(c *queue.Claim, m *nats.Msg, place taskPlace, s setting, now time.Time) claimMove {
	move := claimMove{message: m, place: place, n: d.nonces.next()}
	p, record, err := readTaskRecord(m.Data)
	if err != nil {
		record = m.Data // kept as it is, for whoever looks into it
	}
	var t queue.Task
	if err == nil {
		t, err = readTask(record, &p)
	}
	maxLost := t.MaxLost
	if err != nil {
		t, maxLost = d.damaged(place), queue.DefaultMaxLost
		err = fault.In(err, "queue: read task", t.ID)
	}
	state := heldLease
	if p.claim != "" {
		move.lost = true
		p.lost++
		t.Lost = p.lost
		switch {
		case p.cancel:
			state, move.ended = heldCancelled, countCancelled
		case p.lost > maxLost:
			state, move.ended = heldDead, countDead
			p.error = fmt.Sprintf("the lease was lost %d times, %d are allowed (MaxLost); the last worker was %q", p.lost, maxLost, p.worker)
		}
	}
	p.since, p.claim, p.worker, p.cancel, p.due, p.ends = now, "", "", false, time.Time{}, time.Time{}
	at, target := lastPossible, d.names.nowhere()
	if state == heldLease {
		p.claim, p.worker, p.ends = move.n, c.Worker, now.Add(s.lease())
		at, target = p.ends, d.names.ready(place.queue, laneOf(priorityOf(place.kind), true), place.id, move.n)
	}
	move.write = write{
		subject: d.names.held(place.queue, state, place.id, move.n), data: appendTaskRecord(nil, &p, record),
		of: d.names.heldOf(place.queue, place.id), at: at, target: target,
	}
	move.task = queue.Leased{Task: t, Lease: s.lease(), Err: err}
	move.flags = flagIf(t.CallerID, claimCallerID) | flagIf(t.UniqueKey != "", claimUnique) | flagIf(t.Retention > 0, claimRetention) |
		claimFlags(priorityOf(place.kind))<<claimPriority
	return move
}

// damaged is what is known of a task whose record cannot be read.
func (d *queueDriver) damaged(place taskPlace) queue.Task {
	t := queue.Task{Queue: place.queue, ID: place.id}
	if name, err := taskName(place.queue); err == nil {
		t.Queue = name
	}
	if name, err := taskName(place.id); err == nil {
		t.ID = name
	}
	return t
}

// priorityOf reads a lane's name.
func priorityOf(lane string) int {
	if len(lane) == 2 && lane[1] >= '0' && lane[1] <= '9' {
		return int(lane[1] - '0')
	}
	return 0
}

// claimFlags are what settling needs to know of a task without reading it.
type claimFlags byte

const (
	claimCallerID claimFlags = 1 << iota
	claimUnique
	claimRetention
	claimPriority = 4 // bits to shift
)

// claimToken names a claim: the last token of its lease's subject, the lease's sequence, what the task is like, and a
// checksum over these, queue and ID. A heartbeat moves the lease to another message, the token stays.
type claimToken struct {
	n     string
	seq   uint64
	flags claimFlags
}

func newClaimToken(place taskPlace, n string, seq uint64, flags claimFlags) string {
	head := n + "." + strconv.FormatUint(seq, 36) + "." + strconv.FormatUint(uint64(flags), 36)
	return head + "." + claimSum(place.queue, place.id, head)
}

func claimSum(q, id, head string) string {
	sum := crc32.Checksum([]byte(q+"."+id+"."+head), taskSums)
	return hex.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

func readClaimToken(q, id, token string) (t claimToken, ok bool) {
	at := strings.LastIndexByte(token, '.')
	if at < 0 || claimSum(q, id, token[:at]) != token[at+1:] {
		return t, false
	}
	parts := strings.Split(token[:at], ".")
	if len(parts) != 3 {
		return t, false
	}
	seq, err := strconv.ParseUint(parts[1], 36, 64)
	flags, err2 := strconv.ParseUint(parts[2], 36, 8)
	return claimToken{n: parts[0], seq: seq, flags: claimFlags(flags)}, err == nil && err2 == nil
}
