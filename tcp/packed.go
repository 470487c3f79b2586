package tcp

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// Packed is a SynRecv or a TimeWait at rest: what cannot be told from the configuration and the connection's addresses, without pointers.
// Its owner unpacks it for each step and packs it again.
type Packed [39]byte

// Deadline is the record's.
func (p *Packed) Deadline() sched.Time { return sched.Time(binary.LittleEndian.Uint64(p[:])) }

func (p *Packed) setDeadline(t sched.Time) { binary.LittleEndian.PutUint64(p[:], uint64(t)) }
func (p *Packed) u32(i int) uint32         { return binary.LittleEndian.Uint32(p[i:]) }
func (p *Packed) setU32(i int, v uint32)   { binary.LittleEndian.PutUint32(p[i:], v) }
func (p *Packed) u16(i int) uint16         { return binary.LittleEndian.Uint16(p[i:]) }
func (p *Packed) setU16(i int, v uint16)   { binary.LittleEndian.PutUint16(p[i:], v) }

// packBools and unpackBools keep up to eight answers in a byte.
func packBools(all ...bool) (b byte) {
	for i, yes := range all {
		if yes {
			b |= 1 << i
		}
	}
	return b
}

func unpackBools(b byte, all ...*bool) {
	for i, p := range all {
		*p = b>>i&1 != 0
	}
}

// micros is when the last reply was sent, as it is packed: microseconds, which wrap after 71 minutes.
func micros(t sched.Time) uint32 { return uint32(uint64(t) / uint64(time.Microsecond)) }

// unpackReplied is the latest instant that micros has made this of. One that is just ahead is that of a batch which was faster.
func unpackReplied(now sched.Time, packed uint32) sched.Time {
	ago := micros(now) - packed
	if ahead := -ago; ahead < 60_000_000 {
		return now.Add(time.Duration(ahead) * time.Microsecond)
	}
	return now.Add(-time.Duration(ago) * time.Microsecond)
}

// Pack puts an opened record to rest.
func (r *SynRecv) Pack(p *Packed) {
	p.setDeadline(r.due)
	p.setU32(8, uint32(min(uint64(r.due-r.sentAt)/uint64(time.Microsecond), 1<<32-1)))
	if r.untimed { // by waitsForData: sentAt can be told from due, and is not needed when that is over
		p.setU32(8, r.rtt)
	}
	p.setU32(12, uint32(r.iss))
	p.setU32(16, uint32(r.irs))
	p.setU32(20, r.tsRecent)
	p.setU16(24, r.sndMSS)
	p.setU16(26, r.ourMSS)
	p.setU16(28, r.window)
	p.setU32(30, micros(r.replied))
	p[34] = r.sndWScale | r.rcvWScale<<4
	p[35] = packBools(r.ts, r.sack, r.wscale, r.untimed, r.retransmitted, r.synLost, r.waits)
	p[36] = r.retries
	p[37] = byte(r.ecn.feedback) | r.ecn.peerSYN<<2 | r.ecn.peerAsks<<4
	p[38] = byte(r.ecn.flags)
}

// Unpack makes r the record again. Params are those of Init, but ISS, MSS and PeerMSS do not matter.
func (r *SynRecv) Unpack(cfg *Config, now sched.Time, p *Packed, with Params) {
	*r = SynRecv{handshake: newHandshake(Seq(p.u32(16)), with), options: with.Options, due: p.Deadline(), limit: cfg.synAckRetries(), retries: p[36], open: true}
	r.iss, r.tsRecent = Seq(p.u32(12)), p.u32(20)
	r.sndMSS, r.ourMSS, r.window = p.u16(24), p.u16(26), p.u16(28)
	r.replied = unpackReplied(now, p.u32(30))
	r.sndWScale, r.rcvWScale = p[34]&15, p[34]>>4
	unpackBools(p[35], &r.ts, &r.sack, &r.wscale, &r.untimed, &r.retransmitted, &r.synLost, &r.waits)
	r.ecn = ecnAgreed{feedback: ECNFeedback(p[37] & 3), peerSYN: p[37] >> 2 & 3, peerAsks: p[37] >> 4, flags: ecnFlags(p[38])}
	switch {
	case !r.untimed:
		r.sentAt = r.due.Add(-time.Duration(p.u32(8)) * time.Microsecond)
	case r.waits && r.options != nil:
		r.rtt, r.sentAt = p.u32(8), r.due.Add(-r.options.DeferAccept)
	default:
		r.rtt, r.sentAt = p.u32(8), math.MinInt64
	}
}

// Step tells records apart whose Deadline is equally far away when they are packed: how often the SYN-ACK has timed out, up to where that
// changes nothing any more, or that the peer is to send data.
func (r *SynRecv) Step() int {
	if r.waits {
		return SynSteps - 1
	}
	return min(int(r.retries), SynSteps-2)
}

// SynSteps is how many steps there are: 1 s to 64 s, 120 s, and waiting for data.
const SynSteps = 9

// Pack puts the record to rest.
func (w *TimeWait) Pack(p *Packed) {
	p.setDeadline(w.due)
	p.setU32(8, uint32(w.sndNxt))
	p.setU32(12, uint32(w.rcvNxt))
	p.setU32(16, w.tsRecent)
	p.setU32(20, w.tsOffset)
	p.setU32(24, w.window)
	p.setU32(28, micros(w.replied))
	p.setU16(32, uint16(w.ecn))
	p[34] = w.wscale
	p[35] = packBools(w.ts, w.mortal, w.offers)
}

// Unpack makes w the record again.
func (w *TimeWait) Unpack(cfg *Config, now sched.Time, p *Packed) {
	*w = TimeWait{
		due: p.Deadline(), sndNxt: Seq(p.u32(8)), rcvNxt: Seq(p.u32(12)), tsRecent: p.u32(16), tsOffset: p.u32(20), window: p.u32(24),
		replied: unpackReplied(now, p.u32(28)), ecn: wire.TCPFlags(p.u16(32)), wscale: p[34], length: cfg.timeWait(),
	}
	unpackBools(p[35], &w.ts, &w.mortal, &w.offers)
}
