package conformance

import (
	"slices"
	"strings"
)

// unusualNames are keys, locks and lists as nobody would call them, until somebody does: separators and glob bytes of
// stores, what has to be escaped somewhere, what is not UTF-8, and names that begin with each other.
var unusualNames = []string{
	"a", "ab", "a:", "a:b", "a.b", "a/b", "a b", " a", "a ", "A", "a\x00", "a\x00b", "a\n", "\r\n", "\t",
	"{a}", "{a}b", "{", "}", "{}", "}{", "a{b}c{d}",
	"*", "a*", "a*b", "?", "a?b", "[ab]", "[", "]", "a[b", "\\", "a\\*", "^", "$", ">", "a.>", "a.*", ".", "..",
	"%", "%s%d", "%00", "'", "\"", "`", "; drop", "--", "#", "&x=1", "|", "~", "!", "@", "+", "-1", "0", "1e3", "nil", "null", "__proto__",
	"ключ", "鍵", "🔑", "e\u0301", "\u00e9", "\u202eright to left", "\ufeff",
	"\xff", "\xff\xfe", "\xc3\x28", "a\x80b", "\x7f", "\x1b[31m",
	strings.Repeat("ключ", 62),
}

// unusualUpTo are the unusual names that a transport takes.
func unusualUpTo(most int) []string {
	return slices.DeleteFunc(slices.Clone(unusualNames), func(name string) bool { return len(name) > most })
}

// binaries are values that a careless store would change.
var binaries = map[string][]byte{
	"every byte":        everyByte(),
	"zeros":             make([]byte, 1000),
	"not UTF-8":         []byte("\xff\xfe\xc3\x28\x80"),
	"line ends":         []byte("a\r\nb\nc\r"),
	"NUL at the end":    []byte("text\x00"),
	"looks like JSON":   []byte(`{"v":1,"e":`),
	"looks like a nil":  []byte("$-1\r\n"),
	"looks like base64": []byte("aGVsbG8="),
	"spaces":            []byte("  both ends \t"),
}

func everyByte() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

// patterned is size bytes of which no part equals another of a usual block size, so that cutting, repeating or swapping
// blocks shows.
func patterned(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*31 + i>>8*7 + i>>16*3)
	}
	return b
}
