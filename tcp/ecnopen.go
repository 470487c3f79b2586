package tcp

import (
	"github.com/weirnet/weir/wire"
)

// Values of the three flags on a SYN or SYN-ACK (RFC 9768 §3.1.2, table 2).
const (
	aceNone        = 0b000 // no ECN
	aceClassicBack = 0b001 // classic, in a SYN-ACK
	aceClassicAsk  = 0b011 // classic, in a SYN
	aceAccurateAsk = 0b111 // accurate, in a SYN; in a SYN-ACK the echo of a server that knows no better
	// 0b101 is reserved in a SYN-ACK: it counts as accurate, and the SYN as unchanged (§3.1.3).
)

// aceForCodepoint encodes the codepoint with which a SYN or SYN-ACK came (RFC 9768 §3.1.2 table 2, §3.2.2.1 table 3).
func aceForCodepoint(ecn uint8) uint32 {
	switch ecn & 3 {
	case wire.ECT1:
		return 0b011
	case wire.ECT0:
		return 0b100
	case wire.CE:
		return 0b110
	}
	return 0b010
}

// codepointOfACE decodes it; sent is for those values that tell nothing.
func codepointOfACE(n, sent uint8) uint8 {
	switch n {
	case 0b010:
		return wire.NotECT
	case 0b011:
		return wire.ECT1
	case 0b100:
		return wire.ECT0
	case 0b110:
		return wire.CE
	}
	return sent
}

// mangled reports whether nothing but a fault on the way makes the codepoint sent the one received (RFC 3168 §18; RFC 9768 §3.2.2.3).
func mangled(sent, received uint8) bool {
	switch sent {
	case wire.NotECT, wire.CE:
		return received != sent
	}
	return received == wire.NotECT
}

// ecnAgreed is what a handshake knows of ECN.
type ecnAgreed struct {
	feedback ECNFeedback
	peerSYN  uint8    // codepoint with which the latest SYN of the peer came
	peerAsks uint8    // the three flags of its first one
	flags    ecnFlags // of the first group
}

// beginECN is for an active open: what the SYN is to say.
func (c *Conn) beginECN(o *Options) {
	mode := o.ecn(c.cfg)
	asks := mode.asks()
	if asks == ECNNone && (o == nil || o.ECN == ECNDefault) {
		return // a simultaneous open finds the mode in Config
	}
	c.ecn = &ecnState{mode: mode, asked: asks, cwrEnd: c.iss}
	c.ecn.flags = c.cfg.ecnFlags(mode)
}

// ecnFlags are those that the configuration decides.
func (cfg *Config) ecnFlags(mode ECNMode) ecnFlags {
	var f ecnFlags
	if cfg.ECNControl {
		f |= ecnControl
	}
	if cfg.NoECNOption {
		f |= ecnNoSYNOption
	}
	if cfg.NoECNFallback {
		f |= ecnNoFallback
	}
	if mode.takes() == ECNAccurate {
		f |= ecnTakes
	}
	return f
}

// askECN makes seg an ECN-setup SYN (RFC 3168 §6.1.1) or an AccECN SYN (RFC 9768 §3.1.1).
func (c *Conn) askECN(seg *Segment) {
	e := c.ecn
	if e == nil || e.asked == ECNNone || e.is(ecnPlainSYN) {
		return
	}
	seg.Flags |= wire.CWR | wire.ECE
	if e.asked == ECNAccurate {
		seg.Flags |= wire.AE
		// ECN++ (draft-ietf-tcpm-generalized-ecn §3.2.1): only with accurate feedback could the server tell of CE on a SYN, and not
		// again if such a SYN may have been dropped for its codepoint.
		if e.is(ecnControl) && c.sndNxt == c.iss {
			seg.ECN = wire.ECT0
			e.set(ecnSentECT)
		}
	}
	if c.sndNxt != c.iss {
		e.set(ecnTwice)
	}
}

// ecnSYNTimedOut: the SYN timed out for the n-th time. RFC 3168 §6.1.1.1: a host that gets "no reply to an ECN-setup SYN" may go on
// with SYNs "with CWR and ECE cleared", as what is in the way may drop them for the flags. AccECN is asked for once more (RFC 9768 §3.1.4.1).
func (c *Conn) ecnSYNTimedOut(n uint8) {
	e := c.ecn
	if e == nil || c.state != SynSent || e.is(ecnNoFallback) || e.asked == ECNNone || e.asked == ECNAccurate && n < 2 {
		return
	}
	e.set(ecnPlainSYN)
}

