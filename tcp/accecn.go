package tcp

import (
	"github.com/weirnet/weir/wire"
)

// Where the counters of RFC 9768 §3.2.1 begin: not at 0, to be told from what was zeroed on the way.
const (
	firstCEPackets = 5
	firstByteCount = 1 // of ECT(0) and ECT(1); of CE it is 0
)

// byteCountMask is how much of a byte counter an AccECN option has: 24 bits.
const byteCountMask = 1<<24 - 1

// byteCounts are the byte counters of RFC 9768 §3.2.
type byteCounts struct{ e0b, ceb, e1b uint32 }

// Bits of the counters, for sets of them.
const (
	countE0B = 1 << iota
	countCEB
	countE1B
)

// accECN is the counters of a connection with accurate feedback.
type accECN struct {
	_ [0]func() // no ==: its code would be in every program
	// As receiver: what came. cep counts packets with CE.
	cep     uint32
	bytes   byteCounts
	changed uint8 // set of byte counters that have changed at all
	untold  uint8 // that have changed since they were told
	synAck  uint8 // codepoint of the latest SYN-ACK
	fresh   uint8 // packets with CE since the last segment we sent
	quiet   uint8 // segments sent since the last AccECN option
	told    Seq   // RCV.NXT in the last option

	// As sender: what has come of what we sent, by the peer's account.
	sentCEP   uint32
	sent      byteCounts
	cepAtOpt  uint32 // sentCEP at the last option
	estimated uint32 // bytes reported as marked since then, for want of an option
	usual     uint32 // packets that an ACK acknowledges, a moving average, in eighths
	bleached  uint32 // bytes acknowledged in a row of which the options say that no ECT or CE arrived
	rounds    uint8  // round trips in which all came marked
	roundEnd  Seq
	lastAck   Seq // of the segment with the latest feedback
	lastSeq   Seq
	lastTS    uint32
}

func (a *accECN) begin() {
	first := byteCounts{e0b: firstByteCount, e1b: firstByteCount}
	*a = accECN{cep: firstCEPackets, sentCEP: firstCEPackets, cepAtOpt: firstCEPackets, bytes: first, sent: first}
}

// accurateSynAck is what a client takes from the SYN-ACK that agrees to accurate feedback, beside that (RFC 9768 §3.2.2.1 to §3.2.2.3).
func (c *Conn) accurateSynAck(e *ecnState, seg *Segment) {
	a := &e.accurate
	a.synAck = seg.ECN
	if seg.ECN == wire.CE {
		a.cep++ // "from 5 to 6, but no further"
		a.fresh++
		e.receivedCE++
	}
	e.set(ecnShake | ecnOptFirst | ecnSkip)
	a.lastAck, a.lastSeq, a.roundEnd, a.told = seg.Ack, seg.Seq, c.sndNxt, c.rcvNxt
	if o := &seg.Options; o.TS {
		a.lastTS = o.TSVal
	}
	var sent uint8
	if e.is(ecnSentECT) {
		sent = wire.ECT0
	}
	came := codepointOfACE(ace(seg.Flags), sent)
	if came == wire.CE {
		// draft-ietf-tcpm-generalized-ecn §3.2.1: the SYN was marked: little is to be sent at first.
		c.cc.SynLost()
	}
	// Of a SYN that was sent both ways it is not known which one came.
	if mangled(sent, came) && !(e.is(ecnSentECT) && e.is(ecnTwice)) {
		e.set(ecnNoECT)
	}
	e.firstOption(&seg.Options.AccECN)
}

// againSynAck is a SYN-ACK come again: "The TCP Client MUST also use the handshake encoding for the pure ACK of any retransmitted SYN/ACK
// that confirms that the TCP Server supports AccECN" (RFC 9768 §3.2.2.1), for the codepoint of the latest (§3.1.5).
func (c *Conn) againSynAck(seg *Segment) {
	e := c.ecn
	if e == nil || e.feedback != ECNAccurate || e.asked != ECNAccurate || seg.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN|wire.ACK ||
		seg.Seq+1 != c.rcvNxt || seg.Ack != c.iss+1 {
		return
	}
	if n := ace(seg.Flags); n == aceNone || n == aceClassicBack || n == aceAccurateAsk {
		return
	}
	if seg.ECN == wire.CE && e.accurate.synAck != wire.CE && e.accurate.cep == firstCEPackets {
		e.accurate.cep++
		e.receivedCE++
	}
	e.accurate.synAck = seg.ECN
	e.set(ecnShake)
}

