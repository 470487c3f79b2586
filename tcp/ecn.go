package tcp

import (
	"github.com/weirnet/weir/wire"
)

// ECNMode says which kind of Explicit Congestion Notification a connection asks for when it opens, and which it takes if the peer asks.
// Classic is the feedback of RFC 3168, accurate that of RFC 9768 (AccECN). Who asks for one kind, takes it too; who takes accurate
// feedback, takes classic.
type ECNMode uint8

// The modes; in parentheses the value of net.ipv4.tcp_ecn that does the same on Linux.
const (
	ECNDefault      ECNMode = iota // of Options: as Config says; of Config: ECNAccept
	ECNOff                         // neither asks nor takes any (0)
	ECNAccept                      // takes classic (2)
	ECNAsk                         // asks for classic (1)
	AccECNAccept                   // takes accurate (5)
	AccECNAcceptAsk                // takes accurate, asks for classic (4)
	AccECNAsk                      // asks for accurate (3)
)

// asks is the feedback to ask for.
func (m ECNMode) asks() ECNFeedback {
	switch m {
	case ECNAsk, AccECNAcceptAsk:
		return ECNClassic
	case AccECNAsk:
		return ECNAccurate
	}
	return ECNNone
}

// takes is the best feedback to agree to.
func (m ECNMode) takes() ECNFeedback {
	switch m {
	case ECNOff:
		return ECNNone
	case AccECNAccept, AccECNAcceptAsk, AccECNAsk:
		return ECNAccurate
	}
	return ECNClassic
}

// ecn is the mode of a connection with these options.
func (o *Options) ecn(cfg *Config) ECNMode {
	if o != nil && o.ECN != ECNDefault {
		return o.ECN
	}
	if cfg.ECN != ECNDefault {
		return cfg.ECN
	}
	return ECNAccept
}

// ECNFeedback is how the two sides of a connection tell each other of congestion that the network has marked.
type ECNFeedback uint8

// The kinds of feedback.
const (
	ECNNone     ECNFeedback = iota
	ECNClassic              // RFC 3168: once a round trip
	ECNAccurate             // RFC 9768: all that is marked
)

var ecnFeedbackNames = [...]string{"none", "classic", "accurate"}

// String is "none", "classic" or "accurate".
func (f ECNFeedback) String() string { return ecnFeedbackNames[min(int(f), len(ecnFeedbackNames)-1)] }

// aceFlags are the flags that ECN uses: on a SYN or SYN-ACK to negotiate, later as RFC 3168 or as RFC 9768's ACE field.
const aceFlags = wire.AE | wire.CWR | wire.ECE

// ace is the number that the three flags make (RFC 9768 §3.2.2); ECE is the lowest bit.
func ace(f wire.TCPFlags) uint8 { return uint8(f / wire.ECE & 7) }

// aceOf is the flags that make the number n modulo 8.
func aceOf(n uint32) wire.TCPFlags { return wire.TCPFlags(n&7) * wire.ECE }