// ecnSYNReset: RFC 3168 §6.1.1.1: "a host that receives a RST in response to the transmission of an ECN-setup SYN packet MAY resend a SYN
// with CWR and ECE cleared". Once; false if that is not the case.
func (c *Conn) ecnSYNReset() bool {
	e := c.ecn
	if e == nil || e.asked == ECNNone || e.is(ecnPlainSYN|ecnNoFallback) {
		return false
	}
	e.set(ecnPlainSYN)
	c.set(pendSYN)
	return true
}

// enterECN takes what the SYN-ACK, seg, says to our SYN (RFC 9768 §3.1.2, table 2). A server that echoes the flags of the SYN, as broken
// ones do, has not understood them.
func (c *Conn) enterECN(seg *Segment) {
	e := c.ecn
	if e == nil {
		return
	}
	n := ace(seg.Flags)
	defer func() { seg.Flags &^= aceFlags }() // which are no feedback
	switch {
	case e.asked == ECNClassic && seg.Flags&(wire.ECE|wire.CWR) == wire.ECE, e.asked == ECNAccurate && n == aceClassicBack:
		e.feedback = ECNClassic
		if e.is(ecnPlainSYN) {
			e.set(ecnNoECT) // RFC 3168 §6.1.1: ECT only if it "has sent no non-ECN-setup SYN"
		}
		if seg.ECN == wire.CE {
			e.set(ecnDemand | ecnSeen) // RFC 5562: the peer's SYN-ACK may be marked
			e.receivedCE++
		}
	case e.asked == ECNAccurate && n != aceNone && n != aceAccurateAsk:
		e.feedback = ECNAccurate
		e.accurate.begin()
		c.accurateSynAck(e, seg)
	default:
		c.ecn = nil
	}
}

// noteSYN keeps what agree has to know of a SYN.
func (a *ecnAgreed) noteSYN(syn *Segment) { *a = ecnAgreed{peerSYN: syn.ECN, peerAsks: ace(syn.Flags)} }

// agree is the server's part of RFC 9768 table 2: what the SYN asks for, and we take.
func (a *ecnAgreed) agree(cfg *Config, mode ECNMode) {
	a.feedback, a.flags = ECNNone, cfg.ecnFlags(mode)
	n := a.peerAsks
	switch takes := mode.takes(); {
	case n == aceNone || takes == ECNNone:
	case takes == ECNAccurate && n != aceClassicAsk:
		// §3.1.3: any other combination MUST be taken "as if the three flags had been set to (1,1,1)".
		a.feedback = ECNAccurate
	case n&aceClassicAsk != aceClassicAsk:
	case a.peerSYN == wire.NotECT || n == aceAccurateAsk:
		// RFC 3168 §6.1.1: "A host MUST NOT set ECT on SYN or SYN-ACK packets": where one has it, something on the way writes into the
		// field. A SYN that asks for accurate feedback first may have it.
		a.feedback = ECNClassic
	}
}

// repeated takes the peer's SYN, come again, as far as ECN goes (RFC 9768 §3.1.5). False: the two contradict each other, which is answered
// with a RST.
func (a *ecnAgreed) repeated(syn *Segment) bool {
	n := ace(syn.Flags)
	switch a.feedback {
	case ECNAccurate:
		if n == aceClassicAsk {
			return false // "MUST reset the connection"
		}
		a.peerSYN = syn.ECN // "MUST feed back the IP-ECN field on the latest valid SYN"
		if n == aceNone {
			a.flags |= ecnNoECT
		}
		a.flags |= ecnNoSYNOption
	case ECNClassic:
		if n == aceNone {
			// RFC 3168 §6.1.1: the peer has sent a "non-ECN-setup SYN", gets a SYN-ACK to suit, and neither side may send ECT.
			a.feedback = ECNNone
		}
		return n == aceNone || n == aceClassicAsk || a.flags&ecnTakes == 0
	}
	return true
}

