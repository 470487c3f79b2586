package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
)

// R2 of RFC 9293 §3.8.3, as numbers of timeouts: with the minimum and the maximum of the RTO, 22 of them in a row take about 15 minutes,
// and 7 of a SYN three, which is the least (MUST-23). An orphan has no fewer: most of a transfer may still be in its queue, and on a way
// that loses three of ten packets in either direction half of all attempts fail, nine in a row once in 500 times, 23 never. But for an orphan
// whose peer keeps its window closed the probes are numbered, whether they are answered or not.
const (
	suspectRetries = 3 // R1: "at least 3 retransmissions" (§3.8.3, SHLD-10)
	dataRetries    = 22
	synRetries     = 7
	orphanProbes   = 8
)

// sendTimer is the retransmission timer (RFC 6298) or, when nothing is in flight, the persist timer (RFC 9293 §3.8.6.1).
type sendTimer struct {
	timerAt  sched.Time // Never: off
	probeAt  sched.Time // the PTO of RFC 8985 §7; Never: off
	reoAt    sched.Time // the RACK reordering timer (RFC 8985 §6.2, step 5); Never: off
	stalled  sched.Time // since when nothing was acknowledged, for the user timeout
	backoff  uint8      // doublings of the RTO
	expiries uint8      // without a sign of life
	persist  bool       // it is the persist timer
	forced   bool       // which has expired: send into a small window (RFC 9293 §3.8.6.2.1, "the override timeout")
}

// maxBackoff bounds the doublings of the RTO; the maximum RTO does too.
const maxBackoff = 16

// rto is the retransmission timeout, backed off.
func (c *Conn) rto(f *flight) time.Duration {
	d := c.rtt.rto(c.cfg.granularity(), c.cfg.minRTO())
	if d == 0 {
		d = initialRTO
		if c.is(synLost) && c.state.synchronized() {
			d = lossyRTO // RFC 6298 §5.7
		}
	}
	most := c.cfg.maxRTO()
	if f != nil {
		for i := uint8(0); i < f.backoff && d < most; i++ {
			d *= 2
		}
	}
	return min(d, most)
}

// restartTimer makes the timer expire after RTO from now, or when the user timeout ends.
func (c *Conn) restartTimer(f *flight) {
	f.timerAt = c.now.Add(c.rto(f))
	if c.userTimeout > 0 {
		f.timerAt = min(f.timerAt, max(f.stalled.Add(c.userTimeLimit()), c.now))
	}
}

// hastenTimer is for an RTO that is no longer backed off: the retransmission timer expires no later than RTO from now.
func (c *Conn) hastenTimer(f *flight) {
	if f.timerAt != sched.Never && !f.persist {
		f.timerAt = min(f.timerAt, c.now.Add(c.rto(f)))
	}
}

func (c *Conn) userTimeLimit() time.Duration { return time.Duration(c.userTimeout) * time.Millisecond }

// startPersist starts the persist timer: there is something to send, nothing is in flight whose ACK could open the window, and the
// window is closed or too small (RFC 9293 §3.8.6.1).
func (c *Conn) startPersist(f *flight) {
	corked := f.corkAt != sched.Never && c.sndWnd > 0
	if c.sndUna != c.sndNxt || f.persist || corked || c.Unsent() == 0 && !c.finPending() {
		return
	}
	f.persist = true
	f.backoff, f.expiries = 0, 0
	c.restartTimer(f)
}

// Deadline is when Expire wants to be called; sched.Never if nothing is pending.
func (c *Conn) Deadline() sched.Time {
	if c.cfg == nil {
		return sched.Never
	}
	at := min(c.ackAt, c.aliveAt)
	if c.snd != nil {
		at = min(at, c.snd.timerAt, c.snd.probeAt, c.snd.reoAt, c.snd.corkAt)
		if c.snd.held {
			at = min(at, c.rare.pace.next)
		}
	}
	return at
}

// Expire runs the timers that are due at now. Calling it early does no harm.
func (c *Conn) Expire(now sched.Time) Events {
	if c.cfg == nil {
		return 0
	}
	c.tick(now)
	if c.ackAt <= c.now {
		c.expireAck()
	}
	if c.aliveAt <= c.now {
		c.expireAlive()
	}
	c.expireCork()
	if f := c.snd; f != nil {
		c.expireFlight(f)
	}
	return c.takeEvents()
}

// expireFlight runs the timers of what is in flight. The probe restarts the timer that may be due at the same instant.
func (c *Conn) expireFlight(f *flight) {
	if min(f.probeAt, f.reoAt) <= c.now && c.overdue(f) {
		c.timedOut()
		return
	}
	if f.probeAt <= c.now {
		c.expireProbe(f)
	}
	if f.reoAt <= c.now {
		c.expireReordering(f)
	}
	if f.timerAt <= c.now {
		c.expireSend(f)
	}
}

// expireSend is the retransmission or persist timer.
func (c *Conn) expireSend(f *flight) {
	if c.gaveUp(f) {
		c.timedOut()
		return
	}
	c.checkAppLimited(f)
	f.expiries++
	switch {
	case c.state == SynSent || c.state == SynReceived:
		c.set(synLost | pendSYN)
		c.ecnSYNTimedOut(f.expiries)
		c.history().rtos++
		c.countTimeout(f.expiries == 1)
		if f.expiries > 1 {
			c.cc.SynLost() // RFC 6928 §2
		}
	case f.persist:
		f.forced = c.sndWnd > 0
		c.set(pendProbe)
	default:
		c.noteCutOff(f)
		c.countTimeout(f.expiries == 1)
		c.retransmissionTimeout(f)
		c.suspectPath(f)
		if f.expiries == suspectRetries {
			c.events |= PathSuspect
		}
	}
	f.backoff = min(f.backoff+1, maxBackoff) // RFC 6298 §5.5
	c.restartTimer(f)
}

// synLimit is how often SYN, or SYN-ACK of a passive open, is sent again.
func (c *Conn) synLimit() uint8 {
	switch {
	case c.is(passive):
		return c.cfg.synAckRetries()
	case c.synRetries > 0:
		return c.synRetries
	}
	return c.cfg.synRetries()
}

// overdue: for the user timeout nothing was acknowledged.
func (c *Conn) overdue(f *flight) bool {
	return c.userTimeout > 0 && c.now.Sub(f.stalled) >= c.userTimeLimit()
}

// gaveUp: the timer has expired once too often (R2), or for the user timeout nothing was acknowledged.
func (c *Conn) gaveUp(f *flight) bool {
	if c.overdue(f) {
		return true
	}
	switch {
	case c.state == SynSent || c.state == SynReceived:
		return f.expiries >= c.synLimit() && c.userTimeout == 0
	case c.is(orphan) && f.persist && f.backoff >= orphanProbes:
		return true
	case c.is(orphan) && c.cfg.OrphanRetries > 0 && int(f.expiries) >= c.cfg.OrphanRetries:
		return true
	}
	return f.expiries >= dataRetries && c.userTimeout == 0
}
