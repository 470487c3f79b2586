package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp/cc"
	"github.com/weirnet/weir/wire"
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
	frto     frto
	rescued  bool // without RACK: this recovery has had its rescue retransmission (RFC 6675 §4, NextSeg rule 4)
	urgent   bool // a segment is to be sent again whatever the window: the timer has expired
	probe    bool // a tail loss probe is to be sent
	dupAcks  uint8
	dupBytes int // without SACK: what the duplicate ACKs say has arrived, as RFC 6675's scoreboard would know it
	resent   int // without SACK: segments sent again since the timer expired
	point    Seq // RecoveryPoint: SND.NXT when recovery began; it ends when that is acknowledged

	rack    transmission  // RACK.xmit_ts, RACK.end_seq
	rackRTT time.Duration // RACK.rtt; 0: none
	frtoAt  sched.Time    // when the timer expired

	// Proportional Rate Reduction (RFC 9937 §6), in bytes; only while reducing.
	cwnd      int
	start     int // RecoverFS
	delivered int // prr_delivered
	out       int // prr_out
	reducedAt sched.Time
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
	acked     int  // sequence numbers newly acknowledged
	dup       bool // a duplicate ACK, by RFC 5681 §2 or, with SACK, RFC 6675 §2
	dsack     bool // it tells that something came twice (RFC 2883)
	ce        int  // of the bytes newly delivered, those that arrived marked by ECN, as far as known
	ece       bool // the peer tells that something was marked
	marked    bool // for the first time in a window of data, the peer tells that packets were marked by ECN
	lost      int  // bytes newly found lost
	lostAgain int  // of these, retransmissions
	force     bool // a segment is to be sent again at once, whatever the window
	reported  bool // to congestion control
	pipe      int  // before the ACK
	spans     int  // before the ACK
	flight    int  // before the ACK
	fack      Seq  // behind the highest byte acknowledged or SACKed before
	rtt       time.Duration
}

// recover takes the consequences of an ACK with options o for loss recovery and the congestion window.
func (c *Conn) recover(f *flight, n *ackNews, o *wire.TCPOptions) {
	if !c.is(useSACK) {
		c.countDuplicates(f, n)
	}
	switch {
	case n.acked > 0:
		f.dupAcks = 0
	case n.dup:
		c.history().dupAcks++
		f.dupAcks = min(f.dupAcks+1, 255-1)
	}
	if c.usesRACK() {
		c.noteDelivered(f, n)
		c.adaptReordering(n.dsack)
	}
	if c.needless(f, n, o) || (n.acked > 0 || n.dup) && c.checkFRTO(f, n) {
		c.undo(f, n.ece)
	}
	if f.phase != phaseOpen && f.point.AtOrBefore(c.sndUna) {
		c.reportAck(f, n)
		c.leaveRecovery(f)
	}
	if n.marked {
		c.enterCWR(f, n)
	}
	c.detectLoss(f, n)
	c.respond(f, n)
	c.reportAck(f, n)
}

// detectLoss marks what the ACK shows to be lost.
func (c *Conn) detectLoss(f *flight, n *ackNews) {
	if c.usesRACK() {
		n.lost, n.lostAgain = c.detectByTime(f)
		return
	}
	mss, thresh := c.payloadMSS(), c.cfg.reordering()
	if c.is(useSACK) && n.dup {
		n.lost = f.board.detect(mss, thresh)
	}
	if f.phase >= phaseFast || int(f.dupAcks) < thresh || f.board.toResend() {
		return
	}
	// RFC 6582 §3.2 step 2: not if the duplicates may come from what was needlessly sent again before.
	if c.is(useSACK) || f.point.Before(c.sndUna) {
		n.lost += f.board.loseFirst(mss)
	}
}

// respond is what is done about losses that were found.
func (c *Conn) respond(f *flight, n *ackNews) {
	c.checkProbe(f)
	switch {
	case f.phase < phaseFast && f.board.toResend():
		c.enterFastRecovery(f, n)
	case f.phase == phaseFast && n.lostAgain > 0 && c.now.Sub(f.reducedAt) >= c.rtt.srtt:
		// "The loss of a retransmission should be taken as two indications of congestion and, therefore, cwnd (and ssthresh) MUST be
		// lowered twice in this case" (RFC 5681 §4.3).
		c.history().undo.open = false
		c.cc.Congestion(c.now, f.board.flight(), cc.Loss)
		c.ecnReduced()
		c.startReduction(f, n)
		n.force = true
	case f.phase == phaseFast && n.acked > 0 && !c.is(useSACK):
		// RFC 6582 §3.2 step 3, "Partial acknowledgments: … retransmit the first unacknowledged segment", at once.
		n.lost += f.board.loseFirst(c.payloadMSS())
		n.force = n.lost > 0
	}
	if f.phase.reducing() {
		f.reduce(n, c.cc.Ssthresh(), c.payloadMSS())
	}
}

