package tcp

import (
	"syscall"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// Input is SEGMENT ARRIVES (RFC 9293 §3.10.7) for every state but CLOSED, LISTEN and TIME-WAIT. What it makes necessary to send,
// Output gives next.
func (c *Conn) Input(now sched.Time, seg *Segment) Events {
	c.tick(now)
	c.segsReceived += uint32(max(seg.Segs, 1))
	if t := c.tracer(); t != nil {
		t.segment(c, EventReceived, seg, c.sndWScale)
	}
	switch c.state {
	case Closed, TimeWaiting:
		return 0
	case SynSent:
		c.arriveSynSent(seg)
	default:
		c.arrive(seg)
	}
	return c.takeEvents()
}

// arrive is RFC 9293 §3.10.7.4, with what RFC 7323 §5.3 puts before it. Each check is false if the segment goes no further.
func (c *Conn) arrive(seg *Segment) {
	if !c.checkTimestamps(seg) ||
		c.repeatedSYN(seg) ||
		!c.checkSequence(seg) || // first
		!c.checkReset(seg) || // second; the third is IP's security option
		!c.checkSYN(seg) || // fourth
		!c.checkAck(seg) { // fifth
		return
	}
	c.keepTimestamp(seg)
	c.noteECN(seg)
	c.lastRcv, c.keepSent = c.now, 0
	c.takeAck(seg)
	if c.state.receives() {
		c.takeUrgent(seg)   // sixth
		c.takeContents(seg) // seventh, eighth
	}
}

// challengesPerSecond limits the ACKs that answer what may be forged (RFC 5961 §7), for each connection by itself: a counter that
// connections share would tell one peer about another.
const challengesPerSecond = 10

// challenge answers a segment that is not acceptable, or suspicious, with an ACK. Those without data are limited in number, so that two
// ends that find each other's ACKs not acceptable do not go on for ever.
func (c *Conn) challenge(seg *Segment) {
	if seg.Payload.Size() > 0 && seg.Flags&(wire.SYN|wire.RST) == 0 || c.mayChallenge() {
		c.set(ackNow)
	}
}

// mayChallenge counts one more answer to what may be forged, and reports whether it may be given.
func (c *Conn) mayChallenge() bool {
	r, ms := c.seldom(), clockMillis(c.now)
	if ms-r.challengedAt >= 1000 {
		r.challengedAt, r.challenges = ms, 0
	}
	if r.challenges >= challengesPerSecond {
		return false
	}
	r.challenges++
	return true
}

// checkSequence: "First, check sequence number" (RFC 9293 §3.10.7.4).
func (c *Conn) checkSequence(seg *Segment) bool {
	if c.state == SynReceived && seg.Flags&(wire.SYN|wire.ACK) == wire.SYN|wire.ACK && seg.Seq+1 == c.rcvNxt {
		// The SYN-ACK of a simultaneous open: its SYN is the one that we have, and the rest is a plain ACK (§3.5, figure 7), but for
		// its window, which is in bytes (RFC 7323 §2.2).
		seg.Flags &^= wire.SYN
		seg.Seq++
		seg.Window >>= c.sndWScale
		c.crossedSynAck(seg)
	}
	n := Seq(seg.Len())
	// The right edge itself counts as inside. A segment without data is there when the peer has used all of the window; one with
	// data when it probes a closed one: "If the RCV.WND is zero, no segments will be acceptable, but special allowance should be
	// made to accept valid ACKs, URGs, and RSTs." The data is cut off later.
	if seg.Seq.AtOrBefore(c.rcvAdv) && (c.rcvNxt.AtOrBefore(seg.Seq) || c.rcvNxt.Before(seg.Seq+n)) {
		return true
	}
	// A segment that was received before, up to RCV.NXT, goes on as well: the peer has sent it again because our ACK was lost, and
	// what it acknowledges, and its timestamp, are news. An old timestamp echoed would look like a long round trip.
	if n > 0 && seg.Seq+n == c.rcvNxt && seg.Flags&(wire.SYN|wire.RST) == 0 {
		c.set(ackNow)
		return true
	}
	// "If an incoming segment is not acceptable, an acknowledgment should be sent in reply (unless the RST bit is set …)".
	if seg.Flags&wire.RST != 0 {
		return false
	}
	c.againSynAck(seg)
	if data := Seq(seg.Payload.Size()); data > 0 && (seg.Seq + data).AtOrBefore(c.rcvNxt) && seg.Flags&wire.SYN == 0 {
		c.noteDuplicate(seg.Seq, seg.Seq+data)
	}
	c.challenge(seg)
	return false
}

// checkReset: "Second, check the RST bit", by RFC 5961 §3.2.
func (c *Conn) checkReset(seg *Segment) bool {
	if seg.Flags&wire.RST == 0 {
		return true
	}
	if seg.Seq != c.rcvNxt {
		// "If the RST bit is set and the sequence number does not exactly match the next expected sequence value, yet is within the
		// current receive window, TCP endpoints MUST send an acknowledgment (challenge ACK)."
		if seg.Seq != c.rcvAdv {
			c.challenge(seg)
		}
		return false
	}
	switch c.state {
	case SynReceived:
		if c.is(passive) {
			c.fail(syscall.ECONNRESET)
			return false
		}
		c.fail(syscall.ECONNREFUSED)
	case Closing, LastAck:
		if c.SendQueue() == 0 {
			c.finish() // "enter the CLOSED state": the user's CLOSE was answered
			return false
		}
		c.fail(syscall.ECONNRESET)
	case CloseWait:
		c.fail(syscall.EPIPE) // all that the peer has sent can be read up to its end; only writing fails
	default:
		c.fail(syscall.ECONNRESET)
	}
	return false
}

// checkSYN: "Fourth, check the SYN bit", by RFC 5961 §4.2: "irrespective of the sequence number, TCP MUST send an ACK (also
// referred to as challenge ACK) to the remote peer" (outside of the window it got one already).
func (c *Conn) checkSYN(seg *Segment) bool {
	if seg.Flags&wire.SYN == 0 {
		return true
	}
	c.challenge(seg)
	return false
}

// checkAck: "Fifth, check the ACK field", as far as whether it is acceptable; in SYN-RECEIVED it makes the connection.
func (c *Conn) checkAck(seg *Segment) bool {
	if seg.Flags&wire.ACK == 0 {
		return false
	}
	if c.state == SynReceived {
		c.hideData(seg)
		if !c.sndUna.Before(seg.Ack) || c.sndNxt.Before(seg.Ack) {
			c.replyReset(seg)
			return false
		}
		c.sndWL1, c.sndWL2 = seg.Seq-1, seg.Ack // so that takeAck sets the window
		c.synAckAckedECN(seg)
		c.establish()
		return true
	}
	// RFC 5961 §5.2: "The ACK value is considered acceptable only if it is in the range of ((SND.UNA - MAX.SND.WND) <= SEG.ACK <=
	// SND.NXT). All incoming segments whose ACK value doesn't satisfy the above condition MUST be discarded and an ACK sent back."
	if seg.Ack.Before(c.sndUna-Seq(c.maxSndWnd)) || c.sndNxt.Before(seg.Ack) {
		c.challenge(seg)
		return false
	}
	return true
}

// replyReset answers seg with <SEQ=SEG.ACK><CTL=RST>.
func (c *Conn) replyReset(seg *Segment) {
	c.rstSeq = seg.Ack
	c.set(pendRSTReply)
}

// arriveSynSent is RFC 9293 §3.10.7.3.
func (c *Conn) arriveSynSent(seg *Segment) {
	acked := seg.Flags&wire.ACK != 0
	// First, the ACK bit: "If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset (unless the RST bit is set …) and discard".
	if acked && !c.acceptableSYNACK(seg.Ack) {
		if seg.Flags&wire.RST == 0 {
			c.replyReset(seg)
		}
		return
	}
	if acked && !c.echoesSYN(&seg.Options) {
		if seg.Flags&wire.RST == 0 {
			c.replyReset(seg)
		}
		return
	}
	// Second, the RST bit: "If the ACK was acceptable, then signal to the user 'error: connection reset', drop the segment, enter
	// CLOSED state". What was reset was an attempt: refused.
	if seg.Flags&wire.RST != 0 {
		if acked && !c.ecnSYNReset() {
			c.fail(syscall.ECONNREFUSED)
		}
		return
	}
	// Fourth, the SYN bit.
	if seg.Flags&wire.SYN == 0 {
		return
	}
	h := handshake{ourMSS: c.ourMSS, sndMSS: c.peerMSS, authSpace: c.authSpace}
	h.agree(c.cfg, int(c.recvLimit), &seg.Options)
	h.ts = h.ts && c.offersTimestamps() // a peer that opens at the same time offers what it likes
	c.adopt(&h)
	window := Seq(c.firstWindow())
	c.rcvNxt = seg.Seq + 1
	c.rcvAdv = c.rcvNxt + window
	c.lastAckSent = c.rcvNxt
	c.lastRcv = c.now
	c.set(ackNow)
	if !acked {
		c.crossECN(seg)
		// A simultaneous open. Data that came with the SYN will come again.
		c.state = SynReceived
		c.snd.backoff, c.snd.expiries = 0, 0
		c.snd.timerAt = sched.Never
		return
	}
	data := c.takeSYNACK(seg)
	c.sndWL1, c.sndWL2 = seg.Seq, seg.Ack
	c.enterECN(seg)
	c.acknowledge(seg)
	c.takeData(data)
	c.establish()
	seg.Flags &^= wire.SYN
	seg.Seq++
	c.takeContents(seg)
}

// echoesSYN: RFC 7323 §3.2: TSecr "is valid if the ACK bit is set … and … echoes a timestamp value that was sent by the remote TCP". What
// was sent is between the first SYN and now; another echo is of an old connection, and is treated as Linux does: as an ACK that is not
// acceptable. A middlebox or stack that echoes nothing, 0, is let pass, as there.
func (c *Conn) echoesSYN(o *wire.TCPOptions) bool {
	if !o.TS || o.TSEcr == 0 || c.cfg.NoTimestamps {
		return true
	}
	return timestamp(c.now, c.tsOffset)-o.TSEcr <= timestamp(c.now, c.tsOffset)-timestamp(c.snd.stalled, c.tsOffset)
}

// takeContents is the last two steps: text and FIN.
func (c *Conn) takeContents(seg *Segment) {
	fin := seg.Seq + Seq(seg.Payload.Size()) // before the text is taken
	c.takeText(seg)
	if c.state != Closed && seg.Flags&wire.FIN != 0 {
		c.noteFIN(fin)
	}
	if c.is(finAhead) && c.rcvFin == c.rcvNxt {
		c.takeFIN()
	}
}

// takeText: "Seventh, process the segment text".
func (c *Conn) takeText(seg *Segment) {
	n := seg.Payload.Size()
	if n == 0 {
		return
	}
	if c.is(orphan) && c.rcvNxt.Before(seg.Seq+Seq(n)) {
		c.resetOrphan(seg)
		return
	}
	c.dataReceived += uint32(max(seg.Segs, 1))
	c.noteArrival(seg, n)
	if !c.trimText(seg) {
		c.set(ackNow)
		return
	}
	if seg.Seq != c.rcvNxt {
		c.history().outOfOrder++
		c.keepOutOfOrder(seg)
		c.set(ackNow) // RFC 5681 §4.2: at once, for an out-of-order segment,
		return
	}
	hole := c.rcv != nil && len(c.rcv.islands) > 0
	c.deliver(&seg.Payload)
	if seg.Flags&wire.PSH != 0 {
		c.notePush()
	}
	c.scheduleAck(hole) // and for one that fills a hole
}

// trimText cuts off what was received before and what lies beyond the window; false if nothing is left.
func (c *Conn) trimText(seg *Segment) bool {
	if old := c.rcvNxt.minus(seg.Seq); old > 0 {
		c.noteDuplicate(seg.Seq, earlier(c.rcvNxt, seg.Seq+Seq(seg.Payload.Size())))
		seg.Payload.TrimFront(old)
		seg.Seq = c.rcvNxt
		c.set(ackNow)
	}
	right := c.rcvAdv
	if c.is(finAhead) {
		right = earlier(right, c.rcvFin)
	}
	if space := max(right.minus(seg.Seq), 0); seg.Payload.Size() > space {
		seg.Payload.Truncate(space)
		seg.Flags &^= wire.FIN
	}
	if c.charged() > 2*c.promised()+chunkSlack {
		// What was promised becomes less with each byte that is read while the window stays where it is, and what is behind a hole
		// must not keep out what fills it.
		c.prune()
		if c.charged() > 2*c.promised()+chunkSlack {
			return false // badly packed beyond what deliver makes good: the peer sends it again
		}
	}
	return seg.Payload.Size() > 0
}

// keepOutOfOrder keeps data behind a hole, if there is memory for it.
func (c *Conn) keepOutOfOrder(seg *Segment) {
	in := c.inflow()
	left, end := in.insert(c.cfg, seg.Seq, &seg.Payload, int(c.recvLimit)-c.charged())
	if left != end {
		c.noteDuplicate(left, end)
	}
	c.prune()
	c.tuneBehindHole()
	c.dropInflow()
}

// noteDuplicate remembers, for the next ACK, what was received twice (RFC 2883 §4).
func (c *Conn) noteDuplicate(left, end Seq) {
	if c.is(useSACK) && !c.cfg.NoDSACK {
		r := c.seldom()
		r.dsackLeft, r.dsackEnd = left, end
	}
}

// noteFIN remembers where the peer's FIN is: perhaps behind a hole.
func (c *Conn) noteFIN(at Seq) {
	if c.is(finTaken|finAhead) || at.Before(c.rcvNxt) {
		return
	}
	c.rcvFin = at
	c.set(finAhead | ackNow)
}

// takeFIN: "Eighth, check the FIN bit", when all that the peer has sent before it is there.
func (c *Conn) takeFIN() {
	readable := c.CanRead(maxBufferLimit)
	c.clear(finAhead)
	c.set(finTaken | ackNow)
	c.rcvNxt++
	c.rcvAdv = later(c.rcvAdv, c.rcvNxt)
	if !readable { // with less than SO_RCVLOWAT there, too
		c.events |= Readable
	}
	if c.rcv != nil {
		c.dropIslands()
		c.dropInflow()
	}
	switch c.state {
	case Established:
		c.state = CloseWait
	case FinWait1:
		c.state = Closing // our FIN is not acknowledged
	case FinWait2:
		c.enterTimeWait()
	}
}
