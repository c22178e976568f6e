// Package chaos holds the tests that put whole processes through faults: killed, stopped for longer than a lease, cut
// off from the store by a link that swallows everything. They look at the store for what is true.
package chaos
