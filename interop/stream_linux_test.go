package interop

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// size is n, or what is enough of it to find mistakes where time is short.
func size(n int64) int64 {
	if testing.Short() || raceEnabled {
		return max(min(n, 64<<10), n/16)
	}
	return n
}

// block is what streams repeat. Its length is a prime, so that what is at a place depends on the place.
var block = sync.OnceValue(func() []byte {
	b := make([]byte, 1_000_003)
	rand.NewChaCha8([32]byte{'w', 'e', 'i', 'r'}).Read(b)
	return b
})

// stream is the first bytes of the endless repetition of block.
type stream struct{ at, size int64 }

// next is what comes next, nothing at the end.
func (s *stream) next() []byte {
	b := block()[s.at%int64(len(block())):]
	return b[:min(int64(len(b)), s.size-s.at)]
}

func (s *stream) Read(p []byte) (int, error) {
	b := s.next()
	if len(b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b)
	s.at += int64(n)
	return n, nil
}

var (
	sumsMu sync.Mutex
	sums   = map[int64][sha256.Size]byte{}
)

// sum is the SHA-256 of a stream.
func sum(size int64) [sha256.Size]byte {
	sumsMu.Lock()
	defer sumsMu.Unlock()
	if s, ok := sums[size]; ok {
		return s
	}
	h := sha256.New()
	io.Copy(h, &stream{size: size})
	s := [sha256.Size]byte(h.Sum(nil))
	sums[size] = s
	return s
}

// send writes a stream and ends it.
func send(c halfCloser, size int64) error {
	s := stream{size: size}
	for b := s.next(); len(b) > 0; b = s.next() {
		n, err := c.Write(b[:min(len(b), 256<<10)])
		s.at += int64(n)
		if err != nil {
			return fmt.Errorf("%T: after %d of %d bytes: %w", c, s.at, size, err)
		}
	}
	return c.CloseWrite()
}

// receive reads until the end, and checks that it was a stream of that size.
func receive(c io.Reader, size int64) error {
	h := sha256.New()
	n, err := io.CopyBuffer(h, onlyReader{c}, make([]byte, 256<<10))
	if err != nil {
		return fmt.Errorf("%T: after %d of %d bytes: %w", c, n, size, err)
	}
	if got := [sha256.Size]byte(h.Sum(nil)); n != size || got != sum(size) {
		return fmt.Errorf("%T: read %d bytes with SHA-256 %x, want %d with %x", c, n, got, size, sum(size))
	}
	return nil
}

// onlyReader hides other methods: data is to come by Read.
type onlyReader struct{ io.Reader }

// transfer sends a stream one way, and says how long it took.
func (w *world) transfer(from, to halfCloser, size int64) time.Duration {
	w.t.Helper()
	sum(size)
	start := time.Now()
	w.together(func() error { return send(from, size) }, func() error { return receive(to, size) })
	return time.Since(start)
}

// exchange sends streams both ways at once.
func exchange(p pair, size int64) []func() error {
	return []func() error{
		func() error { return send(p.kernel, size) },
		func() error { return receive(p.kernel, size) },
		func() error { return send(p.weir, size) },
		func() error { return receive(p.weir, size) },
	}
}
