package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// blocks are the pieces of code of a page, whose first line names their file.
var blocks = regexp.MustCompile("(?ms)^```go\n// ([a-z]+\\.go)\n(.*?)^```$")

// TestWritingATransportGetsToGreen does what docs/writing-a-transport.md says: it begins a project, and puts every piece of
// code where it belongs.
func TestWritingATransportGetsToGreen(t *testing.T) {
	t.Parallel()
	dir := newProject(t, "mystore", "--lang", "go", "--module", "example.com/mystore", "--replace", "../..")

	for _, block := range blocks.FindAllStringSubmatch(readDoc(t, "writing-a-transport.md"), -1) {
		require.NoError(t, follow(filepath.Join(dir, block[1]), block[2]), block[1])
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "todo.go")))

	out, err := inProject(dir, "go", "test", "-count=1", "-v", "-run", "TestConformance/linked|TestThePlugin", "./...")
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)10 +done +cache `, out)
	require.Regexp(t, `(?m)11 +not offered +lists `, out)
}

// newProject begins a project with the command, and has the go command fetch what it needs.
func newProject(t *testing.T, name string, flags ...string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), name)
	code, stdout, stderr := invoke(t, append([]string{"transport", "new", name, "--dir", dir}, flags...)...)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "next:\n    cd "+dir)
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		out, err := inProject(dir, "go", "mod", "tidy")
		require.NoError(t, err, out)
	}
	return dir
}

// inProject runs a command in a project's folder.
func inProject(dir string, words ...string) (string, error) {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// follow puts a piece of code into a file as a reader would: a whole file is put there as it is, and a declaration takes
// the place of the one with its name, which goes with it where it stands in another file of the folder.
func follow(path, code string) error {
	if strings.HasPrefix(code, "package ") {
		for name := range declared(code) {
			if err := removeFrom(filepath.Dir(path), name); err != nil {
				return err
			}
		}
		return write(path, code)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for name, each := range declared("package x\n" + code) {
		if span, there := declared(string(text))[name]; there {
			text = slices.Concat([]byte(span.before), []byte(each.text), []byte(span.after))
		} else {
			text = fmt.Appendf(text, "\n%s\n", each.text)
		}
	}
	return write(path, string(text))
}

// piece is a declaration with its comment, and what stands around it.
type piece struct{ before, text, after string }

// declared are the declarations of a file by name; a method has its receiver before its own.
func declared(text string) map[string]piece {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", text, parser.ParseComments)
	if err != nil {
		panic(fmt.Sprintf("%v in:\n%s", err, text))
	}
	all := map[string]piece{}
	for _, d := range file.Decls {
		name, doc := "", (*ast.CommentGroup)(nil)
		switch d := d.(type) {
		case *ast.FuncDecl:
			name, doc = d.Name.Name, d.Doc
			if d.Recv != nil {
				name = receiver(d.Recv.List[0].Type) + "." + name
			}
		case *ast.GenDecl:
			spec, is := d.Specs[0].(*ast.TypeSpec)
			if !is {
				continue
			}
			name, doc = spec.Name.Name, d.Doc
		}
		start, end := d.Pos(), d.End()
		if doc != nil {
			start = doc.Pos()
		}
		from, to := fset.Position(start).Offset, fset.Position(end).Offset
		all[name] = piece{text[:from], text[from:to], text[to:]}
	}
	return all
}

func receiver(e ast.Expr) string {
	if star, is := e.(*ast.StarExpr); is {
		e = star.X
	}
	return e.(*ast.Ident).Name
}

func removeFrom(dir, name string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	for _, path := range files {
		text, reading := os.ReadFile(path)
		if reading != nil {
			return reading
		}
		if span, there := declared(string(text))[name]; there {
			err = errors.Join(err, write(path, span.before+span.after))
		}
	}
	return err
}

// write writes a file, with the import that the page says in words.
func write(path, text string) error {
	if strings.Contains(text, "fault.") && !strings.Contains(text, `backplane/fault"`) {
		text = strings.Replace(text, `backplane/cache"`, "backplane/cache\"\n\t\"github.com/gobackplane/backplane/fault\"", 1)
	}
	formatted, err := format.Source([]byte(text))
	if err != nil {
		return err
	}
	return os.WriteFile(path, bytes.TrimLeft(formatted, "\n"), fs.FileMode(0o644))
}
