package demo

import (
	"bufio"
	"errors"
	"fmt"
	"os"
)

// output is the file for the counts. It is opened before the work begins, so that a wrong path is told at once, and what
// it held before is kept until there is something to write.
type output struct {
	file *os.File // nil: nothing is to be written
	ours bool     // it was not there before
	done bool
}

func openOutput(path string) (*output, error) {
	if path == "" {
		return &output{}, nil
	}
	_, err := os.Stat(path)
	ours := errors.Is(err, os.ErrNotExist)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	return &output{file: file, ours: ours}, nil
}

// write writes one line a file: its count and its name.
func (o *output) write(counts []Count) error {
	if o.file == nil {
		return nil
	}
	if info, err := o.file.Stat(); err != nil {
		return err
	} else if info.Mode().IsRegular() {
		if err := o.file.Truncate(0); err != nil {
			return err
		}
	}
	w := bufio.NewWriter(o.file)
	for _, c := range counts {
		fmt.Fprintf(w, "%d %s\n", c.Identifiers, c.File) // Flush tells the error
	}
	o.done = true
	return w.Flush()
}

// close leaves no empty file of ours behind when nothing was written.
func (o *output) close() error {
	if o.file == nil {
		return nil
	}
	err := o.file.Close()
	if o.ours && !o.done {
		err = errors.Join(err, os.Remove(o.file.Name()))
	}
	return err
}
