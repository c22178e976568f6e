package backplane

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/gobackplane/backplane/fault"
)

// decoder reads YAML into the config's structs, strictly. It walks the parsed document itself, rather than letting the
// library fill the structs, because a message must name the line and the key as the operator wrote it, and what could
// have stood there.
type decoder struct {
	file   string
	lookup func(string) (string, bool)
	lines  map[string]int // of the keys, by path
}

// maxPath bounds the path of a key, and so how deep values nest: an alias may lead to itself.
const maxPath = 1000

func (d decoder) decode(data []byte, into any) error {
	var doc yaml.Node
	if err := yaml.Load(data, &doc, yaml.WithV3Defaults()); err != nil {
		if len(bytes.TrimSpace(data)) == 0 {
			return d.fail(&yaml.Node{Line: 1}, "", "the file is empty")
		}
		return d.syntax(err, data)
	}
	if len(doc.Content) == 0 {
		return d.fail(&yaml.Node{Line: 1}, "", "the file is empty")
	}
	return d.value(doc.Content[0], "", reflect.ValueOf(into).Elem())
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// syntax is what the library says of text that is no YAML, in the form of all other messages.
func (d decoder) syntax(err error, data []byte) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	at := &yaml.Node{Line: 1}
	if line := yamlLine.FindStringSubmatch(text); line != nil {
		at.Line, _ = strconv.Atoi(line[1])
		text = text[len(line[0]):]
	}
	if bytes.Contains(data, []byte("${")) {
		text += `; a value with ${ in it needs quotes within { } and [ ]`
	}
	return d.fail(at, "", "%s", text)
}

func (d decoder) fail(at *yaml.Node, path, format string, args ...any) error {
	if path != "" {
		path += ": "
	}
	return &fault.Error{Code: fault.Invalid, Op: "backplane: load", Message: fmt.Sprintf("%s:%d: %s%s", d.file, at.Line, path, fmt.Sprintf(format, args...))}
}

func (d decoder) value(n *yaml.Node, path string, v reflect.Value) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.structure(n, path, v)
	case reflect.Map:
		return d.mapping(n, path, v)
	case reflect.Slice:
		return d.list(n, path, v)
	}
	if n.Kind != yaml.ScalarNode {
		return d.fail(n, path, "expected %s, found %s", expected(v), found(n))
	}
	text, expanded, err := expand(n.Value, d.lookup)
	if err != nil {
		return d.fail(n, path, "%s", err)
	}
	return d.scalar(n, path, text, expanded, v)
}

var duration = reflect.TypeFor[time.Duration]()

func (d decoder) scalar(n *yaml.Node, path, text string, expanded bool, v reflect.Value) error {
	wrong := func() error {
		if expanded || v.Kind() == reflect.Bool {
			return d.fail(n, path, "expected %s, found %s", expected(v), found(n)) // of cluster.secret, it may be the secret
		}
		return d.fail(n, path, "expected %s, found %.40q", expected(v), text)
	}
	switch {
	case v.Type() == duration:
		parsed, err := time.ParseDuration(text)
		if err != nil {
			return wrong()
		}
		v.SetInt(int64(parsed))
	case v.Kind() == reflect.String:
		if n.ShortTag() != "!!str" && !expanded {
			return d.fail(n, path, "expected a string, found %s; put it in quotes", found(n))
		}
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		parsed, err := strconv.ParseBool(text)
		if err != nil || (n.ShortTag() != "!!bool" && !expanded) {
			return wrong()
		}
		v.SetBool(parsed)
	default:
		return wrong()
	}
	return nil
}

