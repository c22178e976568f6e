package cache

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// DumpOptions of [Cache.Dump]. The zero DumpOptions dump everything.
type DumpOptions struct {
	Prefix   string         // only entries and lists whose name begins with it
	Progress func(Progress) // called now and then, and at the end, on the caller's goroutine
}

// Progress of a dump or a restore.
type Progress struct {
	Done  int // entries and lists dealt with
	Total int // of so many; when dumping it was counted before, and may change
}

// Dumped is what a dump has written.
type Dumped struct {
	Entries int
	Lists   int
	Damaged int   // entries that the store could not decode: left out, and logged
	Bytes   int64 // written
}

// Dump writes entries, with the moment at which each ends, and lists to w, as lines of JSON that [Cache.Restore] reads.
//
// It is no snapshot: what changes meanwhile may be old or new; each key is written at most once. Locks and revisions are
// not dumped, nor are the lifetimes of lists. Memory is bounded: it holds a few hundred values, or a few megabytes of
// them, and the hashes of at most a million keys; the keys of larger caches are listed once for each million.
func (c *Cache) Dump(ctx context.Context, w io.Writer, o DumpOptions) (Dumped, error) {
	return c.dump(ctx, w, o, keysAPass)
}

// DumpFile is Dump into a file that only its owner can read. It appears whole, in place of an older one, or not at all.
func (c *Cache) DumpFile(ctx context.Context, path string, o DumpOptions) (dumped Dumped, err error) {
	const op = "cache: dump"
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return Dumped{}, c.fault(fault.Invalid, op, path, "the file cannot be made: %w", err)
	}
	defer func() {
		if err != nil {
			_ = file.Close() // closed already, or of no interest: the file goes
			_ = os.Remove(file.Name())
		}
	}()
	if dumped, err = c.Dump(ctx, file, o); err != nil {
		return dumped, err
	}
	if err = errors.Join(file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		err = c.fault(fault.Internal, op, path, "the file cannot be written: %w", err)
	}
	return dumped, err
}

const (
	keysAPass   = 1 << 20
	mostAtOnce  = 256     // values read, or written, in one call
	bytesAtOnce = 4 << 20 // about so many bytes of values in one call
)

// dumper is one dump under way.
type dumper struct {
	c      *Cache
	o      DumpOptions
	out    *dumpWriter
	dumped Dumped
	total  int
	keys   []string // to be read in the next call
	atOnce int      // how many values that is, by the sizes that were seen
}

func (c *Cache) dump(ctx context.Context, w io.Writer, o DumpOptions, keysAPass int) (Dumped, error) {
	const op = "cache: dump"
	d := &dumper{c: c, o: o, out: newDumpWriter(w), atOnce: 16}
	err := d.all(ctx, keysAPass)
	d.dumped.Bytes = d.out.bytes
	return d.dumped, c.at(err, op, o.Prefix)
}

func (d *dumper) all(ctx context.Context, keysAPass int) error {
	version := dumpVersion
	if err := d.out.write(dumpHeader{Version: &version, Created: time.Now().UTC()}); err != nil {
		return err
	}
	entries, err := d.c.Size(ctx, d.o.Prefix)
	if err != nil {
		return err
	}
	lists := 0
	if d.c.backend.Lists != nil {
		for page, err := range d.c.listPages(ctx, "cache: dump", d.o.Prefix) {
			if err != nil {
				return err
			}
			lists += len(page)
		}
	}
	d.total = entries + lists
	if err := d.entries(ctx, entries/keysAPass+1); err != nil {
		return err
	}
	if d.c.backend.Lists != nil {
		if err := d.lists(ctx, lists/keysAPass+1); err != nil {
			return err
		}
	}
	if err := d.out.end(d.dumped.Entries, d.dumped.Lists); err != nil {
		return err
	}
	d.total = d.dumped.Entries + d.dumped.Lists + d.dumped.Damaged
	d.progress()
	return nil
}

func (d *dumper) progress() {
	if d.o.Progress != nil {
		done := d.dumped.Entries + d.dumped.Lists + d.dumped.Damaged
		d.o.Progress(Progress{Done: done, Total: max(done, d.total)})
	}
}

