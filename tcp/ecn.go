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

type ecnFlags uint32

const (
	ecnNoECT       ecnFlags = 1 << iota // nothing may be sent as ECT
	ecnControl                          // ECN++: control packets and retransmissions are sent as ECT too
	ecnTakes                            // accurate feedback would have been agreed to
	ecnSentECT                          // our SYN or SYN-ACK was sent as ECT, once
	ecnTwice                            // it was sent more than once
	ecnNoSYNOption                      // our SYN-ACK has no AccECN option (any more)

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
	_ [0]func() // no ==: its code would be in every program
	ecnAgreed
	mode   ECNMode
	asked  ECNFeedback // what our SYN asks for
	cwrEnd Seq         // SND.NXT when the window was last reduced: marks on what was sent before tell nothing new

	deliveredCE, receivedCE uint64 // packets
	accurate                accECN
}

// mayECT reports whether what is sent may be ECN-capable.
func (e *ecnState) mayECT() bool { return e.feedback != ECNNone && !e.is(ecnNoECT) }

// tellECN sets what every segment after the handshake tells of the marks that have come.
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

// lastECN is what the ACKs in TIME-WAIT tell of marks: the state of the connection, for good.
func (c *Conn) lastECN() wire.TCPFlags {
	switch e := c.ecn; {
	case e == nil:
	case e.feedback == ECNAccurate:
		return aceOf(e.accurate.cep)
	case e.feedback == ECNClassic && e.is(ecnDemand):
		return wire.ECE
	}
	return 0
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
	n.ece = marked
	// What was sent before the reduction is acknowledged up to cwrEnd. The peer hears of CWR only with what follows.
	if !e.cwrEnd.Before(c.sndUna) {
		return
	}
	e.cwrEnd = c.sndUna - 1 // kept near, or after 2^31 bytes it would seem to lie ahead
	if marked && f.board.flight()+n.acked > 0 && !e.is(ecnNoResponse) {
		n.marked = true
		c.ecnReduced()
	}
}

// ECNInfo is what Info tells of ECN. Packets and bytes of Delivered are ours, as the peer has told of them; of Received the peer's.
// Classic feedback does not count: DeliveredCE is then what was delivered while the peer told of marks, and bytes are not known.
type ECNInfo struct {
	Feedback                                             ECNFeedback
	Seen                                                 bool // something came as ECT or CE
	Capable                                              bool // what is sent is ECN-capable
	DeliveredCE, ReceivedCE                              uint64
	DeliveredE0Bytes, DeliveredE1Bytes, DeliveredCEBytes uint32 // by AccECN options, modulo 2^24
	ReceivedE0Bytes, ReceivedE1Bytes, ReceivedCEBytes    uint32
}

// ecnInfo fills the part of Info.
func (c *Conn) ecnInfo() (i ECNInfo) {
	e := c.ecn
	if e == nil || e.feedback == ECNNone {
		return i
	}
	i = ECNInfo{Feedback: e.feedback, Seen: e.is(ecnSeen), Capable: e.mayECT(), DeliveredCE: e.deliveredCE, ReceivedCE: e.receivedCE}
	if e.feedback == ECNAccurate {
		a := &e.accurate
		i.DeliveredE0Bytes, i.DeliveredE1Bytes, i.DeliveredCEBytes = a.sent.e0b-firstByteCount, a.sent.e1b-firstByteCount, a.sent.ceb
		i.ReceivedE0Bytes, i.ReceivedE1Bytes, i.ReceivedCEBytes = a.bytes.e0b-firstByteCount, a.bytes.e1b-firstByteCount, a.bytes.ceb
	}
	return i
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

// withdrawCWR: the window was reduced for nothing, and is what it was.
func (c *Conn) withdrawCWR() {
	if c.ecn != nil {
		c.ecn.clear(ecnPendCWR)
	}
}
