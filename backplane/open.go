package backplane

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// opened are a node's transports by their names in the config.
type opened struct {
	all map[string]transports.Transport
	log *slog.Logger
}

// openTransports opens what the config uses, one after the other, in the order of their names. When one fails, those
// before it are closed again.
func openTransports(ctx context.Context, c Config) (*opened, error) {
	o := &opened{all: map[string]transports.Transport{}, log: c.Logger}
	for _, name := range slices.Sorted(maps.Keys(c.Transports)) {
		t := c.Transports[name]
		transport, err := transports.Open(ctx, transports.Settings{
			Kind: t.Kind, URL: t.URL, Namespace: c.Cluster.Name, Options: t.Options, Logger: c.Logger.With("transport", name),
		})
		if err != nil {
			return nil, errors.Join(c.origin.placeOf(name, t, fault.In(err, "backplane: open", name)), o.close())
		}
		o.all[name] = transport
	}
	if err := o.offers(c.Use); err != nil {
		return nil, errors.Join(c.origin.place(err), o.close())
	}
	if err := o.mayGoWithoutKey(c); err != nil {
		return nil, errors.Join(c.origin.place(err), o.close())
	}
	return o, nil
}

// offers checks that each transport has what the config wants of it, unless it is a single one that is used for whatever
// it offers.
func (o *opened) offers(u Use) error {
	if len(o.all) == 1 && u.Cache == u.Queue && u.Queue == u.PubSub && u.PubSub == u.RPC {
		return nil
	}
	for _, each := range u.each() {
		t := o.get(each.transport)
		if t == nil {
			continue
		}
		has := map[string]bool{
			"cache": t.Cache() != nil, "queue": t.Queue() != nil, "pubsub": t.PubSub() != nil, "rpc": transports.RPCOf(t) != nil,
		}
		if !has[each.concern] {
			return invalid("use."+each.concern, "it names transport %q, but kind %s offers none", each.transport, t.Kind())
		}
	}
	return nil
}

// mayGoWithoutKey refuses to send unsigned frames where others could send them too.
func (o *opened) mayGoWithoutKey(c Config) error {
	t := o.get(c.Use.RPC)
	if t == nil || len(c.Cluster.Keys) > 0 {
		return nil
	}
	if p, ok := t.(transports.InProcess); ok && p.InProcess() {
		return nil
	}
	if !c.Cluster.Insecure {
		return invalid("cluster.keys", "the cluster has no key, so whoever reaches %s could call any method; make one with \"backplane key\" and give it as cluster.keys (or in %s), or set cluster.insecure: true", t.Kind(), KeyVariable)
	}
	c.Logger.Warn("cluster.insecure is set: frames between nodes are not signed, and whoever reaches the transport can call any method", "transport", t.Kind())
	return nil
}

// get is nil for a concern that no transport is named for.
func (o *opened) get(name string) transports.Transport {
	if name == "" {
		return nil
	}
	return o.all[name]
}

func (o *opened) close() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(o.all)) {
		if err := o.all[name].Close(); err != nil {
			errs = append(errs, fault.In(err, "backplane: close", name))
		}
	}
	return errors.Join(errs...)
}
