package cache

import (
	"context"
	"encoding/json"

	"github.com/gobackplane/backplane/fault"
)

// Codec turns values of one type into bytes and back. It must be safe for concurrent use.
type Codec[T any] interface {
	Encode(value T) ([]byte, error)
	Decode(data []byte) (T, error) // must not retain data
}

// JSON is the codec of encoding/json.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(value T) ([]byte, error) { return json.Marshal(value) }

func (jsonCodec[T]) Decode(data []byte) (value T, err error) {
	err = json.Unmarshal(data, &value)
	return value, err
}

// View is a Cache whose values have a type. What a read cannot decode is fault.Corrupt and names the key; what a write
// cannot encode is fault.Invalid, and nothing is sent.
type View[T any] struct {
	c     *Cache
	codec Codec[T]
}

// Typed gives the values of a Cache a type. A nil codec is [JSON].
func Typed[T any](c *Cache, codec Codec[T]) *View[T] {
	if codec == nil {
		codec = JSON[T]()
	}
	return &View[T]{c: c, codec: codec}
}

// TypedGot is one answer of [View.GetMany].
type TypedGot[T any] struct {
	Value T
	Entry Entry
	Found bool
	Err   error
}

// Get reads a value, as [Cache.Get] does.
func (v *View[T]) Get(ctx context.Context, key string, options ...Option) (T, error) {
	value, _, err := v.Entry(ctx, key, options...)
	return value, err
}

// Entry reads a value together with its entry: revision, age and, with WithExpiry, end.
func (v *View[T]) Entry(ctx context.Context, key string, options ...Option) (T, Entry, error) {
	entry, err := v.c.Get(ctx, key, options...)
	if err != nil {
		var none T
		return none, Entry{}, err
	}
	value, err := v.decode("cache: get", entry)
	return value, entry, err
}

// GetMany reads values, as [Cache.GetMany] does. One that cannot be decoded is Found, with Err Corrupt.
func (v *View[T]) GetMany(ctx context.Context, keys []string, options ...Option) ([]TypedGot[T], error) {
	all, err := v.c.GetMany(ctx, keys, options...)
	typed := make([]TypedGot[T], len(all))
	for i, got := range all {
		typed[i] = TypedGot[T]{Entry: got.Entry, Found: got.Found, Err: got.Err}
		if got.Found && got.Err == nil {
			typed[i].Value, typed[i].Err = v.decode("cache: get", got.Entry)
		}
	}
	return typed, err
}

// Set writes a value, as [Cache.Set] does.
func (v *View[T]) Set(ctx context.Context, key string, value T, options ...Option) (Revision, error) {
	data, err := v.encode("cache: set", key, value)
	if err != nil {
		return "", err
	}
	return v.c.Set(ctx, key, data, options...)
}

// Load reads a value, or loads it with only one loader in the cluster, as [Cache.Load] does.
func (v *View[T]) Load(ctx context.Context, key string, o LoadOptions, load func(ctx context.Context) (T, error)) (T, error) {
	const op = "cache: load"
	entry, err := v.c.Load(ctx, key, o, func(ctx context.Context) ([]byte, error) {
		value, err := load(ctx)
		if err != nil {
			return nil, err
		}
		return v.encode(op, key, value)
	})
	if err != nil {
		var none T
		return none, err
	}
	return v.decode(op, entry)
}

// Delete removes an entry, as [Cache.Delete] does.
func (v *View[T]) Delete(ctx context.Context, key string, options ...Option) (existed bool, err error) {
	return v.c.Delete(ctx, key, options...)
}

func (v *View[T]) encode(op, key string, value T) ([]byte, error) {
	data, err := v.codec.Encode(value)
	if err != nil {
		return nil, v.c.fault(fault.Invalid, op, key, "the value cannot be encoded: %w", err)
	}
	return data, nil
}

func (v *View[T]) decode(op string, entry Entry) (T, error) {
	value, err := v.codec.Decode(entry.Value)
	if err != nil {
		var none T
		return none, v.c.fault(fault.Corrupt, op, entry.Key, "the value (%d bytes) cannot be decoded; delete or load it again: %w", len(entry.Value), err)
	}
	return value, nil
}
