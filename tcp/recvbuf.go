package tcp

import (
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
)

// readerPause is a time for which a reader may be away without falling behind: when a round trip is shorter, the window is tuned so
// that the sender can go on for as long.
const readerPause = 10 * time.Millisecond

// chunkSlack is the chunk capacity that a buffer may hold beyond its limit because the chunks at its ends are filled only in part. It is
// what makes a limit of less than a few chunks of use.
const chunkSlack = 32 << 10

// ReadSize is the number of bytes that can be read.
func (c *Conn) ReadSize() int {
	if c.rcv == nil {
		return 0
	}
	return c.rcv.queue.Size()
}

// InOrder reports whether the data of seg begins where what was received ends, or before: with it the application can read on.
func (c *Conn) InOrder(seg *Segment) bool { return seg.Seq.AtOrBefore(c.rcvNxt) }

// Read detaches up to n bytes to dst, copying nothing, and returns how many. The window is not given back until ReadDone.
func (c *Conn) Read(dst *buffer.Buffer, n int) int {
	if c.rcv == nil {
		return 0
	}
	got := c.rcv.queue.MoveTo(dst, n)
	c.rcv.held += got
	if c.mode&urgentIn != 0 {
		c.UrgentAhead()
	}
	return got
}

// ReadDone gives the window for n read bytes back; true if an ACK should go out for it (call Output): a window update, or one that the peer
// may be waiting for.
func (c *Conn) ReadDone(now sched.Time, n int) bool {
	c.tick(now)
	if in := c.rcv; in != nil {
		in.held = max(in.held-n, 0)
		c.dropInflow()
	}
	if !c.state.receives() || !c.updateDue() && !c.peerWaits() && c.mode&refused == 0 {
		return false
	}
	c.mode &^= refused // there may be memory again: the peer is told at once where to go on
	c.set(ackNow)
	return true
}

// notePush: the peer has sent all that it had, and may have stopped for an answer or, by Nagle's algorithm, for our ACK.
func (c *Conn) notePush() {
	if c.is(asked) {
		c.clear(replies)
		c.set(askedAgain)
	}
	c.set(pushed | asked)
}

// noteReply: we send data. If that is soon after the peer's came, it was likely a reply, and the next one will carry an ACK as well.
func (c *Conn) noteReply() {
	if c.is(asked) && !c.is(askedAgain) {
		c.set(replies)
	}
	c.clear(asked | askedAgain)
	if c.ato > 0 && c.since(c.lastData) < time.Duration(c.ato)*time.Millisecond {
		c.mode |= pingPong
	}
}

// peerWaits: the application has read all there is, and the end of that, where the peer stopped, is not acknowledged. More may be ready
// there and wait for the ACK, by Nagle's algorithm (RFC 9293 §3.7.4) or for want of send buffer: it would come a delayed ACK later, every
// time. But an application that last has answered a single such segment will do so again, and the answer carries the ACK.
func (c *Conn) peerWaits() bool {
	return c.ackAt != sched.Never && c.is(pushed) && (!c.is(replies) || c.is(finQueued)) && c.unread() == 0
}

// EOF: everything was read and the peer has sent its FIN (or CloseRead was called).
func (c *Conn) EOF() bool { return c.ReadSize() == 0 && c.is(finTaken|readClosed) }

// charged is the chunk capacity that the receive side occupies, in bytes.
func (c *Conn) charged() int {
	if c.rcv == nil {
		return 0
	}
	return c.rcv.queue.Footprint() + c.rcv.held + c.rcv.charged
}

// promised is how many bytes the buffer has to hold: its limit or, if that has become less, what the peer was offered before, of which none is
// taken back (RFC 9293 §3.8.6).
func (c *Conn) promised() int { return max(int(c.recvLimit), c.unread()+c.offered()) }

// deliver takes data that begins at RCV.NXT, and what it makes contiguous with it.
func (c *Conn) deliver(data *buffer.Buffer) {
	n := data.Size()
	c.rcvNxt += Seq(n)
	in := c.inflow()
	if c.is(readClosed) {
		data.Clear()
	}
	readable := c.CanRead(maxBufferLimit)
	packInto(&in.queue, data, int(c.recvLimit)-c.charged())
	if len(in.islands) > 0 {
		next := in.take(c.cfg, c.rcvNxt)
		n += next.minus(c.rcvNxt)
		c.rcvNxt = next
	}
	c.bytesReceived += uint64(n)
	if c.is(readClosed) {
		c.discard()
	}
	if !readable && c.CanRead(maxBufferLimit) {
		c.events |= Readable
	}
	c.prune()
	c.tuneWindow()
}

