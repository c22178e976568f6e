package testserver

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A store that syncs every write is as slow as the machine's disk, and stands still while another keeps that busy. What a
// killed process has written is as safe in memory, where a sync costs nothing.
const (
	inMemory   = "/dev/shm"
	enoughRoom = 2 << 30 // bytes; containers often have 64 MiB there
)

// folder is for a server's data, until the test ends; empty: the server may choose.
func folder(t testing.TB) string {
	t.Helper()
	var is unix.Statfs_t
	if unix.Statfs(inMemory, &is) != nil || is.Bavail*uint64(is.Bsize) < enoughRoom {
		return ""
	}
	dir, err := os.MkdirTemp(inMemory, "backplane-")
	if err != nil {
		return ""
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
