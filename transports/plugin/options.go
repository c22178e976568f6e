package plugin

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/options"
	"github.com/gobackplane/backplane/transports"
)

// config is what a URL and the options say together.
type config struct {
	start   Config
	url     string
	options map[string]any
}

// known are the names that the query of a URL and Settings.Options may have; Open lists them.
var known = options.Set[config]{
	"program":       options.Text(func(c *config) *string { return &c.start.Program }),
	"args":          options.Texts(func(c *config) *[]string { return &c.start.Args }),
	"env":           variables,
	"dir":           options.Text(func(c *config) *string { return &c.start.Dir }),
	"sha256":        options.Text(func(c *config) *string { return &c.start.SHA256 }),
	"start_timeout": options.Span(func(c *config) *duration { return &c.start.StartTimeout }),
	"stop_timeout":  options.Span(func(c *config) *duration { return &c.start.StopTimeout }),
	"max_memory":    memory,
	"attach":        options.Text(func(c *config) *string { return &c.start.Attach }),
	"url":           options.Text(func(c *config) *string { return &c.url }),
	"options":       forPlugin,
}

// variables reads a map of strings, or NAME=VALUE separated by commas.
func variables(c *config, value any) error {
	all := map[string]string{}
	switch value := value.(type) {
	case map[string]string:
		maps.Copy(all, value)
	case map[string]any:
		for name, v := range value {
			text, ok := v.(string)
			if !ok {
				return fmt.Errorf("%s must be a string; put it in quotes", name)
			}
			all[name] = text
		}
	case string:
		for pair := range strings.SplitSeq(value, ",") {
			name, text, ok := strings.Cut(pair, "=")
			if !ok {
				return fmt.Errorf("NAME=VALUE, separated by commas, is expected") // it may hold a secret
			}
			all[name] = text
		}
	default:
		return fmt.Errorf("a map of strings is expected, not a %T", value)
	}
	c.start.Env = all
	return nil
}

// units of memory; a number alone is bytes.
var units = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

// memory reads a number of bytes, or one with a unit.
func memory(c *config, value any) error {
	unit, text := int64(1), fmt.Sprint(value)
	for _, u := range units {
		if number, found := strings.CutSuffix(text, u.suffix); found {
			unit, text = u.bytes, strings.TrimSpace(number)
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/unit {
		return fmt.Errorf("a number of bytes above 0 is expected, or one with KiB, MiB or GiB")
	}
	c.start.MaxMemory = n * unit
	return nil
}

// forPlugin takes what is handed on as it is.
func forPlugin(c *config, value any) error {
	switch value := value.(type) {
	case map[string]any:
		c.options = value
	case string:
		if json.Unmarshal([]byte(value), &c.options) != nil || c.options == nil {
			return fmt.Errorf("a JSON object is expected") // it may hold a secret
		}
	default:
		return fmt.Errorf("a map is expected, not a %T", value)
	}
	return nil
}

// readConfig reads a transport's settings: first the URL, then the options, which win.
func readConfig(s transports.Settings) (config, error) {
	var c config
	if s.URL != "" {
		if err := c.readURL(s.URL); err != nil {
			return c, err
		}
	}
	if err := known.ApplyAll(&c, s.Options); err != nil {
		return c, err
	}
	if c.start.Program == "" && c.start.Attach == "" {
		return c, fault.New(fault.Invalid, `no program is named; write for example url: "plugin:/path/to/program", or program: /path/to/program`)
	}
	return c, nil
}

func (c *config) readURL(address string) error {
	scheme, _, _ := strings.Cut(address, ":")
	if !strings.EqualFold(scheme, Kind) {
		c.url = address
		return nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return fault.New(fault.Invalid, `the URL cannot be parsed; write "plugin:/path/to/program"`)
	}
	if u.Host != "" || u.User != nil || u.Fragment != "" {
		return fault.New(fault.Invalid, `a plugin is a program and has no host; write "plugin:/path/to/program", or "plugin:name" for one on the PATH`)
	}
	if c.start.Program, err = url.PathUnescape(u.Opaque); err != nil {
		return fault.New(fault.Invalid, "the program's name in the URL cannot be unescaped")
	}
	c.start.Program += u.Path
	return known.ApplyQuery(c, u.RawQuery)
}