// accurateHandshakeAck is what a server takes from the ACK of its SYN-ACK (RFC 9768 §3.2.2.1, table 4).
func (c *Conn) accurateHandshakeAck(e *ecnState, seg *Segment) {
	a := &e.accurate
	a.lastAck, a.lastSeq, a.roundEnd, a.told = c.iss+1, seg.Seq, c.sndNxt, c.rcvNxt
	e.set(ecnOptFirst)
	if seg.Payload.Size() > 0 || seg.Options.NSACK > 0 || seg.Flags&(wire.SYN|wire.FIN) != 0 {
		return // no handshake encoding: a counter
	}
	e.set(ecnSkip)
	e.firstOption(&seg.Options.AccECN)
	n := ace(seg.Flags)
	if n == 0 {
		// {Note 1}: "for the rest of the connection the Server MUST NOT set ECT on outgoing packets and MUST NOT respond to AccECN
		// feedback".
		e.set(ecnNoECT | ecnNoResponse)
		return
	}
	var sent uint8
	if e.is(ecnSentECT) {
		sent = wire.ECT0
	}
	came := codepointOfACE(n, sent)
	if came == wire.CE {
		a.sentCEP++
		a.cepAtOpt++
		e.deliveredCE++
		c.cc.SynLost()
	}
	if mangled(sent, came) && n != 0b001 && !(e.is(ecnSentECT) && e.is(ecnTwice)) {
		e.set(ecnNoECT)
	}
}

// firstOption looks at the AccECN option of the first segment that ought to have one: whether its counters were zeroed (RFC 9768
// §3.2.3.2.4). One that is not there needs no mode of its own (§3.2.3.2.3): each ACK without an option is read with the same caution.
func (e *ecnState) firstOption(o *wire.AccECN) {
	e.set(ecnOptSeen)
	if o.HasE0B() && o.E0B == 0 || o.HasE1B() && o.E1B == 0 {
		e.set(ecnOptIgnore)
	}
}

// countACE counts an acceptable segment (RFC 9768 §3.2), and sees that its marks are soon told of (§3.2.2.5.1).
func (c *Conn) countACE(e *ecnState, seg *Segment) {
	a := &e.accurate
	size, segs := seg.Payload.Size(), uint32(max(seg.Segs, 1))
	var counter *uint32
	var bit uint8
	switch seg.ECN {
	case wire.ECT0:
		counter, bit = &a.bytes.e0b, countE0B
	case wire.ECT1:
		counter, bit = &a.bytes.e1b, countE1B
	case wire.CE:
		counter, bit = &a.bytes.ceb, countCEB
		a.cep += segs
		e.receivedCE += uint64(segs)
		a.fresh = uint8(min(uint32(a.fresh)+segs, 255))
		// "whenever a data packet marked CE arrives after the previous packet was not CE"; and if n CE marks have arrived since the
		// previous ACK, where n is 2 with data to be acknowledged, else 3.
		if size > 0 && !e.is(ecnLastCE) || a.fresh >= 3 || a.fresh >= 2 && (size > 0 || c.lastAckSent != c.rcvNxt) {
			c.set(ackNow)
		}
	}
	e.clear(ecnLastCE)
	if seg.ECN == wire.CE {
		e.set(ecnLastCE)
	}
	if counter != nil && size > 0 {
		*counter += uint32(size)
		a.changed |= bit
		a.untold |= bit
	}
}

// owesShake: the pure ACK in the handshake's encoding goes before anything else.
func (c *Conn) owesShake() bool {
	return c.ecn != nil && c.ecn.is(ecnShake) && c.state.synchronized()
}

// tellACE sets the ACE field: "the three least significant bits of its r.cep counter", or in the ACK of a SYN-ACK how that came (RFC 9768
// §3.2.2). The option was put by putOptions.
func (c *Conn) tellACE(e *ecnState, seg *Segment) {
	a := &e.accurate
	seg.ACE = true
	seg.Flags |= aceOf(a.cep)
	if e.is(ecnShake) {
		seg.Flags = seg.Flags&^aceFlags | aceOf(aceForCodepoint(a.synAck))
		e.clear(ecnShake)
	}
	a.fresh = 0
	if seg.Options.AccECN.Kind == 0 {
		a.quiet = min(a.quiet+1, 255-1)
		return
	}
	a.quiet, a.told = 0, c.rcvNxt
	a.untold = 0
}

