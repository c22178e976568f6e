package queue

import "github.com/gobackplane/backplane/fault"

// checkTask reports why a task cannot be sent to a transport of these capabilities, or nil.
func checkTask(t *Task, caps Capabilities) error {
	if t.CallerID && t.ID == "" {
		return fault.New(fault.Invalid, "the task's ID is empty; name one, or leave queue.ID out")
	}
	for _, name := range []struct{ what, is string }{
		{"kind", t.Kind}, {"queue", t.Queue}, {"ID", t.ID}, {"unique key", t.UniqueKey},
	} {
		if name.is == "" && name.what != "unique key" {
			return fault.New(fault.Invalid, "the task's %s is empty", name.what)
		}
		if err := checkName(name.what, name.is, caps); err != nil {
			return err
		}
	}
	switch {
	case t.Priority < 0 || t.Priority > caps.MaxPriority:
		return fault.New(fault.Invalid, "priority %d: the transport has 0 to %d", t.Priority, caps.MaxPriority)
	case t.MaxAttempts < 1:
		return fault.New(fault.Invalid, "MaxAttempts is %d, at least 1 is needed", t.MaxAttempts)
	case t.MaxLost < 1:
		return fault.New(fault.Invalid, "MaxLost is %d, at least 1 is needed", t.MaxLost)
	case t.Timeout < 0 || t.Retention < 0 || t.UniqueFor < 0:
		return fault.New(fault.Invalid, "a duration is negative: timeout %s, retention %s, unique for %s", t.Timeout, t.Retention, t.UniqueFor)
	}
	if size := sizeOf(t); over(size, caps.MaxPayload) {
		return fault.New(fault.TooLarge, "payload and headers have %d bytes, the transport takes %d; store the payload elsewhere (the cache, a file) and enqueue its key", size, caps.MaxPayload)
	}
	return nil
}

// checkName reports why a name is too long, or nil.
func checkName(what, name string, caps Capabilities) error {
	if over(len(name), caps.MaxName) {
		return fault.New(fault.Invalid, "the %s %.32q… has %d bytes, the transport takes %d", what, name, len(name), caps.MaxName)
	}
	return nil
}

// checkQueue reports why a queue cannot be named so, or nil.
func checkQueue(name string, caps Capabilities) error {
	if name == "" {
		return fault.New(fault.Invalid, "the queue's name is empty")
	}
	return checkName("queue", name, caps)
}

// over says whether n passes a limit; a limit that a transport leaves at 0 is none.
func over(n, limit int) bool { return limit > 0 && n > limit }

// sizeOf counts the bytes of a task that are the caller's.
func sizeOf(t *Task) int {
	size := len(t.Payload)
	for key, value := range t.Headers {
		size += len(key) + len(value)
	}
	return size
}
