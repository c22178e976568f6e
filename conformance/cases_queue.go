package conformance

import "slices"

// What the contract says of queues.
const (
	clauseTaskKept      Clause = "a claimed task is as it was enqueued, field by field"
	clauseTaskBytes     Clause = "payloads, headers and names of tasks are any bytes"
	clauseTaskLimits    Clause = "names, payloads and batches are taken up to the declared limits; beyond, and what cannot be, is refused alone"
	clauseTaskBuffers   Clause = "slices given are not kept, and slices returned belong to the caller"
	clauseReceipts      Clause = "each enqueued task has a receipt of its own"
	clauseTaskID        Clause = "an ID exists once: enqueuing it again is a Duplicate that names it, and changes nothing"
	clauseIDMemory      Clause = "an ID that the caller chose stays known for the declared time after its task is gone"
	clauseUniqueKey     Clause = "at most one task of a queue holds a unique key, until it has ended in any way or UniqueFor is over"
	clauseUniqueOwner   Clause = "a unique key is held and given back by its own task alone"
	clauseRunAt         Clause = "a task is not claimed before its time by the store's clock, and soon after; a time that has passed is now"
	clauseTaskOrder     Clause = "queues in the order given; in each the highest priority first, then the oldest"
	clauseClaimMax      Clause = "a claim gets up to Max tasks, of its queues alone"
	clauseClaimEnd      Clause = "a claim with nothing due ends after Wait or with its context, without tasks and without error"
	clauseClaimWake     Clause = "a waiting claim gets what is enqueued, falls due, loses its lease or is resumed, on whatever node"
	clauseClaimNone     Clause = "what a claim has taken and not brought back comes back when its lease ends"
	clauseOneLease      Clause = "a task is under one lease at a time, each with a token of its own"
	clauseBadClaim      Clause = "a claim without worker, queue or Max is Invalid"
	clauseTaskLease     Clause = "a lease never ends early; when it has ended the task is claimed again"
	clauseTaskLost      Clause = "a lost lease adds to Lost and not to Attempts; past MaxLost the task is dead, with the reason"
	clauseTaskExtend    Clause = "Extend makes a lease end one lease length from now"
	clauseTaskStale     Clause = "settling or extending under a stale claim is LeaseLost and changes nothing"
	clauseLeaseProperty Clause = "the lease's length is a property of the queue, and the same for all nodes"
	clauseDone          Clause = "Done completes a task; it and its result are kept for its Retention"
	clauseRetry         Clause = "Retry schedules a task again after the delay, with one attempt more and the error"
	clauseSnooze        Clause = "Snooze schedules a task again without counting an attempt, and keeps its error if it has one"
	clauseDead          Clause = "Dead keeps a task with its error among the dead, and nobody gets it"
	clauseGiveBack      Clause = "Release gives a task back, first in line, without counting anything"
	clauseSettleAlone   Clause = "each settlement and extension of a batch has an answer of its own"
	clauseNumbered      Clause = "a repeat of a sender's last batch answers the same and changes nothing; a lower number is Conflict"
	clauseAtLeastOnce   Clause = "what was accepted runs, or is found in exactly one state, as long as the store keeps its data"
	clauseTotals        Clause = "totals count what has happened in a queue"
	clauseTaskList      Clause = "List shows every task of a state, oldest first (scheduled: by run time), page by page"
	clauseTaskFind      Clause = "Find shows a task in whatever state; NotFound when it is not there"
	clauseRemoveTask    Clause = "Remove deletes tasks that are not active; Conflict for those, NotFound for none"
	clauseRequeue       Clause = "Requeue makes ended and scheduled tasks pending now, counting from 0 those that had ended; Conflict for pending and active ones"
	clauseCancel        Clause = "Cancel makes scheduled and pending tasks cancelled at once; Conflict for those that have ended"
	clauseCancelActive  Clause = "a worker hears at Extend that its task is to be cancelled; then only Done completes it, all else cancels it"
	clausePause         Clause = "Pause stops claims of a queue on all nodes, Resume lets them again; both may be repeated"
	clauseQueues        Clause = "Queues lists queues that hold a task, were configured or have counters; an unknown one is all zeros"
	clauseQueuePersist  Clause = "tasks and leases outlive a restart of the store as Persistent says"
)

// What stands above the queue's driver, and counts on it.
const (
	clauseWorkerRuns  Clause = "workers on all nodes run every task"
	clauseWorkerFails Clause = "what a handler returns decides: retries and then dead, snoozed, dead at once; a panic is an error"
	clauseWorkerStop  Clause = "a worker that stops gives back what it has not begun, and counts nothing"
	clauseWorkerKnows Clause = "what a worker cannot handle is never lost: unknown kinds stay, undecodable payloads are dead"
	clauseWorkerLease Clause = "a worker keeps its leases while handlers run, and tells them when a task is cancelled"
)

var queueClauses = []Clause{
	clauseTaskKept, clauseTaskBytes, clauseTaskLimits, clauseTaskBuffers, clauseReceipts, clauseTaskID, clauseIDMemory,
	clauseUniqueKey, clauseUniqueOwner, clauseRunAt, clauseTaskOrder, clauseClaimMax, clauseClaimEnd, clauseClaimWake, clauseClaimNone,
	clauseOneLease, clauseBadClaim, clauseTaskLease, clauseTaskLost, clauseTaskExtend, clauseTaskStale, clauseLeaseProperty,
	clauseDone, clauseRetry, clauseSnooze, clauseDead, clauseGiveBack, clauseSettleAlone, clauseNumbered, clauseAtLeastOnce,
	clauseTotals, clauseTaskList, clauseTaskFind, clauseRemoveTask, clauseRequeue, clauseCancel, clauseCancelActive, clausePause,
	clauseQueues, clauseQueuePersist,
	clauseWorkerRuns, clauseWorkerFails, clauseWorkerStop, clauseWorkerKnows, clauseWorkerLease,
}

func queueCases() []Case {
	return slices.Concat(
		enqueueCases(), uniqueCases(), claimCases(), taskLeaseCases(), settleCases(), queueAdminCases(), queueStackCases(),
	)
}
