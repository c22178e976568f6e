package redis

import "strings"

// The layout of the keys. NS is the namespace, K an entry's key or lock's or list's name in escaped form, P a queue
// partition. What stands between braces is the hash tag: keys that one script touches share it, so that they live in one
// slot of a Redis Cluster.
//
//	bp:NS:e:{K}        string   cache entry: header and value, PX its lifetime                         cache_record.go
//	bp:NS:k:{K}        string   lock: fence, lease and holder, PX at least a day after the last lease  lua/lock.lua
//	bp:NS:k:{K}        channel  the lock was released                                                  lock_wait.go
//	bp:NS:l:{K}        list     list, PX its lifetime                                                  list.go
//	{bp:NS:P}…                  queue: see queue_keys.go
//	bp:NS:ps: sys: pg: …        pub/sub: see pubsub.go
//
// A namespace has none of : { } (see transports.CheckNamespace), so no two bleed into each other. A key is escaped so
// that the tag is exactly K: "{" and "}" would end or begin another, and an empty tag is none at all, which is why an
// empty name is refused. Escaping keeps prefixes: the escaped form of a prefix is a prefix of the escaped key.
const (
	entryKey = "e"
	lockKey  = "k"
	listKey  = "l"
)

// keyspace makes the keys of one kind: "bp:NS:e:{" + K + "}".
type keyspace string

func newKeyspace(ns, kind string) keyspace { return keyspace("bp:" + ns + ":" + kind + ":{") }

// key is the store's key for a name.
func (s keyspace) key(name string) string {
	return string(s) + escape(name) + "}"
}

// name is the inverse of key; false for a key of another kind.
func (s keyspace) name(key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, string(s))
	if !ok {
		return "", false
	}
	rest, ok = strings.CutSuffix(rest, "}")
	if !ok {
		return "", false
	}
	return unescape(rest), true
}

// pattern is the SCAN pattern of all keys whose name begins with prefix.
func (s keyspace) pattern(prefix string) string {
	return escapeGlob(string(s)+escape(prefix)) + "*"
}

var (
	escaper     = strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D")
	unescaper   = strings.NewReplacer("%25", "%", "%7B", "{", "%7D", "}")
	globEscaper = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`)
)

func escape(name string) string {
	if !strings.ContainsAny(name, "%{}") {
		return name
	}
	return escaper.Replace(name)
}

func unescape(name string) string {
	if !strings.Contains(name, "%") {
		return name
	}
	return unescaper.Replace(name)
}

// escapeGlob makes a literal safe inside a pattern of SCAN or PSUBSCRIBE.
func escapeGlob(literal string) string { return globEscaper.Replace(literal) }
