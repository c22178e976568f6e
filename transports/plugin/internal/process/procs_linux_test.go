package process_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// plugins are the processes of this binary that were started as plugins or hosts, and children of this process that
// nobody has waited for.
func plugins() []int {
	var pids []int
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range all {
		pid, _ := strconv.Atoi(filepath.Base(folder))
		args, _ := os.ReadFile(folder + "/cmdline")
		for _, role := range []string{"plugin", "host"} {
			if bytes.HasPrefix(args, []byte(os.Args[0]+"\x00"+role+"\x00")) {
				pids = append(pids, pid)
			}
		}
		stat, _ := os.ReadFile(folder + "/stat")
		if fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(fields) > 1 {
			if parent, _ := strconv.Atoi(string(fields[1])); parent == os.Getpid() && fields[0][0] == 'Z' {
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
