package tcp

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirnet/weir/sched"
)

// check recounts the scoreboard.
func (b *scoreboard) check() error {
	var sacked, lost, rtx, ranges int
	at := b.una
	for i := b.head; i < len(b.list); i++ {
		s := &b.list[i]
		n := s.end.minus(at)
		if n <= 0 {
			return fmt.Errorf("span %d of %d has %d bytes", i-b.head, b.spans(), n)
		}
		switch s.flags &^ spanAgain {
		case 0:
		case spanSacked:
			sacked += n
			ranges++
			if i > b.head && b.list[i-1].flags&spanSacked != 0 {
				return fmt.Errorf("two SACKed spans side by side at %d", i-b.head)
			}
		case spanLost:
			lost += n
			if at.Before(b.resend) {
				return fmt.Errorf("span %d is to be sent again, and begins %d before resend", i-b.head, b.resend.minus(at))
			}
		case spanLost | spanRtx:
			lost += n
			rtx += n
		default:
			return fmt.Errorf("span %d has flags %b", i-b.head, s.flags)
		}
		if s.flags&(spanSacked|spanLost|spanAgain) == 0 && s.end.AtOrBefore(b.lossEnd) {
			return fmt.Errorf("span %d is neither SACKed nor lost nor sent again, and before lossEnd", i-b.head)
		}
		if s.flags&spanAgain != 0 && s.underway() && !slices.ContainsFunc(b.resents[b.resentHead:], func(r resent) bool {
			return r.sent == s.sent && r.begin.Before(s.end) && at.Before(r.end)
		}) {
			return fmt.Errorf("span %d was sent again, and is not in the list", i-b.head)
		}
		at = s.end
	}
	if sacked != b.sacked || lost != b.lost || rtx != b.rtx {
		return fmt.Errorf("counted %d SACKed, %d lost, %d sent again; the board has %d, %d, %d", sacked, lost, rtx, b.sacked, b.lost, b.rtx)
	}
	if ranges != b.ranges {
		return fmt.Errorf("%d ranges were SACKed, counted %d", ranges, b.ranges)
	}
	if len(b.resents) > maxResents+1 {
		return fmt.Errorf("%d retransmissions in the list", len(b.resents))
	}
	if !slices.IsSortedFunc(b.resents[b.resentHead:], func(x, y resent) int { return cmp.Compare(x.sent, y.sent) }) {
		return fmt.Errorf("retransmissions are not in the order of time")
	}
	if b.spans() > maxSpans+2 {
		return fmt.Errorf("%d spans", b.spans())
	}
	return nil
}

// check recounts what is out of order.
func (in *inflow) check(next Seq) error {
	charged := 0
	for i, is := range in.islands {
		if is.end.minus(is.begin) != is.data.Size() || is.data.Size() == 0 {
			return fmt.Errorf("island %d is %d bytes wide and has %d", i, is.end.minus(is.begin), is.data.Size())
		}
		if !next.Before(is.begin) {
			return fmt.Errorf("island %d begins %d behind what it must be apart from", i, is.begin.minus(next))
		}
		next = is.end
		charged += is.data.Footprint()
	}
	if charged != in.charged || len(in.islands) > maxIslands {
		return fmt.Errorf("%d islands, charged %d, counted %d", len(in.islands), in.charged, charged)
	}
	return nil
}

// check is what holds of a connection between any two calls, whatever the peer sends.
func (c *Conn) check() error {
	if c.sndNxt.Before(c.sndUna) || c.rcvAdv.Before(c.rcvNxt) {
		return fmt.Errorf("SND.UNA %d SND.NXT %d RCV.NXT %d window to %d", c.sndUna, c.sndNxt, c.rcvNxt, c.rcvAdv)
	}
	if f := c.snd; f != nil {
		if err := f.board.check(); err != nil {
			return err
		}
		if f.board.una != c.sndUna || f.board.end() != c.sndNxt {
			return fmt.Errorf("the board is [%d, %d), SND.UNA %d, SND.NXT %d", f.board.una, f.board.end(), c.sndUna, c.sndNxt)
		}
		if c.sndUna == c.sndNxt && f.queue.Size() == 0 && !c.finPending() && c.state != SynSent && !c.is(pendSYN) {
			return fmt.Errorf("a flight without anything in it in %v", c.state)
		}
		if end := c.queueStart() + Seq(f.queue.Size()); !c.is(finSent) && end.Before(c.sndNxt) && c.sndNxt != c.iss+1 {
			return fmt.Errorf("SND.NXT %d is behind the queue, %d", c.sndNxt, end)
		}
	} else if c.sndUna != c.sndNxt && c.state != Closed && c.state != TimeWaiting {
		return fmt.Errorf("%d bytes in flight and no flight", c.sndNxt.minus(c.sndUna))
	}
	if in := c.rcv; in != nil {
		if err := in.check(c.rcvNxt); err != nil {
			return err
		}
		if in.queue.Size() == 0 && in.held == 0 && len(in.islands) == 0 {
			return fmt.Errorf("an inflow without anything in it")
		}
	}
	if (c.state == Closed || c.state == TimeWaiting) && (c.snd != nil || c.Deadline() != sched.Never) {
		return fmt.Errorf("%v with a timer or a flight", c.state)
	}
	return nil
}

// checkQuiet is what holds when Output has nothing more: whatever is to be delivered waits for an instant.
func (c *Conn) checkQuiet() error {
	waits := c.sndUna != c.sndNxt || c.Unsent() > 0 || c.snd != nil && c.finPending()
	if c.state != Closed && c.state != TimeWaiting && waits && c.snd.timerAt == sched.Never {
		return fmt.Errorf("%v with %d bytes in flight and %d unsent, and no timer", c.state, c.sndNxt.minus(c.sndUna), c.Unsent())
	}
	return nil
}
