package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
)

// ledger is what a connection that has moved data counts for Info, and its tracer. One that never has, has none.
type ledger struct {
	tracer *tracer // nil: off

	retransmitted             uint64 // bytes
	segsIn, segsOut           uint32 // with data
	dataAt                    sched.Time
	busy, window, buffer      time.Duration // in which data was queued; of it, limited by the peer's window, and by the send buffer
	since                     sched.Time    // when limit began
	limit                     limit
	timeoutRuns               uint32        // timeouts, those that follow upon one another once
	timeoutBegan, timeoutTime time.Duration // in such runs; when the last began, as a time
}

// limit is what keeps a sender from sending faster, as Linux's TCP_INFO tells them apart.
type limit uint8

const (
	limitNone   limit = iota // nothing is queued
	limitBusy                // the network or congestion control
	limitWindow              // the peer's window
	limitBuffer              // the send buffer: the application would write more
)

// ledger is c.life, made if there was none.
func (c *Conn) ledger() *ledger {
	if c.life == nil {
		c.life = new(ledger)
	}
	return c.life
}

// countSent counts data that is sent, in segments of the wire.
func (c *Conn) countSent(segs int) {
	l := c.ledger()
	l.segsOut += uint32(segs)
	if l.limit == limitNone {
		l.limit, l.since = limitBusy, c.now
	}
}

// countReceived counts data that came.
func (c *Conn) countReceived(seg *Segment) {
	l := c.ledger()
	l.segsIn += uint32(max(seg.Segs, 1))
	l.dataAt = c.now
}

// countTimeout counts an expiry of the retransmission timer; first: the one before was answered.
func (c *Conn) countTimeout(first bool) {
	l := c.ledger()
	if first {
		l.timeoutRuns++
		l.timeoutBegan = time.Duration(c.now)
	}
}

// timeoutsOver: something is acknowledged after timeouts.
func (c *Conn) timeoutsOver() {
	if l := c.life; l != nil && l.timeoutBegan > 0 {
		l.timeoutTime += time.Duration(c.now) - l.timeoutBegan
		l.timeoutBegan = 0
	}
}

// noteLimit takes down what limits the sender now: called when it has sent what it may, and when nothing is left.
func (c *Conn) noteLimit() {
	l := c.life
	if l == nil || l.limit == limitNone {
		return
	}
	now := limitBusy
	switch f := c.snd; {
	case f == nil || f.queue.Size() == 0:
		now = limitNone
	case c.Unsent() > 0 && (c.sndUna+Seq(c.sndWnd)).minus(c.sndNxt) < min(c.Unsent(), c.payloadMSS()):
		now = limitWindow
	case c.Unsent() == 0 && c.is(sendFull) && !f.limited:
		now = limitBuffer
	}
	if now != l.limit {
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
	l := c.life
	if l == nil {
		return
	}
	now := *l
	now.settle(c.now)
	i.BytesRetransmitted = l.retransmitted
	i.DataSegmentsSent, i.DataSegmentsReceived = uint64(l.segsOut), uint64(l.segsIn)
	if l.segsIn > 0 {
		i.LastDataReceived = c.now.Sub(l.dataAt)
	}
	i.BusyTime, i.WindowLimited, i.BufferLimited = now.busy, now.window, now.buffer
	i.TimeoutRuns, i.TimeoutTime = uint64(l.timeoutRuns), l.timeoutTime
	first := max(int(l.segsOut)-int(c.retransmits), 0)
	i.DeliveredSegments += uint64(max(first-unacked, 0))
	if c.snd != nil {
		i.DeliveredSegments += uint64(c.segments(c.snd.board.sacked))
	}
}
