package siphash

import "testing"

// The vectors are those of the SipHash paper, appendix A: key 00…0f, input 00 01 02 …
func TestVectors(t *testing.T) {
	key := Key{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	in := make([]byte, 15)
	for i := range in {
		in[i] = byte(i)
	}
	for n, want := range map[int]uint64{0: 0x726fdb47dd0e0e31, 15: 0xa129ca6149be45e5} {
		if got := key.Sum(in[:n]); got != want {
			t.Errorf("Sum of %d bytes = %#x, want %#x", n, got, want)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	b := make([]byte, 40)
	if n := testing.AllocsPerRun(100, func() { Key{1, 2}.Sum(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
