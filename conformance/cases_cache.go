package conformance

import "slices"

// What the contract says of the cache.
const (
	clauseElements     Clause = "a call answers one result for each element, in order, each with its own error"
	clauseIndependent  Clause = "elements of one call are independent: one failing does not touch the others"
	clauseBuffers      Clause = "a driver retains nothing that it is given, and the caller owns what it gets"
	clauseCarries      Clause = "an entry carries key, value, flags, revision and creation time unchanged"
	clauseAbsent       Clause = "an absent or expired key is not an error: Found is false"
	clauseAnyBytes     Clause = "keys and values are any bytes, and names that share a part are apart"
	clauseSizes        Clause = "keys, values and batches up to the declared sizes are taken; a value or batch that is larger is TooLarge, and nothing is sent"
	clauseBadNames     Clause = "an empty or over-long name is Invalid"
	clauseCondition    Clause = "Set is Conflict when its condition did not hold, and changes nothing"
	clauseAtomic       Clause = "condition and write are one step: of writers that are at it together, one wins"
	clauseDelete       Clause = "deleting what is not there is no error, and Existed says what was"
	clauseDeleteIf     Clause = "Delete is Conflict when its condition did not hold, and changes nothing"
	clauseRevision     Clause = "a revision names one version of an entry, and is the same for every reader"
	clauseRevisionOnce Clause = "a revision never repeats for a key, not after deletion, a flush or a failover"
	clauseLifetime     Clause = "an entry never ends early by the store's clock, and at most the declared granularity and delay late"
	clauseExpires      Clause = "Expires is told when it is asked for; zero is never"
	clauseNewLifetime  Clause = "a write replaces the lifetime that an older version had"
	clauseTouch        Clause = "Touch gives a new lifetime from now and leaves value and revision alone; NotFound when absent"
	clauseMinTTL       Clause = "a lifetime shorter than the declared shortest is Invalid, and nothing is done"
	clauseCounter      Clause = "a counter is an entry with decimal text: Get reads it, Set writes it, absent counts as 0"
	clauseCounterLife  Clause = "the lifetime of Add is applied only when it creates the counter"
	clauseCounterBad   Clause = "Add is Invalid on anything but a signed 64-bit integer, Exhausted on overflow; both change nothing"
	clauseCounterOnce  Clause = "an increment that was answered was added once, and one that was not at most once"
	clauseKeys         Clause = "Keys lists every live key with the prefix, in pages, until Next is empty"
	clauseKeysDuring   Clause = "a key that is there during the whole listing is listed at least once"
	clauseGuardHolder  Clause = "a guard's holder fails the operation with Locked while anybody else holds the key's lock, in one step with it"
	clauseGuardFence   Clause = "a guard's fence fails the operation with Conflict when a greater one was given; 0 is not compared"
	clauseNoGuard      Clause = "without a guard the lock is not looked at"
	clauseLists        Clause = "lists keep their order, and an empty list does not exist"
	clausePush         Clause = "Push appends all values or none, in order, and answers the length after it"
	clausePop          Clause = "Pop gives each value to one taker only"
	clauseRange        Clause = "Range and Length read and remove nothing"
	clauseListLife     Clause = "a push with a lifetime sets the whole list's, one without leaves it"
	clauseListNames    Clause = "a list and an entry of the same name are two things; Names lists lists"
	clauseWatch        Clause = "a watch delivers every change of its prefix made after it returned, of one key in order"
	clauseWatchEnd     Clause = "after Close of a watch has returned nothing is delivered; it may be called twice"
	clauseResync       Clause = "where changes may have been missed, a watch delivers Resync"
	clausePersistent   Clause = "entries outlive a restart of the store as Persistent says"
)

var cacheClauses = []Clause{
	clauseElements, clauseIndependent, clauseBuffers, clauseCarries, clauseAbsent, clauseAnyBytes, clauseSizes, clauseBadNames,
	clauseCondition, clauseAtomic, clauseDelete, clauseDeleteIf, clauseRevision, clauseRevisionOnce, clauseLifetime,
	clauseExpires, clauseNewLifetime, clauseTouch, clauseMinTTL, clauseCounter, clauseCounterLife, clauseCounterBad,
	clauseCounterOnce, clauseKeys, clauseKeysDuring, clauseGuardHolder, clauseGuardFence, clauseNoGuard,
	clauseLists, clausePush, clausePop, clauseRange, clauseListLife, clauseListNames,
	clauseWatch, clauseWatchEnd, clauseResync, clausePersistent, clauseLinear,
}

func cacheCases() []Case {
	return slices.Concat(
		entryCases(), batchCases(), conditionCases(), lifetimeCases(), counterCases(), keysCases(), guardCases(),
		listCases(), watchCases(),
	)
}

// needing makes cases of one ability.
func needing(a Ability, cases []Case) []Case {
	for i := range cases {
		cases[i].Needs = a
	}
	return cases
}
