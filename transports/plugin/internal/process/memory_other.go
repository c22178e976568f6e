//go:build !linux

package process

const limitsMemory = false // a config that asks for it is refused

func (*run) watchMemory() {}

func memoryHint(*Config) []string { return nil }
