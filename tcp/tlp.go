package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp/cc"
	"github.com/weirnet/weir/wire"
)

// Tail loss probes (RFC 8985 §7): when the ACKs of the end of a flight do not come, a segment is sent that draws one, long before the
// retransmission timer would have to collapse the window.

// maxAckDelay is TLP.max_ack_delay: for how long a peer may delay the ACK of a single segment. It is what Linux allows for.
const maxAckDelay = 200 * time.Millisecond

// scheduleProbe is TLP_calc_PTO and the conditions of §7.2: "after transmitting new data … or upon receiving an ACK that
// cumulatively acknowledges new data unless it is already in fast recovery, RTO recovery, or segments have been SACKed". Nor when the probe could not be sent
// at the end (§7.3): one is on its way, or there was no RTT sample since the last one; then it is the retransmission timer's turn.
//
// PTO is twice the smoothed round trip time, and two ticks of the clock: one that the measurement may be short of, one for the timer.
func (c *Conn) scheduleProbe(f *flight) {
	f.probeAt = sched.Never
	if !c.usesRACK() || c.cfg.NoTLP || f.phase >= phaseFast || f.board.sacked > 0 || f.timerAt == sched.Never || f.persist {
		return
	}
	if h := c.hist; h != nil && (h.probing || h.unsampled) {
		return
	}
	pto := time.Second
	if c.rtt.srtt > 0 {
		pto = 2*c.rtt.srtt + 2*c.cfg.granularity()
		if f.board.flight() <= c.payloadMSS() {
			pto += maxAckDelay
		}
	}
	// "If the time at which an RTO would fire … is sooner than the computed time for the PTO, then the sender schedules a TLP to be sent
	// at that RTO time."
	f.probeAt = min(c.now.Add(pto), f.timerAt)
}

// expireProbe is the PTO. If pacing has more new data ready, that is a probe, and sets the next PTO. "After attempting to send a loss probe
// … the sender MUST re-arm the RTO timer" (§7.3); if none can be sent, it is left as it is, so that the attempt delays nothing.
func (c *Conn) expireProbe(f *flight) {
	f.probeAt = sched.Never
	if c.confirmClaim() {
		return
	}
	if f.held || !c.newDataFits() && !c.lastFits(f) {
		return
	}
	f.probe = true
	c.restartTimer(f)
}

// lastFits: the last segment may be sent again: the peer has not taken back its window (RFC 9293 §3.8.6).
func (c *Conn) lastFits(f *flight) bool {
	return c.sndUna != c.sndNxt && c.sndNxt.minus(c.sndUna) <= int(c.sndWnd)+1<<c.sndWScale && f.board.tailInFlight()
}

// outputProbe is TLP_send_probe (§7.3): new data if there is any and the peer's window takes it, whatever the congestion window; else the
// last segment again.
func (c *Conn) outputProbe(f *flight, seg *Segment) bool {
	if !f.probe {
		return false
	}
	f.probe = false
	mss := c.dataMSS()
	again := !c.newDataFits()
	switch {
	case !again:
		n := min(c.Unsent(), mss)
		c.transmit(f, seg, n, n == c.Unsent() && c.finPending() && c.windowLeft() > n, mss)
	case c.lastFits(f):
		c.probeAgain(f, seg, mss)
	default:
		return false
	}
	c.restartTimer(f)
	f.probeAt = sched.Never
	h := c.history()
	h.probes++
	h.probing, h.unsampled, h.probeAgain, h.probeEnd = true, true, again, c.sndNxt
	return true
}

// probeAgain sends the last segment again.
func (c *Conn) probeAgain(f *flight, seg *Segment, mss int) {
	size := mss
	if c.is(finSent) {
		size++
	}
	begin := f.board.resendLast(size, c.now)
	flags := wire.ACK
	data := c.sndNxt.minus(begin)
	if c.is(finSent) {
		flags |= wire.FIN
		data--
	}
	if data == c.queuedFrom(begin) {
		flags |= wire.PSH
	}
	c.history().retransmits += uint32(c.fillData(f, seg, begin, data, mss, flags))
	c.sendECT(seg, data, true)
}

// probeAcked is TLP_process_ack (§7.4.2): was there a loss that the probe has repaired, and hidden thereby? flight is what was outstanding
// before the ACK. The ACK is at or beyond SND.UNA; dup: it tells nothing but that something has arrived.
func (c *Conn) probeAcked(seg *Segment, flight int, dsack, dup bool) {
	h := c.hist
	if h == nil || !h.probing || seg.Ack.Before(h.probeEnd) {
		return
	}
	switch {
	case !h.probeAgain:
		// New data: what it has repaired, RACK sees.
	case dsack && Seq(seg.Options.SACK[0].Right) == h.probeEnd:
		// Case 1: both have arrived.
	case h.probeEnd.Before(seg.Ack):
		// It has repaired the loss: "The sender then SHOULD invoke a congestion control response equivalent to a fast recovery."
		h.probeRecoveries++
		if c.snd == nil || c.snd.phase == phaseOpen {
			h.undo.open = false
			c.cc.Congestion(c.now, flight, cc.Loss)
			c.ecnReduced()
			c.cc.Recovered(c.now)
		}
	case dup && seg.Options.NSACK == 0:
		// Case 2: the same, from a peer that does not tell what came twice.
	default:
		return
	}
	h.probing = false
}
