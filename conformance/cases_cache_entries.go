package conformance

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func entryCases() []Case {
	return needing(NeedsCache, []Case{
		{Name: "cache/entry/what-was-set-is-got", Clause: clauseCarries, Run: setThenGet},
		{Name: "cache/entry/absent-is-no-error", Clause: clauseAbsent, Run: absentNoError},
		{Name: "cache/entry/empty-is-not-absent", Clause: clauseAnyBytes, Run: emptyNotAbsent},
		{Name: "cache/entry/binary-values-come-back-unchanged", Clause: clauseAnyBytes, Run: binaryValues},
		{Name: "cache/entry/values-of-every-size-come-back-whole", Clause: clauseSizes, Run: valueSizes},
		{Name: "cache/entry/the-largest-value-comes-back-whole", Clause: clauseSizes, Run: largestValue},
		{Name: "cache/entry/one-byte-more-is-too-large", Clause: clauseSizes, Run: tooLargeValue},
		{Name: "cache/entry/the-longest-key-is-taken", Clause: clauseSizes, Run: longestKey},
		{Name: "cache/entry/a-longer-key-is-invalid", Clause: clauseBadNames, Run: tooLongKey},
		{Name: "cache/entry/an-empty-key-is-invalid", Clause: clauseBadNames, Run: emptyKey},
		{Name: "cache/entry/unusual-keys-hold-their-own-values", Clause: clauseAnyBytes, Run: unusualKeys},
		{Name: "cache/entry/flags-come-back", Clause: clauseCarries, Run: flagsComeBack},
		{Name: "cache/entry/created-is-when-it-was-written", Clause: clauseCarries, Run: createdWhenWritten},
		{Name: "cache/entry/a-write-replaces-all-of-it", Clause: clauseCarries, Run: writeReplaces},
		{Name: "cache/entry/given-buffers-are-not-kept", Clause: clauseBuffers, Run: givenBuffers},
		{Name: "cache/entry/got-buffers-are-the-callers", Clause: clauseBuffers, Run: gotBuffers},
		{Name: "cache/entry/lock-and-entry-of-a-name-are-apart", Clause: clauseNoGuard, Run: lockAndEntryApart},

		{Name: "cache/delete/removes", Clause: clauseDelete, Run: deleteRemoves},
		{Name: "cache/delete/absent-is-no-error", Clause: clauseDelete, Run: deleteAbsent},
		{Name: "cache/delete/leaves-keys-that-begin-alike", Clause: clauseAnyBytes, Run: deleteLeavesOthers},
		{Name: "cache/delete/at-its-revision", Clause: clauseDeleteIf, Run: deleteAtRevision},
		{Name: "cache/delete/at-another-revision-is-conflict", Clause: clauseDeleteIf, Run: deleteAtOtherRevision},
		{Name: "cache/delete/if-present-is-conflict-when-absent", Clause: clauseDeleteIf, Run: deleteIfPresent},
		{Name: "cache/delete/one-of-many-removes-it", Clause: clauseAtomic, Run: deleteOnce},

		{Name: "cache/revision/is-the-same-for-every-reader", Clause: clauseRevision, Run: revisionShared},
		{Name: "cache/revision/changes-with-every-write", Clause: clauseRevision, Run: revisionChanges},
		{Name: "cache/revision/does-not-repeat-after-delete", Clause: clauseRevisionOnce, Run: revisionAfterDelete},
		{Name: "cache/revision/does-not-repeat-among-many-writers", Clause: clauseRevisionOnce, Run: revisionsDistinct},
	})
}

func setThenGet(e *Env) {
	here := on(e, e.Node)
	revision := here.mustSet("k", "v")

	entry := here.mustHave("k", "v")
	require.Equal(e, "k", entry.Key)
	require.Equal(e, revision, entry.Revision)
	on(e, e.Open()).mustHave("k", "v")
}

func absentNoError(e *Env) {
	here := on(e, e.Node)
	here.mustLack("k")
	got := here.get(cache.Read{Key: "k", Expiry: true})
	require.False(e, got.Found)
	require.Empty(e, got.Entry.Value)
	require.Empty(e, got.Entry.Revision)
}

