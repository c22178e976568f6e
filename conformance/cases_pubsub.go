package conformance

// pubsubClauses is what the contract says of pub/sub.
var pubsubClauses []Clause

func pubsubCases() []Case { return nil }

func pubsubHookCases() []Case { return nil }
