package tcp

import (
	"github.com/weirnet/weir/wire"
)

// urgentAhead: urgent data follows seq, or begins there.
func (c *Conn) urgentAhead(seq Seq) bool { return c.mode&urgentOut != 0 && seq.Before(c.snd.up) }

// markUrgent sets URG and the urgent pointer while there is urgent data at or behind the segment's begin. The pointer is to the byte that
// follows the urgent one, as all implementations have it and RFC 6093 §4 has made the rule; as far as 16 bits reach.
func (c *Conn) markUrgent(seg *Segment) {
	if c.snd != nil && c.urgentAhead(seg.Seq) {
		seg.Flags |= wire.URG
		seg.Urgent = uint16(min(c.snd.up.minus(seg.Seq), 65535))
	}
}

// takeUrgent is the sixth step of SEGMENT ARRIVES: "Check the URG bit … If the URG bit is set, RCV.UP <- max(RCV.UP,SEG.UP), and signal the
// user that the remote side has urgent data if the urgent pointer (RCV.UP) is in advance of the data consumed." The data itself stays in
// line (RFC 6093 §6), and nothing else depends on the pointer, so that one which leads nowhere does no harm.
func (c *Conn) takeUrgent(seg *Segment) {
	if seg.Flags&wire.URG == 0 || seg.Urgent == 0 {
		return
	}
	up, read := seg.Seq+Seq(seg.Urgent), c.rcvNxt-Seq(c.ReadSize())
	if !read.Before(up) || c.mode&urgentIn != 0 && up.AtOrBefore(c.rare.rcvUp) {
		return
	}
	c.seldom().rcvUp = up
	c.mode |= urgentIn
	c.events |= UrgentData
}

// UrgentAhead is how many bytes are to be read up to and with the urgent one, whether they are here or not (RFC 9293 §3.8.5, MUST-32);
// 0: no urgent data is known of. At 1 the next byte is the urgent one: the reader is at the mark (SIOCATMARK).
func (c *Conn) UrgentAhead() int {
	if c.mode&urgentIn == 0 {
		return 0
	}
	n := c.rare.rcvUp.minus(c.rcvNxt - Seq(c.ReadSize()))
	if n <= 0 {
		c.mode &^= urgentIn
		return 0
	}
	return n
}
