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

func (d *instantly) Acquire(_ context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	return []cache.Lease{{Lock: claims[0].Lock, Holder: claims[0].Holder, Fence: 1}}, nil
}

func (d *instantly) Release(context.Context, []cache.Lease) ([]error, error) {
	return []error{nil}, nil
}

func BenchmarkLockAndUnlockAboveTheDriver(b *testing.B) {
	c := newInstantly()
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		lock, err := c.Lock(b.Context(), "l")
		if err != nil {
			b.Fatal(err)
		}
		_ = lock.Unlock(b.Context())
	}
}

func BenchmarkLoadOfWhatIsThereAboveTheDriver(b *testing.B) {
	c := newInstantly()
	defer c.Close()
	load := func(context.Context) ([]byte, error) { return nil, nil }
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Load(b.Context(), "k", cache.LoadOptions{}, load)
	}
}
