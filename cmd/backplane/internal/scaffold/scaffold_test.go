package scaffold_test

import (
	"encoding/json"
	"flag"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cmd/backplane/internal/scaffold"
)

var update = flag.Bool("update", false, "copy what the template for Node.js has from elsewhere")

const root = "../../../../"

// copies are the folders of the template for Node.js that are kept elsewhere: a project must have all that it needs.
var copies = map[string]string{
	"node/src/plugin":      "examples/transports/node-sqlite/src/plugin",
	"node/proto/backplane": "proto/backplane",
}

func TestCopiesAreAsTheyAreElsewhere(t *testing.T) {
	for here, elsewhere := range copies {
		require.DirExists(t, root+elsewhere)
		if *update {
			require.NoError(t, os.RemoveAll(here))
			require.NoError(t, os.CopyFS(here, os.DirFS(root+elsewhere)))
		}

		require.Equal(t, tree(t, root+elsewhere), tree(t, here), "%s is not %s; run: go test ./cmd/backplane/internal/scaffold -run Copies -update", here, elsewhere)
	}
}

func TestNodeDependsOnWhatTheCopiesImport(t *testing.T) {
	dependencies := func(text []byte) map[string]string {
		var p struct {
			Engines, Dependencies map[string]string
		}
		require.NoError(t, json.Unmarshal(text, &p))
		delete(p.Dependencies, "better-sqlite3") // the example's store
		p.Dependencies["node"] = p.Engines["node"]
		return p.Dependencies
	}
	example, err := os.ReadFile(root + "examples/transports/node-sqlite/package.json")
	require.NoError(t, err)
	files, err := project(t, "my-store", "node").Render()
	require.NoError(t, err)

	require.Equal(t, dependencies(example), dependencies(files["package.json"]))
}

// tree is the text of every file by path.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(text)
		return err
	}))
	require.NotEmpty(t, files, dir)
	return files
}

func project(t *testing.T, name, lang string) scaffold.Project {
	t.Helper()
	return scaffold.Project{Name: name, Lang: lang, Dir: filepath.Join(t.TempDir(), name), Version: "v1.2.3"}
}

func TestGoVersionIsThisModules(t *testing.T) {
	text, err := os.ReadFile(root + "go.mod")
	require.NoError(t, err)
	require.Contains(t, string(text), "\ngo "+scaffold.GoVersion+"\n")
}

func TestEveryNameIsReplacedAndGoIsFormatted(t *testing.T) {
	for _, lang := range scaffold.Languages {
		files, err := project(t, "my-store", lang).Render()

		require.NoError(t, err)
		require.Contains(t, files, ".gitignore")
		require.Contains(t, files, "README.md")
		for name, text := range files {
			require.NotRegexp(t, `__[A-Z_]+__|\.tmpl`, name)
			require.NotRegexp(t, `__[A-Z_]+__`, string(text), name)
			if strings.HasSuffix(name, ".go") {
				formatted, err := format.Source(text)
				require.NoError(t, err, name)
				require.Equal(t, string(formatted), string(text), name)
			}
		}
	}
}

func TestGoRequiresTheVersionOfTheCommand(t *testing.T) {
	p := project(t, "my-store", "go")
	p.Module = "example.com/stores/my-store"
	files, err := p.Render()

	require.NoError(t, err)
	require.Contains(t, string(files["go.mod"]), "module example.com/stores/my-store\n")
	require.Contains(t, string(files["go.mod"]), "require github.com/gobackplane/backplane v1.2.3\n")
	require.NotContains(t, string(files["go.mod"]), "replace")
	require.Contains(t, string(files["mystore.go"]), "package mystore\n")
	require.Contains(t, string(files["mystore.go"]), `import _ "example.com/stores/my-store"`)
	require.Contains(t, files, "cmd/my-store/main.go")
}

