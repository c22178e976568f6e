//go:build !linux

package process

const limitsMemory = false // a config that asks for it is refused

func (p *Process) watchMemory() {}

func memoryHint(*Config) []string { return nil }
