// Package servers starts real servers for the demo, the benchmarks and the tests, and puts a faulty network in front of
// them. It knows nothing of package testing; see internal/testserver for that.
//
//	server, err := servers.StartRedis(ctx, servers.RedisOptions{})
//	if err != nil { … }
//	defer server.Stop()
//	proxy, err := servers.StartProxy(server.Addr())
//	defer proxy.Close()
//	proxy.Swallow(true) // the link is dead, and nobody was told
package servers
