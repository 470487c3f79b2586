package tcp

import (
	"time"

	"github.com/weirnet/weir/tcp/cc"
)

// phase is what the sender is doing about losses.
type phase uint8

const (
	phaseOpen phase = iota // nothing: none is known
	phaseCWR               // the window is being reduced because of ECN marks: nothing is lost (RFC 3168 §6.1.2)
	phaseFast              // fast recovery (RFC 6675; without SACK RFC 6582)
	phaseLoss              // everything was deemed lost when the timer expired, and is sent again in slow start (RFC 5681 §3.1)
)

// recovery is the state of loss recovery.
type recovery struct {
	phase    phase
	rescued  bool // this recovery has had its rescue retransmission (RFC 6675 §4, NextSeg rule 4)
	dupAcks  uint8
	dupBytes int // without SACK: what the duplicate ACKs say has arrived, as RFC 6675's scoreboard would know it
	point    Seq // RecoveryPoint: SND.NXT when recovery began; it ends when that is acknowledged

	// Proportional Rate Reduction (RFC 9937 §6.2), in bytes; only while reducing.
	cwnd      int
	start     int // RecoverFS
	delivered int // prr_delivered
	out       int // prr_out
}

// pipe is how many bytes are in the network (RFC 6675 §4).
func (f *flight) pipe() int { return max(f.board.pipe()-f.dupBytes, 0) }

// reducing: Proportional Rate Reduction says what may be sent.
func (p phase) reducing() bool { return p == phaseFast || p == phaseCWR }

// cwnd is the congestion window in bytes.
func (c *Conn) cwnd(f *flight) int {
	if f.phase.reducing() && !c.cc.OwnRecovery() {
		return f.cwnd
	}
	return c.cc.Cwnd()
}

// ackNews is what an ACK has told.
type ackNews struct {
	delivery
	acked    int  // sequence numbers newly acknowledged
	dup      bool // a duplicate ACK, by RFC 5681 §2 or, with SACK, RFC 6675 §2
	lost     int  // bytes newly found lost
	force    bool // a segment is to be sent again at once, whatever the window
	ce       int  // of the bytes newly delivered, those that arrived marked by ECN, as far as known
	ece      bool // the peer tells that something was marked
	marked   bool // for the first time in a window of data, the peer tells that packets were marked by ECN
	pipe     int  // before the ACK
	spans    int  // before the ACK
	rtt      time.Duration
	reported bool // to congestion control
}

// recover takes the consequences of an ACK for loss recovery and the congestion window.
func (c *Conn) recover(f *flight, n *ackNews) {
	if !c.is(useSACK) {
		c.countDuplicates(f, n)
	}
	switch {
	case n.acked > 0:
		f.dupAcks = 0
	case n.dup:
		c.dupAcks++
		f.dupAcks = min(f.dupAcks+1, 255-1)
	}
	if f.phase != phaseOpen && f.point.AtOrBefore(c.sndUna) {
		c.reportAck(f, n)
		c.leaveRecovery(f)
	}
	if n.marked {
		c.enterCWR(f, n)
	}
	c.detectLoss(f, n)
	switch {
	case f.phase < phaseFast && f.board.toResend():
		c.enterFastRecovery(f, n)
	case f.phase == phaseFast && n.acked > 0 && !c.is(useSACK):
		// RFC 6582 §3.2 step 3, "Partial acknowledgments: … retransmit the first unacknowledged segment", at once.
		n.lost += f.board.loseFirst(c.payloadMSS())
		n.force = n.lost > 0
	}
	if f.phase.reducing() {
		f.reduce(n, c.cc.Ssthresh(), c.payloadMSS())
	}
	c.reportAck(f, n)
}

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

// detectLoss marks what the ACK shows to be lost.
func (c *Conn) detectLoss(f *flight, n *ackNews) {
	mss := c.payloadMSS()
	if c.is(useSACK) && n.dup {
		n.lost = f.board.detect(mss)
	}
	if f.phase >= phaseFast || f.dupAcks < dupThresh || f.board.toResend() {
		return
	}
	// RFC 6582 §3.2 step 2: not if the duplicates may come from what was needlessly sent again before.
	if c.is(useSACK) || f.point.Before(c.sndUna) {
		n.lost += f.board.loseFirst(mss)
	}
}

