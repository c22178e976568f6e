package process_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// plugins are the processes of this binary that were started as plugins or hosts.
func plugins() []int {
	var pids []int
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		args, _ := os.ReadFile(path)
		for _, role := range []string{"plugin", "host"} {
			if bytes.HasPrefix(args, []byte(os.Args[0]+"\x00"+role+"\x00")) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// alive tells whether a process runs. One that is dead and waits to be noticed by its parent does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(stat, ')')
	return i > 0 && i+2 < len(stat) && stat[i+2] != 'Z'
}
