package backplane

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachClusterHasKeysOfItsOwn(t *testing.T) {
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	shop := clusterKeys(ClusterConfig{Name: "shop", Keys: []string{key, "hush"}})
	staging := clusterKeys(ClusterConfig{Name: "staging", Keys: []string{key, "hush"}})

	require.Equal(t, shop, clusterKeys(ClusterConfig{Name: "shop", Keys: []string{key, "hush"}}), "every node derives the same")
	require.NotEqual(t, shop[0], staging[0])
	require.NotEqual(t, key, shop[0])
	require.Len(t, shop[0], len(key))
	require.Equal(t, "hush", shop[1], "what is no key is left for RPC to refuse")
}

// A space or a line's end comes along easily when a key is pasted, or read from a file.
func TestSpaceAroundAKeyIsNoPartOfIt(t *testing.T) {
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

	require.Equal(t,
		clusterKeys(ClusterConfig{Name: "shop", Keys: []string{key}}),
		clusterKeys(ClusterConfig{Name: "shop", Keys: []string{" \t" + key + " \r\n"}}),
		"or the node would sign with another key than all others")
}