func emptyNotAbsent(e *Env) {
	here := on(e, e.Node)
	for key, value := range map[string][]byte{"empty": {}, "nil": nil} {
		here.mustWrite(cache.Write{Key: key, Value: value})
		entry := here.mustHave(key, "")
		require.NotNil(e, entry.Value, "the value of an entry that exists is not nil")
	}
	requireCode(e, fault.Conflict, here.set(cache.Write{Key: "empty", If: cache.IfAbsent()}).Err, "setting an empty entry again if absent")
	require.ElementsMatch(e, []string{"empty", "nil"}, here.keys(""))
}

func binaryValues(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for name, value := range binaries {
		here.mustWrite(cache.Write{Key: name, Value: value})
		require.Equal(e, value, there.get(cache.Read{Key: name}).Entry.Value, name)
	}
}

func valueSizes(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for _, size := range []int{1, 127, 128, 4095, 4096, 16 << 10, 32<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 1 << 20} {
		if size > here.Capabilities.MaxValue {
			break
		}
		mustKeepWhole(e, here, there, size)
	}
}

// affordable is the largest value that a case writes where a store would take any.
const affordable = 32 << 20

func largestValue(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	mustKeepWhole(e, here, there, min(here.Capabilities.MaxValue, affordable))
}

func mustKeepWhole(e *Env, here, there cacheOn, size int) {
	e.Helper()
	value := patterned(size)
	here.mustWrite(cache.Write{Key: "k", Value: value})
	got := there.get(cache.Read{Key: "k"})
	require.NoError(e, got.Err)
	// Not require.Equal, which would print megabytes.
	require.Equal(e, size, len(got.Entry.Value), "the length of a value of %d bytes", size)
	require.True(e, bytes.Equal(value, got.Entry.Value), "a value of %d bytes came back changed", size)
}

func tooLargeValue(e *Env) {
	here := on(e, e.Node)
	here.mustSet("k", "before")

	e.Promptly("refusing a value that is too large", func() {
		w := here.set(cache.Write{Key: "k", Value: make([]byte, here.Capabilities.MaxValue+1)})
		requireCode(e, fault.TooLarge, w.Err, "a value of one byte more than the largest")
	})

	here.mustHave("k", "before")
}

func longestKey(e *Env) {
	here := on(e, e.Node)
	long := strings.Repeat("k", here.Capabilities.MaxKey)
	here.mustSet(long, "long")
	here.mustHave(long, "long")
	here.mustLack(long[1:])
	lease := here.mustAcquire(long, "a", time.Minute)
	here.mustBeLocked(long, "b")
	require.NoError(e, here.release(lease))
	require.Equal(e, []string{long}, here.keys(""))
}

func tooLongKey(e *Env) {
	here := on(e, e.Node)
	long := strings.Repeat("k", here.Capabilities.MaxKey+1)
	mustRefuseName(e, here, long)
	require.Empty(e, here.keys(""))
}

func emptyKey(e *Env) { mustRefuseName(e, on(e, e.Node), "") }

// mustRefuseName requires that no operation takes the name.
func mustRefuseName(e *Env, c cacheOn, name string) {
	e.Helper()
	const want = fault.Invalid
	requireCode(e, want, c.get(cache.Read{Key: name}).Err, "Get")
	requireCode(e, want, c.set(cache.Write{Key: name, Value: []byte("v")}).Err, "Set")
	requireCode(e, want, c.remove(cache.Removal{Key: name}).Err, "Delete")
	requireCode(e, want, c.touch(cache.Lifetime{Key: name, TTL: time.Minute}), "Touch")
	requireCode(e, want, c.add(cache.Increment{Key: name, Delta: 1}).Err, "Add")
	requireCode(e, want, c.acquire(name, "a", time.Minute).Err, "Acquire")
}

func unusualKeys(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for i, key := range unusualNames {
		here.mustSet(key, fmt.Sprint(i))
	}
	for i, key := range unusualNames {
		entry := there.mustHave(key, fmt.Sprint(i))
		require.Equal(e, key, entry.Key)
	}
	require.ElementsMatch(e, unusualNames, there.keys(""))
	for i, key := range unusualNames {
		require.True(e, there.remove(cache.Removal{Key: key}).Existed, "%q", key)
		here.mustLack(key)
		if i+1 < len(unusualNames) {
			here.mustHave(unusualNames[i+1], fmt.Sprint(i+1))
		}
	}
}

