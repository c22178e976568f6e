package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// nasty are files that are hard to count, and how many identifiers each has: counted by hand.
var nasty = map[string]struct {
	source string
	count  int
}{
	"empty.go":                    {"", 0},
	"no newline.go":               {"package a", 1},
	"only a comment.go":           {"// package a\n/* b */", 0},
	"syntax/broken.go":            {"package b\n\nfunc ( { x := } if else y", 3}, // b x y
	"syntax/open.go":              {"package c; var s = \"never closed\nvar t = `nor this", 3},
	"syntax/binary.go":            {"\x00\xff\xfepackage d\x00 e", 2},
	"unicode/größe.go":            {"package größe\n\nvar Δ, 世界, _x1 = 1i, 0x1p-2, '世'\n", 4},
	"unicode/blank.go":            {"package p\n\nimport . \"fmt\"\n\nvar _ = Sprint(\"a b c\", `d e`, 'f')\n", 3}, // p _ Sprint
	"deep/er/and/deeper/g.go":     {"package g\n\nfunc f[T any](t T) T { L: for { break L }; return t }\n", 10},    // g f T any t T T L L t
	"tags.go":                     {"package h\n\ntype S struct {\n\tA, B int `json:\"a b\"`\n}\n", 5},
	"big.go":                      {"package big\n" + strings.Repeat("var _ = len(\"x\") // y\n", 20000), 40001},
	"crlf.go":                     {"package w\r\n\r\nvar v = w\r\n", 3},
	"sub/not go.txt":              {"package no", -1},
	"sub/also.gox":                {"package no", -1},
	"{braces} %7B and [signs].go": {"package m", 1},
}

// writeTree writes files into a folder of the test.
func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, source := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, []byte(source), 0o666))
	}
	return root
}

// nastyTree is a folder with the nasty files, and what is to be counted in it.
func nastyTree(t *testing.T) (root string, counts map[string]int) {
	t.Helper()
	files := map[string]string{}
	counts = map[string]int{}
	for name, each := range nasty {
		files[name] = each.source
		if each.count >= 0 {
			counts[name] = each.count
		}
	}
	return writeTree(t, files), counts
}
