// Command identifiers counts the identifiers of the Go files under a folder in another way than the demo does: it parses
// them and counts the names in their syntax trees. So it needs files that parse.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log"
	"os"
	"strings"
)

func main() {
	root := os.DirFS(os.Args[1])
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") {
			return err
		}
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		count := 0
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name != "." { // import . "fmt": an operator
				count++
			}
			return true
		})
		fmt.Println(count, name)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
}
