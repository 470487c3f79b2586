package tcp

import (
	"time"

	"github.com/weirnet/weir/wire"
)

// What was sent again in vain says that nothing was lost, and that the congestion window was reduced for no reason. Three things tell: the
// echoed timestamp of the first transmission (Eifel, RFC 3522), D-SACKs of all that was sent again (RFC 3708), and F-RTO.

// history is what a connection remembers of its losses, and of whatever else slowed it down, beyond the data in flight. It is there once
// there was something.
type history struct {
	_    [0]func() // no ==: its code would be in every program
	undo episode

	// Reordering (RFC 8985 §6.2).
	round      Seq // dsack_round, with inRound
	inRound    bool
	reoMult    uint8 // reo_wnd_mult - 1
	reoPersist uint8 // reo_wnd_persist
	degree     int   // the farthest that a segment has come after others, in segments

	// The tail loss probe (RFC 8985 §7).
	probing    bool // TLP.end_seq is set: to probeEnd
	probeAgain bool // TLP.is_retrans
	unsampled  bool // no RTT sample since the last probe
	probeEnd   Seq

	// Without SACK: how many duplicate ACKs may come of what was sent again in vain, as long as SND.UNA is not beyond expectEnd.
	expected  int
	expectEnd Seq

	rtos, dupAcks, reorderings, probes, probeRecoveries, dsacks, spurious, undos, reneged uint32

	// For Info.
	retransmits, outOfOrder   uint32        // segments
	retransmitted             uint64        // bytes
	timeoutRuns               uint32        // timeouts, those that follow upon one another once
	timeoutBegan, timeoutTime time.Duration // in such runs; when the last began, as a time
	busy, window, buffer      time.Duration // as in ledger: what Conn.busy has no room for, and the parts
}

// episode is a recovery that may turn out to be needless.
type episode struct {
	open    bool
	timeout bool   // it is a timeout's
	begun   bool   // something was sent again
	stamped bool   // stamp is set, and no ACK has come that would tell
	stamp   uint32 // RetransmitTS of RFC 3522 §3.2: the timestamp of the first retransmission
	mark    Seq    // SND.UNA when it began
	end     Seq    // behind the last byte sent again
	left    int    // bytes sent again in it that no D-SACK has told of
	any     bool   // a D-SACK has told of some
}

// history is c.hist, made if there was none.
func (c *Conn) history() *history {
	if c.hist == nil {
		c.hist = new(history)
	}
	return c.hist
}

// beginEpisode is for the beginning of a recovery.
func (c *Conn) beginEpisode(f *flight, timeout bool) {
	u := &c.history().undo
	*u = episode{open: true, timeout: timeout, mark: c.sndUna, end: c.sndUna, left: f.board.rtx}
	if u.left > 0 {
		u.end = c.sndNxt // what an earlier recovery has sent again, and is not acknowledged, counts as well
	}
}

// noteResent is for what is sent again in it: up to end, n bytes.
func (c *Conn) noteResent(end Seq, n int) {
	h := c.hist
	if h == nil || !h.undo.open {
		return
	}
	u := &h.undo
	u.left += n
	if !u.begun {
		u.begun, u.stamped, u.stamp = true, c.is(useTS), timestamp(c.now, c.tsOffset)
	}
	u.end = later(u.end, end)
}

// takeDSACK tells whether the first SACK block of seg is about what came twice: below SEG.ACK, or part of the second block (RFC 2883 §4).
func (c *Conn) takeDSACK(seg *Segment) bool {
	o := &seg.Options
	if o.NSACK == 0 || !c.is(useSACK) {
		return false
	}
	left, right := Seq(o.SACK[0].Left), Seq(o.SACK[0].Right)
	if !left.Before(right) || right.minus(left) > int(c.maxSndWnd) || c.sndUna.minus(right) > int(c.maxSndWnd) {
		return false
	}
	if seg.Ack.Before(right) {
		if o.NSACK == 1 || left.Before(Seq(o.SACK[1].Left)) || Seq(o.SACK[1].Right).Before(right) || c.sndNxt.Before(right) {
			return false
		}
	}
	h := c.history()
	h.dsacks++
	u := &h.undo
	if u.open && u.mark.AtOrBefore(left) && right.AtOrBefore(u.end) {
		u.left -= right.minus(left)
		u.any = true
		if !u.timeout && h.reorderings == 0 {
			h.reorderings++ // both have arrived: what duplicate ACKs said was reordering
		}
	}
	return true
}

// needless tells whether an ACK shows the recovery to be so.
func (c *Conn) needless(f *flight, n *ackNews, o *wire.TCPOptions) bool {
	h := c.hist
	if h == nil || !h.undo.open {
		return false
	}
	u := &h.undo
	if u.any && u.left <= 0 {
		return true // RFC 3708: all that was sent again has arrived twice
	}
	if !u.stamped || n.acked == 0 || f.phase < phaseFast {
		return false
	}
	if int32(timestamp(n.head, c.tsOffset)-u.stamp) < 0 {
		return false // the ACK is of what was sent last before this recovery, perhaps again by the one before: its echo tells about that
	}
	// RFC 3522 §3.2, steps 4 and 5: the first acceptable ACK after the retransmission echoes an earlier timestamp. One with a D-SACK is of
	// the retransmission, whatever it echoes: the ACKs of the original were lost (step 5).
	// And one of all that is outstanding may be, if the peer has never sent a D-SACK: it may not know how to.
	u.stamped = false
	if !o.TS || n.dsack || h.dsacks == 0 && c.sndUna == c.sndNxt {
		return false
	}
	if int32(o.TSEcr-u.stamp) >= 0 {
		f.frto = frtoOff // F-RTO would ask the same
		return false
	}
	if u.timeout {
		// Without SACK there is no D-SACK to tell a slow ACK from one that was lost, whose echo is as old as the RTO was long.
		if ms := int32(timestamp(c.now, c.tsOffset) - o.TSEcr); ms > 0 && c.is(useSACK) {
			c.rtt.adapt(time.Duration(ms) * time.Millisecond)
		}
	} else {
		h.reorderings++
	}
	return true
}

// undo is the response to a needless recovery (RFC 4015 §3.1, steps 8 to 11; RFC 9438 §4.9): the windows of before, nothing is lost, and
// the RTO is not backed off. If the ACK that shows it tells of marks as well, the windows stay reduced (step 9), for these.
func (c *Conn) undo(f *flight, marked bool) {
	h := c.history()
	h.undos++
	if h.undo.timeout {
		h.spurious++
	}
	h.undo.open = false
	if marked {
		c.cc.Recovered(c.now)
	} else {
		c.cc.Undo(c.now)
		c.withdrawCWR()
	}
	if f == nil {
		return
	}
	c.expectDuplicates(f)
	if !f.persist { // whose backoff is its own
		f.backoff, f.expiries = 0, 0
	}
	if f.phase >= phaseFast {
		f.phase, f.frto = phaseOpen, frtoOff
		f.dupAcks, f.dupBytes = 0, 0
		f.board.restore()
	}
	c.hastenTimer(f)
}
