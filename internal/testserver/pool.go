package testserver

import "flag"

// Pool is servers of which each case has one for itself, so that they may run side by side though they stop and pause
// their server.
type Pool[S any] struct{ free chan S }

// NewPool starts as many servers as tests run at once.
func NewPool[S any](start func() S) *Pool[S] {
	n := flag.Lookup("test.parallel").Value.(flag.Getter).Get().(int)
	p := &Pool[S]{free: make(chan S, n)}
	for range n {
		p.free <- start()
	}
	return p
}

// Lend gives a server until the case ends. More cases at once than there are servers wait.
func (p *Pool[S]) Lend(t interface{ Cleanup(func()) }) S {
	server := <-p.free
	t.Cleanup(func() { p.free <- server })
	return server
}

// atOnce is how many tests run at once where -parallel does not say: mostly they wait, for leases and for processes.
const atOnce = "6"

// manyAtOnce lets more parallel tests run at once than there are processors.
func manyAtOnce() {
	if !flag.Parsed() {
		flag.Parse()
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", atOnce) // it is an integer
	}
}
