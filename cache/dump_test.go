package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func dumpOf(t *testing.T, c *cache.Cache) []byte {
	t.Helper()
	var b bytes.Buffer
	dumped, err := c.Dump(t.Context(), &b, cache.DumpOptions{})
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), dumped.Bytes)
	return b.Bytes()
}

// signed puts header and end around lines.
func signed(lines ...string) []byte {
	text := `{"backplane_cache_dump":1,"created":"2026-01-01T00:00:00Z"}` + "\n"
	entries, lists := 0, 0
	for _, line := range lines {
		text += line + "\n"
		if strings.Contains(line, `"entry"`) {
			entries++
		}
		if strings.Contains(line, `"first":true`) {
			lists++
		}
	}
	sum := sha256.Sum256([]byte(text))
	return fmt.Appendf(nil, `%s{"end":{"entries":%d,"lists":%d,"sha256":"%s"}}`+"\n", text, entries, lists, hex.EncodeToString(sum[:]))
}

func TestADumpIsRestoredWithTheRemainingLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStore(t).node()
		ctx := t.Context()
		_, err := c.Set(ctx, "for ever", []byte("1"))
		require.NoError(t, err)
		_, err = c.Set(ctx, "an hour", []byte("2"), cache.TTL(time.Hour))
		require.NoError(t, err)
		_, err = c.Set(ctx, "a minute", []byte("3"), cache.TTL(time.Minute))
		require.NoError(t, err)
		_, err = c.Push(ctx, "an hour", [][]byte{[]byte("a"), {}, {0, 255}})
		require.NoError(t, err)
		dump := dumpOf(t, c)
		time.Sleep(10 * time.Minute)
		target := store{t: t, name: "memory:other"}.node()
		_, err = target.Push(ctx, "an hour", [][]byte{[]byte("old")})
		require.NoError(t, err)

		restored, err := target.Restore(ctx, bytes.NewReader(dump), cache.RestoreOptions{})

		require.NoError(t, err)
		require.Equal(t, cache.Restored{Entries: 2, Lists: 1, Expired: 1}, restored)
		entry, err := target.Get(ctx, "an hour", cache.WithExpiry())
		must(t, "2")(entry, err)
		require.Equal(t, 50*time.Minute, time.Until(entry.Expires))
		entry, err = target.Get(ctx, "for ever", cache.WithExpiry())
		must(t, "1")(entry, err)
		require.Zero(t, entry.Expires)
		_, err = target.Get(ctx, "a minute")
		require.ErrorIs(t, err, cache.ErrNotFound)
		values, err := target.Range(ctx, "an hour", 0, 10)
		require.NoError(t, err)
		require.Equal(t, [][]byte{[]byte("a"), {}, {0, 255}}, values)
	})
}

func TestARestoreKeepsWhatIsThereWhenAsked(t *testing.T) {
	s := newStore(t)
	c := s.node()
	ctx := t.Context()
	for _, key := range []string{"a", "b"} {
		_, err := c.Set(ctx, key, []byte("old"))
		require.NoError(t, err)
		_, err = c.Push(ctx, key, [][]byte{[]byte("old")})
		require.NoError(t, err)
	}
	dump := dumpOf(t, c)
	_, err := c.Set(ctx, "a", []byte("new"))
	require.NoError(t, err)
	_, err = c.Delete(ctx, "b")
	require.NoError(t, err)
	_, err = c.Push(ctx, "a", [][]byte{[]byte("new")})
	require.NoError(t, err)
	_, err = c.Drop(ctx, "b")
	require.NoError(t, err)

	restored, err := c.Restore(ctx, bytes.NewReader(dump), cache.RestoreOptions{KeepExisting: true})

	require.NoError(t, err)
	require.Equal(t, cache.Restored{Entries: 1, Lists: 1, Kept: 2}, restored)
	must(t, "new")(c.Get(ctx, "a"))
	must(t, "old")(c.Get(ctx, "b"))
	n, err := c.Length(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, 2, n)

	restored, err = c.Restore(ctx, bytes.NewReader(dump), cache.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, cache.Restored{Entries: 2, Lists: 2}, restored)
	must(t, "old")(c.Get(ctx, "a"))
	n, err = c.Length(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func TestAnyCacheSurvivesDumpAndRestore(t *testing.T) {
	names := rapid.OneOf(rapid.StringN(1, 60, 200), rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 30), func(b []byte) string { return string(b) }))
	values := rapid.SliceOfN(rapid.Byte(), 0, 300)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		from := store{t: t, name: fmt.Sprintf("memory:from%d", run)}.node()
		to := store{t: t, name: fmt.Sprintf("memory:to%d", run)}.node()
		ctx := t.Context()
		entries := rapid.MapOfN(names, values, 0, 40).Draw(rt, "entries")
		lists := rapid.MapOfN(names, rapid.SliceOfN(values, 1, 20), 0, 5).Draw(rt, "lists")
		for key, value := range entries {
			_, err := from.SetMany(ctx, []cache.Write{{Key: key, Value: value, Flags: uint8(len(value)) & 0x7f}})
			require.NoError(rt, err)
		}
		for name, values := range lists {
			_, err := from.Push(ctx, name, values)
			require.NoError(rt, err)
		}

		var b bytes.Buffer
		dumped, err := from.DumpInPasses(ctx, &b, rapid.IntRange(1, 50).Draw(rt, "keys a pass"))
		require.NoError(rt, err)
		require.Equal(rt, len(entries), dumped.Entries)
		restored, err := to.Restore(ctx, bytes.NewReader(b.Bytes()), cache.RestoreOptions{})

		require.NoError(rt, err)
		require.Equal(rt, cache.Restored{Entries: len(entries), Lists: len(lists)}, restored)
		for key, value := range entries {
			entry, err := to.Get(ctx, key)
			require.NoError(rt, err)
			require.True(rt, bytes.Equal(value, entry.Value))
			require.Equal(rt, uint8(len(value))&0x7f, entry.Flags)
		}
		for name, values := range lists {
			got, err := to.Range(ctx, name, 0, 100)
			require.NoError(rt, err)
			require.Len(rt, got, len(values))
			for i := range got {
				require.True(rt, bytes.Equal(values[i], got[i]))
			}
		}
	})
}

