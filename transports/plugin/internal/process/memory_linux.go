package process

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gobackplane/backplane/fault"
)

const limitsMemory = true

// memoryEvery is how often a plugin's memory is looked at.
const memoryEvery = 200 * time.Millisecond

// watchMemory kills a plugin that outgrows its limit.
//
// Limits that the kernel enforces on a process do not work here: Go and Node.js reserve hundreds of gigabytes of address
// space that they never use (RLIMIT_AS kills both at the start), map heap in whole arenas (RLIMIT_DATA), or are not
// limited at all (RLIMIT_RSS); and a process that meets such a limit dies of something else than its name. A cgroup
// would do, and takes rights that a program does not have. So its own memory is read from /proc: anonymous, shared and
// swapped out pages, not those of files. Between two looks a plugin may grow past the limit; what it started counts not.
func (r *run) watchMemory() {
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.child.exited:
			return
		case <-tick.C:
		}
		used, err := memoryOf(r.child.pid())
		if err == nil && used > r.config.MaxMemory {
			r.child.kill(fault.New(fault.Exhausted, "holds %s of memory, max_memory allows %s: it was killed; give it more, or find what it keeps", size(used), size(r.config.MaxMemory)))
			return
		}
	}
}

// memoryOf is what the process holds of its own.
func memoryOf(pid int) (int64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var sum int64
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch name {
		case "RssAnon", "RssShmem", "VmSwap":
			number, _, _ := strings.Cut(strings.TrimSpace(value), " ")
			kib, err := strconv.ParseInt(number, 10, 64)
			if err != nil {
				return 0, err
			}
			sum += kib << 10
		}
	}
	return sum, nil
}

// memoryHint has a Go plugin collect its garbage before it meets the limit.
func memoryHint(c *Config) []string {
	if _, set := c.Env["GOMEMLIMIT"]; set {
		return nil
	}
	return []string{fmt.Sprintf("GOMEMLIMIT=%d", c.MaxMemory/10*9)}
}

func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
