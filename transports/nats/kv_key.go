package nats

import "strings"

// A key becomes the tokens of a subject, one to one, whatever bytes it has:
//
//   - letters, digits, "-", "_", ":" and "/" are themselves; every other byte is "=" and two hexadecimal digits;
//   - after each ":", "/" and "." of the key a token ends, so that the server can find "user:" without looking at all keys;
//   - a token without anything in it, which only the last can be, is "=".
//
// So "user:1.a" is "user:.1=2E.a". The kind of what is stored stands before: see store.subject.
const emptyToken = "="

// markToken is a token that no key has.
const markToken = "=="

const hexDigits = "0123456789ABCDEF"

// plain are the bytes that a subject has as they are.
var plain = func() (table [256]bool) {
	for b := range 256 {
		table[b] = 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-_:/", byte(b)) >= 0
	}
	return table
}()

// endsToken says whether a token ends after the byte.
func endsToken(b byte) bool { return b == ':' || b == '/' || b == '.' }

// appendKey adds a key's tokens to a subject that ends with a dot.
func appendKey(subject []byte, key string) []byte {
	open := false // whether the token at the end has anything in it
	for i := range len(key) {
		b := key[i]
		if plain[b] {
			subject = append(subject, b)
		} else {
			subject = append(subject, '=', hexDigits[b>>4], hexDigits[b&15])
		}
		if open = true; endsToken(b) {
			subject, open = append(subject, '.'), false
		}
	}
	if !open {
		subject = append(subject, emptyToken...)
	}
	return subject
}

// readKey is the key of the tokens of a subject, if they are one's. What appendKey never writes is nobody's, so that no two
// subjects can be taken for the same key.
func readKey(tokens string) (key string, ok bool) {
	b := make([]byte, 0, len(tokens))
	open := false // whether the token at the end has anything in it
	for i := 0; i < len(tokens); i++ {
		c := tokens[i]
		switch {
		case plain[c]:
		case c == '=' && i+1 == len(tokens):
			return string(b), !open
		case c == '=' && i+2 < len(tokens):
			high, low := strings.IndexByte(hexDigits, tokens[i+1]), strings.IndexByte(hexDigits, tokens[i+2])
			if high < 0 || low < 0 {
				return "", false
			}
			if c = byte(high<<4 | low); plain[c] {
				return "", false
			}
			i += 2
		default:
			return "", false
		}
		b = append(b, c)
		if open = !endsToken(c); !open {
			if i++; i == len(tokens) || tokens[i] != '.' {
				return "", false
			}
		}
	}
	return string(b), open
}

// appendPrefix adds those tokens to a subject that every key with the prefix has in full. What is left of the prefix has to
// be compared by the reader.
func appendPrefix(subject []byte, prefix string) []byte {
	end := len(prefix)
	for end > 0 && !endsToken(prefix[end-1]) {
		end--
	}
	if end == 0 {
		return subject
	}
	subject = appendKey(subject, prefix[:end])
	return subject[:len(subject)-len(emptyToken)] // the token that is open after the last separator
}
