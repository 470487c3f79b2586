package tcp

import (
	"syscall"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp/cc"
)

// maxBufferLimit keeps limits, windows and the sums of them within 31 bits. It is the largest window there can be (RFC 7323 §2.3).
const maxBufferLimit = 1<<30 - 1

// flight is the send side of a connection that has something queued or in flight; an idle connection has none.
type flight struct {
	queue buffer.Buffer // from SND.UNA on: what is not acknowledged, then what is not sent
	board scoreboard    // of what is in [SND.UNA, SND.NXT)
	recovery
	sendTimer

	roundEnd Seq  // SND.NXT at the first ACK of this round trip
	smallEnd Seq  // SND.NXT after the last segment that was not full (Minshall's Nagle)
	limited  bool // the congestion window is what ended the last sending

	ack           cc.Ack // of the ACK that is being taken, for congestion control
	full, wasFull bool   // it did so in this round trip, in the one before
	held          bool   // something to send waits for its time: see paced
	backlogged    bool   // see SetBacklogged
}

// flight is c.snd, taken from the pool if there was none.
func (c *Conn) flight() *flight {
	if c.snd == nil {
		f, _ := c.cfg.flights.Get().(*flight)
		if f == nil {
			f = new(flight)
		}
		f.queue.SetPool(c.cfg.Buffers)
		f.board.reset(c.sndUna)
		f.recovery = recovery{point: c.sndUna - 1}
		f.sendTimer = sendTimer{timerAt: sched.Never, probeAt: sched.Never, reoAt: sched.Never, stalled: c.now, backoff: c.backoff}
		c.backoff = 0
		f.roundEnd, f.smallEnd, f.limited = c.sndNxt, c.sndUna, false
		f.full, f.wasFull, f.held, f.backlogged = false, false, false, false
		f.board.rate.begin(c)
		c.snd = f
	}
	return c.snd
}

// dropFlight gives the send side back: all is acknowledged, or given up.
func (c *Conn) dropFlight() {
	f := c.snd
	if f == nil {
		return
	}
	c.snd = nil
	if !f.persist {
		c.backoff = f.backoff // RFC 6298 §5.7: until there is a sample, which the next data gives
	}
	c.rate.delivered = f.board.rate.delivered
	f.board.rate.control = nil
	c.writable()
	f.queue.Clear()
	c.cfg.flights.Put(f)
	c.noteLimit()
}

// queueStart is the sequence number of the first byte in the queue: SND.UNA, or behind the SYN.
func (c *Conn) queueStart() Seq {
	if c.is(synOut) {
		return c.iss + 1
	}
	return c.sndUna
}

// queuedFrom is how many bytes are queued from seq on, which is in flight or SND.NXT. (The queue's end is no sequence number to compare
// with: a rope may be longer than half of them.)
func (c *Conn) queuedFrom(seq Seq) int {
	if c.snd == nil {
		return 0
	}
	return max(c.snd.queue.Size()-max(seq.minus(c.queueStart()), 0), 0)
}

// finPending: a FIN is queued and was never sent.
func (c *Conn) finPending() bool { return c.is(finQueued) && !c.is(finSent) }

// SendSpace is how many bytes may be published now; 0 at the limit, and then until a third of it is free (event Writable).
func (c *Conn) SendSpace() int {
	if c.is(sendFull) {
		return 0
	}
	return max(int(c.sendLimit)-c.queueCharge(), 0)
}

// queueCharge is what of the send limit is used, in bytes: chunk capacity, but for chunkSlack, as long as the bytes in it are fewer. Else a
// limit of less than a chunk would be one write for each round trip.
func (c *Conn) queueCharge() int {
	if c.snd == nil {
		return 0
	}
	return max(c.snd.queue.Footprint()-chunkSlack, c.snd.queue.Size())
}

// Write queues all of src for sending by src.Publish (so that a writer may go on filling the same chunk). The error is why it cannot: Err,
// or EPIPE after CloseWrite.
func (c *Conn) Write(now sched.Time, src *buffer.Buffer) error {
	c.tick(now)
	switch {
	case c.state == Closed && c.err != nil:
		return c.err
	case c.state == Closed || c.state == TimeWaiting || c.is(finQueued):
		return syscall.EPIPE
	case src.Size() == 0:
		return nil
	}
	f := c.flight()
	if f.queue.Size() == 0 && c.sndUna == c.sndNxt {
		f.stalled = c.now
	}
	c.checkAppLimited(f)
	src.Publish(&f.queue)
	if c.queueCharge() >= int(c.sendLimit) {
		c.set(sendFull)
	}
	return nil
}

// writable ends sendFull when there is room again.
func (c *Conn) writable() {
	if c.is(sendFull) && c.queueCharge() <= int(c.sendLimit)/3*2 {
		c.clear(sendFull)
		c.events |= Writable
	}
}

// SendQueue is the number of bytes queued and not acknowledged.
func (c *Conn) SendQueue() int {
	if c.snd == nil {
		return 0
	}
	return c.snd.queue.Size()
}

// Unsent is the number of bytes queued and never sent.
func (c *Conn) Unsent() int { return c.queuedFrom(c.sndNxt) }

// SetBuffers changes the limits of send and receive buffer in bytes of chunk capacity; 0 keeps one. A window that has been offered
// stays offered, and the window scale of the handshake bounds what a receive buffer can offer: it is at least two units large.
func (c *Conn) SetBuffers(send, receive int) Events {
	if send > 0 {
		c.sendLimit = int32(min(send, maxBufferLimit))
		full := c.is(sendFull)
		c.clear(sendFull)
		switch {
		case c.SendSpace() == 0:
			c.set(sendFull)
		case full:
			c.events |= Writable
		}
	}
	if receive > 0 {
		c.recvLimit = int32(min(receive, maxBufferLimit))
		c.fitWindow()
		c.prune()
	}
	return c.takeEvents()
}

// CanWrite reports whether the application may queue data: the connection is open, or opening, and CloseWrite was not called.
func (c *Conn) CanWrite() bool {
	return c.state != Closed && c.state != TimeWaiting && !c.is(finQueued)
}
