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

// HookChooser is for a cluster that has the methods of more hooks than it can do, such as one that is made from settings.
type HookChooser interface {
	// Offers reports whether the cluster can do it.
	Offers(h Hook) bool
}

// offeredBy reports whether the cluster has the hook.
func (h Hook) offeredBy(c Cluster) bool {
	if chooser, is := c.(HookChooser); is && !chooser.Offers(h) {
		return false
	}
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
