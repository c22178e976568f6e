package demo

import (
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Count is what the demo finds out about one source file.
type Count struct {
	File        string `json:"file"` // slash-separated, relative to the root
	Identifiers int    `json:"identifiers"`
	Lines       int    `json:"lines"`
}

// sourceFiles lists the Go files under a root, sorted, with slashes, relative to it. The root may be a symbolic link, as
// that of Debian's Go is; those below it are not followed.
func sourceFiles(root string) ([]string, error) {
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, err
	}
	var files []string
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		relative, err := filepath.Rel(root, path)
		if !utf8.ValidString(relative) {
			return fmt.Errorf("%q: the name is not UTF-8, and could not travel in JSON; rename the file, or name another tree with --root", path)
		}
		files = append(files, filepath.ToSlash(relative))
		return err
	})
	slices.Sort(files)
	return files, err
}

// countFile counts the identifiers of one file, as tokens: a file that does not parse has them too.
func countFile(root, file string) (Count, error) {
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		return Count{}, err
	}
	c := Count{File: file, Lines: strings.Count(string(source), "\n")}
	var s scanner.Scanner
	s.Init(token.NewFileSet().AddFile(file, -1, len(source)), source, nil, 0)
	for {
		switch _, tok, _ := s.Scan(); tok {
		case token.EOF:
			return c, nil
		case token.IDENT:
			c.Identifiers++
		}
	}
}
