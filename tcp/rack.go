package tcp

import (
	"slices"
	"time"

	"github.com/weirnet/weir/sched"
)

// RACK (RFC 8985 §6) finds losses by time: what was sent long enough before something that has arrived is lost, be it data that was sent
// once or a retransmission. It needs SACK (§4).

// transmission is RFC 8985's (xmit_ts, end_seq). The zero value is before every other.
type transmission struct {
	sent sched.Time
	end  Seq
}

// before is RACK_sent_after(o, t) of §6.2: of what was sent at one instant, the clock may be coarse, sequence numbers tell the order.
func (t transmission) before(o transmission) bool {
	return t.sent < o.sent || t.sent == o.sent && t.end.Before(o.end)
}

// resent is a retransmission. Spans that were sent once are in the order of time as they are in that of sequence numbers; for the others
// the scoreboard keeps a list of these. One stands for those bytes of it that were not acknowledged, deemed lost or sent again since.
type resent struct {
	sent       sched.Time
	begin, end Seq
}

// resentsByTime sorts the list of a scoreboard by time. (By a pointer, as it makes no garbage; slices' sort would be 8 KB of code.)
type resentsByTime scoreboard

func (b *resentsByTime) Len() int           { return len(b.resents) }
func (b *resentsByTime) Less(i, j int) bool { return b.resents[i].sent < b.resents[j].sent }
func (b *resentsByTime) Swap(i, j int)      { b.resents[i], b.resents[j] = b.resents[j], b.resents[i] }

// maxResents bounds that list: there are no more of them than spans that say something new.
const maxResents = 2 * maxSpans

// logResent adds a retransmission of [begin, end) to the list.
func (b *scoreboard) logResent(begin, end Seq, now sched.Time) {
	if last := len(b.resents) - 1; last >= b.resentHead {
		if r := &b.resents[last]; r.sent == now && r.end == begin {
			r.end = end
			return
		}
	}
	if b.resentHead > 0 && len(b.resents) == cap(b.resents) {
		b.resents = b.resents[:copy(b.resents, b.resents[b.resentHead:])]
		b.resentHead = 0
	}
	if len(b.resents)-b.resentHead >= maxResents {
		b.resents = slices.DeleteFunc(b.resents[b.resentHead:], func(r resent) bool { return !b.lives(&r) })
		b.resentHead = 0
	}
	b.resents = append(b.resents, resent{now, begin, end})
}

// lives finds the first span that r is the latest word about, and takes what is before it off r; false if there is none.
func (b *scoreboard) lives(r *resent) bool {
	r.begin = later(r.begin, b.una)
	for i := b.find(r.begin); i < len(b.list) && r.begin.Before(r.end); i++ {
		if s := &b.list[i]; s.sent == r.sent && s.flags&spanAgain != 0 && s.underway() {
			return true
		}
		r.begin = b.list[i].end
	}
	return false
}

// oldestResent is the index of the span, of those sent again and in flight, that was sent first; false if there is none.
func (b *scoreboard) oldestResent() (int, bool) {
	for ; b.resentHead < len(b.resents); b.resentHead++ {
		if r := &b.resents[b.resentHead]; b.lives(r) {
			return b.find(r.begin), true
		}
	}
	b.resents, b.resentHead = b.resents[:0], 0
	return 0, false
}

// loseBeforeTime is the loop of RACK_detect_loss (§6.2, step 5): what was sent before r, and at limit at the latest, is lost. It returns how
// many bytes that is, how many of them were retransmissions, and when the oldest was sent that was sent before r but after limit;
// sched.Never if there is none. Both halves of the board are in the order of time, so that it looks at little more than it marks.
func (b *scoreboard) loseBeforeTime(r transmission, limit sched.Time) (lost, again int, next sched.Time) {
	next = sched.Never
	for i, ok := b.oldestResent(); ok; i, ok = b.oldestResent() {
		s := &b.list[i]
		if !(transmission{s.sent, s.end}).before(r) {
			break
		}
		if s.sent > limit {
			next = s.sent
			break
		}
		again += b.lose(i)
	}
	i := b.head
	if b.lossEnd != b.una {
		i = b.find(b.lossEnd)
	}
	for ; i < len(b.list); i++ {
		s := &b.list[i]
		if s.flags&(spanSacked|spanLost|spanAgain) != 0 {
			continue
		}
		if !(transmission{s.sent, s.end}).before(r) {
			break
		}
		if s.sent > limit {
			next = min(next, s.sent)
			break
		}
		lost += b.lose(i)
	}
	b.lossEnd = b.end()
	if i < len(b.list) {
		b.lossEnd = b.begin(i)
	}
	return lost + again, again, next
}

// loseExpired is RACK_mark_losses_on_RTO (§6.3): "marks the first outstanding segment as lost …; for all the other segments, RACK only
// marks the segment as lost if the time elapsed since the segment was transmitted is at least the sum of the recent RTT and the reordering
// window": those sent at limit at the latest. A segment is at most mss bytes.
func (b *scoreboard) loseExpired(limit sched.Time, mss int) {
	if b.spans() > 0 && b.list[b.head].underway() {
		if b.size(b.head) > mss && b.list[b.head].sent > limit {
			b.split(b.head, b.una+Seq(mss))
		}
		b.lose(b.head)
	}
	for i := b.head; i < len(b.list); i++ {
		if b.list[i].underway() && b.list[i].sent <= limit {
			b.lose(i)
		}
	}
}

// usesRACK: losses are found by time.
func (c *Conn) usesRACK() bool { return c.is(useSACK) && !c.cfg.NoRACK }

