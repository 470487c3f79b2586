package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// The retransmission of SYN-ACKs: after 1 s (RFC 6298 §2.1), then each time after twice as long, synAckRetries times. A record that was
// never answered is so dropped 63 s after the first SYN-ACK.
const (
	synAckRTO     = time.Second
	maxSynAckRTO  = 120 * time.Second
	synAckRetries = 5
)

// replyInterval is the least time between two answers that a compact record gives to what is not a step of its handshake: duplicate
// SYNs, segments outside of the window, challenge ACKs (RFC 5961 §7 asks for a limit).
const replyInterval = 500 * time.Millisecond

// SynRecv is the compact record of a passive open in SYN-RECEIVED: at most 96 bytes, and 39 between steps (Pack). The zero SynRecv needs Init.
//
// It takes the steps of RFC 9293 §3.10.7.4 as far as they concern this state, so that nothing but an acknowledgment of our SYN makes a
// Conn of it. Data that comes with the SYN is not acknowledged (it is sent again).
type SynRecv struct {
	handshake
	options *Options   // for the connection; nil: none
	due     sched.Time // of the next SYN-ACK; Never before Open
	replied sched.Time // when the last SYN-ACK or limited reply was sent
	retries uint8      // SYN-ACKs sent by Expire
	limit   uint8      // of retries
	waits   bool       // Options.DeferAccept: the peer has acknowledged the SYN-ACK, and is to send data
	open    bool
}

// SynVerdict is what becomes of a record.
type SynVerdict uint8

const (
	SynKeep   SynVerdict = iota // nothing more
	SynReply                    // send reply, keep the record
	SynDrop                     // remove the record
	SynAccept                   // the handshake is complete: Conn.Accept with this segment
	SynReset                    // send reply (a RST), remove the record
)

// Init takes a SYN (a segment to LISTEN with SYN, without ACK and RST). Nothing is sent before Open (a request handler decides first:
// retransmitted SYNs are absorbed until then).
func (r *SynRecv) Init(cfg *Config, now sched.Time, syn *Segment, p Params) {
	*r = SynRecv{handshake: newHandshake(syn.Seq, p), due: sched.Never, replied: now, limit: cfg.synAckRetries()}
	r.agree(cfg, 0, &syn.Options)
	r.ecn.noteSYN(syn)
	r.Configure(cfg, p.Options)
}

// Open fills reply with the SYN-ACK and starts its retransmission. Called again it does the same again.
func (r *SynRecv) Open(now sched.Time, reply *Segment) {
	r.open, r.retries = true, 0
	r.sentAt = now
	r.due = now.Add(synAckRTO)
	r.synAck(now, reply)
}

// Opened reports whether Open was called.
func (r *SynRecv) Opened() bool { return r.open }

// Quoted reports whether seq is that of our SYN-ACK, which an ICMP error about it quotes.
func (r *SynRecv) Quoted(seq Seq) bool { return r.open && seq == r.iss }

// Deadline is when Expire wants to be called; Never before Open.
func (r *SynRecv) Deadline() sched.Time { return r.due }

// Expire retransmits the SYN-ACK if it is time to, or gives up. Calling it early does no harm.
func (r *SynRecv) Expire(now sched.Time, reply *Segment) SynVerdict {
	if now < r.due {
		return SynKeep
	}
	if r.waits {
		r.waits = false // no data: the next ACK will do, which the SYN-ACK asks for
		r.due = now.Add(synAckRTO)
		r.synAck(now, reply)
		return SynReply
	}
	if r.retries >= r.limit {
		return SynDrop
	}
	r.retries++
	r.retransmitted, r.synLost = true, true
	r.due = now.Add(min(synAckRTO<<min(r.retries, maxBackoff), maxSynAckRTO))
	r.synAck(now, reply)
	return SynReply
}

// Input is SEGMENT ARRIVES for SYN-RECEIVED after a passive open (RFC 9293 §3.10.7.4). seg is left alone: with SynAccept it is what
// Conn.Accept wants next.
func (r *SynRecv) Input(now sched.Time, seg, reply *Segment) SynVerdict {
	if seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN && seg.Seq == r.irs {
		return r.duplicateSYN(now, seg, reply)
	}
	// First, the timestamp, unless it is a RST: RFC 7323 §3.2 ("SHOULD silently drop" what has none) and §5.3 R1 (PAWS); and the
	// sequence number (RFC 9293).
	stale := false
	if r.ts && seg.Flags&wire.RST == 0 {
		if !seg.Options.TS {
			return SynKeep
		}
		stale = int32(seg.Options.TSVal-r.tsRecent) < 0
	}
	if stale || !acceptable(seg, r.irs+1, uint32(r.window)) {
		if seg.Flags&wire.RST != 0 {
			return SynKeep
		}
		return r.challenge(now, reply)
	}
	// Second, RST: RFC 5961 §3.2, then RFC 9293: back to LISTEN.
	if seg.Flags&wire.RST != 0 {
		if seg.Seq == r.irs+1 {
			return SynDrop
		}
		return r.challenge(now, reply)
	}
	// Fourth, SYN: after a passive open, return to LISTEN.
	if seg.Flags&wire.SYN != 0 {
		return SynDrop
	}
	// Fifth, ACK. Before Open there is nothing that could be acknowledged.
	switch {
	case seg.Flags&wire.ACK == 0 || !r.open:
		return SynKeep
	case seg.Ack == r.iss+1:
		if r.waitsForData(now, seg) {
			return SynKeep
		}
		return SynAccept
	}
	// RFC 9293 §3.10.7.4: "form a reset segment <SEQ=SEG.ACK><CTL=RST> and send it". The record stays.
	fill(reply, seg.Ack, 0, wire.RST, 0)
	return SynReply
}

