package conformance

import "slices"

// What the contract says of pub/sub.
const (
	clauseMatch         Clause = "a subject is tokens joined by dots; in a filter * is one token, > the rest, of one token or more"
	clauseSubjects      Clause = "subjects and filters that break the grammar are Invalid"
	clauseDelivery      Clause = "every live subscription whose filter matches gets a message, at most once"
	clauseMessageKept   Clause = "every field of a message arrives unchanged"
	clauseMessageLimits Clause = "payloads with headers, subjects and batches are taken up to the declared limits, and not beyond"
	clauseMessageOwn    Clause = "payloads given are not kept; what is delivered is shared with nobody"
	clauseMessageAlone  Clause = "each message of a batch has a receipt of its own"
	clauseReceivers     Clause = "where receivers are known, 0 means that nobody was there"
	clauseOrder         Clause = "messages of one publisher on one subject arrive in the order of its calls, and in that of the slice"
	clauseDeliverOne    Clause = "deliver is never called concurrently for one subscription"
	clauseBarrier       Clause = "what is published after Subscribe has returned is delivered"
	clauseBarrierAll    Clause = "where declared, that holds for messages published through any server"
	clauseQuiet         Clause = "after Close of a subscription has returned, deliver is not called again"
	clauseCloseWithin   Clause = "a subscription may be closed twice, and from within deliver"
	clauseGroup         Clause = "of subscriptions with the same group, exactly one gets each message while its members and links stand"
	clauseGroupName     Clause = "a group is its name, whatever its members' filters"
	clauseSlow          Clause = "a subscription that is slow holds up no other"
	clauseManySubs      Clause = "subscriptions come and go without loss to those that stay"
	clauseGap           Clause = "wherever messages may have been missed there is a gap; every reconnect gives one"
	clauseAgain         Clause = "after a reconnect every subscription is delivered to again"
)

// What stands above the driver of pub/sub, and counts on it.
const (
	clauseStreamGap     Clause = "a stream tells what was lost, with the exact number where the senders' numbers show it"
	clauseStreamBuffer  Clause = "a stream's buffer is bounded, and what it drops is told, as its policy says"
	clauseStreamOnce    Clause = "a stream gives each message once, and none out of its sender's order"
	clauseTopics        Clause = "topics carry typed values"
	clauseReserved      Clause = "subjects of the library are its own"
	clauseStreamsClosed Clause = "closing ends streams and refuses what comes after"
)

var pubsubClauses = []Clause{
	clauseMatch, clauseSubjects, clauseDelivery, clauseMessageKept, clauseMessageLimits, clauseMessageOwn, clauseMessageAlone,
	clauseReceivers, clauseOrder, clauseDeliverOne, clauseBarrier, clauseBarrierAll, clauseQuiet, clauseCloseWithin,
	clauseGroup, clauseGroupName, clauseSlow, clauseManySubs, clauseGap, clauseAgain,
	clauseStreamGap, clauseStreamBuffer, clauseStreamOnce, clauseTopics, clauseReserved, clauseStreamsClosed,
}

func pubsubCases() []Case {
	return slices.Concat(subjectCases(), deliveryCases(), subscriptionCases(), groupCases(), pubsubStackCases())
}