// A store may list a key twice.
type stutter struct{ cache.Driver }

func (d stutter) Keys(ctx context.Context, p cache.Page) (cache.Keys, error) {
	page, err := d.Driver.Keys(ctx, p)
	page.Keys = append(page.Keys, page.Keys...)
	return page, err
}

func TestADumpHasEachKeyOnce(t *testing.T) {
	c, link := newStore(t).faulty()
	link.Driver = stutter{link.Driver}
	for i := range 300 {
		_, err := c.Set(t.Context(), fmt.Sprint(i), nil)
		require.NoError(t, err)
	}

	for _, keysAPass := range []int{1 << 20, 100, 7} {
		var b bytes.Buffer
		dumped, err := c.DumpInPasses(t.Context(), &b, keysAPass)
		require.NoError(t, err)
		require.Equal(t, 300, dumped.Entries)
		require.Equal(t, 302, bytes.Count(b.Bytes(), []byte("\n")))
	}
}

// A record in the store may be damaged.
type damage struct{ cache.Driver }

func (d damage) Get(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
	all, err := d.Driver.Get(ctx, reads)
	for i := range all {
		if reads[i].Key == "damaged" {
			all[i] = cache.Got{Err: fault.New(fault.Corrupt, "bad record")}
		}
	}
	return all, err
}

func TestADamagedEntryIsLeftOutOfADumpAndCounted(t *testing.T) {
	log := &logs{}
	c, link := newStore(t).faulty(cache.Options{Logger: log.logger()})
	link.Driver = damage{link.Driver}
	for _, key := range []string{"a", "damaged", "z"} {
		_, err := c.Set(t.Context(), key, nil)
		require.NoError(t, err)
	}

	dumped, err := c.Dump(t.Context(), io.Discard, cache.DumpOptions{})

	require.NoError(t, err)
	require.Equal(t, 2, dumped.Entries)
	require.Equal(t, 1, dumped.Damaged)
	require.Contains(t, log.String(), "damaged")
}

func TestProgressOfADumpAndARestoreIsTold(t *testing.T) {
	c := newStore(t).node()
	for i := range 1000 {
		_, err := c.Set(t.Context(), fmt.Sprint("k", i), make([]byte, 100))
		require.NoError(t, err)
	}
	_, err := c.Push(t.Context(), "klist", [][]byte{nil})
	require.NoError(t, err)
	_, err = c.Set(t.Context(), "other", nil)
	require.NoError(t, err)
	var told []cache.Progress
	progress := func(p cache.Progress) { told = append(told, p) }
	check := func() {
		t.Helper()
		require.Greater(t, len(told), 3)
		for i, p := range told {
			require.Equal(t, 1001, p.Total)
			require.True(t, i == 0 || p.Done >= told[i-1].Done)
		}
		require.Equal(t, 1001, told[len(told)-1].Done)
		told = nil
	}

	var b bytes.Buffer
	_, err = c.Dump(t.Context(), &b, cache.DumpOptions{Prefix: "k", Progress: progress})
	require.NoError(t, err)
	check()
	_, err = c.Restore(t.Context(), bytes.NewReader(b.Bytes()), cache.RestoreOptions{Progress: progress})
	require.NoError(t, err)
	check()
}

func TestADamagedDumpIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	s := newStore(t)
	c := s.node()
	ctx := t.Context()
	for i := range 3 {
		_, err := c.Set(ctx, fmt.Sprint(i), fmt.Append(nil, "value ", i), cache.TTL(time.Hour))
		require.NoError(t, err)
	}
	_, err := c.Push(ctx, "list", [][]byte{[]byte("x"), []byte("y")})
	require.NoError(t, err)
	good := dumpOf(t, c)
	entry := `{"entry":{"key":"k","value":"eA=="}}`
	list := `{"list":{"key":"l","first":true,"values":["eA=="]}}`
	target, link := store{t: t, name: "memory:target"}.faulty()
	refused := func(name string, code fault.Code, dump []byte) {
		t.Run(name, func(t *testing.T) {
			restored, err := target.Restore(ctx, bytes.NewReader(dump), cache.RestoreOptions{})
			requireCode(t, code, err)
			require.Zero(t, restored)
			require.Zero(t, link.count("set"))
			require.Zero(t, link.count("delete"))
		})
	}

	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 0x01
		restored, err := target.Restore(ctx, bytes.NewReader(flipped), cache.RestoreOptions{})
		require.Error(t, err, "byte %d of %q", i, flipped)
		require.Zero(t, restored)
	}
	for i := range good {
		_, err := target.Restore(ctx, bytes.NewReader(good[:i]), cache.RestoreOptions{})
		requireCode(t, fault.Corrupt, err)
	}
	refused("empty", fault.Corrupt, nil)
	refused("not a dump", fault.Corrupt, []byte("hello\nworld\n"))
	refused("newer format", fault.Invalid, bytes.Replace(good, []byte(`_dump":1`), []byte(`_dump":2`), 1))
	refused("format 0", fault.Corrupt, bytes.Replace(good, []byte(`_dump":1`), []byte(`_dump":0`), 1))
	refused("something after the end", fault.Corrupt, append(bytes.Clone(good), '\n'))
	refused("a line is missing", fault.Corrupt, cutLine(good, 3))
	refused("an unknown field", fault.Corrupt, signed(`{"entry":{"key":"k","value":"eA==","lock":"x"}}`))
	refused("two records in a line", fault.Corrupt, signed(entry+entry))
	refused("two records in one", fault.Corrupt, signed(`{"entry":{"key":"k","value":"eA=="},"list":{"key":"l","first":true,"values":["eA=="]}}`))
	refused("no record", fault.Corrupt, signed(`{}`))
	refused("no key", fault.Corrupt, signed(`{"entry":{"value":"eA=="}}`))
	refused("bad base64", fault.Corrupt, signed(`{"entry":{"key":"k","value":"e!"}}`))
	refused("a list without a beginning", fault.Corrupt, signed(strings.Replace(list, `"first":true,`, "", 1)))
	refused("a list that goes on after an entry", fault.Corrupt, signed(list, entry, strings.Replace(list, `"first":true,`, "", 1)))
	refused("a list without values", fault.Corrupt, signed(`{"list":{"key":"l","first":true,"values":[]}}`))
	refused("a key too long", fault.Invalid, signed(entry, `{"entry":{"key":"`+strings.Repeat("k", 2000)+`","value":"eA=="}}`))
	refused("a value too large", fault.TooLarge, signed(entry, `{"entry":{"key":"k","value":"`+strings.Repeat("eHh4", 3<<20)+`"}}`))
	refused("an endless line", fault.TooLarge, append([]byte(`{"backplane_cache_dump":1,"x":"`), bytes.Repeat([]byte("x"), 40<<20)...))
	require.Empty(t, collect(t, target.Keys(ctx, "")))
	require.Empty(t, collect(t, target.Lists(ctx, "")))

	_, err = target.Restore(ctx, bytes.NewReader(signed(entry, list)), cache.RestoreOptions{})
	require.NoError(t, err, "the test's own dumps are good")
}

func cutLine(dump []byte, n int) []byte {
	lines := bytes.SplitAfter(dump, []byte("\n"))
	return bytes.Join(append(lines[:n:n], lines[n+1:]...), nil)
}

