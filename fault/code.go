package fault

import "fmt"

// Code says what went wrong, in the one vocabulary that every layer, every transport and every node shares.
//
// A Code is itself an error, so that it can stand as a sentinel: errors.Is(err, fault.Locked) is true for every
// *Error of that code. Codes have stable numbers and names: they cross RPC and plugin boundaries, and are never
// renumbered.
type Code uint8

// The codes. The zero Code is OK and is never found in an error.
const (
	OK               Code = 0
	Canceled         Code = 1  // the caller's context was cancelled
	DeadlineExceeded Code = 2  // the caller's deadline passed
	NotFound         Code = 3  // no such key, task, node or connection
	Conflict         Code = 4  // a condition did not hold: revision, presence, fence
	Locked           Code = 5  // another holder has the lock
	Duplicate        Code = 6  // the ID or unique key is already taken
	LeaseLost        Code = 7  // the lease is over, or another has been given since; nothing was changed
	NoReceiver       Code = 8  // nobody listens at the address
	NodeGone         Code = 9  // the node left, died, or is another incarnation now
	Unimplemented    Code = 10 // nobody serves that method
	Unauthenticated  Code = 11 // a frame or login could not be verified
	PermissionDenied Code = 12 // verified, and not allowed
	TooLarge         Code = 13 // over a size limit; nothing was sent
	Exhausted        Code = 14 // a bound was reached: a full buffer, a busy node, a counter's end
	Unsupported      Code = 15 // the transport does not offer this ability
	Unavailable      Code = 16 // the store or peer cannot be reached; a retry can help
	Invalid          Code = 17 // a bad argument or configuration; a retry cannot help
	Corrupt          Code = 18 // stored or received data cannot be decoded
	Closed           Code = 19 // used after Close
	Internal         Code = 20 // a bug, or a panic in a handler
)

var names = [...]string{
	OK: "ok", Canceled: "canceled", DeadlineExceeded: "deadline exceeded", NotFound: "not found",
	Conflict: "conflict", Locked: "locked", Duplicate: "duplicate", LeaseLost: "lease lost",
	NoReceiver: "no receiver", NodeGone: "node gone", Unimplemented: "unimplemented",
	Unauthenticated: "unauthenticated", PermissionDenied: "permission denied", TooLarge: "too large",
	Exhausted: "exhausted", Unsupported: "unsupported", Unavailable: "unavailable", Invalid: "invalid",
	Corrupt: "corrupt", Closed: "closed", Internal: "internal",
}

// Codes lists every code but OK, in the order of their numbers.
func Codes() []Code {
	all := make([]Code, 0, len(names)-1)
	for c := range names[1:] {
		all = append(all, Code(c+1))
	}
	return all
}

// String is the code's stable name, in lower case: "lease lost".
func (c Code) String() string {
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Error makes a Code usable as a sentinel with errors.Is.
func (c Code) Error() string { return c.String() }

// MarshalText writes the code's name.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote. A name it does not know (from a newer node) is Internal.
func (c *Code) UnmarshalText(text []byte) error {
	*c = Internal
	for i, name := range names {
		if name == string(text) {
			*c = Code(i)
		}
	}
	return nil
}