func flagsComeBack(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for _, flags := range []uint8{0, 1, 0x0a, 0x7f, 0x80, 0xff} {
		here.mustWrite(cache.Write{Key: "k", Value: []byte("v"), Flags: flags})
		require.Equal(e, flags, there.mustHave("k", "v").Flags)
	}
}

func createdWhenWritten(e *Env) {
	here := on(e, e.Node)
	// The wall clock of the writer, which may be kept in milliseconds.
	before := time.Now().Round(0).Truncate(time.Millisecond)
	here.mustSet("k", "v")
	after := time.Now().Round(0)

	created := here.mustHave("k", "v").Created
	require.False(e, created.Before(before), "created %v, written after %v", created, before)
	require.False(e, created.After(after), "created %v, written before %v", created, after)
	require.True(e, created.Equal(on(e, e.Open()).mustHave("k", "v").Created), "another node says otherwise")
}

func writeReplaces(e *Env) {
	here := on(e, e.Node)
	here.mustWrite(cache.Write{Key: "k", Value: []byte("a longer value"), Flags: 7, TTL: here.span(1000)})
	here.mustWrite(cache.Write{Key: "k", Value: []byte("v")})

	entry := here.mustHave("k", "v")
	require.Zero(e, entry.Flags)
	require.Zero(e, entry.Expires)
}

func givenBuffers(e *Env) {
	here := on(e, e.Node)
	value := []byte("as it was")
	writes := []cache.Write{{Key: "k", Value: value}, {Key: "other", Value: []byte("other")}}
	results, err := here.Set(e.Context(), writes)
	require.NoError(e, err)
	require.NoError(e, results[0].Err)
	copy(value, "SCRIBBLED")
	writes[0].Key = "elsewhere"
	writes[1] = cache.Write{}

	here.mustHave("k", "as it was")
	here.mustHave("other", "other")
	here.mustLack("elsewhere")
}

func gotBuffers(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustSet("k", "as it was")
	a, b := here.get(cache.Read{Key: "k"}), here.get(cache.Read{Key: "k"})
	copy(a.Entry.Value, "SCRIBBLED")

	require.Equal(e, "as it was", string(b.Entry.Value), "two answers share a buffer")
	here.mustHave("k", "as it was")
	there.mustHave("k", "as it was")

	// Growing one element of a batch must not reach into the next.
	here.mustSet("l", "second")
	both, err := here.Get(e.Context(), []cache.Read{{Key: "k"}, {Key: "l"}})
	require.NoError(e, err)
	_ = append(both[0].Entry.Value, "overrun"...)
	require.Equal(e, "second", string(both[1].Entry.Value))
}

func lockAndEntryApart(e *Env) {
	here := on(e, e.Node)
	lease := here.mustAcquire("k", "a", time.Minute)
	here.mustLack("k")
	require.Empty(e, here.keys(""), "a lock was listed as a key")

	here.mustSet("k", "v")
	here.mustHave("k", "v")
	require.NoError(e, here.remove(cache.Removal{Key: "k"}).Err)
	here.mustBeLocked("k", "b")
	require.NoError(e, here.release(lease))
}

func deleteRemoves(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustSet("k", "v")
	removed := there.remove(cache.Removal{Key: "k"})
	require.NoError(e, removed.Err)
	require.True(e, removed.Existed)
	here.mustLack("k")
	here.mustSet("k", "again")
	there.mustHave("k", "again")
}

func deleteAbsent(e *Env) {
	here := on(e, e.Node)
	for range 2 {
		removed := here.remove(cache.Removal{Key: "k"})
		require.NoError(e, removed.Err)
		require.False(e, removed.Existed)
	}
}

func deleteLeavesOthers(e *Env) {
	here := on(e, e.Node)
	others := []string{"ab", "a:b", "a*", "a\x00", "A", "aa", " a"}
	here.mustSet("a", "v")
	for _, key := range others {
		here.mustSet(key, key)
	}
	require.NoError(e, here.remove(cache.Removal{Key: "a"}).Err)
	here.mustLack("a")
	require.NoError(e, here.remove(cache.Removal{Key: "*"}).Err)
	for _, key := range others {
		here.mustHave(key, key)
	}
}

