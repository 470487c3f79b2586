package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// TimeWait is the compact record of a connection in TIME-WAIT: at most 64 bytes, and 39 between steps (Pack).
//
// It acknowledges the peer's FIN again if our last ACK was lost, keeps old duplicates from a new incarnation of the connection, and
// lets one begin that is safe from them. A RST does not end it (RFC 1337 §3, F1), unless Config.NoRFC1337 says so.
type TimeWait struct {
	sndNxt, rcvNxt Seq
	tsRecent       uint32
	tsOffset       uint32
	window         uint32        // bytes
	ecn            wire.TCPFlags // what ACKs tell of marks
	wscale         uint8
	ts             bool // timestamps were in use
	mortal         bool // a RST ends it
	offers         bool // they are by our configuration, so that a next incarnation uses them if its SYN has them
	length         time.Duration
	due            sched.Time
	replied        sched.Time // when the last limited reply was sent
}

// TimeWaitVerdict is what becomes of a record.
type TimeWaitVerdict uint8

const (
	TimeWaitKeep  TimeWaitVerdict = iota
	TimeWaitReply                 // send reply
	// TimeWaitReopen: a SYN that may open a new incarnation (RFC 9293 §3.6.1, RFC 6191): remove the record, treat it as to LISTEN, with
	// NextISS as the least ISS. If nobody listens, Challenge is the answer.
	TimeWaitReopen
	TimeWaitDrop // remove the record
)

// NewTimeWait makes the record of c, which is in TIME-WAIT.
func NewTimeWait(now sched.Time, c *Conn) TimeWait {
	now = max(now, c.now)
	length := c.cfg.timeWait()
	return TimeWait{
		sndNxt: c.sndNxt, rcvNxt: c.rcvNxt,
		tsRecent: c.tsRecent, tsOffset: c.tsOffset,
		window: uint32(max(c.rcvAdv.minus(c.rcvNxt), 0)), wscale: c.rcvWScale,
		ecn: c.lastECN(),
		ts:  c.is(useTS), offers: !c.cfg.NoTimestamps, mortal: c.cfg.NoRFC1337,
		length: length, due: now.Add(length),
		replied: now.Add(-replyInterval),
	}
}

// Deadline is when the record has had its time: remove it then.
func (w *TimeWait) Deadline() sched.Time { return w.due }

// NextISS is the least initial sequence number for a next incarnation of the connection: beyond all that this one has sent
// (RFC 9293 §3.6.1).
func (w *TimeWait) NextISS() Seq { return w.sndNxt }

// reuseAfter lets the timestamp clock tick before a connection's addresses and ports are used again.
const reuseAfter = time.Second

// Reusable reports whether an active open may take the connection's addresses and ports over. That is RFC 6191 seen from the other end:
// both incarnations have timestamps, and the new one's are later than all of the old one's, so that the peer accepts its SYN, and PAWS
// keeps the old one's segments out. Its ISS is to be NextISS or beyond.
func (w *TimeWait) Reusable(now sched.Time) bool {
	return w.ts && w.offers && now.Sub(w.due.Add(-w.length)) >= reuseAfter
}

// Input is SEGMENT ARRIVES for TIME-WAIT (RFC 9293 §3.10.7.4).
func (w *TimeWait) Input(now sched.Time, seg, reply *Segment) TimeWaitVerdict {
	switch {
	case seg.Flags&wire.RST != 0:
		if w.mortal && seg.Seq == w.rcvNxt { // RFC 5961 §3.2
			return TimeWaitDrop
		}
		return TimeWaitKeep
	case w.ts && !seg.Options.TS && seg.Flags&wire.SYN == 0:
		return TimeWaitKeep // RFC 7323 §3.2: "SHOULD silently drop the segment"
	case seg.Flags&(wire.SYN|wire.ACK) == wire.SYN && w.reopens(seg):
		return TimeWaitReopen
	}
	stale := w.ts && seg.Options.TS && int32(seg.Options.TSVal-w.tsRecent) < 0 // PAWS, RFC 7323 §5.3
	if seg.Flags&wire.FIN != 0 && seg.end() == w.rcvNxt && !stale {
		// "The only thing that can arrive in this state is a retransmission of the remote FIN. Acknowledge it, and restart the
		// 2 MSL timeout." Not limited: only the peer knows this number.
		w.due = max(w.due, now.Add(w.length))
		return w.ack(now, reply)
	}
	switch {
	case stale, !acceptable(seg, w.rcvNxt, w.window):
	case seg.Flags&wire.SYN != 0: // RFC 5961 §4
	case seg.Flags&wire.ACK != 0 && w.sndNxt.Before(seg.Ack): // RFC 5961 §5
	default: // not answered, or two ends in TIME-WAIT would never stop
		return TimeWaitKeep
	}
	return w.Challenge(now, reply)
}

// Challenge fills reply with an ACK of what we have (RFC 5961), unless there was one just now. It is for who does not follow TimeWaitReopen.
func (w *TimeWait) Challenge(now sched.Time, reply *Segment) TimeWaitVerdict {
	if now.Sub(w.replied) < replyInterval {
		return TimeWaitKeep
	}
	w.replied = now
	return w.ack(now, reply)
}

// reopens decides by RFC 6191 §2 whether a SYN is newer than all that this incarnation has seen: by its timestamp if both have one; if
// only the new one has timestamps, they protect it (PAWS); else by its sequence number.
func (w *TimeWait) reopens(syn *Segment) bool {
	higher := w.rcvNxt.AtOrBefore(syn.Seq) // than the last number seen
	switch {
	case !w.offers || !syn.Options.TS:
		return higher
	case w.ts:
		newer := int32(syn.Options.TSVal - w.tsRecent)
		return newer > 0 || newer == 0 && higher
	}
	return true
}

// ack fills reply with the ACK of what we have.
func (w *TimeWait) ack(now sched.Time, reply *Segment) TimeWaitVerdict {
	fill(reply, w.sndNxt, w.rcvNxt, wire.ACK|w.ecn, uint16(min(w.window>>w.wscale, 65535)))
	if w.ts {
		reply.Options.TS, reply.Options.TSVal, reply.Options.TSEcr = true, timestamp(now, w.tsOffset), w.tsRecent
	}
	return TimeWaitReply
}
