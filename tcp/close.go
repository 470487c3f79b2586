package tcp

import (
	"syscall"
	"time"

	"github.com/weirnet/weir/sched"
)

// CloseWrite queues a FIN (SHUTDOWN for writing). Called again it does nothing. Errors: ENOTCONN in CLOSED, or Err if the connection has
// failed.
func (c *Conn) CloseWrite(now sched.Time) error {
	c.tick(now)
	switch c.state {
	case Closed:
		if err := c.reason(); err != nil {
			return err
		}
		return syscall.ENOTCONN
	case Established:
		c.state = FinWait1
	case CloseWait:
		c.state = LastAck
	case SynSent, SynReceived: // to FIN-WAIT-1 when it is established
	default:
		return nil
	}
	if !c.is(finQueued) {
		c.set(finQueued)
		if f := c.flight(); f.queue.Size() == 0 && c.sndUna == c.sndNxt {
			f.stalled = c.now
		}
	}
	return nil
}

// CloseRead discards what is unread and what comes (SHUTDOWN for reading). The peer is not told, and its data is acknowledged.
func (c *Conn) CloseRead(now sched.Time) {
	c.tick(now)
	c.set(readClosed)
	c.discard()
	if c.state.receives() && c.updateDue() {
		c.set(ackNow)
	}
}

// discard throws away what is unread.
func (c *Conn) discard() {
	if c.rcv != nil {
		c.rcv.queue.Clear()
		c.dropInflow()
	}
}

// Close does both as close(2) does: with unread data it resets (RFC 9293 §3.10.4, RFC 1122 §4.2.2.13), else FIN; the Conn is then an
// orphan (FIN-WAIT-2 is timed).
func (c *Conn) Close(now sched.Time) Events {
	c.tick(now)
	unread := c.ReadSize() > 0
	c.set(readClosed | orphan)
	c.discard()
	switch {
	case c.state == Closed || c.state == TimeWaiting:
	case c.state == SynSent:
		c.finish() // RFC 9293 §3.10.4: "Delete the TCB"
	case unread && (c.state.synchronized() || c.is(passive)):
		// RFC 2525 §2.17: the peer must learn that not all it has sent was read.
		c.set(pendRST)
		c.finish()
	default:
		c.CloseWrite(c.now)
		if c.state == FinWait2 {
			c.startFinWait2()
		}
	}
	return c.takeEvents()
}

// startFinWait2 bounds the time for which an orphan waits for the peer's FIN.
func (c *Conn) startFinWait2() {
	switch {
	case !c.is(orphan):
	case c.rare != nil && c.rare.finWait2 < 0:
		c.set(pendRST)
		c.finish()
	case c.rare != nil && c.rare.finWait2 > 0:
		c.aliveAt = c.now.Add(time.Duration(c.rare.finWait2) * time.Millisecond)
	default:
		c.aliveAt = c.now.Add(c.cfg.finWait2())
	}
}

// resetOrphan: "If such a host issues a CLOSE call while received data is still pending in TCP, or if new data is received after CLOSE is
// called, its TCP SHOULD send a RST to show that data was lost" (RFC 1122 §4.2.2.13).
func (c *Conn) resetOrphan(seg *Segment) {
	c.replyReset(seg)
	c.finish()
}

// Abort resets: the next Output gives the RST (if the state calls for one), and the state is CLOSED with the given Err.
func (c *Conn) Abort(now sched.Time, err error) Events {
	c.tick(now)
	c.discard()
	switch c.state {
	case Closed:
		return 0
	case SynReceived, Established, FinWait1, FinWait2, CloseWait:
		c.set(pendRST) // RFC 9293 §3.10.5
	}
	c.noteReason(err)
	if err != nil {
		c.events |= Failed
	}
	c.finish()
	return c.takeEvents()
}