// beaconEvery is after how many segments the peer gets an AccECN option although no counter has changed, if it has sent data: only so does
// it learn that all of it arrives as Not-ECT.
const beaconEvery = 8

// accECNOption is the AccECN option of the next segment (RFC 9768 §3.2.3.3), of whose option space used bytes are for others. It must fit
// beside that and two SACK blocks, if there are so many.
func (c *Conn) accECNOption(used, blocks int) (o wire.AccECN) {
	e := c.ecn
	if e == nil || e.feedback != ECNAccurate || e.is(ecnOptOff) || c.cfg.NoECNOption {
		return o
	}
	a := &e.accurate
	first := e.is(ecnOptFirst) && c.snd != nil && c.snd.queue.Size() > 0
	if a.untold == 0 && !first && !e.is(ecnShake) && !(a.quiet >= beaconEvery && a.told != c.rcvNxt) {
		return o
	}
	room := wire.TCPMaxOptionsLen - used
	if blocks > 0 {
		room -= sackOptionLen + min(blocks, 2)*sackBlockLen
	}
	// "Whenever possible, it SHOULD include a field for every byte counter that has changed at some time during the connection";
	// if it is not, those that have changed since the previous option; if not even that, none.
	for _, set := range [...]uint8{a.changed, a.untold} {
		o = orderOf(set)
		if accECNLen(&o) <= room {
			o.E0B, o.CEB, o.E1B = a.bytes.e0b, a.bytes.ceb, a.bytes.e1b
			return o
		}
	}
	return wire.AccECN{}
}

// accECNLen is the length of an AccECN option, padded.
func accECNLen(o *wire.AccECN) int {
	if o.Kind == 0 {
		return 0
	}
	return (2 + 3*int(o.Fields) + 3) &^ 3
}

// orderOf is the shortest option that has all counters of the set, and one in any case.
func orderOf(set uint8) wire.AccECN {
	o := wire.AccECN{Kind: wire.TCPOptionAccECN0, Fields: 1}
	last := uint8(countE1B)
	if set&countE0B == 0 && set&countE1B != 0 {
		o.Kind, last = wire.TCPOptionAccECN1, countE0B
	}
	switch {
	case set&last != 0:
		o.Fields = 3
	case set&countCEB != 0:
		o.Fields = 2
	}
	return o
}

// takeACE takes the feedback of a segment (RFC 9768 §3.2.2.2, §3.2.3.1); it reports whether it tells of new marks. f may be nil.
func (c *Conn) takeACE(e *ecnState, f *flight, seg *Segment, n *ackNews) bool {
	a := &e.accurate
	if e.is(ecnSkip) {
		e.clear(ecnSkip)
		return false
	}
	if c.superseded(a, seg) {
		return false
	}
	if !e.is(ecnOptSeen) {
		e.firstOption(&seg.Options.AccECN)
	}
	if !e.is(ecnACESeen) {
		e.set(ecnACESeen)
		if seg.Flags&aceFlags == 0 {
			// §3.2.2.4: zeroed, or a peer that does not know what was agreed on.
			e.set(ecnNoECT | ecnNoResponse)
		}
	}
	packets := uint32(c.packetsOf(n.bytes))
	marks := (uint32(ace(seg.Flags)) - a.sentCEP) & 7
	bytes, known := e.takeOption(&seg.Options.AccECN)
	marks = a.safeMarks(marks, packets, bytes-min(bytes, a.estimated), known, uint32(c.payloadMSS()))
	a.average(packets)
	a.sentCEP += marks
	e.deliveredCE += uint64(marks)
	if known {
		// §3.2.3.2.5: bytes with CE and no packet with it cannot be.
		if bytes > 0 && a.sentCEP == a.cepAtOpt && packets < 8 {
			e.set(ecnNoECT)
		}
		a.cepAtOpt = a.sentCEP
		n.ce = int(min(bytes-min(bytes, a.estimated), uint32(n.bytes)))
		a.estimated = 0
	} else {
		n.ce = min(int(marks)*c.payloadMSS(), n.bytes)
		a.estimated += uint32(n.ce)
	}
	c.testPath(e, f, n, marks, packets, known)
	return marks > 0 || n.ce > 0
}

