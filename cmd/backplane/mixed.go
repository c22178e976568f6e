package main

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// detour changes where a part of a target is opened, such as to the near end of a proxy.
type detour = func(transports.Settings) (transports.Settings, error)

// target is what a command is pointed at: one transport, or several that share the concerns.
type target struct {
	parts map[string]transports.Settings // by name
	use   backplane.Use                  // zero: there is one part, for everything

	// through opens a part, where that is not for the registry of transports to do.
	through transports.Factory
}

// lone is the target that is one transport.
func lone(s transports.Settings) target { return target{parts: map[string]transports.Settings{"": s}} }

// configured is what a config describes.
func configured(c backplane.Config) target {
	t := target{use: c.Use, parts: map[string]transports.Settings{}}
	for name, part := range c.Transports {
		t.parts[name] = transports.Settings{Kind: part.Kind, URL: part.URL, Options: part.Options}
	}
	return t
}

// open opens a node, each part by way of the detour, if there is one.
func (t target) open(ctx context.Context, namespace string, by detour) (transports.Transport, error) {
	m := &mixed{use: t.use, parts: map[string]transports.Transport{}}
	for _, name := range slices.Sorted(maps.Keys(t.parts)) {
		settings := t.parts[name]
		settings.Namespace = namespace
		var err error
		if by != nil {
			settings, err = by(settings)
		}
		var part transports.Transport
		if err == nil {
			part, err = t.openPart(ctx, settings)
		}
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		m.parts[name] = part
		if t.use == (backplane.Use{}) {
			return part, nil
		}
	}
	return m, nil
}

func (t target) openPart(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	if t.through != nil {
		return t.through(ctx, s)
	}
	return transports.Open(ctx, s)
}

// mixed offers each concern as the config assigns it.
type mixed struct {
	use   backplane.Use
	parts map[string]transports.Transport
}

func (m *mixed) Kind() string { return "mixed" }

func (m *mixed) Cache() *cache.Backend {
	if t := m.parts[m.use.Cache]; t != nil {
		return t.Cache()
	}
	return nil
}

func (m *mixed) Queue() *queue.Backend {
	if t := m.parts[m.use.Queue]; t != nil {
		return t.Queue()
	}
	return nil
}

func (m *mixed) PubSub() *pubsub.Backend {
	if t := m.parts[m.use.PubSub]; t != nil {
		return t.PubSub()
	}
	return nil
}

func (m *mixed) RPC() *rpc.Backend {
	if t := m.parts[m.use.RPC]; t != nil {
		return transports.RPCOf(t)
	}
	return nil
}

func (m *mixed) Health(ctx context.Context) error {
	var errs []error
	for _, t := range m.parts {
		errs = append(errs, t.Health(ctx))
	}
	return errors.Join(errs...)
}

// Erase is Unsupported, after it has done what it can, when some part cannot.
func (m *mixed) Erase(ctx context.Context) error {
	var errs []error
	for _, t := range m.parts {
		if e, ok := t.(transports.Eraser); ok {
			errs = append(errs, e.Erase(ctx))
		} else {
			errs = append(errs, fault.New(fault.Unsupported, "%s cannot remove a namespace", t.Kind()))
		}
	}
	return errors.Join(errs...)
}

func (m *mixed) Close() error {
	var errs []error
	for _, t := range m.parts {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}
