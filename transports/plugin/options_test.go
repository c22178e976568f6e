package plugin_test

import (
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
	"github.com/gobackplane/backplane/transports/plugin"
)

func TestOneLineStartsAPluginAndOpensANode(t *testing.T) {
	t.Parallel()
	address := "plugin:" + url.PathEscape(os.Args[0]) + "?args=plugin,memory&start_timeout=1m"
	address = strings.ReplaceAll(address, "%2F", "/")

	node, err := transports.OpenURL(t.Context(), address, transports.Settings{Namespace: "test"})

	require.NoError(t, err)
	require.Equal(t, plugin.Kind, node.Kind())
	require.NoError(t, node.Health(t.Context()))
	require.NoError(t, node.Close())
	require.NoError(t, node.Close())
	require.ErrorIs(t, node.Health(t.Context()), fault.Closed)
}

// A plugin offers just what its transport does, and gets just the settings that are meant for it.
func TestAPluginOffersWhatItsTransportOffers(t *testing.T) {
	t.Parallel()
	linkedIn, err := openMemory(t.Context(), transports.Settings{Namespace: "test"})
	require.NoError(t, err)
	defer func() { require.NoError(t, linkedIn.Close()) }()

	node := open(t, start(t, "memory"))

	require.Equal(t, transports.CapabilitiesOf(linkedIn), transports.CapabilitiesOf(node))
	require.NotNil(t, node.Cache().Watcher)
	require.NotNil(t, node.Cache().Lists)
	require.NotNil(t, node.Cache().Holders)
	require.NotNil(t, node.Queue().Admin)
	require.Nil(t, node.RPC())
	inProcess, is := node.(transports.InProcess)
	require.False(t, is && inProcess.InProcess(), "frames leave the process")
}

func TestAPluginGetsItsOwnSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings transports.Settings
		url      string
		options  string
	}{
		"a URL of its own": {transports.Settings{URL: "redis://u:pw@h"}, "redis://u:pw@h", "null"},
		"options": {transports.Settings{Options: map[string]any{
			"url": "x:", "options": map[string]any{"attempts": 3, "tls": true, "list": []any{"a"}},
		}}, "x:", `{"attempts":3,"list":["a"],"tls":true}`},
		"options in a URL": {transports.Settings{URL: "plugin:?options=" + url.QueryEscape(`{"a":"b"}`)}, "", `{"a":"b"}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.settings
			s.Kind, s.Namespace = plugin.Kind, "shop"
			s.Options = merged(s.Options, map[string]any{
				"program": os.Args[0], "args": []string{"plugin", "mirror"}, "start_timeout": "1m",
				"env": map[string]any{"MIRROR": "yes"},
			})

			_, err := transports.Open(t.Context(), s)

			require.ErrorIs(t, err, fault.PermissionDenied, "the code that the plugin answers")
			var seen mirrored
			_, text, found := strings.Cut(err.Error(), "mirror: ")
			require.True(t, found, err)
			require.NoError(t, json.Unmarshal([]byte(text), &seen), text)
			require.Equal(t, mirrored{Namespace: "shop", URL: c.url, Options: json.RawMessage(c.options), Env: "yes"}, seen)
		})
	}
}

func merged(a, b map[string]any) map[string]any {
	all := map[string]any{}
	for _, m := range []map[string]any{a, b} {
		for name, value := range m {
			all[name] = value
		}
	}
	return all
}

func TestSettingsThatCannotBeRightAreRefused(t *testing.T) {
	program := map[string]any{"program": "x"}
	for name, c := range map[string]struct {
		settings transports.Settings
		says     string
	}{
		"no program":         {transports.Settings{}, "no program is named"},
		"an unknown option":  {transports.Settings{Options: map[string]any{"colour": "red"}}, `option "colour" is not known; there are: args, attach, dir, env, max_memory, options, program, sha256, start_timeout, stop_timeout, url`},
		"a host":             {transports.Settings{URL: "plugin://host/x"}, "has no host"},
		"a broken URL":       {transports.Settings{URL: "plugin:%zz?url=secret"}, "URL"},
		"env of another":     {transports.Settings{Options: map[string]any{"env": 3}}, "a map of strings"},
		"env in a URL":       {transports.Settings{URL: "plugin:x?env=secret"}, "NAME=VALUE"},
		"env not a string":   {transports.Settings{Options: map[string]any{"env": map[string]any{"N": 3}}}, "N must be a string"},
		"memory":             {transports.Settings{Options: map[string]any{"max_memory": "12 pounds"}}, "KiB"},
		"memory below 0":     {transports.Settings{Options: map[string]any{"max_memory": -1}}, "above 0"},
		"memory beyond all":  {transports.Settings{Options: map[string]any{"max_memory": "9223372036854775807GiB"}}, "above 0"},
		"options no map":     {transports.Settings{Options: map[string]any{"options": 3}}, "a map"},
		"options no JSON":    {transports.Settings{URL: "plugin:x?options=secret"}, "a JSON object"},
		"options null":       {transports.Settings{URL: "plugin:x?options=null"}, "a JSON object"},
		"timeout":            {transports.Settings{Options: merged(program, map[string]any{"start_timeout": "soon"})}, "start_timeout"},
		"attach and program": {transports.Settings{Options: merged(program, map[string]any{"attach": "127.0.0.1:1"})}, "attach"},
		"what is not there":  {transports.Settings{Options: map[string]any{"program": "/no/such/program"}}, "/no/such/program"},
	} {
		s := c.settings
		s.Kind, s.Namespace = plugin.Kind, "test"
		_, err := transports.Open(t.Context(), s)
		require.ErrorIs(t, err, fault.Invalid, name)
		require.ErrorContains(t, err, c.says, name)
		require.NotContains(t, err.Error(), "secret", name)
		var f *fault.Error
		require.ErrorAs(t, err, &f, name)
		require.Equal(t, plugin.Kind, f.Transport, name)
	}
	_, err := plugin.Open(t.Context(), transports.Settings{URL: "plugin:x"})
	require.ErrorIs(t, err, fault.Invalid, "no namespace")
}

func TestAPluginThatRefusesItsSettingsIsStoppedAgain(t *testing.T) {
	t.Parallel()
	_, err := transports.Open(t.Context(), transports.Settings{Kind: plugin.Kind, Namespace: "test", URL: "redis://nowhere", Options: map[string]any{
		"program": os.Args[0], "args": []string{"plugin", "memory"}, "start_timeout": "1m",
	}})

	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, memory.Kind)
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, "memory: open", f.Op, "it is told as the plugin told it")
}
