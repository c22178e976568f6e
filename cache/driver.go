package cache

import (
	"context"
	"time"
)

// Driver is the cache and lock half of a transport: what a store must do atomically, and nothing else. Typed values,
// stampede protection, waiting, renewal and retries stand above it, in [Cache].
//
// Every method takes a slice and answers one result for each element, in order, each with its own Err (a *fault.Error,
// or nil). The error beside the slice means that nothing is known of any element: they may or may not have been done.
// Elements of one call are independent: they are not a transaction, and one failing does not touch the others.
//
// Operations on one key, or one lock, happen one after the other, each at some moment between its call and its answer, for
// all nodes alike: what a reader has seen no later reader finds undone. One that was not answered (Canceled,
// DeadlineExceeded, Unavailable) happens once at some moment after its call, be it long after, or never.
//
// A driver does not retain a slice that it is given after it has returned, and the caller owns what it gets.
// All methods may be called concurrently. A context that ends makes a method return promptly with Canceled or
// DeadlineExceeded; after the transport's Close each answers Closed.
//
// Time is the store's: an entry or lease never ends early by the store's clock, and at most [Capabilities].Granularity
// plus ExpiryDelay late.
type Driver interface {
	// Get reads entries. An absent or expired key is not an error: Found is false.
	Get(ctx context.Context, reads []Read) ([]Got, error)

	// Set writes entries under a condition. Conflict when the condition did not hold; the answer then has the Revision
	// that is there (zero if absent), where the store knows it for nothing.
	Set(ctx context.Context, writes []Write) ([]Written, error)

	// Delete removes entries. Deleting what is not there is no error: Removed.Existed says so. Conflict when If is a
	// revision that is not there.
	Delete(ctx context.Context, removals []Removal) ([]Removed, error)

	// Touch gives entries a new lifetime from now, leaving value and revision alone. NotFound when absent.
	Touch(ctx context.Context, lifetimes []Lifetime) ([]Touched, error)

	// Add adds to counters. A counter is an entry whose value is a signed 64-bit integer in decimal text, so Get reads
	// it and Set writes it. Absent counts as 0, and only then is the lifetime applied. Invalid when the value is
	// anything else, Exhausted when the sum would overflow; both change nothing.
	Add(ctx context.Context, increments []Increment) ([]Sum, error)

	// Keys lists keys of live entries by prefix, one page a call, in no order. A key that is there during the whole
	// listing is listed at least once; one that is written or removed meanwhile may be listed or not, and some
	// transports may list a key twice. The listing is over when Next is empty.
	Keys(ctx context.Context, page Page) (Keys, error)

	// Acquire takes locks. Exactly one holder has a lock at a time; each success has a fence greater than all that were
	// given before for the lock (remembered as [Capabilities].FenceMemory says). Locked when another holder has it, or
	// this holder already (locks are not reentrant): the Lease then tells who holds it and until when.
	// With Wait > 0 the driver may answer Locked later than at once: as soon as the lock was seen released, or when
	// Wait is over. It may also answer at once; the caller asks again.
	Acquire(ctx context.Context, claims []Claim) ([]Lease, error)

	// Renew makes leases end TTL from now, keeping holder and fence. LeaseLost when the lease has ended or another has
	// been given since; that one is left alone. A Fence of 0 is not compared, as in a Guard: the holder alone names the
	// lease then, for those who never learned its fence because the answer to Acquire was lost.
	Renew(ctx context.Context, leases []Lease) ([]Lease, error)

	// Release ends leases, and wakes those who wait for the lock. LeaseLost, and a Fence of 0, as with Renew.
	Release(ctx context.Context, leases []Lease) ([]error, error)
}

// Watcher is the optional ability to follow changes.
type Watcher interface {
	// Watch delivers changes of entries whose key begins with prefix, made after it returned, until the watch is
	// closed or the transport is. deliver must not block and is not called concurrently; after Close has returned it is
	// not called again. Changes of one key arrive in order; several may be merged into the last.
	// Expiry is not a change.
	Watch(ctx context.Context, prefix string, deliver func([]Change)) (Watch, error)
}

