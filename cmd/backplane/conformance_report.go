package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gobackplane/backplane/conformance"
)

type reportWriter = func(conformance.Report, io.Writer) error

// writers by --format.
var writers = map[string]reportWriter{
	"text": conformance.Report.WriteText, "json": conformance.Report.WriteJSON, "junit": conformance.Report.WriteJUnit,
	"markdown": conformance.Report.WriteMarkdown, "html": conformance.Report.WriteHTML, "badge": writeBadge,
}

// formats by the end of a file's name.
var formats = map[string]string{".txt": "text", ".json": "json", ".xml": "junit", ".md": "markdown", ".html": "html"}

func writeBadge(r conformance.Report, w io.Writer) error {
	_, err := fmt.Fprintln(w, r.Badge())
	return err
}

// reports are the files that --report asks for.
type reports map[string]reportWriter

// reportFiles refuses a name that says no format, and a folder that is not there, before the suite runs and not after.
func reportFiles(paths []string) (reports, error) {
	files := reports{}
	for _, path := range paths {
		format, ok := formats[filepath.Ext(path)]
		if !ok {
			return nil, fmt.Errorf("--report %q: the name must end in .html, .md, .xml, .json or .txt", path)
		}
		if folder, err := os.Stat(filepath.Dir(path)); err != nil || !folder.IsDir() {
			return nil, fmt.Errorf("--report %q: there is no folder %s", path, filepath.Dir(path))
		}
		files[path] = writers[format]
	}
	return files, nil
}

func (files reports) write(r conformance.Report) error {
	var errs []error
	for path, write := range files {
		file, err := os.Create(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, write(r, file), file.Close())
	}
	return errors.Join(errs...)
}
