//go:build !linux

package testserver

import "testing"

func folder(testing.TB) string { return "" }
