package conformance

// queueClauses is what the contract says of the task queue.
var queueClauses []Clause

func queueCases() []Case { return nil }

func queueHookCases() []Case { return nil }
