package queue

import (
	"encoding/json"
	"fmt"
)

// Codec turns payloads into bytes and back. It must be safe for concurrent use.
type Codec interface {
	Encode(payload any) ([]byte, error)
	// Decode reads data into what into points to. It must not retain data.
	Decode(data []byte, into any) error
}

// JSON is the codec of kinds that name none.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Encode(payload any) ([]byte, error) { return json.Marshal(payload) }
func (jsonCodec) Decode(data []byte, into any) error { return json.Unmarshal(data, into) }

// Raw is the codec of kinds whose payload is a []byte, stored as it is.
var Raw Codec = rawCodec{}

type rawCodec struct{}

func (rawCodec) Encode(payload any) ([]byte, error) {
	data, ok := payload.([]byte)
	if !ok {
		return nil, fmt.Errorf("the raw codec takes []byte, not %T; use another codec, or a kind of []byte", payload)
	}
	return data, nil
}

func (rawCodec) Decode(data []byte, into any) error {
	target, ok := into.(*[]byte)
	if !ok {
		return fmt.Errorf("the raw codec gives []byte, not %T; use another codec, or a kind of []byte", into)
	}
	*target = append([]byte(nil), data...)
	return nil
}
