package queue

import (
	"github.com/gobackplane/backplane/fault"
)

// Kind is a sort of task: the name under which a handler is found, and the type of its payload. It is a plain value,
// meant to be declared once and used by those who enqueue and those who handle:
//
//	var Resize = queue.NewKind[Image]("image.resize", queue.OnQueue("media"), queue.Timeout(time.Minute))
//
// Renaming a kind, or changing its payload so that old ones no longer decode, strands the tasks that are waiting.
type Kind[T any] struct {
	Name    string
	Codec   Codec[T] // of the payload; nil: JSON
	Options []Option // of each task of the kind, unless Enqueue says otherwise
}

// NewKind makes a kind with JSON payloads. Its name is checked when it is first used.
func NewKind[T any](name string, options ...Option) Kind[T] {
	return Kind[T]{Name: name, Options: options}
}

// WithCodec is the same kind with another codec.
func (k Kind[T]) WithCodec(c Codec[T]) Kind[T] {
	k.Codec = c
	return k
}

// Task makes a task of the kind, for [Client.Enqueue]: it encodes the payload and applies the kind's options, then these.
// Invalid when the payload cannot be encoded.
func (k Kind[T]) Task(payload T, options ...Option) (Task, error) {
	data, err := k.codec().Encode(payload)
	if err != nil {
		return Task{}, &fault.Error{Code: fault.Invalid, Op: opEnqueue, Subject: k.Name, Message: "the payload cannot be encoded", Err: err}
	}
	t := Task{Kind: k.Name, Payload: data}
	for _, apply := range k.Options {
		apply(&t)
	}
	for _, apply := range options {
		apply(&t)
	}
	return t, nil
}

func (k Kind[T]) codec() Codec[T] {
	if k.Codec == nil {
		return JSON[T]()
	}
	return k.Codec
}