func TestADumpWithListsIsRefusedWhereThereAreNone(t *testing.T) {
	backend := *newStore(t).backend()
	backend.Lists = nil
	c := cache.New(&backend, cache.Options{})
	defer c.Close()

	_, err := c.Restore(t.Context(), bytes.NewReader(signed(`{"list":{"key":"l","first":true,"values":["eA=="]}}`)), cache.RestoreOptions{})

	requireCode(t, fault.Unsupported, err)
}

// A file may change between the two passes.
type changing struct {
	io.ReadSeeker
	seeks int
	then  *bytes.Reader
}

func (c *changing) Seek(offset int64, whence int) (int64, error) {
	if c.seeks++; c.seeks == 2 {
		c.ReadSeeker = c.then
	}
	return c.ReadSeeker.Seek(offset, whence)
}

func TestADumpThatChangesWhileItIsRestoredIsNoticed(t *testing.T) {
	c := newStore(t).node()
	before := signed(`{"entry":{"key":"k","value":"eA=="}}`)
	after := bytes.Replace(before, []byte("eA=="), []byte("eQ=="), 1)

	_, err := c.Restore(t.Context(), &changing{ReadSeeker: bytes.NewReader(before), then: bytes.NewReader(after)}, cache.RestoreOptions{})

	requireCode(t, fault.Corrupt, err)
	require.Contains(t, err.Error(), "changed while")
}

func TestARestoreBeginsWhereTheReaderStands(t *testing.T) {
	c := newStore(t).node()
	r := bytes.NewReader(append([]byte("preface\n"), signed(`{"entry":{"key":"k","value":"eA=="}}`)...))
	_, err := r.Seek(8, io.SeekStart)
	require.NoError(t, err)

	restored, err := c.Restore(t.Context(), r, cache.RestoreOptions{})

	require.NoError(t, err)
	require.Equal(t, 1, restored.Entries)
}

func TestADumpFileAppearsWholeOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		folder := t.TempDir()
		path := filepath.Join(folder, "dump.jsonl")
		_, err := c.Set(t.Context(), "k", []byte("v"))
		require.NoError(t, err)

		_, err = c.DumpFile(t.Context(), path, cache.DumpOptions{})
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		good, err := os.ReadFile(path)
		require.NoError(t, err)
		link.cut("get")
		_, err = c.DumpFile(t.Context(), path, cache.DumpOptions{})
		requireCode(t, fault.Unavailable, err)
		link.heal()

		now, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, good, now)
		files, err := os.ReadDir(folder)
		require.NoError(t, err)
		require.Len(t, files, 1, "nothing is left over")
		restored, err := c.RestoreFile(t.Context(), path, cache.RestoreOptions{})
		require.NoError(t, err)
		require.Equal(t, 1, restored.Entries)
		_, err = c.RestoreFile(t.Context(), filepath.Join(folder, "none"), cache.RestoreOptions{})
		requireCode(t, fault.Invalid, err)
		require.ErrorIs(t, err, os.ErrNotExist)
		_, err = c.DumpFile(t.Context(), filepath.Join(folder, "none", "x"), cache.DumpOptions{})
		requireCode(t, fault.Invalid, err)
	})
}

type fullDisk struct{ room int }

var errFull = errors.New("no space left")

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestADumpThatCannotBeWrittenFails(t *testing.T) {
	c := newStore(t).node()
	_, err := c.Set(t.Context(), "k", make([]byte, 1<<20))
	require.NoError(t, err)

	_, err = c.Dump(t.Context(), &fullDisk{room: 1000}, cache.DumpOptions{})

	require.ErrorIs(t, err, errFull)
}

