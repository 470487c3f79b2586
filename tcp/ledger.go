package tcp

import (
	"math"
	"time"

	"github.com/weirnet/weir/sched"
)

// ledger is what the send side counts for Info while it has something queued or in flight.
type ledger struct {
	limit                limit
	since                sched.Time    // when it began
	busy, window, buffer time.Duration // in which data was queued; of it, limited by the peer's window, and by the send buffer
}

// limit is what keeps a sender from sending faster, as Linux's TCP_INFO tells them apart.
type limit uint8

const (
	limitNone   limit = iota // nothing is queued
	limitBusy                // the network or congestion control
	limitWindow              // the peer's window
	limitBuffer              // the send buffer: the application would write more
)

// countSent counts data that is sent, in segments of the wire.
func (c *Conn) countSent(f *flight, segs int) {
	c.dataSent += uint32(segs)
	if l := &f.ledger; l.limit == limitNone {
		l.limit, l.since = limitBusy, c.now
	}
}

// countTimeout counts an expiry of the retransmission timer; first: the one before was answered.
func (c *Conn) countTimeout(first bool) {
	if h := c.history(); first {
		h.timeoutRuns++
		h.timeoutBegan = time.Duration(c.now)
	}
}

// timeoutsOver: something is acknowledged after timeouts.
func (c *Conn) timeoutsOver() {
	if h := c.hist; h != nil && h.timeoutBegan > 0 {
		h.timeoutTime += time.Duration(c.now) - h.timeoutBegan
		h.timeoutBegan = 0
	}
}

// noteLimit takes down what limits the sender now: called when it has sent what it may.
func (c *Conn) noteLimit() {
	f := c.snd
	if f == nil || f.ledger.limit == limitNone {
		return
	}
	now := limitBusy
	switch {
	case f.queue.Size() == 0:
		now = limitNone
	case c.Unsent() > 0 && (c.sndUna+Seq(c.sndWnd)).minus(c.sndNxt) < min(c.Unsent(), c.payloadMSS()):
		now = limitWindow
	case c.Unsent() == 0 && c.is(sendFull) && !f.limited:
		now = limitBuffer
	}
	if l := &f.ledger; now != l.limit {
		l.settle(c.now)
		l.limit = now
	}
}

// settle adds the time since the last change.
func (l *ledger) settle(now sched.Time) {
	d := now.Sub(l.since)
	l.since = now
	if l.limit == limitNone {
		return
	}
	l.busy += d
	switch l.limit {
	case limitWindow:
		l.window += d
	case limitBuffer:
		l.buffer += d
	}
}

// keepLedger takes over what a flight has counted. An idle connection holds microseconds, as far as they fit, and what only few need is
// in its history.
func (c *Conn) keepLedger(f *flight) {
	l := &f.ledger
	l.settle(c.now)
	us := uint64(l.busy / time.Microsecond)
	if us > math.MaxUint32-uint64(c.busy) {
		c.history().busy += time.Duration(us) * time.Microsecond
	} else {
		c.busy += uint32(us)
	}
	if l.window > 0 || l.buffer > 0 {
		h := c.history()
		h.window += l.window
		h.buffer += l.buffer
	}
}

// CAState is the state of congestion control and loss recovery, with Linux's names and numbers.
type CAState uint8

const (
	CAOpen     CAState = iota // nothing is known to be lost
	CADisorder                // something came out of order: SACKs or duplicate ACKs
	CACWR                     // the window is being reduced because of ECN marks
	CARecovery                // fast recovery
	CALoss                    // after a timeout
)

// caState is CAState.
func (c *Conn) caState() CAState {
	f := c.snd
	if f == nil {
		return CAOpen
	}
	switch {
	case f.phase == phaseCWR:
		return CACWR
	case f.phase == phaseFast:
		return CARecovery
	case f.phase == phaseLoss:
		return CALoss
	case f.board.sacked > 0 || f.dupAcks > 0:
		return CADisorder
	}
	return CAOpen
}

// segments is bytes in full segments, a last one that is not full included.
func (c *Conn) segments(bytes int) int {
	mss := max(c.payloadMSS(), 1)
	return (bytes + mss - 1) / mss
}

// linuxInfo fills in what Linux's TCP_INFO has beside the rest.
func (c *Conn) linuxInfo(i *Info) {
	i.CAState = c.caState()
	i.DelayedAck = c.cfg.delayedAck()
	i.ReceiveRTT = time.Duration(c.rcvRTT) * time.Millisecond
	i.AdvertisedMSS = int(c.ourMSS)
	i.ReceiveSpace = int(c.rcvWnd)
	i.Rehashes = uint64(c.Timeouts())
	i.LastDataSent, i.LastAckReceived = c.now.Sub(c.lastSent), c.now.Sub(c.lastRcv)
	i.Probes = int(c.keepSent)
	unacked := 0
	if f := c.snd; f != nil {
		unacked = c.segments(f.board.flight())
		i.Backoff = int(f.backoff)
		if f.persist {
			i.Probes = int(f.expiries)
		} else {
			i.Retries = int(f.expiries)
		}
		i.NotSent = c.Unsent()
		i.Unacked = unacked
	}
	if c.state.synchronized() {
		i.DeliveredSegments = 1 // the SYN
	}
	if p := c.search(); p != nil {
		i.PathProbes, i.PathProbesLost = uint64(p.probes), uint64(p.lost)
	}
	i.DataSegmentsSent, i.DataSegmentsReceived = uint64(c.dataSent), uint64(c.dataReceived)
	if c.dataReceived > 0 {
		i.LastDataReceived = c.since(c.lastData)
	}
	i.BusyTime = time.Duration(c.busy) * time.Microsecond
	resent := 0
	if h := c.hist; h != nil {
		resent = int(h.retransmits)
		i.BytesRetransmitted = h.retransmitted
		i.BusyTime += h.busy
		i.WindowLimited, i.BufferLimited = h.window, h.buffer
		i.TimeoutRuns, i.TimeoutTime = uint64(h.timeoutRuns), h.timeoutTime
	}
	i.DeliveredSegments += uint64(max(int(c.dataSent)-resent-unacked, 0))
	if f := c.snd; f != nil {
		l := f.ledger
		l.settle(c.now)
		i.BusyTime += l.busy
		i.WindowLimited += l.window
		i.BufferLimited += l.buffer
		i.DeliveredSegments += uint64(c.segments(f.board.sacked))
	}
}