// Watch is a running watch.
type Watch interface {
	// Close ends the watch. It may be called twice.
	Close() error
}

// Change is one event of a watch.
type Change struct {
	Key     string
	Deleted bool // the entry was removed; otherwise it was written or touched
	Resync  bool // some changes may have been missed (a reconnect, a full buffer): read again what matters. Key is empty.
}

// Lists is the optional ability to keep lists: ordered, popped by one taker each. A list and an entry of the same name
// are two things. An empty list does not exist.
type Lists interface {
	// Push appends values, all or none, in order, and answers the length after it.
	Push(ctx context.Context, pushes []Push) ([]Length, error)
	// Pop removes up to Max values from the front (or back) and gives each to one taker only.
	Pop(ctx context.Context, pops []Pop) ([]Popped, error)
	// Range reads up to Max values from index Start (0 is the front) and removes nothing.
	Range(ctx context.Context, ranges []Range) ([]Popped, error)
	// Length counts the values of lists; 0 for one that does not exist.
	Length(ctx context.Context, reads []Read) ([]Length, error)
	// Drop removes whole lists. If must be Always.
	Drop(ctx context.Context, removals []Removal) ([]Removed, error)
	// Names lists the names of lists, as Driver.Keys lists keys.
	Names(ctx context.Context, page Page) (Keys, error)
}

// Holders is the optional ability to list the locks that are held.
type Holders interface {
	// Held lists live leases of locks whose name begins with the prefix, as Driver.Keys lists keys.
	Held(ctx context.Context, page Page) (Leases, error)
}

// Backend is what a transport offers as a cache. A nil field is not offered, and its use answers fault.Unsupported.
type Backend struct {
	Driver
	Watcher      Watcher
	Lists        Lists
	Holders      Holders
	Capabilities Capabilities
}

// Capabilities says what a cache transport can do, and within which bounds. The conformance suite checks every field.
type Capabilities struct {
	MaxKey      int           // longest key or lock name, in bytes; at least 512
	MaxValue    int           // largest value, in bytes; at least 64 KiB
	MaxBatch    int           // most elements of one call; at least 1,000
	MinTTL      time.Duration // shortest lifetime; a shorter one is Invalid
	Granularity time.Duration // lifetimes are rounded up to a multiple of this
	ExpiryDelay time.Duration // how long after its end an entry may still be seen
	FenceMemory time.Duration // how long a lock's last fence is remembered after its release; at least 24 h
	Evicts      bool          // the store may drop live entries to make room
	Persistent  bool          // entries outlive a restart of the store
}

// Guard binds an operation to the lock that has the key's own name. The zero Guard does not look at the lock.
type Guard struct {
	// Holder fails the operation with Locked while anybody else holds the lock. A free lock does not stop it.
	Holder string
	// Fence fails the operation with Conflict when a greater fence has been given for the lock. 0 is not compared.
	Fence uint64
}

// Revision identifies one version of one entry. It is opaque, compared for equality only, and never repeats for a key,
// not even after deletion, a flush or a failover. The zero Revision stands for "no entry".
type Revision string

// Condition says under which circumstances a write or delete is done. The zero Condition is Always.
type Condition struct {
	kind     conditionKind
	revision Revision
}

type conditionKind uint8

const (
	always conditionKind = iota
	absent
	present
	atRevision
)

// Always is the condition that always holds.
func Always() Condition { return Condition{} }

// IfAbsent holds when there is no live entry.
func IfAbsent() Condition { return Condition{kind: absent} }

// IfPresent holds when there is a live entry.
func IfPresent() Condition { return Condition{kind: present} }

// IfRevision holds when the entry is at revision r exactly. The zero Revision means IfAbsent.
func IfRevision(r Revision) Condition {
	if r == "" {
		return IfAbsent()
	}
	return Condition{kind: atRevision, revision: r}
}

