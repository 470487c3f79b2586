package tcp

// F-RTO (RFC 5682): was the retransmission timeout spurious? What is acknowledged after it tells, if but one segment is sent again at
// first: then the ACKs that follow are either of that, or of what was in flight when the timer expired.

// frto is how far that is.
type frto uint8

const (
	frtoOff    frto = iota
	frtoFirst       // step 2: the first segment was sent again; no ACK yet
	frtoSecond      // step 3: new data is sent, nothing that was lost; no ACK of that yet
)

// startFRTO is step 1 (§2.1, §3.1): not if the sender is in loss recovery already, except for more timeouts of the same segment. With SACK
// what was sent again is told from what was not, whatever has been sent in recovery.
func (c *Conn) startFRTO(f *flight, again bool) {
	fresh := f.phase < phaseFast || again && f.frto != frtoOff || c.is(useSACK)
	f.frto = frtoOff
	if fresh && !c.cfg.NoFRTO {
		f.frto = frtoFirst
		if !again {
			f.frtoAt = c.now
		}
	}
}

// checkFRTO takes steps 2 and 3 for an ACK; true if the timeout was spurious.
func (c *Conn) checkFRTO(f *flight, n *ackNews) bool {
	switch {
	case f.frto == frtoFirst && n.acked > 0:
		// 2a: an ACK of all that was outstanding decides nothing, and recovery goes on as ever; 2b: else two new segments, which is
		// what slow start has room for now. Without any the question stays open.
		f.frto = frtoOff
		if c.sndUna.Before(f.point) && c.newDataFits() {
			f.frto = frtoSecond
		}
	case f.frto == frtoFirst && !c.is(useSACK):
		f.frto = frtoOff // 2a of §2.1: a duplicate ACK
	case f.frto == frtoSecond:
		// 3b: something that was sent before the timeout, and not since, has arrived: the timeout was spurious. 3a: else what was sent
		// again was needed.
		if n.timed && n.first < f.frtoAt && (n.acked > 0 || c.is(useSACK)) {
			return true
		}
		f.frto = frtoOff
	}
	return false
}

// windowLeft is how many more bytes the peer's window takes.
func (c *Conn) windowLeft() int { return max((c.sndUna + Seq(c.sndWnd)).minus(c.sndNxt), 0) }

// newDataFits: there is a segment of it to send, and the peer's window takes it.
func (c *Conn) newDataFits() bool {
	n := min(c.Unsent(), c.dataMSS())
	if n == 0 {
		return c.finPending() && c.windowLeft() > 0
	}
	return n <= c.windowLeft()
}

// outputFRTO sends new data in step 3. If none can go after all, the recovery is a conventional one.
func (c *Conn) outputFRTO(f *flight, seg *Segment) bool {
	if f.frto != frtoSecond {
		return false
	}
	if c.outputNew(f, seg) {
		return true
	}
	if c.sndNxt == f.point {
		f.frto = frtoOff
	}
	return false
}