// superseded reports whether a segment with later feedback came before this one (RFC 9768 appendix A.1), and remembers this one if not.
func (c *Conn) superseded(a *accECN, seg *Segment) bool {
	o := &seg.Options
	ts := o.TS && c.is(useTS)
	switch {
	case seg.Ack.Before(a.lastAck), seg.Ack == a.lastAck && (ts && int32(o.TSVal-a.lastTS) < 0 || !ts && seg.Seq.Before(a.lastSeq)):
		return true
	}
	a.lastAck, a.lastSeq = seg.Ack, seg.Seq
	if ts {
		a.lastTS = o.TSVal
	}
	return false
}

// takeOption decodes an AccECN option (§3.2.3.1). known: it can be relied on, and bytes more came with CE since the last one.
func (e *ecnState) takeOption(o *wire.AccECN) (bytes uint32, known bool) {
	a := &e.accurate
	if o.Kind == 0 || e.is(ecnOptIgnore) {
		return 0, false
	}
	step := func(has bool, from *uint32, to uint32) uint32 {
		d := (to - *from) & byteCountMask
		if !has || d == 0 || d > byteCountMask/2 { // the latter: older than what is known
			return 0
		}
		*from += d
		e.clear(ecnUnmoved)
		return d
	}
	e.set(ecnUnmoved)
	step(o.HasE0B(), &a.sent.e0b, o.E0B)
	step(o.HasE1B(), &a.sent.e1b, o.E1B)
	bytes = step(o.HasCEB(), &a.sent.ceb, o.CEB)
	return bytes, true
}

// safeMarks is how many packets the peer has newly seen with CE: what the three bits say or, where they may have gone round, the safest
// likely number (RFC 9768 §3.2.2.5.2; appendix A.2).
func (a *accECN) safeMarks(marks, packets, bytes uint32, known bool, mss uint32) uint32 {
	if packets < marks+8 {
		return marks
	}
	most := packets - (packets-marks)&7
	if known {
		// A.2.2: if the bytes came in marks packets, they are no larger than a segment; and if they came in most of them, they would be
		// much smaller than those are usually.
		if bytes <= mss*marks && bytes < most*mss/2 {
			return marks
		}
		return most
	}
	// As many as usual: the peer acknowledges what it has joined, no ACK was lost, and a mark would have made it send one (§3.2.2.5.1).
	if packets*8 <= 2*a.usual {
		return marks
	}
	return most
}

// average keeps the moving average of packets for an ACK.
func (a *accECN) average(packets uint32) {
	if packets == 0 {
		return
	}
	if a.usual == 0 {
		a.usual = packets * 8
		return
	}
	a.usual += packets - a.usual/8
}

// Limits of the tests of the path: bytes of payload in segments, and round trips.
const (
	bleachedSegments = 10
	allMarkedRounds  = 4
)

// testPath looks for codepoints that are written over on the way (RFC 9768 §3.2.2.3): all that we send as ECT arrives as Not-ECT, or all of
// it with CE. Then nothing more is sent as ECT; in the second case the marks mean nothing, and are not acted on.
func (c *Conn) testPath(e *ecnState, f *flight, n *ackNews, marks, packets uint32, option bool) {
	a := &e.accurate
	if packets == 0 || !e.mayECT() || f == nil {
		return
	}
	switch {
	case option && !e.is(ecnUnmoved):
		a.bleached = 0
	case f.phase == phaseOpen:
		a.bleached += uint32(n.bytes)
	}
	if option && a.bleached >= bleachedSegments*uint32(c.payloadMSS()) {
		e.set(ecnNoECT)
		return
	}
	if e.is(ecnMixed) {
		return
	}
	if marks < packets {
		e.set(ecnMixed)
		return
	}
	if a.roundEnd.Before(c.sndUna) {
		a.roundEnd = c.sndNxt
		a.rounds++
		if a.rounds > allMarkedRounds {
			e.set(ecnNoECT | ecnNoResponse)
		}
	}
}
