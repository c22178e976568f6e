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

// opener opens a node in a namespace.
type opener = func(ctx context.Context, namespace string) (transports.Transport, error)

// configured opens what a config describes: one transport, or several that share the concerns.
func configured(c backplane.Config) opener {
	return func(ctx context.Context, namespace string) (transports.Transport, error) {
		m := &mixed{use: c.Use, parts: map[string]transports.Transport{}}
		for _, name := range slices.Sorted(maps.Keys(c.Transports)) {
			t := c.Transports[name]
			part, err := transports.Open(ctx, transports.Settings{Kind: t.Kind, URL: t.URL, Options: t.Options, Namespace: namespace})
			if err != nil {
				return nil, errors.Join(err, m.Close())
			}
			m.parts[name] = part
			if c.Use == (backplane.Use{}) {
				return part, nil
			}
		}
		return m, nil
	}
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
