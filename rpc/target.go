package rpc

// Target says who is to run a method.
type Target struct {
	scope scope
	name  string // of one node: its incarnation, or its name
}

type scope byte

const (
	scopeAny scope = iota // so that the zero Target is Any
	scopeAll
	scopeNode
	scopeNamed
)

// Any is one of the nodes that serve the method, each in turn; this node too, if it serves it. It is the zero Target.
func Any() Target { return Target{} }

// All is every node that serves the method, this one too.
func All() Target { return Target{scope: scopeAll} }

// Node is the one life of a node that has the incarnation: NodeGone once that is over, even if another node of that
// name serves the method.
func Node(incarnation string) Target { return Target{scope: scopeNode, name: incarnation} }

// Named is one of the nodes that have the name and serve the method.
func Named(name string) Target { return Target{scope: scopeNamed, name: name} }

// String reads like "any node" or `node "web-1"`.
func (t Target) String() string {
	switch t.scope {
	case scopeAll:
		return "all nodes"
	case scopeNode:
		return "node " + t.name
	case scopeNamed:
		return "a node named " + t.name
	}
	return "any node"
}
