package subject

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, subject string
		want            bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "a.b", false}, {"a.b", "a", false},
		{"*", "a", true}, {"*", "a.b", false}, {"a.*", "a.b", true}, {"a.*", "a", false}, {"a.*", "a.b.c", false},
		{"a.*.c", "a.b.c", true}, {"a.*.c", "a.b.d", false}, {"*.b", "a.b", true},
		{">", "a", true}, {">", "a.b", true}, {"a.>", "a", false}, {"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {"a.>", "ab.c", false},
		{">", "$sys.a", false}, {"*.a", "$sys.a", false}, {"$sys.>", "$sys.a", true}, {"$sys.*", "$sys.a", true}, {"$sys", "$sys", true}, {"a.*", "a.$b", true},
		{"a.*.>", "a.b", false}, {"a.*.>", "a.b.c", true},
	} {
		require.Equal(t, c.want, Matches(c.filter, c.subject), "%s against %s", c.filter, c.subject)
	}
}

func TestChecks(t *testing.T) {
	for _, good := range []string{"a", "a.b", "é.{x}:y", "a-b_c.$d"} {
		require.NoError(t, Check(good, 100), good)
		require.NoError(t, CheckFilter(good, 100), good)
	}
	for _, wild := range []string{"*", ">", "a.*", "a.>", "*.a.>"} {
		require.Error(t, Check(wild, 100), wild)
		require.NoError(t, CheckFilter(wild, 100), wild)
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a b", "a\x00", "a*", ">.a", "a.>.b", "a>", "toolongtoolong"} {
		require.Error(t, Check(bad, 10), bad)
		require.Error(t, CheckFilter(bad, 10), bad)
	}
}

func TestTrieFindsWhatMatchesFinds(t *testing.T) {
	token := rapid.SampledFrom([]string{"a", "b", "$"})
	subjects := rapid.Custom(func(t *rapid.T) string { return join(rapid.SliceOfN(token, 1, 4).Draw(t, "tokens")) })
	filters := rapid.Custom(func(t *rapid.T) string {
		tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "$"}), 1, 4).Draw(t, "tokens")
		if rapid.Bool().Draw(t, "tail") {
			tokens[len(tokens)-1] = ">"
		}
		return join(tokens)
	})
	rapid.Check(t, func(t *rapid.T) {
		var trie Trie[int]
		all := map[int]string{}
		for i, f := range rapid.SliceOfN(filters, 0, 20).Draw(t, "filters") {
			trie.Add(f, i)
			all[i] = f
		}
		for i, f := range all {
			if i%3 == 0 {
				require.True(t, trie.Remove(f, i))
				require.False(t, trie.Remove(f, i))
				delete(all, i)
			}
		}
		s := subjects.Draw(t, "subject")
		var want []int
		for i, f := range all {
			if Matches(f, s) {
				want = append(want, i)
			}
		}

		require.ElementsMatch(t, want, trie.Match(s, nil))
		require.Equal(t, len(all), trie.Len())
	})
}

func join(tokens []string) string {
	s := tokens[0]
	for _, t := range tokens[1:] {
		s += "." + t
	}
	return s
}