func deleteAtRevision(e *Env) {
	here := on(e, e.Node)
	revision := here.mustSet("k", "v")
	removed := here.remove(cache.Removal{Key: "k", If: cache.IfRevision(revision)})
	require.NoError(e, removed.Err)
	require.True(e, removed.Existed)
	here.mustLack("k")
}

func deleteAtOtherRevision(e *Env) {
	here := on(e, e.Node)
	old := here.mustSet("k", "old")
	here.mustSet("k", "new")
	requireCode(e, fault.Conflict, here.remove(cache.Removal{Key: "k", If: cache.IfRevision(old)}).Err, "deleting at an old revision")
	here.mustHave("k", "new")

	require.NoError(e, here.remove(cache.Removal{Key: "k"}).Err)
	requireCode(e, fault.Conflict, here.remove(cache.Removal{Key: "k", If: cache.IfRevision(old)}).Err, "deleting at a revision what is gone")
}

func deleteIfPresent(e *Env) {
	here := on(e, e.Node)
	requireCode(e, fault.Conflict, here.remove(cache.Removal{Key: "k", If: cache.IfPresent()}).Err, "deleting if present what is absent")
	here.mustSet("k", "v")
	removed := here.remove(cache.Removal{Key: "k", If: cache.IfPresent()})
	require.NoError(e, removed.Err)
	require.True(e, removed.Existed)
	here.mustLack("k")
}

func deleteOnce(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	for round := range 20 {
		key := fmt.Sprint("k", round)
		nodes[0].mustSet(key, "v")
		existed := make([]bool, 16)
		errs := together(16, func(i int) error {
			r, err := nodes[i%2].Delete(e.Context(), []cache.Removal{{Key: key}})
			if err == nil {
				existed[i], err = r[0].Existed, r[0].Err
			}
			return err
		})
		for _, err := range errs {
			require.NoError(e, err)
		}
		require.Equal(e, 1, count(existed, true), "callers of Delete who were told that it existed")
	}
}

// count says how many of all are want.
func count[V comparable](all []V, want V) int {
	n := 0
	for _, v := range all {
		if v == want {
			n++
		}
	}
	return n
}

func revisionShared(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	revision := here.mustSet("k", "v")
	for range 3 {
		require.Equal(e, revision, here.mustHave("k", "v").Revision)
		require.Equal(e, revision, there.mustHave("k", "v").Revision)
	}
}

func revisionChanges(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	seen := map[cache.Revision]bool{}
	for range 50 {
		for _, node := range []cacheOn{here, there} {
			r := node.mustSet("k", "the same value")
			require.False(e, seen[r], "the revision %q was given twice", r)
			seen[r] = true
		}
	}
}

func revisionAfterDelete(e *Env) {
	here := on(e, e.Node)
	seen := map[cache.Revision]bool{}
	for range 50 {
		r := here.mustSet("k", "v")
		require.False(e, seen[r], "the revision %q was given twice", r)
		seen[r] = true
		require.NoError(e, here.remove(cache.Removal{Key: "k"}).Err)
	}
	for old := range seen {
		here.mustSet("k", "new")
		requireCode(e, fault.Conflict, here.set(cache.Write{Key: "k", If: cache.IfRevision(old)}).Err, "writing at a revision from before a deletion")
		break
	}
}

func revisionsDistinct(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	given := make([][]cache.Revision, 16)
	errs := together(len(given), func(i int) error {
		for range 40 {
			r, err := nodes[i%2].Set(e.Context(), []cache.Write{{Key: "k", Value: []byte("v")}})
			if err := first(r, err, func(w cache.Written) error { return w.Err }); err != nil {
				return err
			}
			given[i] = append(given[i], r[0].Revision)
		}
		return nil
	})
	seen := map[cache.Revision]bool{}
	for i := range given {
		require.NoError(e, errs[i])
		for _, r := range given[i] {
			require.NotEmpty(e, r)
			require.False(e, seen[r], "the revision %q was given twice", r)
			seen[r] = true
		}
	}
}
