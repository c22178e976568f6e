// Package scaffold writes the project that a transport's author begins with, from the templates in its folders go and node.
//
// A file that ends in .tmpl gets the project's names and loses that ending; every other file is copied as it is. Names
// between double underscores are replaced in paths, too.
package scaffold

import (
	"embed"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed all:go all:node
var templates embed.FS

// backplane is the module that a project in Go requires.
const backplane = "github.com/gobackplane/backplane"

// GoVersion is the language version that a project in Go begins with: that of this module, because a module must not be
// behind those that it requires.
const GoVersion = "1.26.0"

// Languages are those that there are templates for.
var Languages = []string{"go", "node"}

// Project says what to write.
type Project struct {
	Name    string // the transport's kind, and its program
	Lang    string // one of Languages
	Dir     string // where; it is made
	Module  string // Go: the module's path; empty: Name
	Version string // Go: of Backplane
	Replace string // Go: folder of a checkout of Backplane to use in place of Version; empty: none
	Force   bool   // write into a folder that has files, over those with the same names
}

// kinds are registered by Backplane's own transports.
var kinds = []string{"memory", "redis", "rediss", "nats", "nats-embedded", "plugin", "tls", "ws", "wss"}

// packages are imported where the author's own is.
var packages = []string{
	"atomic", "base64", "bytes", "cache", "conformance", "context", "exec", "fault", "filepath", "fmt", "fs", "main", "os", "plugin",
	"pubsub", "queue", "rand", "rpc", "strings", "sync", "testing", "time", "transports",
}

// standard are the first parts of the standard library's import paths. A module that is called so is never found.
var standard = strings.Fields(`archive bufio builtin bytes cmd cmp compress container context crypto database debug embed
	encoding errors expvar flag fmt go hash html image index internal io iter log maps math mime net os path plugin reflect
	regexp runtime slices sort std strconv strings structs sync syscall testing text time unicode unique unsafe vendor weak`)

var (
	nameForm   = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	moduleForm = regexp.MustCompile(`^[A-Za-z0-9_~][A-Za-z0-9._~-]*(/[A-Za-z0-9_~][A-Za-z0-9._~-]*)*$`)
)

// Package is the name of the Go package of a transport.
func (p Project) Package() string { return strings.ReplaceAll(p.Name, "-", "") }

// Check says what is wrong with a project, and what would be right. It reads no more than it must.
func (p Project) Check() error {
	switch {
	case p.Name == "":
		return errors.New("the transport needs a name, as in: backplane transport new mystore --lang go")
	case !nameForm.MatchString(p.Name) || len(p.Name) > 40:
		return fmt.Errorf("%q cannot be the name of a transport; use up to 40 lower-case letters, digits and single dashes, a letter first, as in my-store (--dir says where to write it)", p.Name)
	case slices.Contains(kinds, p.Name):
		return fmt.Errorf("%q is a transport or URL scheme of Backplane itself; choose another name, such as my-%[1]s", p.Name)
	case !slices.Contains(Languages, p.Lang):
		return fmt.Errorf("--lang %q: there are templates for %s; for another language begin with proto/backplane/transport/v1 and docs/transports/plugin.md", p.Lang, strings.Join(Languages, " and "))
	case p.Lang != "go" && p.Replace != "":
		return errors.New("--replace is for --lang go; a project in another language does not import Backplane")
	case p.Lang != "go" && p.Module != "":
		return errors.New("--module is for --lang go")
	}
	if p.Lang != "go" {
		return p.checkFolder()
	}
	if token.IsKeyword(p.Package()) || slices.Contains(packages, p.Package()) {
		return fmt.Errorf("%q would be a Go package whose name is taken; choose another name, such as my-%[1]s", p.Name)
	}
	if !moduleForm.MatchString(p.module()) {
		return fmt.Errorf("--module %q is not the path of a module; write for example example.com/%s", p.Module, p.Name)
	}
	if first, _, _ := strings.Cut(p.module(), "/"); slices.Contains(standard, first) {
		return fmt.Errorf("a module %q would be hidden by Go's standard library; give it another path, such as --module example.com/%s", p.module(), p.Name)
	}
	if err := p.checkReplace(); err != nil {
		return err
	}
	return p.checkFolder()
}

func (p Project) module() string {
	if p.Module != "" {
		return p.Module
	}
	return p.Name
}

// released are versions that the go command can find: a tag, or a commit that was pushed. What was built from a checkout
// with changes is neither.
var released = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func (p Project) checkReplace() error {
	if p.Replace == "" {
		if !released.MatchString(p.Version) {
			return fmt.Errorf("this command is version %s, which no go.mod can require; give --replace DIR, the folder of a checkout of Backplane, or install a released one", p.Version)
		}
		return nil
	}
	text, err := os.ReadFile(filepath.Join(p.Replace, "go.mod"))
	if err != nil || !strings.HasPrefix(string(text), "module "+backplane+"\n") {
		return fmt.Errorf("--replace %s: that is no checkout of Backplane; give the folder whose go.mod begins with: module %s", p.Replace, backplane)
	}
	return nil
}

func (p Project) checkFolder() error {
	entries, err := os.ReadDir(p.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s cannot be written to: %w; choose another folder with --dir", p.Dir, err)
	case len(entries) > 0 && !p.Force:
		return fmt.Errorf("the folder %s is not empty; choose another with --dir, or overwrite what is in the way with --force", p.Dir)
	}
	return nil
}

// Write writes the project, and tells which files it wrote, in order, by their paths in its folder.
func (p Project) Write() ([]string, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	files, err := p.Render()
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		file := filepath.Join(p.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, files[name], mode(files[name])); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// mode makes programs of what begins like one.
func mode(text []byte) fs.FileMode {
	if strings.HasPrefix(string(text), "#!") {
		return 0o755
	}
	return 0o644
}

// Render gives the project's files by path.
func (p Project) Render() (map[string][]byte, error) {
	names, err := p.names()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	err = fs.WalkDir(templates, p.Lang, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := templates.ReadFile(file)
		if err != nil {
			return err
		}
		name, isTemplate := strings.CutSuffix(strings.TrimPrefix(file, p.Lang+"/"), ".tmpl")
		if isTemplate {
			text = []byte(names.Replace(string(text)))
		}
		if path.Base(name) == "gitignore" {
			name = path.Join(path.Dir(name), ".gitignore")
		}
		files[names.Replace(name)] = text
		return nil
	})
	return files, err
}

// names are what stands between double underscores.
func (p Project) names() (*strings.Replacer, error) {
	version, replace, note := p.Version, "", ""
	if p.Replace != "" {
		dir, err := filepath.Abs(p.Replace)
		if err != nil {
			return nil, err
		}
		version = "v0.0.0"
		replace = fmt.Sprintf("\n// A checkout in place of a release. Before others can build this: remove the line, and go get %s@latest.\nreplace %[1]s => %s\n", backplane, quoted(dir))
		note = "\n`go.mod` takes Backplane from a checkout on this machine; nobody else can build that. Remove its `replace` line when there is a\nrelease to require.\n"
	}
	return strings.NewReplacer(
		"__NAME__", p.Name, "__PACKAGE__", p.Package(), "__MODULE__", p.module(), "__GO__", GoVersion, "__VERSION__", version,
		"__REPLACE__\n", replace, "__REPLACE_NOTE__\n", note+"\n",
	), nil
}

// quoted is a path as go.mod takes it.
func quoted(dir string) string {
	if strings.ContainsAny(dir, " \t\"'`()[]{},;") || strings.Contains(dir, "//") {
		return fmt.Sprintf("%q", dir)
	}
	return dir
}
