//go:build !linux

package process

import "os"

// holdSocket does nothing here: the socket's folder stays until the plugin has ended. When the host is killed, the
// plugin removes its socket as it ends, and an empty folder remains in the temporary one.
func holdSocket(string) (string, *os.File) { return "", nil }
