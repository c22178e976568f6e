package conformance

// rpcClauses is what the contract says of RPC.
var rpcClauses []Clause

func rpcCases() []Case { return nil }

func rpcHookCases() []Case { return nil }
