package conformance

// Hook is something that a [Cluster] may be able to do to its store or to a link. It is found by type assertion.
type Hook string

// The hooks.
const (
	Restart      Hook = "restart"       // Restarter
	Partition    Hook = "partition"     // Partitioner
	Cut          Hook = "cut"           // Cutter
	Crash        Hook = "crash"         // Crasher
	Pause        Hook = "pause"         // Pauser
	AdvanceClock Hook = "advance-clock" // ClockAdvancer
)

// offeredBy reports whether the cluster has the hook.
func (h Hook) offeredBy(c Cluster) bool {
	var ok bool
	switch h {
	case Restart:
		_, ok = c.(Restarter)
	case Partition:
		_, ok = c.(Partitioner)
	case Cut:
		_, ok = c.(Cutter)
	case Crash:
		_, ok = c.(Crasher)
	case Pause:
		_, ok = c.(Pauser)
	case AdvanceClock:
		_, ok = c.(ClockAdvancer)
	}
	return ok
}
