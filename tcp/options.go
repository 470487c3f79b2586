package tcp

import (
	"time"

	"github.com/weirnet/weir/wire"
)

// tsRecentValid is for how long TS.Recent is compared with: half the time in which a clock of milliseconds wraps, less a little
// (RFC 7323 §5.5 says 24 days).
const tsRecentValid = 24 * 24 * time.Hour

const (
	tsOptionLen   = 12 // timestamps with two NOPs before them
	sackOptionLen = 4  // kind, length and two NOPs before the blocks
	sackBlockLen  = 8
)

// mss is the largest segment that peer and path take, options not taken off (RFC 6691).
func (c *Conn) mss() int { return int(min(c.peerMSS, c.pathMSS)) }

// payloadMSS is the payload of a full segment without SACK blocks: what congestion control and loss recovery count in.
func (c *Conn) payloadMSS() int {
	return c.mss() - c.fixedOptions()
}

// sackBlocks is how many SACK blocks the next segment has.
func (c *Conn) sackBlocks() int {
	if !c.is(useSACK) {
		return 0
	}
	n := 0
	if r := c.rare; r != nil && r.dsackLeft != r.dsackEnd {
		n++
	}
	if c.rcv != nil {
		n += len(c.rcv.islands)
	}
	if n == 0 {
		return 0
	}
	used := c.fixedOptions()
	o := c.accECNOption(used, n)
	return min(n, max(wire.TCPMaxOptionsLen-used-accECNLen(&o)-sackOptionLen, 0)/sackBlockLen)
}

// fixedOptions is the option space that timestamps and signature take in each segment.
func (c *Conn) fixedOptions() int {
	n := int(c.authSpace)
	if c.is(useTS) {
		n += tsOptionLen
	}
	return n
}

// dataMSS is the payload of a full segment with the options that it would have now: not a byte is held back for SACK blocks that are
// not there.
func (c *Conn) dataMSS() int {
	n, blocks := c.payloadMSS(), c.sackBlocks()
	if blocks > 0 {
		n -= sackOptionLen + blocks*sackBlockLen
	}
	if c.ecn != nil {
		o := c.accECNOption(c.fixedOptions(), blocks)
		n -= accECNLen(&o)
	}
	return n
}

// putOptions sets the options of a segment after the handshake.
func (c *Conn) putOptions(o *wire.TCPOptions) {
	if c.is(useTS) {
		o.TS, o.TSVal, o.TSEcr = true, timestamp(c.now, c.tsOffset), c.tsRecent
	}
	limit := c.sackBlocks()
	if c.ecn != nil {
		o.AccECN = c.accECNOption(c.fixedOptions(), limit)
	}
	if limit == 0 {
		return
	}
	n := 0
	if r := c.rare; r != nil && r.dsackLeft != r.dsackEnd {
		// RFC 2883 §4: the first block tells once what came twice.
		o.SACK[0] = wire.SACKBlock{Left: uint32(r.dsackLeft), Right: uint32(r.dsackEnd)}
		n = 1
		r.dsackEnd = r.dsackLeft
	}
	if c.rcv != nil {
		n += c.rcv.report(o.SACK[n:limit])
	}
	o.NSACK = uint8(n)
}

// checkTimestamps is RFC 7323's protection against old segments, before anything else is looked at; false if the segment is to be
// dropped.
func (c *Conn) checkTimestamps(seg *Segment) bool {
	if !c.is(useTS) || seg.Flags&wire.RST != 0 { // §5.2: PAWS is not for RST
		return true
	}
	if !seg.Options.TS {
		// §3.2: "If a non-<RST> segment is received without a TSopt, a TCP SHOULD silently drop the segment." Not a SYN: that of a
		// peer which has lost its state must get its challenge ACK.
		return seg.Flags&wire.SYN != 0
	}
	if !c.staleTimestamp(seg.Options.TSVal) {
		return true
	}
	// §5.3 R1: not acceptable; it gets an ACK in reply.
	c.challenge(seg)
	return false
}

// staleTimestamp: TSval is older than TS.Recent, which counts for as long as the timestamp clock cannot have wrapped (RFC 7323 §5.5).
func (c *Conn) staleTimestamp(val uint32) bool {
	return int32(val-c.tsRecent) < 0 && c.now.Sub(c.lastRcv) < tsRecentValid
}

// keepTimestamp is RFC 7323 §4.3 (2): "If: SEG.TSval >= TS.Recent and SEG.SEQ <= Last.ACK.sent, then SEG.TSval is copied to TS.Recent".
func (c *Conn) keepTimestamp(seg *Segment) {
	if seg.Options.TS && c.is(useTS) && seg.Seq.AtOrBefore(c.lastAckSent) && !c.staleTimestamp(seg.Options.TSVal) {
		c.tsRecent = seg.Options.TSVal
	}
}