// stampSynAck sets the ECN parts of a SYN-ACK that is sent for the n-th time, from 0, because it timed out.
func (a *ecnAgreed) stampSynAck(seg *Segment, n uint8) {
	switch a.feedback {
	case ECNNone:
		return
	case ECNClassic:
		seg.Flags |= wire.ECE
	case ECNAccurate:
		// RFC 9768 §3.2.3.2.2: the first retransmission has no AccECN option, those after it not even the flags.
		if n > 1 {
			a.flags |= ecnNoECT | ecnTwice // §3.1.5: a server MUST NOT set ECT any more
			return
		}
		seg.Flags |= aceOf(aceForCodepoint(a.peerSYN))
		if n == 0 && a.flags&ecnNoSYNOption == 0 {
			seg.Options.AccECN = wire.AccECN{Kind: wire.TCPOptionAccECN0, Fields: 3, E0B: firstByteCount, E1B: firstByteCount}
		}
	}
	first := a.flags&(ecnSentECT|ecnTwice) == 0
	if n > 0 || !first {
		a.flags |= ecnTwice
	} else if a.flags&ecnControl != 0 {
		seg.ECN = wire.ECT0 // ECN++ §3.2.2
		a.flags |= ecnSentECT
	}
}

// forget drops what a SYN cookie without timestamps cannot tell.
func (a *ecnAgreed) forget() {
	if a.feedback == ECNClassic {
		a.feedback = ECNNone
	}
}

// recall makes a what it was when a SYN cookie was sent as SYN-ACK: classic is what the cookie says; that AccECN was agreed to, ack, which
// returns the cookie, tells by its ACE field (RFC 9768 §5.1).
func (a *ecnAgreed) recall(cfg *Config, mode ECNMode, classic bool, ack *Segment) {
	*a = ecnAgreed{flags: cfg.ecnFlags(mode)}
	if a.flags&ecnControl != 0 {
		a.flags |= ecnSentECT | ecnTwice // it may have been either way
	}
	switch takes := mode.takes(); {
	case takes == ECNNone:
	case classic:
		a.feedback = ECNClassic
	case takes == ECNAccurate && ack.Payload.Size() == 0 && ace(ack.Flags) > aceClassicBack:
		a.feedback = ECNAccurate
	}
}

// acceptECN takes over from the handshake of a passive open; seg is what has finished it.
func (c *Conn) acceptECN(h *handshake, seg *Segment) {
	if h.ecn.feedback == ECNNone {
		return
	}
	c.respondECN(h.ecn)
	c.finishECN(c.ecn, seg)
}

// finishECN takes what the ACK of our SYN-ACK tells of that.
func (c *Conn) finishECN(e *ecnState, seg *Segment) {
	if e.feedback == ECNAccurate {
		c.accurateHandshakeAck(e, seg)
		return
	}
	if seg.Flags&wire.ECE != 0 {
		// The SYN-ACK was marked: as if the initial window had been (RFC 5562 §3.2).
		c.cc.SynLost()
		e.set(ecnPendCWR)
		e.cwrEnd = c.sndNxt
	}
}

// crossECN is a simultaneous open: "Host A MUST then enter the same feedback mode as it would have entered had it been a responding host"
// (RFC 9768 §3.1.2). seg is the peer's SYN.
func (c *Conn) crossECN(seg *Segment) {
	mode, plain := (*Options)(nil).ecn(c.cfg), false
	if c.ecn != nil {
		mode, plain = c.ecn.mode, c.ecn.is(ecnPlainSYN)
	}
	var a ecnAgreed
	a.noteSYN(seg)
	a.agree(c.cfg, mode)
	if a.feedback == ECNNone {
		c.ecn = nil
		return
	}
	c.respondECN(a)
	if plain {
		c.ecn.set(ecnNoECT)
	}
}

// respondECN is what a responding host agrees to before its SYN-ACK is sent.
func (c *Conn) respondECN(a ecnAgreed) {
	c.ecn = &ecnState{ecnAgreed: a, cwrEnd: c.iss}
	c.ecn.accurate.begin()
}

// synAckAckedECN: the SYN-ACK of a Conn in SYN-RECEIVED is acknowledged.
func (c *Conn) synAckAckedECN(seg *Segment) {
	if e := c.ecn; e != nil && c.is(passive) {
		c.finishECN(e, seg)
	}
}

// crossedSynAck is the SYN-ACK that ends a simultaneous open; its flags are no ACE field (RFC 9768 §3.2.2), and do not change what was
// agreed on.
func (c *Conn) crossedSynAck(seg *Segment) {
	if e := c.ecn; e != nil {
		e.set(ecnSkip)
		if seg.Flags&aceFlags == 0 {
			e.set(ecnNoECT)
		}
		seg.Flags &^= aceFlags
	}
}
