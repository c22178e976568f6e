package redis

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// The layout of the queue's keys. All queues of a partition share its hash tag, so that one claim can look at many of
// them, atomically; today a cluster has the one partition q0. T is a task (see taskKey), Q a queue's name.
//
//	{bp:NS:q0}:queues   set      names of all queues
//	{bp:NS:q0}:q:Q      hash     paused, lease (ms), levels in use, stale and generation (see queue_line.lua)
//	{bp:NS:q0}:n:Q      hash     counts of what has happened
//	{bp:NS:q0}:t:Q      hash     T: record, or the head of a large one; every task that exists has one
//	{bp:NS:q0}:l:Q      hash     T: the rest of a large record
//	{bp:NS:q0}:m:Q      hash     T: attempts, lost leases, asked to cancel, last error; where there are any
//	{bp:NS:q0}:r:Q      hash     T: result of a completed task
//	{bp:NS:q0}:p:Q      list     pending tasks of priority 0, oldest first; p1: to p9: of the others
//	{bp:NS:q0}:z:Q      hash     T: entries of the lines above that are to be skipped
//	{bp:NS:q0}:s:Q      sorted   scheduled tasks by due time (ms)
//	{bp:NS:q0}:a:Q      sorted   leases, T and token, by their end (ms): all there is to know of a lease
//	{bp:NS:q0}:c:Q      sorted   completed tasks that are kept, by when they ended; x:Q by when they are forgotten
//	{bp:NS:q0}:d:Q      sorted   dead tasks by when they ended
//	{bp:NS:q0}:k:Q      sorted   cancelled tasks by when they ended
//	{bp:NS:q0}:i:Q      sorted   IDs that callers chose, of tasks that are gone, by when they are forgotten; ends with the last
//	{bp:NS:q0}:u:N:Q:K  string   T that holds the unique key K; N is the length of Q
//	{bp:NS:q0}:w:Q      sorted   workers that wait for tasks, by the time until which they do (ms)
//	{bp:NS:q0}:b:W      string   the last batch that the sender W settled, and its answer
//	{bp:NS:q0}:wake:N   channel  wakes the waiters of node N
func partition(ns string) string { return "{bp:" + ns + ":q0}:" }

// taskKey is a task's ID as the store has it: 17 bytes for a UUID in its usual spelling, and for any other ID a colon,
// its length and itself. So a task can be told from what follows it.
func taskKey(id string) string { return string(appendTaskKey(make([]byte, 0, 3+len(id)), id)) }

func appendTaskKey(b []byte, id string) []byte {
	if parsed, ok := parseUUID(id); ok {
		return append(append(b, 'u'), parsed[:]...)
	}
	return append(binary.BigEndian.AppendUint16(append(b, ':'), uint16(len(id))), id...)
}

// taskKeySize is the length of a task's key.
func taskKeySize(id string) int {
	if _, ok := parseUUID(id); ok {
		return 1 + len(uuid.UUID{})
	}
	return 3 + len(id)
}

// parseUUID reads a UUID in its usual spelling, which is what its bytes are turned into again.
func parseUUID(id string) (uuid.UUID, bool) {
	const usual = len("00000000-0000-0000-0000-000000000000")
	if len(id) != usual || strings.ContainsAny(id, "ABCDEF") {
		return uuid.UUID{}, false
	}
	parsed, err := uuid.Parse(id)
	return parsed, err == nil
}

// taskID is the inverse of taskKey.
func taskID(key string) (string, error) {
	switch {
	case len(key) == 17 && key[0] == 'u':
		return uuid.UUID([]byte(key[1:])).String(), nil
	case len(key) > 3 && key[0] == ':' && int(key[1])<<8|int(key[2]) == len(key)-3:
		return strings.Clone(key[3:]), nil
	}
	return "", fmt.Errorf("%.40q is no task", key)
}

// A token is one byte that tells whether the task needs more at its end than to be deleted ('s': it has a unique key, a
// retention, a large record or an ID of its caller's; 'p': it has not), 16 random characters, hyphens, a colon and the worker.
//
// The hyphens make a lease longer than zset-max-listpack-value (64). Redis keeps small sets of short members as one
// string, and reads through all of it, parsing a number for every member, to add or remove one: with 64 to 128 leases
// that took as long again as everything else.
const (
	plainToken   = "p"
	specialToken = "s"
	nonceSize    = 16
	tokenSize    = 64 // at least
)

// newToken is what all leases of a claim have in common: that it is this claim, and the worker. The first byte is to be
// put before it.
func newToken(worker string) string {
	var nonce [nonceSize / 4 * 3]byte
	_, _ = rand.Read(nonce[:]) // crypto/rand does not fail
	padding := max(0, tokenSize-1-nonceSize-1-len(worker))
	return base64.RawURLEncoding.EncodeToString(nonce[:]) + strings.Repeat("-", padding) + ":" + worker
}

func isSpecial(token string) bool { return strings.HasPrefix(token, specialToken) }

// holderOf is the worker of a token.
func holderOf(token string) string {
	if len(token) <= 1+nonceSize {
		return ""
	}
	return strings.TrimPrefix(strings.TrimLeft(token[1+nonceSize:], "-"), ":")
}
