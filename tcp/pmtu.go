package tcp

import (
	"github.com/weirnet/weir/sched"
)

// InFlight reports whether seq is that of something sent and not acknowledged: what a segment quoted by an honest ICMP message has
// (RFC 5927 §4).
func (c *Conn) InFlight(seq Seq) bool {
	return c.state != Closed && c.sndUna.AtOrBefore(seq) && seq.Before(c.sndNxt)
}

// ICMPError reports an ICMP error about our segment with sequence number seq (ignored unless in flight: SND.UNA <= seq < SND.NXT,
// RFC 5927). hard: protocol/port unreachable, prohibited; it ends a connection only in SYN-SENT, otherwise it is remembered
// (RFC 1122 §4.2.3.9, RFC 5461) and is the Err if the connection times out.
func (c *Conn) ICMPError(now sched.Time, seq Seq, err error, hard bool) Events {
	c.tick(now)
	if !c.InFlight(seq) {
		return 0
	}
	if hard && c.state == SynSent {
		c.fail(err)
		return c.takeEvents()
	}
	c.noteReason(err)
	return 0
}

// SetMSS lowers (or raises) the payload a path takes: path MTU less headers (RFC 9293 §3.7.2). What is in flight and larger is sent again
// without a loss being assumed; the owner checks plausibility with InFlight if the news is ICMP's.
func (c *Conn) SetMSS(now sched.Time, mss int) {
	c.tick(now)
	before := c.payloadMSS()
	c.pathMSS = uint16(min(max(mss, minMSS), int(c.ourMSS)))
	after := c.payloadMSS()
	if after == before || c.state == Closed {
		return
	}
	c.cc.SetMSS(after)
	if f := c.snd; f != nil && after < before && c.state.synchronized() && c.sndUna != c.sndNxt {
		f.board.loseLarge(after)
		if f.board.toResend() && f.phase < phaseFast {
			// As after a timeout, so that the duplicate ACKs that this will cause are not taken for losses; but the window stays.
			f.phase, f.point = phaseLoss, c.sndNxt
		}
	}
}