// enterFastRecovery begins fast recovery (RFC 6675 §5 step 4, RFC 9937 §6.2). If the window is being reduced because of marks, it is not
// reduced again: "TCP should not react to congestion indications more than once every window of data" (RFC 3168 §6.1.2).
func (c *Conn) enterFastRecovery(f *flight, n *ackNews) {
	if f.phase == phaseCWR {
		n.force = true
	} else {
		c.cc.Congestion(c.now, f.board.flight(), cc.Loss)
		c.ecnReduced()
		f.startReduction(n)
	}
	f.phase, f.point, f.rescued = phaseFast, c.sndNxt, false
}

// enterCWR begins a reduction of the window because of ECN marks (RFC 3168 §6.1.2), unless one is under way: it is over when all that is
// outstanding now is acknowledged. The window comes down by Proportional Rate Reduction (RFC 9937), as after a loss. It reports whether the
// window is reduced.
func (c *Conn) enterCWR(f *flight, n *ackNews) bool {
	if f.phase != phaseOpen {
		return false
	}
	c.cc.Congestion(c.now, f.board.flight()+n.acked, cc.Mark)
	f.startReduction(n)
	f.phase, f.point = phaseCWR, c.sndNxt
	return true
}

// startReduction is the beginning of RFC 9937 §6.2.
func (f *flight) startReduction(n *ackNews) {
	f.delivered, f.out = 0, 0
	f.start = max(f.board.flight()-f.board.sacked-f.dupBytes+n.bytes, 1)
}

// leaveRecovery ends recovery: all that was outstanding when it began is acknowledged.
func (c *Conn) leaveRecovery(f *flight) {
	f.phase = phaseOpen
	f.dupAcks, f.dupBytes = 0, 0
	c.cc.Recovered(c.now)
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

// reportAck tells congestion control, once.
func (c *Conn) reportAck(f *flight, n *ackNews) {
	if n.reported || n.acked <= 0 && n.bytes <= 0 {
		return
	}
	n.reported = true
	round := f.roundEnd.AtOrBefore(c.sndUna)
	if round {
		f.roundEnd = c.sndNxt
	}
	cwnd := c.cc.Cwnd()
	full := f.cwndFull(round)
	f.ack = cc.Ack{
		Now:       c.now,
		Acked:     n.acked,
		Delivered: n.bytes,
		Lost:      n.lost,
		InFlight:  n.pipe,
		Pipe:      f.pipe(),
		MSS:       c.payloadMSS(),
		RTT:       n.rtt,
		MinRTT:    c.rtt.min,
		SRTT:      c.rtt.srtt,
		// In slow start it is enough if half of the window is in use: growing to twice that never outruns the use (as Linux has it;
		// RFC 7661 §4.4 is stricter).
		CwndLimited: f.limited || full && c.pacingRate() > 0 || cwnd < c.cc.Ssthresh() && cwnd < 2*n.pipe,
		CwndFull:    full,
		Round:       round,
		NoSACK:      !c.is(useSACK),
		Total:       f.board.rate.delivered,
		Sample:      f.ack.Sample,
		CE:          n.ce,
		ECE:         n.ece,
	}
	c.cc.Acked(&f.ack)
}

// speculate finds something to send in fast recovery when nothing is known to be lost and no new data can go (RFC 6675 §4, NextSeg
// rules 3 and 4): a hole that may only be late or, once, the end of what is outstanding, which no SACK may ever tell about.
func (c *Conn) speculate(f *flight) bool {
	if f.phase != phaseFast || !c.is(useSACK) || f.board.toResend() {
		return false
	}
	mss := c.payloadMSS()
	if c.cwnd(f)-f.pipe() < mss {
		return false
	}
	n := f.board.guess(mss, false)
	if n == 0 && !f.rescued {
		f.rescued = true
		n = f.board.guess(mss, true)
	}
	f.cwnd -= n // it may be in the network all the same, as (C.4) of RFC 6675 §5 counts it: twice, once it is sent again
	return n > 0
}

// retransmissionTimeout takes the steps of RFC 6298 §5.4 to §5.6 and RFC 5681 §3.1.
func (c *Conn) retransmissionTimeout(f *flight) {
	c.rtos++
	c.cc.Timeout(c.now, f.board.flight(), f.expiries > 1)
	c.ecnReduced()
	f.phase, f.point = phaseLoss, c.sndNxt
	f.dupAcks, f.dupBytes = 0, 0
	f.board.loseAll(c.now)
	f.limited = false
}
