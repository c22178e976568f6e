package queue

import (
	"bytes"
	"encoding/json"
)

// Codec turns payloads of one type into bytes and back. It must be safe for concurrent use.
type Codec[T any] interface {
	Encode(payload T) ([]byte, error)
	Decode(data []byte) (T, error) // must not retain data
}

// JSON is the codec of encoding/json, and that of kinds which name none.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(payload T) ([]byte, error) { return json.Marshal(payload) }

func (jsonCodec[T]) Decode(data []byte) (payload T, err error) {
	err = json.Unmarshal(data, &payload)
	return payload, err
}

// Raw is the codec of payloads that are bytes, stored as they are.
var Raw Codec[[]byte] = rawCodec{}

type rawCodec struct{}

func (rawCodec) Encode(payload []byte) ([]byte, error) { return payload, nil }
func (rawCodec) Decode(data []byte) ([]byte, error)    { return bytes.Clone(data), nil }
