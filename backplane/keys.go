package backplane

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/gobackplane/backplane/pubsub"
)

// clusterKeys makes a cluster's own keys of those in the config (HKDF-SHA256, RFC 5869, with the cluster's name as info):
// clusters that were given the same key by mistake, staging and production, still refuse each other's frames. What is
// not base64 is left as it is, for RPC to refuse.
func clusterKeys(c ClusterConfig) []string {
	keys := make([]string, len(c.Keys))
	for i, key := range c.Keys {
		keys[i] = key
		secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key)) // as envelope.ParseRing does
		if err != nil || len(secret) != 32 {
			continue
		}
		if own, err := hkdf.Key(sha256.New, secret, nil, "backplane cluster "+c.Name, len(secret)); err == nil {
			keys[i] = base64.StdEncoding.EncodeToString(own)
		}
	}
	return keys
}

// sealOf is what a cluster's messages of pub/sub are sealed with. A node that does not sign opens what others sealed, as
// far as it has their keys.
func sealOf(c ClusterConfig) (*pubsub.Seal, error) {
	protection := pubsub.Plain
	switch {
	case c.SignPubSub && c.Secret:
		protection = pubsub.Secret
	case c.SignPubSub:
		protection = pubsub.Signed
	}
	return pubsub.NewSeal(clusterKeys(c), protection)
}
