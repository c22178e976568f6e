// Package plugin is the transport whose store is behind another program: one that speaks the plugins' protocol, written in
// any language, and that runs as a process of its own. It may crash, leak or hang without taking the node along.
//
//	import _ "github.com/gobackplane/backplane/transports/plugin"
//
//	t, err := transports.OpenURL(ctx, "plugin:/usr/lib/shop/backplane-postgres", transports.Settings{Namespace: "shop"})
//
// A transport written in Go becomes such a program in one line, with [Serve]. In another language the protocol
// (proto/backplane/transport/v1) is what there is to implement; the conformance suite says what is missing.
//
// # What it costs
//
// Calls of all callers share a few streams, and what is said at one time is written together, so the boundary costs a
// little for each batch and not for each call. There is a process to start, and each value is copied twice more.
//
// # When the plugin ends
//
// It is started again, with growing pauses, and the node is opened in it anew. When five in a row do not start, or end
// within a second of it, the plugin is given up. Meanwhile calls answer Unavailable at once. A call that was under way does too: it may have been done or not, and is
// Retryable only if that makes no difference. Subscriptions, watches and listeners are begun again, and each is told that
// something may be missing (a Gap, a Resync). Locks and leases are as long as the store says: one that keeps them outlives
// its plugin; one that lost them says so to the next renewal, so that the lock's holder hears of it.
//
// What the plugin can do is read when the node is opened. A plugin that says something else after a restart is refused,
// and calls answer Unavailable until it says again what it said.
//
// # What it gets
//
// The plugin gets the URL and options that are meant for it, the cluster's name, and what the node keeps in it; neither the
// cluster's keys nor the settings of another transport, nor the host's environment. See docs/transports/plugin.md.
package plugin

import (
	"context"
	"strings"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// Kind is the name under which this transport is registered, and its URL scheme.
const Kind = "plugin"

func init() { transports.Register(Kind, Open) }

// Open starts a plugin and opens a node in it; closing the node stops the plugin. To open several nodes in one process of
// the plugin use [Start].
//
// The program is named by the URL, plugin:/path/to/program or plugin:name for one on the PATH, or by option program. With
// that option a URL of any other scheme is the plugin's. Options may be given in the URL's query too:
//
//	program        path of the plugin's program, or its name on the PATH
//	args           list of its arguments
//	env            variables for it: a map, or in a URL NAME=VALUE,NAME=VALUE. It gets few others; see docs
//	dir            folder that it works in; the host's
//	sha256         of the program's file, in hex: anything else is not started
//	start_timeout  from the start to the first answer; 10s
//	stop_timeout   how long it may take to finish what it does when it is stopped; 5s
//	max_memory     bytes that it may hold, as a number or 256MiB: beyond it is ended and started again. Linux only
//	attach         address of a plugin that was started for debugging, in place of program. Not encrypted, not checked
//	url            where the store is, for the plugin
//	options        a map of what the plugin understands beside the URL; in a URL a JSON object
//
// A program that cannot be started is Invalid; one that does not answer is Unavailable. What the plugin says to its own
// settings is as it says it.
func Open(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	const op = "plugin: open"
	c, err := readConfig(s)
	if err != nil {
		return nil, located(err, op, subject(s.URL))
	}
	if err := transports.CheckNamespace(s.Namespace); err != nil {
		return nil, located(err, op, s.Namespace)
	}
	c.start.Logger = s.Logger
	p, err := Start(ctx, c.start)
	if err != nil {
		return nil, located(err, op, c.start.name())
	}
	t, err := p.open(ctx, transports.Settings{Namespace: s.Namespace, URL: c.url, Options: c.options, Logger: s.Logger}, p.Stop)
	if err != nil {
		return nil, located(err, op, c.start.name())
	}
	return t, nil
}

// subject is a URL as errors name it: without its query, which may hold a password in a URL or JSON of its own.
func subject(address string) string {
	address, _, _ = strings.Cut(address, "?")
	return transports.Redact(address)
}

func located(err error, op, subject string) error {
	if f, ok := fault.In(err, op, subject).(*fault.Error); ok {
		if f.Transport == "" {
			f.Transport = Kind
		}
		return f
	}
	return err
}
