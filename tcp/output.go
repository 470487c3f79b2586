package tcp

import (
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// Output fills seg with the next segment that may be sent now; false if there is none (seg is then untouched).
func (c *Conn) Output(now sched.Time, seg *Segment) bool {
	if c.Quiet() {
		c.tick(now)
		return false
	}
	if !c.output(now, seg) {
		c.noteLimit()
		return false
	}
	if t := c.tracer(); t != nil {
		t.segment(c, EventSent, seg, c.rcvWScale)
		t.look(c)
	}
	return true
}

// Quiet reports whether Output has nothing to send, where that is seen at a glance: nothing is queued or in flight, and no ACK is due.
func (c *Conn) Quiet() bool { return c.snd == nil && c.ecn == nil && !c.is(pending) }

// output is Output without what is counted and told of it.
func (c *Conn) output(now sched.Time, seg *Segment) bool {
	c.tick(now)
	if c.is(pendRST | pendRSTReply) {
		c.outputReset(seg)
		return true
	}
	switch c.state {
	case Closed:
		return false
	case SynSent, SynReceived:
		if !c.is(passive) || c.is(pendSYN) { // else data may follow the SYN-ACK (RFC 7413 §4.2.2)
			return c.outputSYN(seg)
		}
	}
	if c.owesShake() {
		c.header(seg, c.sndNxt, wire.ACK)
		return true
	}
	if f := c.snd; f != nil && c.waitsForAck(f) {
		f.held, f.limited = false, false
	} else if f != nil {
		c.restartIdle(f)
		if c.outputProbe(f, seg) {
			return true
		}
		if !c.paced(f) {
			if c.outputFRTO(f, seg) || c.outputLost(f, seg) || c.outputNew(f, seg) || c.speculate(f) && c.outputLost(f, seg) {
				return true
			}
			c.startPersist(f)
		} else if !c.newDataFits() {
			c.startPersist(f) // when its time comes, it cannot go
		}
	}
	switch {
	case c.is(pendProbe | pendKeepAlive):
		// RFC 9293 §3.8.4 and §3.8.6.1: a segment without data that the peer has had acknowledged before, so that it must answer.
		c.clear(pendProbe | pendKeepAlive)
		c.header(seg, c.sndUna-1, wire.ACK)
		c.markUrgent(seg)
		return true
	case c.is(ackNow | ackDue):
		c.header(seg, c.sndNxt, wire.ACK)
		return true
	}
	return false
}

// waitsForAck: everything was sent, and nothing is to be sent again.
func (c *Conn) waitsForAck(f *flight) bool {
	return c.sndUna != c.sndNxt && !f.probe && f.frto == frtoOff && f.phase != phaseFast && !f.board.toResend() &&
		c.Unsent() == 0 && !c.finPending()
}

// header makes seg a segment with an ACK, which tells all that there is to tell.
func (c *Conn) header(seg *Segment, seq Seq, flags wire.TCPFlags) {
	fill(seg, seq, c.rcvNxt, flags, c.selectWindow())
	c.putOptions(&seg.Options)
	c.tellECN(seg)
	c.lastAckSent = c.rcvNxt
	c.ackAt = sched.Never
	c.clear(ackNow | ackDue | pushed)
	c.countQuickAck()
	c.segsSent++
}

// outputReset gives a RST: the one that ends the connection (RFC 9293 §3.10.5: <SEQ=SND.NXT><CTL=RST>; the ACK lets it pass where RFC
// 5961 is not known), or that which answers a segment (§3.10.7.3, §3.10.7.4: <SEQ=SEG.ACK><CTL=RST>).
func (c *Conn) outputReset(seg *Segment) {
	c.segsSent++
	if c.is(pendRSTReply) {
		c.clear(pendRSTReply)
		fill(seg, c.rstSeq, 0, wire.RST, 0)
		return
	}
	c.clear(pendRST)
	fill(seg, c.sndNxt, c.rcvNxt, wire.RST|wire.ACK, 0)
	if e := c.ecn; e != nil && e.is(ecnControl) && e.mayECT() {
		seg.ECN = wire.ECT0 // draft-ietf-tcpm-generalized-ecn §3.2.6
	}
	if c.is(useTS) { // RFC 7323 §3.2: "SHOULD be sent in an <RST> segment"
		seg.Options.TS, seg.Options.TSVal, seg.Options.TSEcr = true, timestamp(c.now, c.tsOffset), c.tsRecent
	}
}

// outputSYN gives SYN, or SYN-ACK after a simultaneous open.
func (c *Conn) outputSYN(seg *Segment) bool {
	if !c.is(pendSYN|ackNow) || c.holdSYN() {
		return false
	}
	f := c.flight()
	if c.state == SynSent {
		fill(seg, c.iss, 0, wire.SYN, c.firstWindow())
		c.synOptions(&seg.Options)
		c.fastSYN(seg)
		c.askECN(seg)
	} else {
		fill(seg, c.iss, c.rcvNxt, wire.SYN|wire.ACK, c.firstWindow())
		h := handshake{ourMSS: c.ourMSS, rcvWScale: c.rcvWScale, tsOffset: c.tsOffset, tsRecent: c.tsRecent,
			ts: c.is(useTS), sack: c.is(useSACK), wscale: c.is(useWScale)}
		h.synAckOptions(c.now, &seg.Options)
		c.offerCookie(&seg.Options)
		if c.ecn != nil {
			c.ecn.stampSynAck(seg, f.expiries)
		}
		c.lastAckSent = c.rcvNxt
		c.ackAt = sched.Never
	}
	c.rcvAdv = later(c.rcvAdv, c.rcvNxt+Seq(seg.Window))
	c.clear(pendSYN | ackNow | ackDue | pushed)
	c.segsSent++
	if c.sndNxt == c.iss {
		f.stalled = c.now
		c.sndNxt = c.iss + 1
		f.board.transmitted(c.sndNxt, c.now)
	} else {
		c.history().retransmits++
		f.board.resendSYN(c.now)
	}
	if f.timerAt == sched.Never {
		c.restartTimer(f)
	}
	return true
}

// restartIdle is RFC 5681 §4.1: "TCP SHOULD set cwnd to no more than RW before beginning transmission if the TCP has not sent data in an
// interval exceeding the retransmission timeout."
func (c *Conn) restartIdle(f *flight) {
	if c.sndUna != c.sndNxt || f.queue.Size() == 0 {
		return
	}
	idle := c.now.Sub(c.lastSent)
	restart := idle > c.rto(f)
	if restart {
		c.lastSent = c.now
	}
	c.cc.Idle(c.now, idle, c.rtt.srtt, restart && !c.cfg.NoSlowStartAfterIdle)
}

// segmentLimit is the largest segment from seq on: while urgent data is ahead one of the wire, for each has its own urgent pointer.
func (c *Conn) segmentLimit(seq Seq, mss int) int {
	if c.urgentAhead(seq) {
		return mss
	}
	return c.gsoLimit(mss)
}

// gsoLimit is the largest super-segment: whole segments of mss bytes.
func (c *Conn) gsoLimit(mss int) int {
	if c.authSpace > 0 {
		return mss // each segment of the wire is signed by itself
	}
	if q := c.quantum(mss); q >= 2*mss {
		return q - q%mss
	}
	return mss
}

// rest is n modulo mss, without a division for what is less than a segment.
func rest(n, mss int) int {
	if n < mss {
		return n
	}
	return n % mss
}

// outputLost sends again what is known to be lost, as the congestion window allows.
func (c *Conn) outputLost(f *flight, seg *Segment) bool {
	if !f.board.toResend() || f.frto == frtoSecond {
		return false
	}
	begin, end, ok := f.board.next(c.gsoLimit(c.dataMSS()))
	if !ok {
		return false
	}
	c.resendECN(begin)
	mss := c.dataMSS()
	n := min(end.minus(begin), c.segmentLimit(begin, mss))
	room := c.cwnd(f) - f.pipe()
	if f.pipe() == 0 || f.urgent {
		room = max(room, mss)
	}
	if room < min(n, mss) {
		f.limited = true
		return false
	}
	if n > room {
		n = room - room%mss
	}
	// RFC 9293 §3.8.6: not beyond a window that has shrunk, but RFC 7323 §2.4 allows for what scaling rounds off. The first segment
	// goes in any case: it may be what the peer waits for to open the window.
	if window := (c.sndUna + Seq(c.sndWnd)).minus(begin) + 1<<c.sndWScale; n > window {
		switch {
		case window >= mss:
			n = window - window%mss
		case begin == c.sndUna:
			n = min(n, mss)
		default:
			return false
		}
	}
	left := c.queuedFrom(begin)
	data := min(n, left)
	flags := wire.ACK
	if f.endsWrite(begin + Seq(data)) {
		flags |= wire.PSH
	}
	if data == left && c.is(finSent) && (begin + Seq(data)).Before(end) {
		flags |= wire.FIN
		n = data + 1
	}
	f.board.retransmitted(begin+Seq(n), c.now)
	c.noteResent(begin+Seq(n), n)
	segs := c.fillData(f, seg, begin, data, mss, flags)
	h := c.history()
	h.retransmits += uint32(segs)
	h.retransmitted += uint64(data)
	c.sendECT(seg, data, true)
	if f.phase == phaseLoss {
		f.resent += segs
	}
	if f.timerAt == sched.Never || begin == c.sndUna {
		c.restartTimer(f) // for the first segment anew: RTO is the time that its ACK may take from now
	}
	f.out += n
	f.urgent = false
	return true
}

// fillData makes seg the segment with n bytes of the queue from seq on, and returns how many segments of the wire it is.
func (c *Conn) fillData(f *flight, seg *Segment, seq Seq, n, mss int, flags wire.TCPFlags) int {
	if n == 0 {
		flags &^= wire.PSH
	}
	c.header(seg, seq, flags)
	f.queue.ShareTo(&seg.Payload, seq.minus(c.queueStart()), n)
	seg.Segs = 1
	c.markUrgent(seg)
	if n > mss {
		seg.GSOSize = mss
		seg.Segs = (n + mss - 1) / mss
		c.segsSent += uint32(seg.Segs - 1)
	}
	if n > 0 {
		c.countSent(f, seg.Segs)
	}
	c.bytesSent += uint64(n)
	c.lastSent = c.now
	if c.is(mayPace) {
		c.spend(n)
	}
	return seg.Segs
}

// outputNew sends data, and FIN, for the first time.
func (c *Conn) outputNew(f *flight, seg *Segment) bool {
	unsent := c.Unsent()
	fin := c.finPending() && c.state.synchronized()
	if f.board.toResend() && f.frto != frtoSecond {
		return false // what is lost goes first
	}
	if unsent == 0 && !fin {
		f.limited = false
		return false
	}
	mss := c.dataMSS()
	window := c.windowLeft()
	if c.search() != nil {
		if sent, wait := c.outputSearch(f, seg, unsent, window); sent || wait {
			return sent
		}
	}
	n := c.sendable(f, unsent, window, mss)
	fin = fin && n == unsent && n < window
	if n == 0 && !fin {
		return false
	}
	c.transmit(f, seg, n, fin, mss)
	return true
}

// transmit makes seg n bytes that were never sent, and perhaps the FIN.
func (c *Conn) transmit(f *flight, seg *Segment, n int, fin bool, mss int) {
	flags := wire.ACK
	if f.endsWrite(c.sndNxt + Seq(n)) {
		flags |= wire.PSH
	}
	sent := n
	if fin {
		flags |= wire.FIN
		c.set(finSent)
		sent++
	}
	begin := c.sndNxt
	c.sndNxt += Seq(sent)
	f.board.transmitted(c.sndNxt, c.now)
	c.fillData(f, seg, begin, n, mss, flags)
	c.sendECT(seg, n, false)
	c.noteReply()
	if rest(n, mss) != 0 {
		f.smallEnd = c.sndNxt
	}
	if c.Unsent() == 0 {
		f.corkAt = sched.Never
	}
	c.writable() // TCP_NOTSENT_LOWAT
	f.out += sent
	if f.persist {
		f.persist, f.forced = false, false
		f.backoff, f.expiries = 0, 0
		f.timerAt = sched.Never
		c.clear(pendProbe)
	}
	if f.timerAt == sched.Never {
		c.restartTimer(f)
	}
	c.scheduleProbe(f)
}

// sendable is how many of the unsent bytes may go in the next segment.
func (c *Conn) sendable(f *flight, unsent, window, mss int) int {
	room := c.cwnd(f) - f.pipe()
	switch {
	case c.sndUna == c.sndNxt:
		room = max(room, mss)
	case c.is(synOut):
		room++ // the SYN counts as a byte in flight, and is none
	}
	n := min(unsent, window, max(room, 0))
	if n > mss {
		n = min(n, c.segmentLimit(c.sndNxt, mss))
	}
	f.limited = n == room && n < min(unsent, window)
	if n == unsent {
		return n - c.holdBack(f, rest(n, mss))
	}
	if n >= mss {
		return n - n%mss
	}
	// Less than a segment, and not for want of data.
	if room < mss && room < window {
		f.limited = true
		return 0
	}
	// RFC 9293 §3.8.6.2.1, sender's SWS avoidance: part of a segment only if it is half of the largest window ever seen, or when
	// the override timeout, for which the persist timer stands, has passed.
	if f.forced || n > 0 && n >= int(c.maxSndWnd/2) {
		return n
	}
	return 0
}