// Values of the three flags on a SYN or SYN-ACK (RFC 9768 §3.1.2, table 2).
const (
	aceNone        = 0b000 // no ECN
	aceClassicBack = 0b001 // classic, in a SYN-ACK
	aceClassicAsk  = 0b011 // classic, in a SYN
	aceReserved    = 0b101 // in a SYN-ACK: counts as accurate, the SYN as unchanged
	aceAccurateAsk = 0b111 // accurate, in a SYN; in a SYN-ACK the echo of a server that knows no better
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

type ecnFlags uint32

const (
	ecnNoECT   ecnFlags = 1 << iota // nothing may be sent as ECT
	ecnControl                      // ECN++: control packets and retransmissions are sent as ECT too
	ecnTakes                        // accurate feedback would have been agreed to
	ecnSentECT                      // our SYN or SYN-ACK was sent as ECT, once
	ecnTwice                        // it was sent more than once
	ecnSYNLost                      // our SYN-ACK timed out once with an AccECN option, and may not have one again

	// Of a connection that asks.
	ecnPlainSYN   // our SYN was sent without the flags: RFC 3168 §6.1.1.1's fallback
	ecnNoFallback // and that is not to be

	// Classic.
	ecnDemand  // CE came, and no CWR since: every ACK has ECE
	ecnPendCWR // the next new data has CWR

	// Accurate.
	ecnShake      // the pure ACK of the SYN-ACK is owed, in the handshake's encoding
	ecnSkip       // the ACE field of the segment being processed is not a counter, or was taken
	ecnACESeen    // a counter came
	ecnNoResponse // the feedback is not to be believed (RFC 9768 §3.2.2.4)
	ecnLastCE     // the last packet came with CE
	ecnOptOff     // AccECN options are not sent: one was lost
	ecnOptFirst   // the first data segment is to have one
	ecnOptSeen    // the first segment that could have one was looked at
	ecnOptAbsent  // none came where one should have
	ecnOptIgnore  // those that come are zeroed (RFC 9768 §3.2.3.2.4)
	ecnUnmoved    // the option of the segment being processed tells of nothing new
	ecnMixed      // some of what was sent arrived without CE
	ecnSeen       // something came with ECT or CE
)

func (e *ecnState) is(f ecnFlags) bool { return e.flags&f != 0 }
func (e *ecnState) set(f ecnFlags)     { e.flags |= f }
func (e *ecnState) clear(f ecnFlags)   { e.flags &^= f }

// ecnState is what a connection keeps for ECN, as long as it asks for it or has agreed to it.
type ecnState struct {
	ecnAgreed
	mode   ECNMode
	asked  ECNFeedback // what our SYN asks for
	cwrEnd Seq         // SND.NXT when the window was last reduced: marks on what was sent before tell nothing new

	deliveredCE, receivedCE uint64 // packets
	accurate                accECN
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

// ecnSYNTimedOut: the SYN timed out for the n-th time. RFC 3168 §6.1.1.1: a host whose ECN-setup SYN is not answered "MAY re-send the SYN
// with CWR and ECE cleared", as what is in the way may drop them for the flags. AccECN is asked for once more (RFC 9768 §3.1.4.1).
func (c *Conn) ecnSYNTimedOut(n uint8) {
	e := c.ecn
	if e == nil || c.state != SynSent || e.is(ecnNoFallback) || e.asked == ECNNone || e.asked == ECNAccurate && n < 2 {
		return
	}
	e.set(ecnPlainSYN)
}

// ecnSYNReset: RFC 3168 §6.1.1.1: "A host that receives a RST in response to the transmission of an ECN-setup SYN packet MAY resend a SYN
// with CWR and ECE cleared." Once; false if that is not the case.
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
		// RFC 3168 §6.1.1: "A host MUST NOT set ECT on SYN": where one has it, something on the way writes into the field. A SYN that
		// asks for accurate feedback first may have it.
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
		a.flags |= ecnSYNLost
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
		if n == 0 && a.flags&ecnSYNLost == 0 {
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

// recall makes a what it was when a SYN cookie was sent as SYN-ACK: classic is what the cookie says; that AccECN was agreed to, ack, which
// returns the cookie, tells by its ACE field (RFC 9768 §5.1).
func (a *ecnAgreed) recall(cfg *Config, mode ECNMode, classic bool, ack *Segment) {
	*a = ecnAgreed{flags: cfg.ecnFlags(mode) | ecnTwice}
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
	e := &ecnState{ecnAgreed: h.ecn, cwrEnd: c.iss}
	c.ecn = e
	if e.feedback == ECNAccurate {
		e.accurate.begin()
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
	c.ecn = &ecnState{ecnAgreed: a, mode: mode, cwrEnd: c.iss}
	c.ecn.accurate.begin()
	if plain {
		c.ecn.set(ecnNoECT)
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

// mayECT reports whether what is sent may be ECN-capable.
func (e *ecnState) mayECT() bool { return e.feedback != ECNNone && !e.is(ecnNoECT) }

// tellECN sets what every segment after the handshake tells of the marks that have come; probe: the segment is one.
func (c *Conn) tellECN(seg *Segment) {
	e := c.ecn
	if e == nil {
		return
	}
	switch e.feedback {
	case ECNClassic:
		if e.is(ecnDemand) { // RFC 3168 §6.1.3: in all ACKs until CWR comes
			seg.Flags |= wire.ECE
		}
	case ECNAccurate:
		c.tellACE(e, seg)
	}
	if e.is(ecnControl) && e.mayECT() && (e.feedback == ECNAccurate && c.is(useSACK) || seg.Seq != c.sndNxt) {
		// ECN++ (draft-ietf-tcpm-generalized-ecn §3.2): pure ACKs only where their marks are counted, and where ACKs of ACKs are not
		// taken for duplicates (§3.2.3.1); probes with either feedback.
		seg.ECN = wire.ECT0
	}
}

// resendECN is about data that is sent again, from begin on: the first data segment was lost, perhaps for its AccECN option (RFC 9768
// §3.2.3.2.2).
func (c *Conn) resendECN(begin Seq) {
	if e := c.ecn; e != nil && begin == c.iss+1 && e.feedback == ECNAccurate {
		e.set(ecnOptOff)
	}
}

// sendECT is about a segment with data or FIN. RFC 3168 §6.1.4, §6.1.5: only data sent for the first time is ECN-capable, unless ECN++ is
// on. The first new data after the window was reduced tells so by CWR (§6.1.2).
func (c *Conn) sendECT(seg *Segment, n int, again bool) {
	e := c.ecn
	if e == nil {
		return
	}
	if e.mayECT() && (n > 0 && !again || e.is(ecnControl)) {
		seg.ECN = wire.ECT0
	}
	if again || n == 0 {
		return
	}
	e.clear(ecnOptFirst)
	if e.feedback == ECNClassic && e.is(ecnPendCWR) {
		seg.Flags |= wire.CWR
		e.clear(ecnPendCWR)
	}
}

// noteECN takes the codepoint of an acceptable segment and, classic, its CWR flag. What was received before is outside of the window, and
// not counted (RFC 3168 §6.1.5; RFC 9768 §1.3).
func (c *Conn) noteECN(seg *Segment) {
	e := c.ecn
	n := seg.Len()
	if e == nil || n > 0 && (seg.Seq+Seq(n)).AtOrBefore(c.rcvNxt) {
		return
	}
	if seg.ECN != wire.NotECT {
		e.set(ecnSeen)
	}
	switch e.feedback {
	case ECNClassic:
		if seg.Flags&wire.CWR != 0 {
			e.clear(ecnDemand)
			if n > 0 {
				c.set(ackNow) // the peer's window may be as small as a segment: it waits for this ACK
			}
		}
		if seg.ECN == wire.CE && n > 0 {
			e.receivedCE += uint64(max(seg.Segs, 1))
			if !e.is(ecnDemand) {
				e.set(ecnDemand)
				c.set(ackNow)
			}
		}
	case ECNAccurate:
		c.countACE(e, seg)
	}
}

// takeECN takes what an ACK tells of marks on what we have sent, and decides whether the window is to be reduced: once for a window of data
// (RFC 3168 §6.1.2), and not if that was done because of a loss (§6.1.3).
func (c *Conn) takeECN(f *flight, seg *Segment, n *ackNews) {
	e := c.ecn
	if e == nil || e.feedback == ECNNone {
		return
	}
	marked := false
	if e.feedback == ECNClassic {
		marked = seg.Flags&wire.ECE != 0
		if marked && f != nil {
			n.ce = n.bytes
			e.deliveredCE += uint64(c.packetsOf(n.bytes))
		}
	} else {
		marked = c.takeACE(e, f, seg, n)
	}
	if f == nil {
		return
	}
	if f.phase != phaseOpen {
		e.cwrEnd = later(e.cwrEnd, f.point)
	}
	// What was sent before the reduction is acknowledged up to cwrEnd. The peer hears of CWR only with what follows.
	n.ece = marked
	if !e.cwrEnd.Before(c.sndUna) {
		return
	}
	e.cwrEnd = c.sndUna - 1 // kept near, or after 2^31 bytes it would seem to lie ahead
	if marked && f.board.flight()+n.acked > 0 && !e.is(ecnNoResponse) {
		n.marked = true
		c.ecnReduced()
	}
}

// packetsOf is how many packets n bytes of data were, by estimate.
func (c *Conn) packetsOf(n int) int {
	mss := max(c.payloadMSS(), 1)
	return (n + mss - 1) / mss
}

// ecnReduced: the window is reduced now, be it for a mark or for a loss.
func (c *Conn) ecnReduced() {
	if e := c.ecn; e != nil {
		e.cwrEnd = c.sndNxt
		if e.feedback == ECNClassic {
			e.set(ecnPendCWR)
		}
	}
}
