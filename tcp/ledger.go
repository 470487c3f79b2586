package tcp

import (
	"math"
	"time"

	"github.com/weirnet/weir/sched"
)

// ledger is what a connection that has moved data counts for Info: 24 bytes, for idle ones have it too. One that never has, has none.
type ledger struct {
	segsIn, segsOut uint32    // with data
	dataAt          uint32    // ms: the latest came
	busy            uint32    // µs in which data was queued, beside more.busy
	more            *rarities // nil: none of this has happened
}

// rarities is what few connections need.
type rarities struct {
	tracer                    *tracer       // nil: off
	retransmitted             uint64        // bytes
	busy, window, buffer      time.Duration // in which data was queued; of it, limited by the peer's window, and by the send buffer
	timeoutRuns               uint32        // timeouts, those that follow upon one another once
	timeoutBegan, timeoutTime time.Duration // when the last such run began; how long they lasted
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

// moreLedger is the ledger's more, made if there was none.
func (c *Conn) moreLedger() *rarities {
	l := c.ledger()
	if l.more == nil {
		l.more = new(rarities)
	}
	return l.more
}

// milliClock is an instant in milliseconds, modulo 2^32.
func milliClock(t sched.Time) uint32 { return uint32(uint64(t) / uint64(time.Millisecond)) }

// countSent counts data that is sent, in segments of the wire.
func (c *Conn) countSent(segs int) {
	c.ledger().segsOut += uint32(segs)
	if f := c.snd; f.limit == limitNone {
		f.limit, f.limitSince = limitBusy, c.now
	}
}

// countReceived counts data that came.
func (c *Conn) countReceived(seg *Segment) {
	l := c.ledger()
	l.segsIn += uint32(max(seg.Segs, 1))
	l.dataAt = milliClock(c.now)
}

// countTimeout counts an expiry of the retransmission timer; first: the one before was answered.
func (c *Conn) countTimeout(first bool) {
	if first {
		m := c.moreLedger()
		m.timeoutRuns++
		m.timeoutBegan = time.Duration(c.now)
	}
}

// timeoutsOver: something is acknowledged after timeouts.
func (c *Conn) timeoutsOver() {
	if l := c.life; l != nil && l.more != nil && l.more.timeoutBegan > 0 {
		l.more.timeoutTime += time.Duration(c.now) - l.more.timeoutBegan
		l.more.timeoutBegan = 0
	}
}

// noteLimit takes down what limits the sender now: called when it has sent what it may, and when nothing is left.
func (c *Conn) noteLimit() {
	f := c.snd
	if f == nil || f.limit == limitNone {
		return
	}
	now := limitBusy
	switch unsent := c.Unsent(); {
	case f.queue.Size() == 0:
		now = limitNone
	case unsent > 0 && (c.sndUna+Seq(c.sndWnd)).minus(c.sndNxt) < min(unsent, c.payloadMSS()):
		now = limitWindow
	case unsent == 0 && c.is(sendFull) && !f.limited:
		now = limitBuffer
	}
	if now != f.limit {
		c.settleLimit(f)
		f.limit = now
	}
}

// settleLimit adds the time since the limit has begun.
func (c *Conn) settleLimit(f *flight) {
	d := c.now.Sub(f.limitSince)
	f.limitSince = c.now
	if f.limit == limitNone || d <= 0 {
		return
	}
	l := c.ledger()
	if us := uint64(l.busy) + uint64(d/time.Microsecond); us <= math.MaxUint32 {
		l.busy = uint32(us)
	} else {
		c.moreLedger().busy += d
	}
	switch f.limit {
	case limitWindow:
		c.moreLedger().window += d
	case limitBuffer:
		c.moreLedger().buffer += d
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
	if f := c.snd; f != nil && f.limit != limitNone {
		c.settleLimit(f)
	}
	l := c.life
	if l == nil {
		return
	}
	i.DataSegmentsSent, i.DataSegmentsReceived = uint64(l.segsOut), uint64(l.segsIn)
	if l.segsIn > 0 {
		i.LastDataReceived = time.Duration(milliClock(c.now)-l.dataAt) * time.Millisecond
	}
	i.BusyTime = time.Duration(l.busy) * time.Microsecond
	if m := l.more; m != nil {
		i.BytesRetransmitted = m.retransmitted
		i.BusyTime += m.busy
		i.WindowLimited, i.BufferLimited = m.window, m.buffer
		i.TimeoutRuns, i.TimeoutTime = uint64(m.timeoutRuns), m.timeoutTime
	}
	first := max(int(l.segsOut)-int(c.retransmits), 0)
	i.DeliveredSegments += uint64(max(first-unacked, 0))
	if c.snd != nil {
		i.DeliveredSegments += uint64(c.segments(c.snd.board.sacked))
	}
}
