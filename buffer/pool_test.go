package buffer

import (
	"strings"
	"sync"
	"testing"
)

func TestPoolClasses(t *testing.T) {
	for name, p := range map[string]*Pool{"heap": nil, "zero": {}, "pool": NewPool(Options{}), "check": NewPool(Options{Check: true})} {
		for _, c := range []struct{ n, capacity int }{
			{0, 256}, {-1, 256}, {256, 256}, {257, 2048}, {2048, 2048}, {2049, 16384}, {16384, 16384}, {16385, 66048}, {66048, 66048}, {66049, 66049}, {1 << 20, 1 << 20},
		} {
			k := p.Get(c.n)
			if k.Cap() != c.capacity || len(k.Data()) != c.capacity || cap(k.Data()) != c.capacity {
				t.Errorf("%s: Get(%d) has %d bytes, want %d", name, c.n, k.Cap(), c.capacity)
			}
			if chunks, bytes := p.Outstanding(); p != nil && (chunks != 1 || bytes != int64(c.capacity)) {
				t.Errorf("%s: Get(%d): %d chunks of %d bytes out", name, c.n, chunks, bytes)
			}
			k.Retain()
			k.Release()
			k.Release()
			if chunks, bytes := p.Outstanding(); chunks != 0 || bytes != 0 {
				t.Errorf("%s: after Release %d chunks of %d bytes out", name, chunks, bytes)
			}
		}
		if err := p.Leaked(); err != nil {
			t.Error(err)
		}
	}
}

func TestWrap(t *testing.T) {
	mine := make([]byte, 5, 10)
	c := Wrap(mine)
	if &c.Data()[0] != &mine[0] || c.Cap() != 5 || cap(c.Data()) != 5 {
		t.Errorf("%d bytes of %d", c.Cap(), cap(c.Data()))
	}
	c.Release()
	mustPanic(t, "released before", c.Release)
}

func TestPoolDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets at random under the race detector")
	}
	p := NewPool(Options{})
	for _, n := range classSize {
		if got := testing.AllocsPerRun(200, func() { p.Get(n).Release() }); got != 0 {
			t.Errorf("%d bytes: %v allocations", n, got)
		}
	}
}

// Chunks are handed between goroutines, shared and released by both.
func TestPoolConcurrently(t *testing.T) {
	for _, p := range []*Pool{NewPool(Options{}), NewPool(Options{Check: true})} {
		var wg sync.WaitGroup
		ch := make(chan *Buffer, 16)
		for range 2 {
			wg.Go(func() {
				var w Buffer
				w.SetPool(p)
				for i := range 2000 {
					q := &Buffer{}
					w.Append([]byte{byte(i), byte(i >> 8), 3})
					w.Publish(q)
					ch <- q
				}
				w.Release()
			})
		}
		var readers sync.WaitGroup
		for range 2 {
			readers.Go(func() {
				for q := range ch {
					var mine Buffer
					q.ShareTo(&mine, 0, q.Size())
					q.Release()
					if s := mine.Flatten(); len(s) != 3 || s[2] != 3 {
						t.Error("wrong bytes")
					}
					mine.Release()
				}
			})
		}
		wg.Wait()
		close(ch)
		readers.Wait()
		if err := p.Leaked(); err != nil {
			t.Error(err)
		}
	}
}

func mustPanic(t *testing.T, with string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		switch got := recover().(type) {
		case nil:
			t.Errorf("no panic, want one with %q", with)
		case string:
			if !strings.Contains(got, with) {
				t.Errorf("panic %q, want one with %q", got, with)
			}
		case error:
			if !strings.Contains(got.Error(), with) {
				t.Errorf("panic %q, want one with %q", got, with)
			}
		}
	}()
	f()
}