// noteDelivered takes steps 2 and 3 of §6.2: which transmission is the last of those that have arrived, its round trip time, and whether
// something has come out of order.
func (c *Conn) noteDelivered(f *flight, n *ackNews) {
	c.noteLatest(f, n)
	// "If Segment.end_seq < RACK.fack AND Segment.retransmitted is FALSE: RACK.reordering_seen = TRUE".
	if n.timed && n.lowest.Before(n.fack) {
		h := c.history()
		h.reorderings++
		h.degree = max(h.degree, (n.fack.minus(n.lowest)-1)/c.payloadMSS()+2)
	}
}

// noteLatest takes the last transmission that has arrived, and its round trip time.
func (c *Conn) noteLatest(f *flight, n *ackNews) {
	if n.last.sent == 0 {
		return
	}
	f.rackRTT = max(c.now.Sub(n.last.sent), leastRTT)
	if f.rack.before(n.last) {
		f.rack = n.last
	}
}

// againMax is for delivery: §6.2, step 2, has an ACK of a segment that was sent again say nothing about its latest transmission if "the
// Timestamp Echo Reply field … indicates the ACK was not acknowledging the last retransmission of the segment", or if less than the least
// round trip time has passed. The first goes for what is acknowledged cumulatively: the echo is of what came at the left edge of the window
// (RFC 7323 §4.3), and tells nothing about what was SACKed, which came behind it. It would always seem to be from before.
func (c *Conn) againMax(f *flight, seg *Segment) sched.Time {
	if f.phase == phaseOpen && len(f.board.resents) == 0 {
		return 0
	}
	at := c.now.Add(-c.rtt.min)
	if o := &seg.Options; c.is(useTS) && o.TS {
		ago := int32(timestamp(c.now, c.tsOffset) - o.TSEcr)
		tick := c.now - c.now%sched.Time(time.Millisecond)
		at = min(at, tick.Add(-time.Duration(max(ago, 0)-1)*time.Millisecond)-1)
	}
	return at
}

// reoPersist is for how many recoveries without a D-SACK a grown reordering window is kept (§6.2, step 4).
const reoPersist = 16

// adaptReordering is the first half of RACK_update_reo_wnd (§6.2, step 4): each round trip with a D-SACK, which tells that something was
// sent again in vain, makes the reordering window grow by a quarter of the least round trip time.
func (c *Conn) adaptReordering(dsack bool) {
	h := c.hist
	if h == nil {
		return
	}
	if h.inRound && h.round.AtOrBefore(c.sndUna) {
		h.inRound = false
	}
	if dsack && !h.inRound {
		h.inRound, h.round = true, c.sndNxt
		h.reoMult = min(h.reoMult+1, 255-1)
		h.reoPersist = reoPersist
	}
}

// calmReordering is the other half, at the end of a recovery.
func (c *Conn) calmReordering() {
	if h := c.hist; h != nil && h.reoPersist > 0 {
		if h.reoPersist--; h.reoPersist == 0 {
			h.reoMult = 0
		}
	}
}

// reoWindow is how much later than others a segment may come before it is lost (§6.2, step 4). Without reordering so far it is 0 in
// recovery, or when DupThresh segments were SACKed. Else it is a number of quarters of the least round trip time, bounded by the smoothed
// one, but not less than the clock can tell: with a coarse clock "RACK's inferences" would be about its ticks.
func (c *Conn) reoWindow(f *flight) time.Duration {
	mult := 1
	if h := c.hist; h != nil {
		mult += int(h.reoMult)
	}
	if !c.reorders() && (f.phase >= phaseFast || c.enoughSACKed(f)) {
		return 0
	}
	return max(min(time.Duration(mult)*c.rtt.min/4, c.rtt.srtt), c.cfg.Granularity)
}

// reorders: the path was seen to.
func (c *Conn) reorders() bool { return c.hist != nil && c.hist.reorderings > 0 }

// enoughSACKed: DupThresh segments were SACKed, or what stands for that many.
func (c *Conn) enoughSACKed(f *flight) bool {
	thresh := c.cfg.reordering()
	return f.board.ranges >= thresh || f.board.sacked > (thresh-1)*c.payloadMSS() || int(f.dupAcks) >= thresh
}

// detectByTime is RACK_detect_loss_and_arm_timer (§6.2, step 5). The timer is set for the first segment whose time has not come, not for the
// last, as the RFC has it to save timers: what is lost is then known at the earliest instant, whatever the order of sending.
func (c *Conn) detectByTime(f *flight) (lost, again int) {
	f.reoAt = sched.Never
	if f.rackRTT == 0 || f.board.inOrder(f.rack) {
		return 0, 0
	}
	wait := f.rackRTT + c.reoWindow(f)
	lost, again, next := f.board.loseBeforeTime(f.rack, c.now.Add(-wait))
	if next != sched.Never {
		f.reoAt = next.Add(wait)
	}
	return lost, again
}

// inOrder: all that is in flight was sent once, and not before r: nothing has overtaken it.
func (b *scoreboard) inOrder(r transmission) bool {
	if b.sacked != 0 || b.resentHead != len(b.resents) {
		return false
	}
	return b.spans() == 0 || !(transmission{b.list[b.head].sent, b.list[b.head].end}).before(r)
}

// expireReordering is the RACK reordering timer.
func (c *Conn) expireReordering(f *flight) {
	n := ackNews{pipe: f.pipe()}
	n.lost, n.lostAgain = c.detectByTime(f)
	c.respond(f, &n)
}
