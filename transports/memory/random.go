package memory

import (
	"crypto/rand"
	"encoding/base64"
)

// lottery draws names that never repeat: 96 random bits each. It asks the system for many at once, because a call for
// each would cost more than the write that it stands beside. It is not safe for concurrent use.
type lottery struct {
	bytes [100 * drawn]byte
	left  int
}

const drawn = 12

func (l *lottery) draw() string {
	if l.left == 0 {
		_, _ = rand.Read(l.bytes[:]) // never fails: it ends the program instead
		l.left = len(l.bytes)
	}
	l.left -= drawn
	return base64.RawURLEncoding.EncodeToString(l.bytes[l.left : l.left+drawn])
}
