package backplane

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/gobackplane/backplane/fault"
)

// origin is the file that a config was read from, so that what turns out to be wrong only later is told with its place
// too. A nil one is a config that is from no file.
type origin struct {
	file  string
	lines map[string]int // of the keys, by path
}

// at is where a key stands, or else what it would stand in.
func (o *origin) at(key string) string {
	for path := key; path != ""; path = path[:max(strings.LastIndexByte(path, '.'), 0)] {
		if line := o.lines[path]; line > 0 {
			return fmt.Sprintf("%s:%d: %s", o.file, line, key)
		}
	}
	return fmt.Sprintf("%s:1: %s", o.file, key)
}

// place says where the key stands that err is about: its subject.
func (o *origin) place(err error) error {
	var f *fault.Error
	if o == nil || !errors.As(err, &f) {
		return err
	}
	return &fault.Error{Code: f.Code, Op: "backplane: load", Message: o.at(f.Subject) + ": " + f.Message, Err: f.Err}
}

// placeOf says where the option of a transport stands that is why it cannot be opened, or the transport itself.
func (o *origin) placeOf(name string, t TransportConfig, err error) error {
	if o == nil || fault.CodeOf(err) != fault.Invalid {
		return err
	}
	key := "transports." + name
	for _, option := range slices.Sorted(maps.Keys(t.Options)) {
		named := regexp.MustCompile(`option "?` + regexp.QuoteMeta(option) + `\b`)
		if named.MatchString(err.Error()) {
			key += "." + option
			break
		}
	}
	return &fault.Error{Code: fault.Invalid, Op: "backplane: open", Message: o.at(key) + ": " + err.Error(), Err: err}
}
