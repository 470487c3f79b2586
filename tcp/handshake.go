package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// maxWScale is the largest shift of a window (RFC 7323 §2.3); a larger one in a SYN counts as this.
const maxWScale = 14

// defaultMSS is what a peer takes over IPv4 whose SYN has no MSS option (RFC 9293 §3.7.1, MUST-15).
const defaultMSS = 536

// minPeerMSS is the least that we take a peer's MSS option for: small embedded stacks announce 128 and must not be sent more (RFC 9293
// §3.7.1, MUST-16), but 0 or 1 would have us send nothing but headers; 64 leaves 24 bytes beside the longest options.
const minPeerMSS = 64

// minMSS is the least segment size that an ICMP message can talk us into, and that we announce: what 296 bytes of path MTU leave without
// options.
const minMSS = 256

// handshake is what an open has agreed on: a SynRecv hands it to Conn.Accept, and Conn fills one itself for an active open.
type handshake struct {
	iss, irs Seq
	tsOffset uint32 // ours: TSval is the millisecond clock plus this
	tsRecent uint32 // the latest TSval of the peer; valid with ts
	gsoMax   int32
	rtt      uint32 // µs: the round trip of the SYN-ACK, where the segment that completes the handshake comes too late to tell; 0: not known
	sndMSS   uint16 // the peer's announced MSS, made sane: what we may send (the path's limit is ourMSS)
	ourMSS   uint16 // what we announced: the path's limit as well
	window   uint16 // what the SYN-ACK offered, as on the wire (never scaled in a SYN)
	share    share  // of Params: bounds window
	// Shifts; both 0 unless both sides sent the option (RFC 7323 §2.2).
	sndWScale, rcvWScale uint8
	authSpace            uint8 // of Params
	ts, sack, wscale     bool  // both sides sent the option
	ipv6                 bool  // of Params

	sentAt        sched.Time // of the SYN-ACK, for the first RTT sample
	untimed       bool       // sentAt says nothing
	retransmitted bool       // more than one SYN-ACK was sent: no sample (Karn), unless timestamps tell which
	ecn           ecnAgreed
	synLost       bool // retransmitted because the timer expired, not because the peer's SYN came again: RFC 6298 §5.7, RFC 6928 §2
}

// agree takes the options of the peer's SYN or SYN-ACK into h, given what our side is willing to use, and its receive buffer.
func (h *handshake) agree(cfg *Config, buffer int, o *wire.TCPOptions) {
	if o.HasMSS {
		h.sndMSS = max(o.MSS, minPeerMSS)
	}
	h.ts = o.TS && !cfg.NoTimestamps
	if h.ts {
		h.tsRecent = o.TSVal
	}
	h.sack = o.SACKPermitted && !cfg.NoSACK
	h.ts = h.ts && !(h.sack && crowded(h.authSpace))
	h.wscale = o.HasWScale && !cfg.NoWindowScale
	h.sndWScale, h.rcvWScale = 0, 0
	if h.wscale {
		h.sndWScale, h.rcvWScale = min(o.WScale, maxWScale), windowScale(buffer)
	}
}

// newHandshake is a passive open that has agreed on nothing yet.
func newHandshake(irs Seq, p Params) handshake {
	return handshake{
		iss: p.ISS, irs: irs, tsOffset: p.TSOffset, gsoMax: int32(min(p.GSOMax, 1<<30)), ourMSS: announcedMSS(p.MSS), sndMSS: p.peerMSS(), authSpace: uint8(p.AuthSpace), ipv6: p.IPv6,
		share: shareOf(p.Share),
	}
}

// crowded: with signatures of this size and timestamps no SACK block would have room. Then the timestamps give way, as with Linux.
func crowded(authSpace uint8) bool {
	return int(authSpace)+tsOptionLen+sackOptionLen+sackBlockLen > wire.TCPMaxOptionsLen
}

// synOptions are the options of our SYN: all that the configuration allows.
func (c *Conn) synOptions(o *wire.TCPOptions) {
	*o = wire.TCPOptions{HasMSS: true, MSS: c.ourMSS, SACKPermitted: !c.cfg.NoSACK}
	if c.offersTimestamps() {
		o.TS, o.TSVal = true, timestamp(c.now, c.tsOffset)
	}
	if !c.cfg.NoWindowScale {
		o.HasWScale, o.WScale = true, windowScale(int(c.recvLimit))
	}
}

// synAckOptions are the options of our SYN-ACK: only what the peer's SYN offered (RFC 7323 §1.3, RFC 2018 §2), and the MSS.
func (h *handshake) synAckOptions(now sched.Time, o *wire.TCPOptions) {
	*o = wire.TCPOptions{HasMSS: true, MSS: h.ourMSS, SACKPermitted: h.sack}
	if h.ts {
		o.TS, o.TSVal, o.TSEcr = true, timestamp(now, h.tsOffset), h.tsRecent
	}
	if h.wscale {
		o.HasWScale, o.WScale = true, h.rcvWScale
	}
}

// announcedMSS makes Params.MSS what fits an MSS option.
func announcedMSS(mss int) uint16 { return uint16(min(max(mss, minMSS), 65535)) }

// timestamp is TSval at now: a clock of milliseconds (RFC 7323 §5.4) from a secret start.
func timestamp(now sched.Time, offset uint32) uint32 {
	return uint32(uint64(now)/uint64(time.Millisecond)) + offset
}

// offersTimestamps: our SYN does (RFC 7323 §3.2). Beside a signature there is room for them or for SACK.
func (c *Conn) offersTimestamps() bool {
	return !c.cfg.NoTimestamps && (c.cfg.NoSACK || !crowded(c.authSpace))
}