// packInto moves data to the end of queue. The peer may send what it was offered, however little of its chunks that fills: if they are more
// than there is room for, in bytes of capacity, the data is copied into others.
func packInto(queue, data *buffer.Buffer, room int) {
	if chunks := data.Footprint(); chunks > room && queue.AppendCost(data.Size()) < chunks {
		data.Apply(queue.Append)
		data.Clear()
	}
	queue.Queue(data)
}

// prune keeps what is out of order within the memory that the queue leaves: of twice what was promised, for what came while there was room
// was not packed.
func (c *Conn) prune() {
	if in := c.rcv; in != nil && len(in.islands) > 0 {
		in.prune(c.cfg, max(2*c.promised()+chunkSlack-in.queue.Footprint()-in.held, 0))
		c.dropInflow()
	}
}

// tuneWindow doubles the window at the end of a round in which it was filled quickly, and the application has read at least half as
// much. A round is the time in which as much as a window is received: a round trip if the window is what limits the sender. One of up to
// four round trips counts as well, so that a sender in slow start is never stopped by the window.
func (c *Conn) tuneWindow() {
	if c.rcvNxt.Before(c.tuneMark) {
		return
	}
	read := c.rcvNxt - Seq(c.unread())
	c.endRound(c.since(c.tuneAt))
	if c.quickRound() && read.minus(c.tuneRead) >= int(c.rcvWnd/2) {
		c.doubleWindow()
	}
	c.startRound()
}

// tuneBehindHole does the same when the window is filled behind a hole, and the application has read what is before it: then it is the
// hole that keeps it from reading, and the sender, who takes a round trip or more to fill it, must not be stopped by the window for as
// long. Three quarters of a window are enough: the ACKs that tell of more need a round trip, too.
func (c *Conn) tuneBehindHole() {
	in := c.rcv
	if in == nil || len(in.islands) == 0 || c.unread() > int(c.rcvWnd/4) {
		return
	}
	filled := in.islands[len(in.islands)-1].end.minus(c.tuneMark - Seq(c.rcvWnd))
	if filled >= int(c.rcvWnd/4*3) && c.quickRound() {
		c.doubleWindow()
		c.startRound()
	}
}

// quickRound: this round has not lasted for longer than a sender takes that the window may be limiting.
func (c *Conn) quickRound() bool { return c.since(c.tuneAt) <= max(4*c.roundTrip(), readerPause) }

// doubleWindow makes the window twice as large, within its limits.
func (c *Conn) doubleWindow() {
	c.rcvWnd = max(c.rcvWnd, min(2*c.rcvWnd, uint32(c.recvLimit), uint32(c.recvShare.bytes()), 65535<<c.rcvWScale))
}

// roundTrip is the longer of what sending and receiving say about the round trip: a connection that only receives has had no sample but
// that of the handshake for sending, and the way may have become longer since.
func (c *Conn) roundTrip() time.Duration {
	return max(c.rtt.srtt, time.Duration(c.rcvRTT)*time.Millisecond)
}

// noteEcho takes from full segments of data what they echo: the peer sent them when it had our ACK with that timestamp. Of a round the
// least sample counts: in the others the peer waited for something.
func (c *Conn) noteEcho(seg *Segment, n int) {
	o := &seg.Options
	if !o.TS || o.TSEcr == 0 || !c.is(useTS) || n < int(c.rcvMSS) {
		return
	}
	if ms := timestamp(c.now, c.tsOffset) - o.TSEcr; ms < 1<<16 {
		if low := uint16(max(ms, 1)); c.rcvRTTLow == 0 || low < c.rcvRTTLow {
			c.rcvRTTLow = low
		}
	}
}

// endRound takes the round's sample: the least echo or, without timestamps, the time in which a window came. That is longer than a round
// trip if the window is not what limits the peer, so that it counts only in part when it is more than before.
func (c *Conn) endRound(took time.Duration) {
	if c.rcvRTTLow > 0 {
		c.rcvRTT, c.rcvRTTLow = c.rcvRTTLow, 0
		return
	}
	if c.is(useTS) {
		return
	}
	ms := uint16(min(max(took/time.Millisecond, 1), 1<<16-1))
	if c.rcvRTT == 0 || ms < c.rcvRTT {
		c.rcvRTT = ms
		return
	}
	c.rcvRTT += (ms - c.rcvRTT + 7) / 8
}

// window is the most that may be offered when nothing is unread, in bytes: as tuned, as the stack's memory has it, as the application
// clamps it; but never less than two units of the window field.
func (c *Conn) window() int {
	w := min(int(c.rcvWnd), c.recvShare.bytes())
	if c.rare != nil && c.rare.clamp > 0 {
		w = min(w, int(c.rare.clamp))
	}
	return max(w, min(2<<c.rcvWScale, int(c.rcvWnd)))
}

// firstWindow is the window of SYN and SYN-ACK, which is not scaled. When one is sent again, it offers no less than before, whatever has
// become of the memory (RFC 9293 §3.8.6, SHLD-14).
func (c *Conn) firstWindow() uint16 {
	w := min(int(c.recvLimit), c.recvShare.bytes())
	if c.rare != nil && c.rare.clamp > 0 {
		w = min(w, int(c.rare.clamp))
	}
	return initialWindow(max(w-c.ReadSize(), c.offered())) // data may have come with the peer's SYN
}

// startRound begins a round of window tuning.
func (c *Conn) startRound() {
	c.tuneAt, c.tuneRead = clockMillis(c.now), c.rcvNxt-Seq(c.unread())
	c.tuneMark = c.rcvNxt + Seq(c.rcvWnd)
}

// unread is the bytes received in order that the application has not finished reading.
func (c *Conn) unread() int {
	if c.rcv == nil {
		return 0
	}
	return c.rcv.queue.Size() + c.rcv.held
}

// memory is how much payload the receive buffer has room for: its free chunk capacity, as well used as that of the data in the queue.
func (c *Conn) memory() int {
	const enough = 16 << 10
	if in := c.rcv; in != nil && in.queue.Size() >= enough {
		c.rcvPacking = uint8(max(min(int64(in.queue.Size())*255/int64(in.queue.Footprint()), 255), 255/4))
	}
	return int(int64(max(int(c.recvLimit)-c.charged(), 0)) * int64(c.rcvPacking) / 255)
}

// room is the window, in bytes, that there is space for. When all has been read it is the whole window, however badly chunks were used
// before (deliver copes with that): with less, a sender that waits for half of the largest window it ever saw (RFC 9293 §3.8.6.2.1) would
// wait for its override timeout each time, and if it is less than a step, the window would never open again.
func (c *Conn) room() int {
	if c.charged() == 0 {
		return c.window()
	}
	return max(min(c.window()-c.unread(), c.memory()), 0)
}

// fitWindow keeps the receive buffer to what the window field can express: not more, and no less than two of its units, or it would say 0
// for ever.
func (c *Conn) fitWindow() {
	c.recvLimit = max(c.recvLimit, 2<<c.rcvWScale)
	c.rcvWnd = min(c.rcvWnd, uint32(c.recvLimit), 65535<<c.rcvWScale)
}

// offered is what is left of the window that was offered, in bytes.
func (c *Conn) offered() int { return max(c.rcvAdv.minus(c.rcvNxt), 0) }

// step is the least by which the offered window grows: "avoid advancing the right window edge … until the available buffer space is at
// least min(Fr·RCV.BUFF, Eff.snd.MSS)" (RFC 9293 §3.8.6.2.2).
func (c *Conn) step() int { return min(c.window()/2, int(c.ourMSS)) }

// updateDue: reading has made so much room that the peer should know at once. While it has half a window left, the next ACK will do.
func (c *Conn) updateDue() bool {
	offered := c.offered()
	if offered > c.window()/2 {
		return false
	}
	gain := c.room() - offered
	if offered < c.step() {
		return gain >= c.step()
	}
	return gain >= max(c.window()/4, c.step())
}

// selectWindow is the window field of the next segment, and what we are then bound to.
func (c *Conn) selectWindow() uint16 {
	unit := 1 << c.rcvWScale
	offered, room := c.offered(), c.room()
	var field int
	if room >= offered+max(c.step(), unit) {
		field = room >> c.rcvWScale
	} else {
		// RFC 9293 §3.8.6, SHLD-14: the right edge does not go back. What is left may lie between two values that the field can
		// express. It is the upper one, for which a quarter of the buffer is kept beyond its limit: it takes many tiny segments, and
		// a reader that is away, before only the lower one is left (RFC 7323 §2.4 has senders bear with that).
		field = offered >> c.rcvWScale
		if up := (offered + unit - 1) >> c.rcvWScale; up<<c.rcvWScale+max(c.charged()-int(c.recvLimit), 0) <= c.memory()+int(c.recvLimit)/4 {
			field = up
		}
	}
	field = min(field, 65535)
	c.rcvAdv = later(c.rcvAdv, c.rcvNxt+Seq(field<<c.rcvWScale))
	return uint16(field)
}

// Footprint is the chunk capacity, in bytes, that send queue, unread and out-of-order data hold.
func (c *Conn) Footprint() int {
	return c.charged() + c.SendFootprint()
}

// SendFootprint is the part of Footprint that the send queue holds.
func (c *Conn) SendFootprint() int {
	if c.snd == nil {
		return 0
	}
	return c.snd.queue.Footprint()
}