// once tells the first sight of a name in one of several passes over all names: those whose hash belongs to the pass.
// So each name is seen once, though a store may list it twice, and no pass remembers more than its share.
type once struct {
	passes, pass uint64
	seeds        [2]maphash.Seed
	seen         map[[2]uint64]struct{}
}

func (o *once) first(name string) bool {
	// 128 bits: of a million names two are taken for one with a probability of 10^-27.
	hash := [2]uint64{maphash.String(o.seeds[0], name), maphash.String(o.seeds[1], name)}
	if hash[0]%o.passes != o.pass {
		return false
	}
	if _, seen := o.seen[hash]; seen {
		return false
	}
	o.seen[hash] = struct{}{}
	return true
}

// inPasses calls f for each pass.
func inPasses(passes int, f func(*once) error) error {
	seeds := [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	for pass := range passes {
		if err := f(&once{passes: uint64(passes), pass: uint64(pass), seeds: seeds, seen: map[[2]uint64]struct{}{}}); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) entries(ctx context.Context, passes int) error {
	return inPasses(passes, func(once *once) error {
		for key, err := range d.c.Keys(ctx, d.o.Prefix) {
			if err != nil {
				return err
			}
			if !once.first(key) {
				continue
			}
			if d.keys = append(d.keys, key); len(d.keys) >= d.atOnce {
				if err := d.read(ctx); err != nil {
					return err
				}
			}
		}
		return d.read(ctx)
	})
}

// read writes the entries whose keys were gathered, as far as they are still there.
func (d *dumper) read(ctx context.Context) error {
	reads := make([]Read, len(d.keys))
	for i, key := range d.keys {
		reads[i] = Read{Key: key, Expiry: true}
	}
	d.keys = d.keys[:0]
	all, err := many(ctx, d.c, reading("cache: dump"), reads, 0)
	if err != nil {
		return err
	}
	size := 0
	for _, got := range all {
		switch {
		case errors.Is(got.Err, fault.Corrupt):
			d.dumped.Damaged++
			d.c.log.Warn("cache: a damaged entry was left out of a dump", "error", got.Err)
			continue
		case got.Err != nil:
			return got.Err
		case !got.Found:
			d.total--
			continue
		}
		line := dumpEntry{dumpKey: newDumpKey(got.Entry.Key), Value: got.Entry.Value, Flags: got.Entry.Flags}
		if !got.Entry.Expires.IsZero() {
			expires := got.Entry.Expires.UTC()
			line.Expires = &expires
		}
		if err := d.out.write(dumpLine{Entry: &line}); err != nil {
			return err
		}
		d.dumped.Entries++
		size += len(got.Entry.Value)
	}
	d.adapt(len(all), size)
	d.progress()
	return nil
}

// adapt chooses how many values to ask for at once, from the size of those that came.
func (d *dumper) adapt(values, bytes int) {
	if values > 0 {
		d.atOnce = max(1, min(mostAtOnce, 2*d.atOnce, bytesAtOnce/(bytes/values+1)))
	}
}

func (d *dumper) lists(ctx context.Context, passes int) error {
	return inPasses(passes, func(once *once) error {
		for name, err := range d.c.Lists(ctx, d.o.Prefix) {
			if err != nil {
				return err
			}
			if !once.first(name) {
				continue
			}
			if err := d.list(ctx, name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *dumper) list(ctx context.Context, name string) error {
	for start := 0; ; {
		values, err := d.c.Range(ctx, name, start, d.atOnce)
		if err != nil {
			return err
		}
		if len(values) == 0 {
			d.progress()
			return nil
		}
		size := 0
		for rest := values; len(rest) > 0; {
			n, bytes := lineful(rest)
			line := dumpList{dumpKey: newDumpKey(name), First: start == 0, Values: rest[:n]}
			if err := d.out.write(dumpLine{List: &line}); err != nil {
				return err
			}
			if start == 0 {
				d.dumped.Lists++
			}
			start += n
			size += bytes
			rest = rest[n:]
		}
		d.adapt(len(values), size)
	}
}

// lineful is how many values go into one line: at least one, and no more than bytesAtOnce but for the last of them.
func lineful(values [][]byte) (n, bytes int) {
	for n < len(values) && bytes < bytesAtOnce {
		bytes += len(values[n])
		n++
	}
	return n, bytes
}
