package weir

import (
	"errors"
	"sync"
	"syscall"
	"testing"
)

// The default numbers are the system's: no word comes twice, whoever asks at the same time, and none is kept after it was given out.
func TestRandomness(t *testing.T) {
	draws := 0
	r, err := newRandomness(func(b []byte) error { draws++; return systemRandom(b) })
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var all sync.WaitGroup
	const each, goroutines = 1000, 4
	for range goroutines {
		all.Go(func() {
			for range each {
				n := r.uint64()
				mu.Lock()
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(seen) != each*goroutines {
		t.Errorf("%d different numbers of %d", len(seen), each*goroutines)
	}
	if want := (each*goroutines*8 + len(r.pool) - 1) / len(r.pool); draws != want {
		t.Errorf("asked the system %d times, want %d", draws, want)
	}
	for i, b := range r.pool[:len(r.pool)-r.left] {
		if b != 0 {
			t.Fatalf("byte %d, which was given out, is kept", i)
		}
	}
	var ones [64]int
	for n := range seen {
		for i := range ones {
			ones[i] += int(n >> i & 1)
		}
	}
	for i, n := range ones {
		if n < 1700 || n > 2300 { // of 4000: 2000 ± 9 standard deviations
			t.Errorf("bit %d is set in %d of %d", i, n, len(seen))
		}
	}
}

// Without the system's random numbers nothing is given out that could be guessed.
func TestRandomnessFailsClosed(t *testing.T) {
	err := error(syscall.ENOSYS)
	draw := func([]byte) error { return err }
	if _, got := newRandomness(draw); !errors.Is(got, syscall.ENOSYS) {
		t.Errorf("without random numbers: %v", got)
	}
	err = nil
	r, _ := newRandomness(draw)
	err = syscall.EIO
	for range len(r.pool) / 8 {
		r.uint64()
	}
	defer func() {
		if recover() == nil {
			t.Error("a number out of nothing")
		}
	}()
	r.uint64()
}