func (d decoder) structure(n *yaml.Node, path string, v reflect.Value) error {
	if n.Kind != yaml.MappingNode {
		return d.fail(n, path, "expected keys and values, found %s", found(n))
	}
	fields, inline := fieldsOf(v)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, at := n.Content[i], join(path, n.Content[i].Value)
		if seen[key.Value] {
			return d.fail(key, at, "the key stands here twice")
		}
		seen[key.Value] = true
		d.lines[at] = key.Line
		field, known := fields[key.Value]
		switch {
		case known:
			if err := d.value(n.Content[i+1], at, field); err != nil {
				return err
			}
		case inline.IsValid():
			option, err := d.any(n.Content[i+1], at)
			if err != nil {
				return err
			}
			if inline.IsNil() {
				inline.Set(reflect.MakeMap(inline.Type()))
			}
			inline.SetMapIndex(reflect.ValueOf(key.Value), reflect.ValueOf(&option).Elem())
		default:
			return d.fail(key, at, "unknown key; known here are: %s", strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
	}
	return nil
}

// fieldsOf maps the names in a struct's yaml tags to its fields; inline is the one that takes what no other does.
func fieldsOf(v reflect.Value) (fields map[string]reflect.Value, inline reflect.Value) {
	fields = map[string]reflect.Value{}
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("yaml")
		switch tag {
		case "", "-":
		case ",inline":
			inline = v.Field(i)
		default:
			fields[tag] = v.Field(i)
		}
	}
	return fields, inline
}

func (d decoder) mapping(n *yaml.Node, path string, v reflect.Value) error {
	if n.Kind != yaml.MappingNode {
		return d.fail(n, path, "expected keys and values, found %s", found(n))
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, at := reflect.ValueOf(n.Content[i].Value), join(path, n.Content[i].Value)
		if v.MapIndex(key).IsValid() {
			return d.fail(n.Content[i], at, "the key stands here twice")
		}
		d.lines[at] = n.Content[i].Line
		element := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(n.Content[i+1], at, element); err != nil {
			return err
		}
		v.SetMapIndex(key, element)
	}
	return nil
}

func (d decoder) list(n *yaml.Node, path string, v reflect.Value) error {
	if n.Kind != yaml.SequenceNode {
		return d.fail(n, path, "expected a list, found %s", found(n))
	}
	for i, item := range n.Content {
		element := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(item, fmt.Sprintf("%s[%d]", path, i), element); err != nil {
			return err
		}
		v.Set(reflect.Append(v, element))
	}
	return nil
}

// any reads an option of a transport as the plain value it is: string, bool, int, float64, []any or map[string]any.
func (d decoder) any(n *yaml.Node, path string) (any, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if len(path) > maxPath {
		return nil, d.fail(n, "", "values are nested too deeply; does one contain itself?")
	}
	switch n.Kind {
	case yaml.MappingNode:
		all := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, at := n.Content[i].Value, join(path, n.Content[i].Value)
			if _, twice := all[key]; twice {
				return nil, d.fail(n.Content[i], at, "the key stands here twice")
			}
			value, err := d.any(n.Content[i+1], at)
			if err != nil {
				return nil, err
			}
			all[key] = value
		}
		return all, nil
	case yaml.SequenceNode:
		all := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			value, err := d.any(item, fmt.Sprintf("%s[%d]", path, i))
			if err != nil {
				return nil, err
			}
			all = append(all, value)
		}
		return all, nil
	}
	text, expanded, err := expand(n.Value, d.lookup)
	if err != nil {
		return nil, d.fail(n, path, "%s", err)
	}
	plain := *n
	plain.Value = text
	if expanded && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		plain.Tag = "" // "${DB}" without quotes is the number that the variable holds
	}
	var value any
	if err := plain.Decode(&value); err != nil {
		return nil, d.fail(n, path, "%s", err)
	}
	return value, nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func expected(v reflect.Value) string {
	switch {
	case v.Type() == duration:
		return `a duration such as "30s" or "5m"`
	case v.Kind() == reflect.String:
		return "a string"
	case v.Kind() == reflect.Bool:
		return "true or false"
	}
	return v.Kind().String()
}

func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	}
	return "a string" // which is not shown: it may be a secret in the wrong place
}
