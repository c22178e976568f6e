package cache_test

import (
	"context"
	"testing"

	"github.com/gobackplane/backplane/cache"
)

// instantly is a store that costs nothing, so that what is left is what stands above a driver.
type instantly struct {
	cache.Driver
	got     []cache.Got
	written []cache.Written
}

func (d *instantly) Get(context.Context, []cache.Read) ([]cache.Got, error) { return d.got, nil }
func (d *instantly) Set(context.Context, []cache.Write) ([]cache.Written, error) {
	return d.written, nil
}

func newInstantly() *cache.Cache {
	found := cache.Got{Found: true, Entry: cache.Entry{Key: "k", Value: []byte("v")}}
	return cache.New(&cache.Backend{Driver: &instantly{got: []cache.Got{found}, written: []cache.Written{{Revision: "r"}}}}, cache.Options{})
}

func BenchmarkGetAboveTheDriver(b *testing.B) {
	c := newInstantly()
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Get(b.Context(), "k")
	}
}

func BenchmarkSetAboveTheDriver(b *testing.B) {
	c := newInstantly()
	defer c.Close()
	value := []byte("v")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Set(b.Context(), "k", value)
	}
}

func BenchmarkSetWithTTLAboveTheDriver(b *testing.B) {
	c := newInstantly()
	defer c.Close()
	value := []byte("v")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Set(b.Context(), "k", value, cache.TTL(1<<40))
	}
}