// enterFastRecovery begins fast recovery (RFC 6675 §5 step 4, RFC 9937 §6.1). If the window is being reduced because of marks, it is not
// reduced again: "TCP should not react to congestion indications more than once every window of data" (RFC 3168 §6.1.2).
func (c *Conn) enterFastRecovery(f *flight, n *ackNews) {
	if f.phase == phaseCWR {
		n.force = true
	} else {
		c.cc.Congestion(c.now, f.board.flight(), cc.Loss)
		c.ecnReduced()
		c.startReduction(f, n)
		c.beginEpisode(f, false)
	}
	f.phase, f.point, f.rescued = phaseFast, c.sndNxt, false
	f.probeAt, f.probe = sched.Never, false
}

// enterCWR begins a reduction of the window because of ECN marks (RFC 3168 §6.1.2), unless one is under way: it is over when all that is
// outstanding now is acknowledged. The window comes down by Proportional Rate Reduction (RFC 9937), as after a loss. It reports whether the
// window is reduced.
func (c *Conn) enterCWR(f *flight, n *ackNews) bool {
	if f.phase != phaseOpen {
		return false
	}
	if c.hist != nil {
		c.hist.undo.open = false // the window of before is no longer what there was
	}
	c.cc.Congestion(c.now, f.board.flight()+n.acked, cc.Mark)
	c.startReduction(f, n)
	f.phase, f.point = phaseCWR, c.sndNxt
	return true
}

// leaveRecovery ends recovery: all that was outstanding when it began is acknowledged.
func (c *Conn) leaveRecovery(f *flight) {
	if f.phase >= phaseFast {
		c.calmReordering()
		c.expectDuplicates(f)
	}
	f.phase, f.frto = phaseOpen, frtoOff
	f.dupAcks, f.dupBytes = 0, 0
	c.cc.Recovered(c.now)
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
	a := &f.ack // its Sample is there
	a.Now = c.now
	a.Acked = n.acked
	a.Delivered = n.bytes
	a.Lost = n.lost
	a.InFlight = n.pipe
	a.Pipe = f.pipe()
	a.MSS = c.payloadMSS()
	a.RTT = n.rtt
	a.MinRTT = c.rtt.min
	a.SRTT = c.rtt.srtt
	// In slow start it is enough if half of the window is in use: growing to twice that never outruns the use (as Linux has it;
	// RFC 7661 §4.4 is stricter).
	a.CwndLimited = f.limited || full && c.pacingRate() > 0 || cwnd < c.cc.Ssthresh() && cwnd < 2*n.pipe
	a.CwndFull = full
	a.Round = round
	a.NoSACK = !c.is(useSACK)
	a.Total = f.board.rate.delivered
	a.CE = n.ce
	a.ECE = n.ece
	c.cc.Acked(a)
}

// speculate finds something to send in fast recovery when nothing is known to be lost and no new data can go (RFC 6675 §4, NextSeg
// rules 3 and 4): a hole that may only be late or, once, the end of what is outstanding, which no SACK may ever tell about. With RACK time
// tells, and there is nothing to guess.
func (c *Conn) speculate(f *flight) bool {
	if f.phase != phaseFast || !c.is(useSACK) || !c.cfg.NoRACK || f.board.toResend() {
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

// retransmissionTimeout takes the steps of RFC 6298 §5.4 to §5.6 and RFC 5681 §3.1, and marks what is lost.
//
// What was SACKed stays so. RFC 2018 §8 says that the sender SHOULD forget it, "since the timeout might indicate that the data receiver has
// reneged"; RFC 6675 §5.1 has this as too strong where there are robust tests for reneging, and RFC 8985 §6.3 builds on what was SACKed. The
// test is that the first byte not acknowledged was SACKed: whatever a peer reneges on will be that in the end.
func (c *Conn) retransmissionTimeout(f *flight) {
	c.history().rtos++
	again := f.expiries > 1
	c.startFRTO(f, again)
	c.cc.Timeout(c.now, f.board.flight(), again)
	c.ecnReduced()
	if h := c.hist; !again || h == nil || !h.undo.timeout {
		c.beginEpisode(f, true)
	}
	switch {
	case f.board.headSacked():
		c.history().reneged++
		f.board.forget()
		f.board.loseAll()
		f.frto = frtoOff
	case c.usesRACK():
		f.board.loseExpired(c.now.Add(-max(f.rackRTT, c.rtt.srtt)-c.reoWindow(f)), c.payloadMSS())
	default:
		f.board.loseAll()
	}
	f.phase, f.point = phaseLoss, c.sndNxt
	f.dupAcks, f.dupBytes = 0, 0
	f.limited, f.urgent = false, true
	f.reoAt, f.probeAt, f.probe = sched.Never, sched.Never, false
}

// leastReneging is the least time for an ACK to correct that the peer seems to have reneged.
const leastReneging = 10 * time.Millisecond

// watchReneging: an ACK has stopped before what was SACKed, so that the peer no longer has that (RFC 2018 §8). An ACK on its way may tell
// otherwise; it gets half a round trip, and then everything is sent again as after a timeout.
func (c *Conn) watchReneging(f *flight) {
	if f.board.headSacked() {
		f.timerAt = min(f.timerAt, c.now.Add(max(c.rtt.srtt/2, leastReneging)))
	}
}
