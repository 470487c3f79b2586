package tcp

// Seq is a sequence number; comparisons are modulo 2^32 (RFC 9293 §3.4). They hold for numbers less than 2^31 apart, which RFC 7323 §2.3
// sees to by limiting windows to 2^30.
type Seq uint32

// Before reports s < o.
func (s Seq) Before(o Seq) bool { return int32(s-o) < 0 }

// AtOrBefore reports s <= o.
func (s Seq) AtOrBefore(o Seq) bool { return int32(s-o) <= 0 }

// minus is the number of bytes from o to s, negative if s is before o.
func (s Seq) minus(o Seq) int { return int(int32(s - o)) }

// later is the greater of two sequence numbers.
func later(a, b Seq) Seq {
	if a.Before(b) {
		return b
	}
	return a
}

// earlier is the lesser of two sequence numbers.
func earlier(a, b Seq) Seq {
	if b.Before(a) {
		return b
	}
	return a
}
