package embedded

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/nats-io/nats-server/v2/server"
)

// guard lets in who knows the secret. The server's own way keeps the password as it is, and warns of that at each start;
// this one keeps a hash. (The server hashes with bcrypt, which is for words that people choose and takes a tenth of a
// second for each link; a secret is long and random.)
type guard struct{ name, secret [sha256.Size]byte }

func newGuard(secret string) *guard {
	return &guard{sha256.Sum256([]byte(User)), sha256.Sum256([]byte(secret))}
}

// Check takes as long whatever is wrong.
func (g *guard) Check(c server.ClientAuthentication) bool {
	given := c.GetOpts()
	name, secret := sha256.Sum256([]byte(given.Username)), sha256.Sum256([]byte(given.Password))
	return subtle.ConstantTimeCompare(name[:], g.name[:])&subtle.ConstantTimeCompare(secret[:], g.secret[:]) == 1
}