func TestALargeDumpEndsWithItsContext(t *testing.T) {
	c := newStore(t).node()
	for i := range 3000 {
		_, err := c.Set(t.Context(), fmt.Sprint(i), nil)
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var b bytes.Buffer
	_, err := c.Dump(ctx, &b, cache.DumpOptions{Progress: func(cache.Progress) { cancel() }})
	requireCode(t, fault.Canceled, err)
	dump := dumpOf(t, c)
	_, err = c.Restore(ctx, bytes.NewReader(dump), cache.RestoreOptions{})
	requireCode(t, fault.Canceled, err)
}

func TestListsLongerThanALineAreDumpedInParts(t *testing.T) {
	c := newStore(t).node()
	value := make([]byte, 3<<19)
	want, err := c.Push(t.Context(), "large", [][]byte{value, value, value, value})
	require.NoError(t, err)
	for range 3 {
		_, err := c.Push(t.Context(), "long", make([][]byte, 500))
		require.NoError(t, err)
	}
	dump := dumpOf(t, c)
	require.GreaterOrEqual(t, bytes.Count(dump, []byte(`"list"`)), 2+6)

	restored, err := c.Restore(t.Context(), bytes.NewReader(dump), cache.RestoreOptions{})

	require.NoError(t, err)
	require.Equal(t, 2, restored.Lists)
	n, err := c.Length(t.Context(), "large")
	require.NoError(t, err)
	require.Equal(t, want, n)
	n, err = c.Length(t.Context(), "long")
	require.NoError(t, err)
	require.Equal(t, 1500, n)
}

// stopping ends a context in place of the push that it has come to.
type stopping struct {
	cache.Lists
	pushes int // until then
	stop   context.CancelFunc
}

func (s *stopping) Push(ctx context.Context, pushes []cache.Push) ([]cache.Length, error) {
	if s.pushes--; s.pushes == 0 {
		s.stop()
		return nil, fault.FromContext(ctx)
	}
	return s.Lists.Push(ctx, pushes)
}

func TestARestoreThatWasCutShortLeavesNoPartOfAListToBeKept(t *testing.T) {
	c := newStore(t).node()
	_, err := c.Push(t.Context(), "long", make([][]byte, 900))
	require.NoError(t, err)
	dump := dumpOf(t, c)
	backend := *store{t: t, name: "memory:target"}.backend()
	ctx, stop := context.WithCancel(t.Context())
	backend.Lists = &stopping{Lists: backend.Lists, pushes: 3, stop: stop}
	target := cache.New(&backend, cache.Options{})
	t.Cleanup(func() { require.NoError(t, target.Close()) })
	_, err = target.Restore(ctx, bytes.NewReader(dump), cache.RestoreOptions{KeepExisting: true})
	requireCode(t, fault.Canceled, err)

	restored, err := target.Restore(t.Context(), bytes.NewReader(dump), cache.RestoreOptions{KeepExisting: true})

	require.NoError(t, err)
	require.Equal(t, cache.Restored{Lists: 1}, restored)
	n, err := target.Length(t.Context(), "long")
	require.NoError(t, err)
	require.Equal(t, 900, n)
}

func FuzzRestore(f *testing.F) {
	f.Add([]byte{})
	f.Add(signed())
	f.Add(signed(`{"entry":{"key":"k","value":"eA==","flags":3,"expires":"2036-01-01T00:00:00Z"}}`))
	f.Add(signed(`{"entry":{"key64":"/w==","value":""}}`, `{"list":{"key":"l","first":true,"values":["eA=="]}}`, `{"list":{"key":"l","values":["eQ==","eA=="]}}`))
	f.Add([]byte(`{"backplane_cache_dump":99}` + "\n"))
	f.Fuzz(restoreAnything)
}

// Past the checksum, which a fuzzer does not guess.
func FuzzRestoreOfSignedLines(f *testing.F) {
	f.Add([]byte(`{"entry":{"key":"k","value":"eA==","flags":3,"expires":"2036-01-01T00:00:00Z"}}`), uint8(1), uint8(0))
	f.Add([]byte(`{"list":{"key":"l","first":true,"values":["eA=="]}}`+"\n"+`{"list":{"key":"l","values":["eQ==","eA=="]}}`), uint8(0), uint8(1))
	f.Add([]byte(`{"entry":{"key64":"/w==","value":""}}`+"\n"+`{"list":{"key64":"/w==","first":true,"values":[null]}}`), uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, lines []byte, entries, lists uint8) {
		text := fmt.Appendf(nil, "{\"backplane_cache_dump\":1}\n%s\n", lines)
		sum := sha256.Sum256(text)
		restoreAnything(t, fmt.Appendf(text, `{"end":{"entries":%d,"lists":%d,"sha256":"%x"}}`+"\n", entries, lists, sum))
	})
}

func restoreAnything(t *testing.T, dump []byte) {
	c := newStore(t).node()

	restored, err := c.Restore(t.Context(), bytes.NewReader(dump), cache.RestoreOptions{})

	size, failure := c.Size(t.Context(), "")
	require.NoError(t, failure)
	lists := len(collect(t, c.Lists(t.Context(), "")))
	if err != nil {
		require.Zero(t, restored)
		require.Zero(t, size+lists, "something was written of a bad dump: %v", err)
		return
	}
	require.LessOrEqual(t, size, restored.Entries, "a key may come twice in a dump made by hand")
	require.LessOrEqual(t, lists, restored.Lists)
	again := dumpOf(t, c)
	_, err = c.Restore(t.Context(), bytes.NewReader(again), cache.RestoreOptions{})
	require.NoError(t, err)
}
