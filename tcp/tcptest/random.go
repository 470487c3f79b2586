package tcptest

// random is a small seeded generator (splitmix64), the same on every platform.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	x := uint64(*r)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// chance is true with probability p.
func (r *random) chance(p float64) bool { return p > 0 && float64(r.next()>>11)/(1<<53) < p }

// below returns a number from 0 up to but not including n; 0 if n is 0.
func (r *random) below(n int64) int64 {
	if n <= 0 {
		return 0
	}
	return int64(r.next() % uint64(n))
}
