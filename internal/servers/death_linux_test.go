package servers_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/servers"
)

// orphanDir makes this test binary a program that starts a server there, says where it is, and waits to be killed.
const orphanDir = "SERVERS_TEST_ORPHAN_DIR"

func TestServerDiesWithItsParent(t *testing.T) {
	if dir := os.Getenv(orphanDir); dir != "" {
		r, err := servers.StartRedis(context.Background(), servers.RedisOptions{Dir: dir})
		require.NoError(t, err)
		fmt.Println("addr " + r.Addr())
		time.Sleep(time.Minute)
		return
	}
	startRedis(t, servers.RedisOptions{}) // or skip
	parent := exec.Command(os.Args[0], "-test.run=^TestServerDiesWithItsParent$")
	parent.Env = append(os.Environ(), orphanDir+"="+t.TempDir())
	output, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	addr := ""
	for lines := bufio.NewScanner(output); addr == "" && lines.Scan(); {
		if _, after, found := strings.Cut(lines.Text(), "addr "); found {
			addr = after
		}
	}
	_, err = ask(addr, nil, "PING")
	require.NoError(t, err)

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())

	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := ask(addr, nil, "PING"); err != nil {
			return
		}
		require.True(t, time.Now().Before(deadline), "the server at %s outlives its parent", addr)
	}
}
