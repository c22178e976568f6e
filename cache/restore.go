package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// RestoreOptions of [Cache.Restore]. The zero RestoreOptions overwrite what has the same name.
type RestoreOptions struct {
	KeepExisting bool           // leave alone the entries and lists that are there
	Progress     func(Progress) // called now and then, and at the end, on the caller's goroutine
}

// Restored is what a restore has done.
type Restored struct {
	Entries int // entries written
	Lists   int // lists written
	Expired int // entries whose lifetime had ended since the dump
	Kept    int // entries and lists that were there and kept
}

// Restore writes what [Cache.Dump] wrote, with the lifetimes that are left now: an entry ends when it would have ended.
//
// A first pass over r verifies all of it: a damaged or truncated dump is fault.Corrupt, one of a newer format
// fault.Invalid, one with what this transport cannot take TooLarge, Invalid or Unsupported, and nothing has been
// written then. A second pass writes in batches; when the store fails during it, what was written stays, and restoring
// again is harmless; the list that was being written is dropped, or, if the store does not take that either, named in the
// log, since KeepExisting would keep a part of it. A list of the same name is replaced, not appended to. r is read from where it stands.
func (c *Cache) Restore(ctx context.Context, r io.ReadSeeker, o RestoreOptions) (Restored, error) {
	const op = "cache: restore"
	if err := c.offered(c.backend.Driver != nil, op, "", "cache"); err != nil {
		return Restored{}, err
	}
	start, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return Restored{}, c.fault(fault.Invalid, op, "", "the dump must be seekable: %w", err)
	}
	verified := newDumpReader(r, c.longestLine())
	if err := verified.walk(func(line dumpLine) error { return c.restorable(ctx, verified, line) }); err != nil {
		return Restored{}, c.at(err, op, "")
	}
	if _, err := r.Seek(start, io.SeekStart); err != nil {
		return Restored{}, c.fault(fault.Internal, op, "", "the dump cannot be read a second time: %w", err)
	}
	w := &restorer{c: c, o: o, total: verified.counted.Entries + verified.counted.Lists}
	err = newDumpReader(r, c.longestLine()).walk(func(line dumpLine) error { return w.write(ctx, line) })
	if err == nil {
		err = w.flush(ctx)
	}
	if errors.Is(err, fault.Corrupt) {
		err = c.fault(fault.Corrupt, op, "", "the dump was changed while it was restored; what was written stays: %w", err)
	}
	return w.restored, c.at(err, op, "")
}

// RestoreFile is Restore from a file.
func (c *Cache) RestoreFile(ctx context.Context, path string, o RestoreOptions) (Restored, error) {
	const op = "cache: restore"
	file, err := os.Open(path)
	if err != nil {
		return Restored{}, c.fault(fault.Invalid, op, path, "the file cannot be opened: %w", err)
	}
	defer file.Close()
	restored, err := c.Restore(ctx, file, o)
	var f *fault.Error
	if errors.As(err, &f) && f.Subject == "" {
		f.Subject = path
	}
	return restored, err
}

// longestLine bounds a line by what a dumper may put into it: values of bytesAtOnce and one of the largest in base64, and
// a key of which every byte is escaped.
func (c *Cache) longestLine() int {
	value, key := c.backend.Capabilities.MaxValue, c.backend.Capabilities.MaxKey
	if value <= 0 {
		value = 512 << 20
	}
	const punctuation, rest = 8, 1 << 10 // of each value; of the line
	return (value+bytesAtOnce)/3*4 + punctuation*mostAtOnce + 6*max(key, 1<<10) + rest
}

// restorable checks one line against what this transport takes.
func (c *Cache) restorable(ctx context.Context, d *dumpReader, line dumpLine) error {
	if d.line%1024 == 0 && ctx.Err() != nil {
		return fault.FromContext(ctx)
	}
	if entry := line.Entry; entry != nil {
		return c.takes(d, entry.name(), [][]byte{entry.Value})
	}
	if c.backend.Lists == nil {
		return fault.New(fault.Unsupported, "line %d: the dump has lists, and this transport offers none", d.line)
	}
	if n, most := len(line.List.Values), c.batchSize(); n > most {
		return fault.New(fault.TooLarge, "line %d: %d values of a list at once, this transport takes %d; split the line", d.line, n, most)
	}
	return c.takes(d, line.List.name(), line.List.Values)
}

