package process_test

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

func FuzzHandshake(f *testing.F) {
	for _, seed := range []string{
		"", "Hello", "1|1|unix|/d/s|grpc|" + strings.Repeat("A", 60), "1|1|tcp|127.0.0.1:1|grpc|", "1|1|tcp|[::1]:1|grpc|x|true",
		"|||||||", "999999999999|1|unix|/d/../s|grpc|", "1|\xff|\x00|x|grpc|",
	} {
		f.Add(seed)
	}
	dir := filepath.Join(string(filepath.Separator), "d")
	f.Fuzz(func(t *testing.T, line string) {
		problem := process.CheckHandshake(line, dir)

		if len(problem) > 2000 || !utf8.ValidString(problem) {
			t.Errorf("a bad message: %q", problem)
		}
		if problem != "" {
			return
		}
		parts := strings.Split(line, "|")
		if parts[2] == "unix" && filepath.Dir(filepath.Clean(parts[3])) != dir {
			t.Errorf("a socket outside of its folder was accepted: %q", line)
		}
	})
}
