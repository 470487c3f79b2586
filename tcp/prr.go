package tcp

// Proportional Rate Reduction (RFC 9937): what is delivered says what may be sent while the congestion window comes down.

// startReduction is the beginning of a reduction (RFC 9937 §6.1).
func (c *Conn) startReduction(f *flight, n *ackNews) {
	f.reducedAt = c.now
	f.delivered, f.out = 0, 0
	f.start = max(f.board.flight()-f.board.sacked-f.dupBytes+n.bytes, 1)
}

// reduce is what an ACK in recovery allows to be sent, by Proportional Rate Reduction (RFC 9937 §6.2).
func (f *flight) reduce(n *ackNews, ssthresh, mss int) {
	pipe := f.pipe()
	f.delivered += n.bytes
	var send int
	if pipe > ssthresh {
		send = int((int64(f.delivered)*int64(ssthresh)+int64(f.start)-1)/int64(f.start)) - f.out
	} else {
		send = max(f.delivered-f.out, n.bytes)
		if n.acked > 0 && n.lost == 0 { // SafeACK
			send += mss
		}
		send = min(send, ssthresh-pipe)
	}
	if n.force || f.out == 0 && f.phase == phaseFast {
		send = max(send, mss) // force a fast retransmit
	}
	f.cwnd = pipe + max(send, 0)
}
