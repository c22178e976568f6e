package pgtest

import "syscall"

// dieWithParent has the kernel interrupt the child when this process dies: an immediate shutdown takes its children along.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGQUIT }
