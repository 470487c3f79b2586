package tcp

import "github.com/weirnet/weir/buffer"

// CanRead reports whether a read of up to n bytes has enough to return: SO_RCVLOWAT bytes, or n if that is less, or what there is when no
// more can come.
func (c *Conn) CanRead(n int) bool {
	size := c.ReadSize()
	switch {
	case size == 0:
		return false
	case c.rare == nil || size >= min(int(c.rare.rcvLowat), n):
		return true
	}
	// With the window closed, or memory refused, nothing comes before something is read.
	return c.is(finTaken) || !c.state.receives() || c.mode&refused != 0 || c.offered() < c.step()
}

// SetReceiveLowat is SO_RCVLOWAT: Readable comes, and CanRead is true, when so many bytes can be read. At most half of the receive buffer;
// the window is made large enough for it. Output follows.
func (c *Conn) SetReceiveLowat(n int) Events {
	n = min(max(n, 1), int(c.recvLimit)/2)
	before := c.CanRead(maxBufferLimit)
	c.seldom().rcvLowat = uint32(n)
	if need := uint32(min(2*n, int(c.recvLimit), 65535<<c.rcvWScale)); need > c.rcvWnd {
		c.rcvWnd = need
		if c.state.receives() && c.updateDue() {
			c.set(ackNow)
		}
	}
	if !before && c.CanRead(maxBufferLimit) {
		c.events |= Readable
	}
	return c.takeEvents()
}

// SetWindowClamp is TCP_WINDOW_CLAMP: no larger window is offered from now on, in bytes; 0: none. What was offered stays offered.
func (c *Conn) SetWindowClamp(n int) {
	c.seldom().clamp = uint32(min(max(n, 0), maxBufferLimit))
}

// Peek appends references to up to n bytes that can be read, from the byte off on, to dst, and returns how many (MSG_PEEK). They stay to
// be read.
func (c *Conn) Peek(dst *buffer.Buffer, off, n int) int {
	n = min(n, c.ReadSize()-off)
	if off < 0 || n <= 0 {
		return 0
	}
	c.rcv.queue.ShareTo(dst, off, n)
	return n
}

// Refuse is for an owner that has no memory for the data of seg, and gives Input the segment without it. The answer is an ACK at once, as
// for a segment that did not come: the peer then knows that it is to send again, and does not find out by a timeout alone.
func (c *Conn) Refuse(seg *Segment) {
	if c.rcvNxt.Before(seg.Seq+Seq(seg.Payload.Size())) && c.state.receives() {
		c.mode |= refused
		c.set(ackNow)
	}
}
