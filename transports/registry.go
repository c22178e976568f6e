package transports

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/gobackplane/backplane/fault"
)

// Factory opens a transport. It returns a connected one, or an error that says which address was tried, how often, and
// what to do.
type Factory func(ctx context.Context, s Settings) (Transport, error)

var registry struct {
	sync.RWMutex
	kinds   map[string]Factory
	schemes map[string]string
}

// Register makes a kind of transport known, together with the URL schemes that imply it (beside its own name). It is
// meant for init functions, and panics when a name is taken.
func Register(kind string, factory Factory, schemes ...string) {
	registry.Lock()
	defer registry.Unlock()
	if registry.kinds == nil {
		registry.kinds, registry.schemes = map[string]Factory{}, map[string]string{}
	}
	if _, taken := registry.kinds[kind]; taken || kind == "" || factory == nil {
		panic("transports: kind " + kind + " is registered twice, or empty")
	}
	registry.kinds[kind] = factory
	for _, scheme := range append(schemes, kind) {
		if other, taken := registry.schemes[scheme]; taken && other != kind {
			panic("transports: scheme " + scheme + " belongs to " + other)
		}
		registry.schemes[scheme] = kind
	}
}

// Kinds lists what is registered, sorted.
func Kinds() []string {
	registry.RLock()
	defer registry.RUnlock()
	return slices.Sorted(maps.Keys(registry.kinds))
}

// Open opens a transport of a registered kind.
func Open(ctx context.Context, s Settings) (Transport, error) {
	const op = "transports: open"
	if s.Kind == "" && s.URL != "" {
		return OpenURL(ctx, s.URL, s)
	}
	if err := CheckNamespace(s.Namespace); err != nil {
		return nil, fault.In(err, op, s.Namespace)
	}
	registry.RLock()
	factory := registry.kinds[s.Kind]
	registry.RUnlock()
	if factory == nil {
		return nil, fault.In(unknown("kind", s.Kind), op, s.Kind)
	}
	return factory(ctx, s)
}

// OpenURL opens the transport that a URL's scheme names. The other settings are taken from s.
func OpenURL(ctx context.Context, address string, s Settings) (Transport, error) {
	const op = "transports: open"
	scheme, _, found := strings.Cut(address, ":")
	if !found {
		return nil, fault.In(fault.New(fault.Invalid, `not a URL; write for example "redis://127.0.0.1:6379" or "memory:"`), op, Redact(address))
	}
	registry.RLock()
	kind := registry.schemes[strings.ToLower(scheme)]
	registry.RUnlock()
	if kind == "" {
		return nil, fault.In(unknown("scheme", scheme), op, scheme)
	}
	s.Kind, s.URL = kind, address
	return Open(ctx, s)
}

func unknown(what, name string) error {
	return fault.New(fault.Invalid, "unknown transport %s %q; this program has: %s (a transport is registered by importing its package)",
		what, name, strings.Join(Kinds(), ", "))
}

// CheckNamespace reports why a name cannot be a namespace, or nil.
func CheckNamespace(name string) error {
	if name == "" {
		return fault.New(fault.Invalid, "the cluster has no name; give it one (cluster.name), it keeps clusters on one store apart")
	}
	if len(name) > 64 {
		return fault.New(fault.Invalid, "the cluster's name has %d bytes, 64 are allowed", len(name))
	}
	for _, c := range []byte(name) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
		if !ok {
			return fault.New(fault.Invalid, "byte %q is not allowed in a cluster's name; use letters, digits, _ and -", c)
		}
	}
	return nil
}

// Redact removes the password from a URL, for logs and errors. What does not parse is hidden whole, and so is one with an
// "@" behind its host: there it was meant to end a password, of which a "/", "?" or "#" cut off the rest.
func Redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(unparsable URL)"
	}
	query := u.Query()
	misplaced := strings.Contains(u.Opaque+u.Path+u.Fragment, "@")
	for name := range query {
		misplaced = misplaced || strings.Contains(name, "@")
		n := strings.ToLower(name)
		nested := n == "url" || n == "env" || n == "options" // a plugin's, with secrets of its own
		if nested || strings.Contains(n, "pass") || strings.Contains(n, "secret") || strings.Contains(n, "token") || strings.Contains(n, "key") {
			query.Set(name, "xxxxx")
		}
	}
	if misplaced {
		return u.Scheme + ": (a URL with an @ out of place; percent-encode the password)"
	}
	u.RawQuery = query.Encode()
	return u.Redacted()
}
