//go:build !linux

package process_test

// plugins cannot be listed here.
func plugins() []int { return nil }
