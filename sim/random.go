package sim

import "encoding/binary"

// Random is a small seeded generator (splitmix64), the same on every machine.
type Random uint64

// Uint64 returns 64 random bits.
func (r *Random) Uint64() uint64 {
	*r += 0x9e3779b97f4a7c15
	x := uint64(*r)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Below returns a number from 0 up to but not including n; 0 if n is 0 or less.
func (r *Random) Below(n int) int {
	if n <= 0 {
		return 0
	}
	return int(r.Uint64() % uint64(n))
}

// patternPeriod is a prime, so that data that came to a wrong place does not look right.
const patternPeriod = 65521

// maxPattern is how many bytes of a pattern are contiguous from any place on.
const maxPattern = 64 << 10

// patterns are the bytes of all streams: a stream begins somewhere in them.
type patterns []byte

func newPatterns() patterns {
	p := make(patterns, patternPeriod+maxPattern)
	r := Random(1)
	for i := 0; i < patternPeriod; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], r.Uint64())
	}
	for n := patternPeriod; n < len(p); n += patternPeriod {
		copy(p[n:], p[:patternPeriod])
	}
	return p
}

// at returns n bytes, at most maxPattern, of a stream from its byte off on.
func (p patterns) at(stream uint64, off int64, n int) []byte {
	begin := (stream%patternPeriod + uint64(off)) % patternPeriod
	return p[begin : begin+uint64(n)]
}
