package checksum

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Nothing is read beyond the last byte, nor before the first: what lies there need not be mapped.
func TestSumAtPageEnds(t *testing.T) {
	page := unix.Getpagesize()
	all, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(all)
	for _, guard := range [][]byte{all[:page], all[2*page:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	b := all[page : 2*page]
	copy(b, pattern(page))
	for n := range page + 1 {
		front, back := b[:n], b[page-n:]
		if got, want := Sum(front, 0), naive(front, 0); got != want {
			t.Fatalf("first %d bytes: %04X, want %04X", n, got, want)
		}
		if got, want := Sum(back, 0), naive(back, 0); got != want {
			t.Fatalf("last %d bytes: %04X, want %04X", n, got, want)
		}
	}
}
