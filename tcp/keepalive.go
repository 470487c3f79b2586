package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
)

// SetKeepAlive makes the connection probe the peer when nothing has been received for idle (RFC 9293 §3.8.4), then each interval, and
// fail with ETIMEDOUT when count probes have had no answer. idle 0 is off, the default (MUST-25).
func (c *Conn) SetKeepAlive(now sched.Time, idle, interval time.Duration, count int) {
	c.tick(now)
	c.setKeepAlive(KeepAlive{idle, interval, count})
	c.startKeepAlive()
}

func (c *Conn) setKeepAlive(k KeepAlive) {
	c.keepIdle, c.keepEvery = millis(k.Idle), max(millis(k.Interval), 1)
	c.keepCount = uint8(min(max(k.Count, 1), 255))
	c.keepSent = 0
}

// startKeepAlive sets the timer, in the states in which it runs.
func (c *Conn) startKeepAlive() {
	if !c.state.synchronized() || c.state == TimeWaiting || c.is(orphan) && c.state == FinWait2 {
		return
	}
	c.aliveAt = sched.Never
	if c.keepIdle > 0 {
		c.aliveAt = max(c.lastRcv.Add(c.idleTime()), c.now)
	}
}

func (c *Conn) idleTime() time.Duration { return time.Duration(c.keepIdle) * time.Millisecond }

// expireAlive is the end of an orphan's FIN-WAIT-2, or the keepalive timer. What is received does not move that timer: it finds out here
// how long it has been quiet.
func (c *Conn) expireAlive() {
	if c.is(orphan) && c.state == FinWait2 {
		c.finish()
		return
	}
	quiet := c.now.Sub(c.lastRcv)
	switch {
	case c.snd != nil:
		// The retransmission timer watches the peer.
		c.aliveAt = c.now.Add(c.idleTime())
	case quiet < c.idleTime():
		c.aliveAt = c.lastRcv.Add(c.idleTime())
	case c.keepSent >= c.keepCount, c.keepSent > 0 && c.userTimeout > 0 && quiet >= c.userTimeLimit():
		c.set(pendRST) // as Linux does: the peer may be back, and not know
		c.timedOut()
	default:
		c.keepSent++
		c.set(pendKeepAlive)
		c.aliveAt = c.now.Add(time.Duration(c.keepEvery) * time.Millisecond)
	}
}
