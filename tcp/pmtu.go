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
// RFC 5927). hard: it ends a connection in SYN-SENT, and only there; otherwise it is remembered (RFC 1122 §4.2.3.9, RFC 5461) and is the
// Err if the connection times out.
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
// without a loss being assumed; the owner checks plausibility with TooBig if the news is ICMP's.
func (c *Conn) SetMSS(now sched.Time, mss int) {
	if c.cfg == nil {
		return
	}
	c.tick(now)
	route := uint16(min(max(mss, c.cfg.minSendMSS()), int(c.ourMSS)))
	if p := c.search(); p != nil {
		route = c.routed(p, route)
	}
	c.usePathMSS(route)
}

// TooBig takes an ICMP message about our segment with sequence number seq: it was too large for the path, which takes segments of mss
// bytes, headers taken off as for SetMSS (RFC 5927 §7.2). True: that is believed, and the owner calls SetMSS. It is not believed at once if
// segments that are larger have arrived: then it may still be that the path has changed, which shows if nothing more is acknowledged;
// event PathNarrowed tells the owner then that the Conn believes it. It is forgotten when seq is acknowledged.
func (c *Conn) TooBig(now sched.Time, seq Seq, mss int) bool {
	c.tick(now)
	if !c.InFlight(seq) {
		return false
	}
	if mss >= int(c.carried) {
		return true
	}
	r := c.seldom()
	r.claim, r.claimSeq = uint16(max(mss, 0)), seq
	return false
}

// confirmClaim is for the expiry of a timer, which tells that nothing was acknowledged for some time: what ICMP has claimed of a segment
// that is still in flight is true. It reports whether there was such a claim.
func (c *Conn) confirmClaim() bool {
	r := c.rare
	if r == nil || r.claim == 0 || r.claimSeq.Before(c.sndUna) {
		return false
	}
	r.narrow, r.claim = r.claim, 0
	c.events |= PathNarrowed
	c.SetMSS(c.now, int(min(r.narrow, c.routeMSS())))
	return true
}

// NarrowedTo is, after the event PathNarrowed, what the path takes, in the unit of SetMSS.
func (c *Conn) NarrowedTo() int {
	if c.rare == nil {
		return 0
	}
	return int(c.rare.narrow)
}

// noteCarried is for an ACK: how large a segment the path has taken. Of a super-segment that is a full one.
func (c *Conn) noteCarried(n *ackNews) {
	options := c.fixedOptions()
	c.carried = max(c.carried, uint16(min(n.largest+options, c.mss())))
	r := c.rare
	if r == nil {
		return
	}
	if r.claim != 0 && r.claimSeq.Before(c.sndUna) {
		r.claim = 0 // RFC 5927 §7.2: it has arrived
	}
	if r.search != nil {
		c.searchAcked(r.search)
	}
}

// usePathMSS makes mss the largest segment for the path.
func (c *Conn) usePathMSS(mss uint16) {
	before := c.payloadMSS()
	c.pathMSS = mss
	c.carried = min(c.carried, mss)
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