// IsAlways reports whether the condition always holds.
func (c Condition) IsAlways() bool { return c.kind == always }

// WantsAbsent reports whether the condition is IfAbsent.
func (c Condition) WantsAbsent() bool { return c.kind == absent }

// WantsPresent reports whether the condition is IfPresent.
func (c Condition) WantsPresent() bool { return c.kind == present }

// WantsRevision gives the revision of IfRevision.
func (c Condition) WantsRevision() (Revision, bool) { return c.revision, c.kind == atRevision }

// Read asks for one entry.
type Read struct {
	Key    string
	Guard  Guard
	Expiry bool // also answer Entry.Expires, which costs some transports a second command
}

// Entry is one version of one key's value.
type Entry struct {
	Key      string
	Value    []byte // not nil when the entry exists
	Flags    uint8  // as written
	Revision Revision
	Created  time.Time // when this version was written, by the writer's clock
	Expires  time.Time // zero: never, or not asked for
}

// Got answers a Read.
type Got struct {
	Entry Entry
	Found bool
	Err   error
}

// Write sets one entry.
type Write struct {
	Key   string
	Value []byte
	Flags uint8         // kept beside the value for the caller's own use
	TTL   time.Duration // 0: no end. It replaces the lifetime that an older version had
	If    Condition
	Guard Guard
}

// Written answers a Write.
type Written struct {
	Revision Revision // of the new version
	Err      error
}

// Removal deletes one entry.
type Removal struct {
	Key   string
	If    Condition // Always, or IfRevision; IfPresent is Conflict when absent
	Guard Guard
}

// Removed answers a Removal.
type Removed struct {
	Existed bool
	Err     error
}

// Lifetime gives one entry a new lifetime.
type Lifetime struct {
	Key   string
	TTL   time.Duration // from now; 0: no end
	Guard Guard
}

// Touched answers a Lifetime.
type Touched struct {
	Err error
}

// Increment adds to one counter.
type Increment struct {
	Key   string
	Delta int64
	TTL   time.Duration // applied when Add creates the counter; 0: no end
	Guard Guard
}

// Sum answers an Increment.
type Sum struct {
	Value    int64
	Revision Revision
	Err      error
}

// Page asks for one page of a listing.
type Page struct {
	Prefix string
	Cursor string // empty: from the start; otherwise Next of the page before
	Limit  int    // about how many; 0: the transport's choice. A page may hold more or fewer, none too
}

// Keys is one page of keys.
type Keys struct {
	Keys []string
	Next string // empty: this was the last page
}

// Leases is one page of locks that are held.
type Leases struct {
	Leases []Lease
	Next   string
}

// Claim asks for a lock.
type Claim struct {
	Lock   string
	Holder string        // who asks; must be unique to this attempt to hold (not to the node)
	TTL    time.Duration // how long the lease lasts unless renewed; at least MinTTL
	Wait   time.Duration // see Driver.Acquire
}

// Lease is a lock held, or, beside a Locked error, the lock as another holds it (without its fence).
type Lease struct {
	Lock    string
	Holder  string
	Fence   uint64        // greater than every fence given for this lock before; at least 1
	TTL     time.Duration // as claimed
	Expires time.Time     // by the store's clock: for people to read. Reckon with TTL from before the call was sent
	Err     error
}

// Push appends to one list.
type Push struct {
	List   string
	Values [][]byte      // at least one
	Front  bool          // put them at the front, the last one frontmost
	TTL    time.Duration // the whole list's lifetime from now; 0: leave it as it is
	Guard  Guard
}

// Pop takes from one list.
type Pop struct {
	List  string
	Max   int  // at least 1
	Back  bool // from the back instead of the front
	Guard Guard
}

// Popped answers a Pop or a Range. Values is empty when there are none.
type Popped struct {
	Values [][]byte
	Err    error
}

// Range reads from one list.
type Range struct {
	List  string
	Start int
	Max   int
	Guard Guard
}

// Length answers a Push or a length.
type Length struct {
	Length int
	Err    error
}
