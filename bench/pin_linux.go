package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin moves every thread of a process to core 0; threads that start later inherit it. unpin undoes that.
func pin(pid int) (unpin func(), err error) {
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &before); err != nil {
		return nil, err
	}
	one.Set(0)
	set := func(to *unix.CPUSet) error {
		threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
		if err != nil {
			return err
		}
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(tid, to); err != nil && err != unix.ESRCH {
				return err
			}
		}
		return nil
	}
	return func() { set(&before) }, set(&one)
}
