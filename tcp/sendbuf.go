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

	pushing
	ledger   ledger
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
		f.ledger = ledger{}
		f.board.rate.begin(c)
		f.pushing = pushing{release: c.sndUna, corkAt: sched.Never}
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
	c.keepLedger(f)
	f.board.rate.control = nil
	c.writable()
	f.queue.Clear()
	c.cfg.flights.Put(f)
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

// SendSpace is how many bytes may be published now; 0 at a limit, and then until a good part of it is free (event Writable).
func (c *Conn) SendSpace() int {
	if c.is(sendFull) {
		return 0
	}
	space := c.sendBound() - c.queueCharge()
	if low := c.notSentLowat(); low > 0 {
		space = min(space, c.lowatSpace(low))
	}
	if space <= 0 {
		c.set(sendFull) // also when it is a limit that has become less
	}
	return max(space, 0)
}

// sendBound is the limit of the send queue now: three times what the network takes in a round trip, for what is in flight stays in the
// queue until it is acknowledged (in recovery for longer than a round trip), and the writer goes on when a third is free. So a
// connection whose reader is slow or whose path is thin does not hold the megabytes that a fast one needs. A limit that was set is kept
// to (SetBuffers), within what the stack's memory has left.
func (c *Conn) sendBound() int {
	bound := int(c.sendLimit)
	if c.mode&fixedSend == 0 {
		bound = min(bound, max(3*max(c.cc.Cwnd(), c.sndNxt.minus(c.sndUna)), c.cfg.firstSendBuffer()))
	}
	return min(bound, c.sendShare.bytes())
}

// lowatSpace is what may be queued below a low-water mark of what is unsent: as Linux has it, the mark stops writers who have reached it (its
// ip-sysctl: "sendmsg() will also not add new buffers if the limit is hit"), but who is below it may fill a segment. A mark of less would
// else cut the stream into segments of its size.
func (c *Conn) lowatSpace(low int) int {
	unsent := c.Unsent()
	if unsent >= low {
		return 0
	}
	return max(low, c.dataMSS()) - unsent
}

// notSentLowat is TCP_NOTSENT_LOWAT in bytes; 0: no such limit.
func (c *Conn) notSentLowat() int {
	if c.rare != nil && c.rare.notSentLowat > 0 {
		return int(c.rare.notSentLowat)
	}
	return c.cfg.NotSentLowat
}

// queueCharge is what of the send limit is used, in bytes: chunk capacity, but for chunkSlack, as long as the bytes in it are fewer. Else a
// limit of less than a chunk would be one write for each round trip.
func (c *Conn) queueCharge() int {
	if c.snd == nil {
		return 0
	}
	return max(c.snd.queue.Footprint()-chunkSlack, c.snd.queue.Size())
}

// WriteFlags say how a part of the stream is written.
type WriteFlags uint8

// The flags.
const (
	// MoreToCome: the next write follows soon, and what does not fill a segment waits for it, 200 ms at most (MSG_MORE).
	MoreToCome WriteFlags = 1 << iota
	// Unfinished: the same write goes on at once, or when there is space.
	Unfinished
	// Urgent: the last byte is urgent (MSG_OOB).
	Urgent
)

// Write queues all of src for sending by src.Publish (so that a writer may go on filling the same chunk). The error is why it cannot: Err,
// or EPIPE after CloseWrite.
func (c *Conn) Write(now sched.Time, src *buffer.Buffer) error { return c.WriteWith(now, src, 0) }

// WriteWith is Write with flags.
func (c *Conn) WriteWith(now sched.Time, src *buffer.Buffer, flags WriteFlags) error {
	c.tick(now)
	switch {
	case c.state == Closed && c.reason() != nil:
		return c.reason()
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
	c.noteWrite(f, flags)
	c.SendSpace() // may be none now
	return nil
}

// writable ends sendFull when there is room again: a third of the queue's limit, and half of TCP_NOTSENT_LOWAT.
func (c *Conn) writable() {
	if !c.is(sendFull) || c.queueCharge() > c.sendBound()/3*2 {
		return
	}
	if low := c.notSentLowat(); low == 0 || 2*c.Unsent() < low {
		c.clear(sendFull)
		c.events |= Writable
	}
}

// SetShare says how many bytes of chunk capacity the owner's memory has for each direction of this connection now: queue and window grow
// no further, and an offered window stays offered.
func (c *Conn) SetShare(send, receive int) {
	c.sendShare, c.recvShare = shareOf(max(send, 1)), shareOf(max(receive, 1))
	c.writable()
}

// Squeezed reports whether SetShare is what limits the send queue.
func (c *Conn) Squeezed() bool { return c.sendShare.bytes() < int(c.sendLimit) }

// share is a part of the stack's memory, in KiB.
type share uint16

// noShare is no limit.
const noShare share = 1<<16 - 1

// shareOf is n bytes, but not less than leastShare; 0: no limit.
func shareOf(n int) share {
	if n <= 0 {
		return noShare
	}
	return share(min(max(n, leastShare)>>10, int(noShare)))
}

// bytes is the share in bytes.
func (s share) bytes() int {
	if s == noShare {
		return maxBufferLimit
	}
	return int(s) << 10
}

// TakeEvents returns what Output has changed for the owner: Writable, by TCP_NOTSENT_LOWAT.
func (c *Conn) TakeEvents() Events { return c.takeEvents() }

// leastShare is what a connection has in each direction to make progress with, in bytes.
const leastShare = 16 << 10

// SetNotSentLowat limits what is queued and never sent, in bytes (TCP_NOTSENT_LOWAT): what the application writes late it can still
// decide on. 0: Config's. Below a mark of less than a segment, a segment may be queued.
func (c *Conn) SetNotSentLowat(n int) Events {
	c.seldom().notSentLowat = uint32(min(max(n, 0), maxBufferLimit))
	c.checkSpace()
	return c.takeEvents()
}

// checkSpace sets or clears sendFull after a limit was changed.
func (c *Conn) checkSpace() {
	full := c.is(sendFull)
	c.clear(sendFull)
	if c.SendSpace() > 0 && full {
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

// SetBuffers sets the limits of send and receive buffer in bytes of chunk capacity; 0 keeps one. The send buffer then no longer follows
// the congestion window. A window that has been offered
// stays offered, and the window scale of the handshake bounds what a receive buffer can offer: it is at least two units large.
func (c *Conn) SetBuffers(send, receive int) Events {
	if send > 0 {
		c.sendLimit = int32(min(send, maxBufferLimit))
		c.mode |= fixedSend
		c.checkSpace()
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
