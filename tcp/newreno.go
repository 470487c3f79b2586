package tcp

// Without SACK there are duplicate ACKs to count (RFC 5681 §3.2, RFC 6582).

// countDuplicates keeps dupBytes, without SACK: each duplicate ACK stands for a segment that has arrived, and an ACK of new data for a
// filled hole and some of those.
func (c *Conn) countDuplicates(f *flight, n *ackNews) {
	mss := c.payloadMSS()
	if n.dup {
		more := max(min(mss, f.board.flight()-f.board.lost-f.dupBytes), 0)
		f.dupBytes += more
		n.bytes += more
		return
	}
	if n.acked > 0 {
		known := min(f.dupBytes, max(n.acked-mss, 0))
		f.dupBytes -= known
		n.bytes -= min(known, n.bytes)
		if f.phase < phaseFast {
			f.dupBytes = 0
		}
	}
}

// expectDuplicates is for the end of a recovery after a timeout, without SACK. What was sent again in vain draws duplicate ACKs beyond the
// recovery point, where RFC 6582 §3.2 step 2 no longer keeps them from looking like a loss: as many are not counted, for a window of data.
func (c *Conn) expectDuplicates(f *flight) {
	if f.resent > 0 && !c.is(useSACK) {
		h := c.history()
		h.expected, h.expectEnd = f.resent, c.sndNxt
		f.resent = 0
	}
}

// duplicateExpected takes one of them off.
func (c *Conn) duplicateExpected() bool {
	h := c.hist
	if h == nil || h.expected == 0 {
		return false
	}
	if h.expectEnd.Before(c.sndUna) {
		h.expected = 0
		return false
	}
	h.expected--
	return true
}
