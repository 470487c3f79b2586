package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
)

// initialQuickAcks is how many ACKs are sent at once at the start of a connection, or after a pause, while the peer's congestion window is
// small and each ACK lets it grow (as Linux does).
const initialQuickAcks = 16

// maxDelayedAck is the longest time for which an ACK waits, unless Config.DelayedAck is more. RFC 9293 §3.8.6.3 (MUST-40): less than 500 ms.
const maxDelayedAck = 200 * time.Millisecond

// leastAckTime is the shortest time for which an ACK waits, and the first.
func (c *Conn) leastAckTime() time.Duration { return min(c.cfg.delayedAck(), 500*time.Millisecond) }

// noteArrival takes from a segment with n bytes of data what it tells about the peer: its segment size, the round trip, and the rhythm in
// which it sends. An ACK waits a little longer than it takes the peer to send the next segment; after a pause of more than an RTO the
// peer begins with a small window again.
func (c *Conn) noteArrival(seg *Segment, n int) {
	c.noteEcho(seg, n)
	if segs := seg.Segs; segs > 1 {
		n = (n + segs - 1) / segs
	}
	if n > int(c.rcvMSS) {
		c.rcvMSS = uint16(min(n, int(c.ourMSS)))
	}
	now, least := clockMillis(c.now), c.leastAckTime()
	if now == c.lastData && time.Duration(c.ato)*time.Millisecond == least {
		return // nothing changes
	}
	gap := c.since(c.lastData)
	c.lastData = now
	ato := time.Duration(c.ato) * time.Millisecond
	switch {
	case ato == 0:
		ato = least
	case gap <= least/2:
		ato = ato/2 + least/2
	case gap < ato:
		ato = min(ato/2+gap, c.rto(nil))
	case gap > c.rto(nil):
		c.quickAcks = initialQuickAcks
	}
	c.ato = uint16(min((ato+time.Millisecond-1)/time.Millisecond, 1<<16-1))
}

// scheduleAck decides about the ACK of data in order: "an ACK SHOULD be generated for at least every second full-sized segment, and MUST
// be generated within 500 ms of the arrival of the first unacknowledged packet" (RFC 5681 §4.2).
func (c *Conn) scheduleAck(now bool) {
	switch {
	case now:
		c.set(ackNow)
	case c.quickAcks > 0 && c.mode&pingPong == 0 || c.rcvNxt.minus(c.lastAckSent) > int(c.rcvMSS):
		c.set(ackDue)
	default:
		c.delayAck()
	}
}

// Pressing reports whether what Output has to send must be sent before the next segment is taken, though it came together with the last
// one: what says that segment's own news, as each ACK of data that is out of order does (RFC 5681 §4.2), which the peer may count. All
// else is better sent once for all segments that came together: one ACK of what is in order acknowledges it all. A stretch ACK, as RFC
// 2525 §2.13 calls it, makes senders slow only that count ACKs and not bytes (RFC 3465), and bursts only where segments come singly: these
// came as a burst. With accurate ECN each ACK tells of marks, by a counter of three bits that few segments may make go round.
func (c *Conn) Pressing() bool {
	return c.is(ackNow|pendSYN|pendRST|pendRSTReply) || c.is(ackDue) && c.ecn != nil && c.ecn.feedback == ECNAccurate
}

// delayAck makes an ACK due after the delayed-ACK time: as long as the peer's rhythm says, but not longer than a round trip, or than 200
// ms (RFC 9293 §3.8.6.3).
func (c *Conn) delayAck() {
	if c.ackAt != sched.Never {
		return
	}
	d, least := time.Duration(c.ato)*time.Millisecond, c.leastAckTime()
	if d > least {
		d = min(d, max(maxDelayedAck, least))
		if c.rtt.srtt > 0 {
			d = min(d, max(c.rtt.srtt, least))
		}
	}
	c.ackAt = c.now.Add(max(d, least))
}

// expireAck: an ACK was delayed in vain. The peer's rhythm is slower than thought, or the reply takes longer.
func (c *Conn) expireAck() {
	c.ackAt = sched.Never
	c.set(ackNow)
	if c.mode&pingPong != 0 {
		c.mode &^= pingPong
		c.ato = uint16(min(c.leastAckTime()/time.Millisecond, 1<<16-1))
		return
	}
	c.ato = uint16(min(2*time.Duration(c.ato), c.rto(nil)/time.Millisecond, 1<<16-1))
}

// countQuickAck: a segment that carries an ACK goes out.
func (c *Conn) countQuickAck() {
	if c.quickAcks > 0 {
		c.quickAcks--
	}
}

// SetQuickAck: on, ACKs are not delayed for some time, and one that waits goes at once; off, they wait for a reply to carry them. As with
// TCP_QUICKACK, either lasts only until the traffic says otherwise. Output follows.
func (c *Conn) SetQuickAck(on bool) {
	if !on {
		c.mode |= pingPong
		return
	}
	c.mode &^= pingPong
	c.quickAcks = initialQuickAcks
	if c.ackAt != sched.Never {
		c.set(ackNow)
	}
}

// QuickAck reports whether ACKs are sent at once now.
func (c *Conn) QuickAck() bool { return c.quickAcks > 0 && c.mode&pingPong == 0 }
