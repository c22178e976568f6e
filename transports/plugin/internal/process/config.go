package process

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/gobackplane/backplane/fault"
)

// Config says what to start, and within which bounds. Only Program (or Attach) is needed.
type Config struct {
	Program string            // a path, or a name that is looked up on the PATH
	Args    []string          // after the program's name
	Env     map[string]string // what the plugin gets beside the basics (PATH, HOME, TMPDIR, LANG, LC_ALL, TZ)
	Dir     string            // the working folder; "": the host's
	SHA256  string            // of the program's file, in hex; "": not checked

	StartTimeout time.Duration // from the start to the first answer; 0: 10 s
	StopTimeout  time.Duration // how long a plugin may take to finish what it does; 0: 5 s
	MaxMemory    int64         // bytes of its own that the plugin may hold (Linux only); 0: no limit

	// Attach is where a plugin that somebody else has started listens in its debug mode: "127.0.0.1:7000" or
	// "unix:/path". It excludes Program and all that belongs to it, and is neither encrypted nor authenticated.
	Attach string

	DialOptions []grpc.DialOption // for the connection: message sizes (4 MiB are received unless they say more), interceptors
	Logger      *slog.Logger      // gets what the plugin prints, too; nil: slog.Default()
}

const (
	defaultStart = 10 * time.Second
	defaultStop  = 5 * time.Second
)

// basics are the host's variables that a plugin gets unasked. Everything else that the host was given may be a secret
// meant for the host alone.
var basics = []string{
	"PATH",           // "#!/usr/bin/env node", and programs that a plugin starts
	"HOME", "TMPDIR", // runtimes look there for their settings and caches
	"LANG", "LC_ALL", "TZ", // texts and times as the host has them
	"SYSTEMROOT", "PATHEXT", // Windows opens no socket without the first
	"USERPROFILE",            // HOME and TMPDIR of Windows
	"TEMP", "TMP", "COMSPEC", //
}

// reserved are the beginnings of the names of variables that belong to the handshake.
var reserved = []string{"PLUGIN_", "BACKPLANE_PLUGIN"}

// environment is all that the plugin finds in its environment apart from the handshake's own variables.
func (c *Config) environment() []string {
	var env []string
	for _, name := range basics {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		env = append(env, name+"="+c.Env[name]) // of two equal names the last counts
	}
	return env
}

// checked is the config with its defaults, or what is wrong with it.
func (c Config) checked() (Config, error) {
	invalid := func(format string, args ...any) error {
		f := fault.New(fault.Invalid, format, args...)
		f.Op, f.Subject = "plugin: start", c.name()
		return f
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.StartTimeout < 0 || c.StopTimeout < 0 || c.MaxMemory < 0 {
		return c, invalid("start timeout, stop timeout and memory limit must not be negative")
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = defaultStart
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = defaultStop
	}
	if c.Attach != "" {
		if c.Program != "" || len(c.Args) > 0 || len(c.Env) > 0 || c.Dir != "" || c.SHA256 != "" || c.MaxMemory != 0 {
			return c, invalid("attach is for a plugin that runs already: leave out program, args, env, dir, sha256 and max_memory")
		}
		return c, nil
	}
	if c.Program == "" {
		return c, invalid("no program is named: set the path of the plugin's program")
	}
	if c.MaxMemory > 0 && !limitsMemory {
		return c, invalid("max_memory is watched on Linux only: leave it out here")
	}
	for name, value := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return c, invalid("env %q: a name must not be empty nor hold = or NUL, a value no NUL", name)
		}
		for _, prefix := range reserved {
			if strings.HasPrefix(strings.ToUpper(name), prefix) {
				return c, invalid("env %q: names that begin with %s belong to the handshake", name, prefix)
			}
		}
	}
	if slices.ContainsFunc(append([]string{c.Program, c.Dir}, c.Args...), func(s string) bool { return strings.ContainsRune(s, 0) }) {
		return c, invalid("program, dir and args must not hold NUL")
	}
	return c, nil
}

// name is what errors and log lines call the plugin.
func (c *Config) name() string {
	if c.Attach != "" {
		return c.Attach
	}
	return c.Program
}

// short is the name for log lines.
func (c *Config) short() string {
	if c.Attach != "" {
		return c.Attach
	}
	return filepath.Base(c.Program)
}
