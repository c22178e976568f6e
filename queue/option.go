package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Option says how one task, or each task of a kind, is to be treated. Of two that say the same thing the later wins.
type Option func(*Task)

// OnQueue puts the task in a queue other than [DefaultQueue].
func OnQueue(name string) Option { return func(t *Task) { t.Queue = name } }

// At keeps the task until a time. One in the past means now. The store's clock decides.
func At(when time.Time) Option { return func(t *Task) { t.RunAt = when } }

// In keeps the task for a while, reckoned from this node's clock.
func In(d time.Duration) Option { return func(t *Task) { t.RunAt = time.Now().Add(d) } }

// Priority lets the task overtake those of its queue with a lower one. 0 is normal, and also the lowest; see
// [Capabilities].MaxPriority.
func Priority(n int) Option { return func(t *Task) { t.Priority = n } }

// ID names the task, so that it exists once: as long as it is in the store, and for [Capabilities].IDMemory after,
// enqueuing it again answers Duplicate. Without it a task gets a UUIDv7.
func ID(id string) Option { return func(t *Task) { t.ID, t.CallerID = id, true } }

// Unique lets at most one task of the queue hold the key. It is held until the task has ended in any way (that
// includes its retries), and no longer than held, if that is not 0. Keys are shared by all kinds of a queue.
func Unique(key string, held time.Duration) Option {
	return func(t *Task) { t.UniqueKey, t.UniqueFor = key, held }
}

// UniquePayload is [Unique] with a key made of the task's kind and its encoded payload.
func UniquePayload(held time.Duration) Option {
	return func(t *Task) {
		digest := sha256.Sum256(append([]byte(t.Kind+"\x00"), t.Payload...))
		t.UniqueKey, t.UniqueFor = hex.EncodeToString(digest[:]), held
	}
}

// MaxAttempts is after how many failed attempts the task is dead; 0 is [DefaultMaxAttempts].
func MaxAttempts(n int) Option { return func(t *Task) { t.MaxAttempts = n } }

// MaxLost is after how many lost leases (crashed or stopped workers) the task is dead; 0 is [DefaultMaxLost].
func MaxLost(n int) Option { return func(t *Task) { t.MaxLost = n } }

// Timeout ends the handler's context so long after an attempt began; 0: never. The attempt lasts until the handler has
// returned all the same, and what it returns counts.
func Timeout(d time.Duration) Option { return func(t *Task) { t.Timeout = d } }

// Deadline ends the handler's context at a time, and makes the task dead when it has not been done by then.
func Deadline(when time.Time) Option { return func(t *Task) { t.Deadline = when } }

// Retention keeps the task, once completed, and its result for a while; 0: not at all.
func Retention(d time.Duration) Option { return func(t *Task) { t.Retention = d } }

// Header adds a header, which middleware and handlers can read.
func Header(key, value string) Option {
	return func(t *Task) {
		if t.Headers == nil {
			t.Headers = map[string]string{}
		}
		t.Headers[key] = value
	}
}
