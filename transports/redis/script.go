package redis

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// scripts finds a script by its digest, so that the lane can load what a server does not know. It is filled while the
// package's variables are initialized, by newScript, and only read afterwards.
var scripts = map[string]*script{}

// script is one Lua script, put together from files of lua/. It is sent by its digest; the lane loads it where the
// server does not know it yet, or no longer.
type script struct {
	source string
	digest string
	sha    any // the digest again, as an argument: made once, not at each call
}

// newScript composes lua/NAME.lua for each part, in order: shared pieces first, the script itself last.
// It is for package variables only: var claimScript = newScript("queue_claim", "queue_shared", "queue_claim").
// A missing part is a bug that every test would meet, so it panics.
func newScript(name string, parts ...string) *script {
	if len(parts) == 0 {
		parts = []string{name}
	}
	var source strings.Builder
	for _, part := range parts {
		text, err := luaFiles.ReadFile("lua/" + part + ".lua")
		if err != nil {
			panic("redis: script " + name + ": " + err.Error())
		}
		source.Write(text)
		source.WriteByte('\n')
	}
	sum := sha1.Sum([]byte(source.String()))
	digest := hex.EncodeToString(sum[:])
	s := &script{source: source.String(), digest: digest, sha: digest}
	scripts[s.digest] = s
	return s
}

// cmd is the call of the script, to be given to lane.do.
func (s *script) cmd(ctx context.Context, keys []string, args ...any) *redis.Cmd {
	return redis.NewCmd(ctx, append(s.begin(keys, len(args)), args...)...)
}

// begin makes a call to which so many arguments are to be appended.
func (s *script) begin(keys []string, room int) []any {
	call := make([]any, 3, 3+len(keys)+room)
	call[0], call[1], call[2] = "evalsha", s.sha, len(keys)
	for _, key := range keys {
		call = append(call, key)
	}
	return call
}

// scriptOf finds the script that a command calls, or nil.
func scriptOf(cmd redis.Cmder) *script {
	args := cmd.Args()
	if len(args) < 2 || args[0] != "evalsha" {
		return nil
	}
	digest, _ := args[1].(string)
	return scripts[digest]
}