func (c *Cache) takes(d *dumpReader, key string, values [][]byte) error {
	most := c.backend.Capabilities
	if key == "" {
		return d.damaged("the key is empty")
	}
	if most.MaxKey > 0 && len(key) > most.MaxKey {
		return fault.New(fault.Invalid, "line %d: the key %.80q has %d bytes, this transport takes %d", d.line, key, len(key), most.MaxKey)
	}
	for _, value := range values {
		if most.MaxValue > 0 && len(value) > most.MaxValue {
			return fault.New(fault.TooLarge, "line %d: a value of %.80q has %d bytes, this transport takes %d", d.line, key, len(value), most.MaxValue)
		}
	}
	return nil
}

// restorer is the second pass of a restore.
type restorer struct {
	c        *Cache
	o        RestoreOptions
	restored Restored
	done     int
	total    int
	writes   []Write // to be sent in the next call
	bytes    int
	skipping bool // the list of the line before is kept as it is
}

func (w *restorer) write(ctx context.Context, line dumpLine) error {
	if line.List != nil {
		return w.list(ctx, line.List)
	}
	entry := line.Entry
	write := Write{Key: entry.name(), Value: entry.Value, Flags: entry.Flags}
	if w.o.KeepExisting {
		write.If = IfAbsent()
	}
	if entry.Expires != nil {
		left := time.Until(*entry.Expires)
		if left <= 0 {
			w.restored.Expired++
			w.done++
			return nil
		}
		write.TTL = max(left, w.c.backend.Capabilities.MinTTL)
	}
	w.writes = append(w.writes, write)
	w.bytes += len(write.Value)
	if len(w.writes) >= mostAtOnce || w.bytes >= bytesAtOnce {
		return w.flush(ctx)
	}
	return nil
}

// flush sends the entries that were gathered.
func (w *restorer) flush(ctx context.Context) error {
	writes := w.writes
	w.writes, w.bytes = w.writes[:0], 0
	all, err := many(ctx, w.c, setting, writes, 0)
	if err != nil {
		return err
	}
	for _, written := range all {
		switch {
		case written.Err == nil:
			w.restored.Entries++
		case w.o.KeepExisting && errors.Is(written.Err, ErrConflict):
			w.restored.Kept++
		default:
			return written.Err
		}
		w.done++
	}
	w.progress()
	return nil
}

func (w *restorer) progress() {
	if w.o.Progress != nil {
		w.o.Progress(Progress{Done: w.done, Total: w.total})
	}
}

// list writes one part of a list, in place of what was there.
func (w *restorer) list(ctx context.Context, list *dumpList) error {
	name := list.name()
	if list.First {
		w.done++
		if err := w.begin(ctx, name); err != nil {
			return err
		}
		w.progress()
	}
	if w.skipping {
		return nil
	}
	if _, err := w.c.Push(ctx, name, list.Values); err != nil {
		return w.abandon(ctx, name, err)
	}
	return nil
}

// abandon drops a list of which a part could not be written: what stayed of it would be taken for a whole one by a later
// restore that keeps what exists.
func (w *restorer) abandon(ctx context.Context, name string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	if _, err := w.c.Drop(ctx, name); err != nil {
		w.c.log.Warn("cache: a list was restored in part only and could not be dropped; drop it before a restore that keeps what exists",
			"list", name, "error", err)
		return cause
	}
	w.restored.Lists--
	return cause
}

func (w *restorer) begin(ctx context.Context, name string) error {
	if w.o.KeepExisting {
		length, err := w.c.Length(ctx, name)
		if err != nil {
			return err
		}
		if w.skipping = length > 0; w.skipping {
			w.restored.Kept++
			return nil
		}
	}
	if _, err := w.c.Drop(ctx, name); err != nil {
		return err
	}
	w.restored.Lists++
	return nil
}