// waitsForData: the listener wants connections that have data (TCP_DEFER_ACCEPT), and this segment has none. The SYN-ACK is not sent again
// until the time is over.
func (r *SynRecv) waitsForData(now sched.Time, seg *Segment) bool {
	if r.options == nil || seg.Payload.Size() > 0 || seg.Flags&wire.FIN != 0 {
		return false
	}
	end := r.sentAt.Add(r.options.DeferAccept)
	if now >= end {
		return false
	}
	if !r.untimed && !r.retransmitted {
		r.rtt = uint32(min(max(now.Sub(r.sentAt), leastRTT)/time.Microsecond, 1<<32-1))
	}
	r.waits, r.untimed = true, true
	r.due = end
	return true
}

// duplicateSYN answers the peer's SYN, come again, with another SYN-ACK: the first may be lost, and its own timer may be slower than
// the peer's. The network may have duplicated it as well, and so it is not answered at once after a SYN-ACK.
func (r *SynRecv) duplicateSYN(now sched.Time, syn, reply *Segment) SynVerdict {
	if !r.ecn.repeated(syn) {
		r.Refuse(reply)
		return SynReset
	}
	if !r.open || now.Sub(r.replied) < replyInterval {
		return SynKeep
	}
	r.retransmitted = true
	r.synAck(now, reply)
	return SynReply
}

// acceptable is the test of RFC 9293 §3.4: whether part of seg lies in the window of size bytes from next on.
func acceptable(seg *Segment, next Seq, window uint32) bool {
	n := uint32(seg.Len())
	first := uint32(seg.Seq - next)
	if first < window || first == 0 && n == 0 {
		return true
	}
	return n > 0 && uint32(seg.Seq-next)+n-1 < window
}

// challenge fills reply with an ACK of what we have, unless there was an answer just now.
func (r *SynRecv) challenge(now sched.Time, reply *Segment) SynVerdict {
	if !r.open || now.Sub(r.replied) < replyInterval {
		return SynKeep
	}
	r.replied = now
	fill(reply, r.iss+1, r.irs+1, wire.ACK, r.window>>r.rcvWScale)
	if r.ecn.feedback == ECNAccurate {
		reply.Flags |= aceOf(firstCEPackets)
	}
	r.putTimestamp(now, reply)
	return SynReply
}

// Refuse fills reply with the RST that refuses the SYN.
func (r *SynRecv) Refuse(reply *Segment) {
	var seq Seq // RFC 9293 §3.10.7.1: 0 in answer to a segment without ACK
	if r.open {
		seq = r.iss + 1
	}
	fill(reply, seq, r.irs+1, wire.RST|wire.ACK, 0)
}

// synAck fills reply with <SEQ=ISS><ACK=IRS+1><CTL=SYN,ACK> and our options.
func (r *SynRecv) synAck(now sched.Time, reply *Segment) {
	r.replied = now
	fill(reply, r.iss, r.irs+1, wire.SYN|wire.ACK, r.window)
	r.synAckOptions(now, &reply.Options)
	r.ecn.stampSynAck(reply, r.retries)
}

// putTimestamp adds the timestamps option if it was agreed on (RFC 7323 §3.2).
func (r *SynRecv) putTimestamp(now sched.Time, reply *Segment) {
	if r.ts {
		reply.Options.TS, reply.Options.TSVal, reply.Options.TSEcr = true, timestamp(now, r.tsOffset), r.tsRecent
	}
}

// fill makes s an outbound segment without payload and options. The payload of s is left as it is: empty.
func fill(s *Segment, seq, ack Seq, flags wire.TCPFlags, window uint16) {
	s.Seq, s.Ack, s.Flags, s.Window = seq, ack, flags, window
	s.Urgent, s.GSOSize, s.Segs, s.ECN, s.ACE = 0, 0, 0, 0, false
	s.Options = wire.TCPOptions{}
}