func TestGoTakesACheckoutInstead(t *testing.T) {
	p := project(t, "my-store", "go")
	p.Version, p.Replace = "(devel)", root
	files, err := p.Render()
	require.NoError(t, err)
	absolute, err := filepath.Abs(root)
	require.NoError(t, err)

	require.NoError(t, p.Check())
	require.Contains(t, string(files["go.mod"]), "\nreplace github.com/gobackplane/backplane => "+absolute+"\n")
	require.Contains(t, string(files["README.md"]), "nobody else can build that")
}

func TestWhatCannotBeIsRefusedWithARemedy(t *testing.T) {
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
	for name, c := range map[string]struct {
		change func(*scaffold.Project)
		says   string
	}{
		"no name":            {func(p *scaffold.Project) { p.Name = "" }, "needs a name"},
		"a path":             {func(p *scaffold.Project) { p.Name = "../x" }, "--dir says where"},
		"upper case":         {func(p *scaffold.Project) { p.Name = "Store" }, "lower-case"},
		"a dash at its end":  {func(p *scaffold.Project) { p.Name = "x-" }, "single dashes"},
		"a long name":        {func(p *scaffold.Project) { p.Name = strings.Repeat("x", 41) }, "up to 40"},
		"a known kind":       {func(p *scaffold.Project) { p.Name = "redis" }, "my-redis"},
		"a keyword":          {func(p *scaffold.Project) { p.Name = "go" }, "my-go"},
		"an imported name":   {func(p *scaffold.Project) { p.Name = "cache" }, "my-cache"},
		"a language":         {func(p *scaffold.Project) { p.Lang = "cobol" }, "go and node"},
		"a standard package": {func(p *scaffold.Project) { p.Name = "sort" }, "--module example.com/sort"},
		"a module":           {func(p *scaffold.Project) { p.Module = "https://x" }, "example.com/my-store"},
		"no release":         {func(p *scaffold.Project) { p.Version = "(devel)" }, "--replace DIR"},
		"a changed checkout": {func(p *scaffold.Project) { p.Version = "v0.0.0-2026-abc+dirty" }, "--replace DIR"},
		"no checkout":        {func(p *scaffold.Project) { p.Replace = full }, "go.mod begins with"},
		"replace for node":   {func(p *scaffold.Project) { p.Lang, p.Replace = "node", root }, "--lang go"},
		"module for node":    {func(p *scaffold.Project) { p.Lang, p.Module = "node", "x" }, "--lang go"},
		"a full folder":      {func(p *scaffold.Project) { p.Dir = full }, "--force"},
		"no folder":          {func(p *scaffold.Project) { p.Dir = filepath.Join(full, "mine") }, "--dir"},
	} {
		p := project(t, "my-store", "go")
		c.change(&p)

		files, err := p.Write()

		require.ErrorContains(t, err, c.says, name)
		require.Empty(t, files, name)
		if p.Dir != full && p.Dir != filepath.Join(full, "mine") {
			require.NoDirExists(t, p.Dir, name)
		}
	}
}

func TestForceLeavesWhatIsNotInTheWay(t *testing.T) {
	p := project(t, "my-store", "node")
	require.NoError(t, os.MkdirAll(p.Dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(p.Dir, "notes"), []byte("mine"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(p.Dir, "README.md"), []byte("old"), 0o600))
	p.Force = true

	files, err := p.Write()

	require.NoError(t, err)
	require.Contains(t, files, "src/plugin/serve.mjs")
	notes, err := os.ReadFile(filepath.Join(p.Dir, "notes"))
	require.NoError(t, err)
	require.Equal(t, "mine", string(notes))
	readme, err := os.ReadFile(filepath.Join(p.Dir, "README.md"))
	require.NoError(t, err)
	require.NotEqual(t, "old", string(readme))
	main, err := os.Stat(filepath.Join(p.Dir, "src/main.mjs"))
	require.NoError(t, err)
	require.NotZero(t, main.Mode()&0o100, "the program is executable")
}
