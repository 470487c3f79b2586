package tcp

import (
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// takeAck is the rest of "Fifth, check the ACK field" (RFC 9293 §3.10.7.4): window, retransmission queue, and the state if our FIN is
// acknowledged. The ACK is not beyond SND.NXT, but may be old.
func (c *Conn) takeAck(seg *Segment) {
	c.acknowledge(seg)
	if c.is(finQueued) && c.snd == nil {
		// Nothing is left to send or to be acknowledged: the FIN was.
		switch c.state {
		case FinWait1:
			c.state = FinWait2
			c.startFinWait2()
		case Closing:
			c.enterTimeWait()
		case LastAck:
			c.finish()
		}
	}
}

// acknowledge takes what the segment acknowledges, and the peer's window.
func (c *Conn) acknowledge(seg *Segment) {
	changed := c.updateWindow(seg)
	dsack := c.takeDSACK(seg)
	f := c.snd
	if f == nil {
		if c.ecn != nil {
			c.takeECN(nil, seg, &ackNews{})
		}
		c.acknowledgeIdle(seg, dsack)
		return
	}
	if c.plainAck(f, seg) {
		c.takePlainAck(f, seg)
		return
	}
	if c.sndWnd == 0 && c.sndUna.AtOrBefore(seg.Ack) && !c.is(orphan) {
		// The peer is alive, and only its window is closed (RFC 9293 §3.8.6.1: "MUST allow the connection to stay open"). With nobody
		// left who could end an orphan, its peer would decide for how long that holds memory.
		f.expiries = 0
	}
	c.checkAppLimited(f)
	n := ackNews{pipe: f.pipe(), spans: f.board.spans(), flight: f.board.flight(), fack: later(f.board.sackedEnd, c.sndUna), dsack: dsack}
	n.againMax = c.againMax(f, seg)
	if c.sndUna.Before(seg.Ack) {
		n.acked = c.advance(f, seg.Ack, &n.delivery)
	}
	plain := n.acked == 0 && n.flight > 0 && seg.Len() == 0 && seg.Ack == c.sndUna && !changed
	if c.is(useSACK) {
		fresh := n.bytes
		n.againMax = c.now.Add(-c.rtt.min)
		for _, b := range seg.Options.SACKBlocks() {
			f.board.sack(Seq(b.Left), Seq(b.Right), &n.delivery)
		}
		n.dup = n.bytes > fresh
	} else {
		// RFC 5681 §2, "duplicate acknowledgment", (a) to (e).
		n.dup = plain && !c.duplicateExpected()
	}
	if c.ecn != nil {
		c.takeECN(f, seg, &n)
	}
	c.probeAcked(seg, n.flight, dsack, plain)
	if n.acked == 0 && !n.dup && !n.marked && !dsack {
		return
	}
	c.timeRoundTrip(f, seg, &n)
	c.sampleRate(f, &n)
	c.recover(f, &n, &seg.Options)
	c.noteCarried(&n)
	if n.acked > 0 {
		if dsack {
			// The peer had what was sent again. That an ACK comes only now is for ACKs that were lost, not because the way has become
			// long, which is what the backed-off RTO would have to be kept for (Karn's algorithm).
			f.backoff = 0
		}
		c.progress(f)
	} else if n.dup && c.is(useSACK) {
		f.probeAt = sched.Never // RFC 8985 §7.2: with something SACKed, RACK knows when to act
	}
	if c.snd != nil {
		c.watchReneging(f)
	}
}

// acknowledgeIdle is for an ACK while nothing is queued or in flight: it may still tell that something came twice.
func (c *Conn) acknowledgeIdle(seg *Segment, dsack bool) {
	if !dsack {
		return
	}
	c.probeAcked(seg, 0, dsack, false)
	c.adaptReordering(true)
	if u := &c.hist.undo; u.open && u.any && u.left <= 0 {
		c.undo(nil, false)
	}
}

// advance moves SND.UNA to ack and frees what is acknowledged. It returns by how much.
func (c *Conn) advance(f *flight, ack Seq, d *delivery) int {
	n := ack.minus(c.sndUna)
	data := min(max(ack.minus(c.queueStart()), 0), f.queue.Size())
	f.queue.TrimFront(data)
	c.bytesAcked += uint64(data)
	f.board.acked(ack, d)
	c.sndUna = ack
	// What lies behind is kept near, or after 2^31 bytes it would seem to lie ahead.
	f.smallEnd = later(f.smallEnd, ack)
	c.forgetWrites(f, ack)
	if f.phase == phaseOpen {
		f.point = later(f.point, ack-1)
	}
	if c.is(synOut) {
		c.clear(synOut)
		d.bytes-- // the SYN is no data
	}
	c.writable()
	return n
}

// timeRoundTrip takes an RTT sample, if the ACK gives one, and ends the backoff of the RTO with it (RFC 6298 §5, Karn's algorithm). An
// ACK of anything that was sent again gives none by the times of sending: what else it acknowledges may have waited for that to arrive.
// The timer that a backed-off RTO has set then comes no later than the RTO of now, also after an ACK that moves nothing (§5.3 sets it anew
// after one that does).
func (c *Conn) timeRoundTrip(f *flight, seg *Segment, n *ackNews) {
	switch {
	case n.timed && !n.repeated:
		c.rtt.sample(c.now.Sub(n.first), n.spans)
		n.rtt = max(c.now.Sub(n.latest), leastRTT)
		c.rtt.min = min(c.rtt.min, n.rtt)
	case n.repeated && n.acked > 0 && !n.dsack && c.is(useTS) && c.sampleEcho(&seg.Options, n.head):
	default:
		return
	}
	f.backoff = 0
	c.hastenTimer(f)
	if c.hist != nil {
		c.hist.unsampled = false
	}
}

// progress is what an ACK of something new means for the timers (RFC 6298 §5.2, §5.3) and for the send side as such.
func (c *Conn) progress(f *flight) {
	c.timeoutsOver()
	f.expiries = 0
	f.stalled = c.now
	c.noteReason(nil) // what ICMP told is over
	if c.sndUna != c.sndNxt {
		c.restartTimer(f)
		c.scheduleProbe(f)
		return
	}
	f.timerAt, f.probeAt, f.reoAt = sched.Never, sched.Never, sched.Never
	if f.queue.Size() == 0 && !c.finPending() {
		c.dropFlight()
	}
}

// updateWindow is RFC 9293 §3.10.7.4: "If SND.UNA =< SEG.ACK =< SND.NXT, the send window should be updated. If (SND.WL1 < SEG.SEQ or
// (SND.WL1 = SEG.SEQ and SND.WL2 =< SEG.ACK)), set SND.WND <- SEG.WND, set SND.WL1 <- SEG.SEQ, and set SND.WL2 <- SEG.ACK." A segment
// that acknowledges something new is newer than all before it even if its data is not: without its window, the right edge would move
// with SND.UNA. It reports whether the window is another one.
func (c *Conn) updateWindow(seg *Segment) bool {
	if seg.Ack.Before(c.sndUna) {
		return false
	}
	if seg.Ack == c.sndUna && (seg.Seq.Before(c.sndWL1) || seg.Seq == c.sndWL1 && seg.Ack.Before(c.sndWL2)) {
		return false
	}
	c.sndWL1, c.sndWL2 = seg.Seq, seg.Ack
	window := uint32(seg.Window)
	if seg.Flags&wire.SYN == 0 { // RFC 7323 §2.2: "The window field in a segment where the SYN bit is set … MUST NOT be scaled"
		window <<= c.sndWScale
	}
	if window == c.sndWnd {
		return false
	}
	c.sndWnd = window
	c.maxSndWnd = max(c.maxSndWnd, window)
	if f := c.snd; f != nil && f.persist && window > 0 {
		// Open, but perhaps too little to send into: then for no longer than an RTO.
		f.backoff = 0
		c.restartTimer(f)
	}
	return true
}
