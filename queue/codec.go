package queue

import "encoding/json"

// Codec turns payloads of one type into bytes and back. It must be safe for concurrent use.
type Codec[T any] interface {
	Encode(payload T) ([]byte, error)
	Decode(data []byte) (T, error) // may keep data, which is the delivery's own, and must not change it
}

// JSON is the codec of encoding/json, and that of kinds which name none.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(payload T) ([]byte, error) { return json.Marshal(payload) }

func (jsonCodec[T]) Decode(data []byte) (payload T, err error) {
	err = json.Unmarshal(data, &payload)
	return payload, err
}

// Raw is the codec of payloads that are bytes, stored as they are. A handler is given the very bytes of its delivery.
var Raw Codec[[]byte] = rawCodec{}

type rawCodec struct{}

func (rawCodec) Encode(payload []byte) ([]byte, error) { return payload, nil }
func (rawCodec) Decode(data []byte) ([]byte, error)    { return data, nil }
