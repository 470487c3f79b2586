package tcp

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// SYN cookies (RFC 4987 §3.6): a listener whose backlog is full answers a SYN without keeping anything of it. All that it will need to
// know is in the SYN-ACK, and comes back in the peer's ACK:
//
//   - the initial sequence number carries when the cookie was made, the peer's MSS as far as a table has it, and a keyed hash over these,
//     the addresses and ports, the peer's initial sequence number and the options;
//   - the low bits of TSval carry the options: window scale, SACK and ECN. Without timestamps there are none (a segment has no room for
//     them), and the connection has no window scaling and no SACK.
//
// All of the sequence number is hidden under another keyed hash, so that a cookie tells no time, and two cookies nothing about each other.

// CookieMode says when a listener answers with SYN cookies.
type CookieMode uint8

const (
	CookiesPressure CookieMode = iota // while the backlog is full
	CookiesAlways
	CookiesNever
)

const (
	cookieTick = 64 * time.Second // a cookie is good for the rest of the tick in which it was made, and for the next one
	// CookieLife is for how long a cookie is good at the most.
	CookieLife = 2 * cookieTick
	// cookieRotation is for how long a key makes cookies. It then checks them for CookieLife more.
	cookieRotation = 10 * time.Minute

	cookieMACBits  = 27 // of the hash in the sequence number; above them 3 for the MSS and 2 for the tick
	cookieMSSBits  = 3
	cookieTickMask = 3

	// A cookie does not tell the window that its SYN-ACK offered, and none of that may be taken back (RFC 9293 §3.8.6): it is always the same,
	// however much memory others hold. The connection's own window then grows no further than its share.
	cookieShare = 0 // no limit

	cookieOptionBits = 6 // of TSval, which so tells up to 64 ms less than the time
	cookieNoWScale   = 15
	cookieSACK       = 1 << 4
	cookieECN        = 1 << 5
	cookieTS         = 1 << 6 // of the hash alone: the SYN had timestamps
	// Of the hash alone, too: the scale of the window that we have announced. The listener that takes the ACK may be another one.
	cookieScaleShift = 8
)

// cookieMSS are the sizes that a cookie can tell: the largest that is not above what the peer announced counts. They are what common paths
// have: 1460 and 1440 are Ethernet's with IPv4 and IPv6, 1400 and 1360 tunnels', 1220 the least of IPv6, 8940 jumbo frames'.
var cookieMSS = [1 << cookieMSSBits]uint16{minPeerMSS, defaultMSS, 1220, 1360, 1400, 1440, 1460, 8940}

// CookieKeys are the secrets of SYN cookies: that of now and, for the cookies in flight, that of before. They are not changed once made.
type CookieKeys struct {
	current, previous siphash.Key
	since             sched.Time // current makes cookies
	rotated           bool       // there is a previous key
}

// NewCookieKeys begins with a key.
func NewCookieKeys(now sched.Time, key siphash.Key) *CookieKeys {
	return &CookieKeys{current: key, since: now}
}

// Due reports whether the key has been used for long enough.
func (k *CookieKeys) Due(now sched.Time) bool { return now.Sub(k.since) >= cookieRotation }

// Rotate returns keys that make cookies with a new key, and still know those of the present one.
func (k *CookieKeys) Rotate(now sched.Time, key siphash.Key) *CookieKeys {
	return &CookieKeys{current: key, previous: k.current, since: now, rotated: true}
}

// SynAck fills reply with the SYN-ACK that answers a SYN by a cookie. ISS of p is not looked at.
func (k *CookieKeys) SynAck(cfg *Config, now sched.Time, syn *Segment, p Params, local, remote netip.AddrPort, reply *Segment) {
	var r SynRecv
	p.Share = cookieShare
	r.Init(cfg, now, syn, p)
	options := r.cookieOptions()
	t := newCookieTuple(local, remote, r.irs)
	r.iss = t.cookie(&k.current, uint64(now)/uint64(cookieTick), mssIndex(r.sndMSS), options)
	r.synAck(now, reply)
	if r.ts {
		reply.Options.TSVal = lowBits(reply.Options.TSVal, options)
	}
}

// Check makes of the ACK of a cookie the record whose SYN-ACK it answers, for Conn.Accept; false if it answers none of ours.
func (k *CookieKeys) Check(cfg *Config, now sched.Time, ack *Segment, p Params, local, remote netip.AddrPort, r *SynRecv) bool {
	if ack.Flags&(wire.SYN|wire.RST|wire.ACK) != wire.ACK {
		return false
	}
	options := uint32(cookieNoWScale)
	ts := ack.Options.TS && !cfg.NoTimestamps
	age, fresh := echoAge(now, ack, p.TSOffset)
	if ts {
		if !fresh {
			return false
		}
		options = ack.Options.TSEcr&(1<<cookieOptionBits-1) | cookieTS
	}
	if options&cookieNoWScale != cookieNoWScale {
		options |= uint32(windowScale(p.Options.receiveBuffer(cfg))) << cookieScaleShift
	}
	t := newCookieTuple(local, remote, ack.Seq-1)
	iss := ack.Ack - 1
	mss, ok := t.check(&k.current, now, iss, options)
	if !ok && k.rotated && now.Sub(k.since) <= CookieLife {
		mss, ok = t.check(&k.previous, now, iss, options)
	}
	if !ok {
		return false
	}
	p.ISS, p.Share = iss, cookieShare
	*r = SynRecv{handshake: newHandshake(ack.Seq-1, p), due: sched.Never, replied: now, open: true}
	r.restore(ack, mss, options)
	r.sentAt = now.Add(-age)
	// The sample is up to 64 ms too large, which does no harm. But an ACK that comes after a SYN-ACK with a record would have been sent
	// again may be the second one, and the first was lost.
	r.untimed = !ts || age >= synAckRTO
	r.Configure(cfg, p.Options)
	r.ecn.recall(cfg, p.Options.ecn(cfg), ts && options&cookieECN != 0, ack)
	return true
}

// echoAge is how long ago the timestamp was sent that a segment echoes; false if not within the life of a cookie.
func echoAge(now sched.Time, seg *Segment, tsOffset uint32) (age time.Duration, fresh bool) {
	ms := int32(timestamp(now, tsOffset) - seg.Options.TSEcr)
	age = max(time.Duration(ms)*time.Millisecond, time.Millisecond)
	return age, ms >= 0 && age <= CookieLife
}

// MayFollowCookie reports whether a segment may be one that follows the ACK of a cookie: with timestamps, what it echoes is as young as a
// cookie that is good.
func MayFollowCookie(cfg *Config, now sched.Time, seg *Segment, tsOffset uint32) bool {
	if cfg.NoTimestamps || !seg.Options.TS {
		return true
	}
	_, fresh := echoAge(now, seg, tsOffset)
	return fresh
}

// cookieOptions is what a cookie tells of the options agreed on.
func (h *handshake) cookieOptions() uint32 {
	if !h.ts {
		h.sack, h.wscale, h.sndWScale, h.rcvWScale = false, false, 0, 0
		h.ecn.forget()
		return cookieNoWScale
	}
	options := uint32(cookieNoWScale | cookieTS)
	if h.wscale {
		options = uint32(h.sndWScale) | cookieTS | uint32(h.rcvWScale)<<cookieScaleShift
	}
	if h.sack {
		options |= cookieSACK
	}
	if h.ecn.feedback == ECNClassic {
		options |= cookieECN
	}
	return options
}

// restore is the other direction: what was agreed on, from what came back.
func (h *handshake) restore(ack *Segment, mss uint16, options uint32) {
	h.sndMSS = mss
	if h.ts = options&cookieTS != 0; !h.ts {
		return
	}
	h.tsRecent = ack.Options.TSVal
	h.sack = options&cookieSACK != 0
	if scale := options & cookieNoWScale; scale != cookieNoWScale {
		h.wscale, h.sndWScale = true, min(uint8(scale), maxWScale)
	}
}

// mssIndex is the place in cookieMSS of what is nearest to mss and not above.
func mssIndex(mss uint16) uint32 {
	i := uint32(len(cookieMSS) - 1)
	for i > 0 && cookieMSS[i] > mss {
		i--
	}
	return i
}

// lowBits puts options into the low bits of a TSval, which is thereby not later than it was.
func lowBits(val, options uint32) uint32 {
	v := val&^(1<<cookieOptionBits-1) | options&(1<<cookieOptionBits-1)
	if int32(v-val) > 0 {
		v -= 1 << cookieOptionBits
	}
	return v
}

// cookieTuple is what a cookie is for, as the hash takes it: addresses, ports, the peer's initial sequence number, then tick, MSS, options
// and purpose.
type cookieTuple [52]byte

func newCookieTuple(local, remote netip.AddrPort, irs Seq) (t cookieTuple) {
	l, r := local.Addr().As16(), remote.Addr().As16()
	copy(t[:], l[:])
	copy(t[16:], r[:])
	binary.BigEndian.PutUint16(t[32:], local.Port())
	binary.BigEndian.PutUint16(t[34:], remote.Port())
	binary.BigEndian.PutUint32(t[36:], uint32(irs))
	return t
}

// hash is a keyed hash of the tuple and the rest.
func (t *cookieTuple) hash(key *siphash.Key, purpose byte, tick uint64, mss, options uint32) uint32 {
	binary.BigEndian.PutUint64(t[40:], tick)
	t[48], t[49], t[50], t[51] = byte(mss), byte(options>>8), byte(options), purpose
	return uint32(key.Sum(t[:]))
}

func (t *cookieTuple) mask(key *siphash.Key) uint32 { return t.hash(key, numberCookieMask, 0, 0, 0) }

func (t *cookieTuple) mac(key *siphash.Key, tick uint64, mss, options uint32) uint32 {
	return t.hash(key, numberCookie, tick, mss, options) & (1<<cookieMACBits - 1)
}

// cookie is the initial sequence number that is a cookie made in the given tick.
func (t *cookieTuple) cookie(key *siphash.Key, tick uint64, mss, options uint32) Seq {
	plain := uint32(tick)&cookieTickMask<<(cookieMACBits+cookieMSSBits) | mss<<cookieMACBits | t.mac(key, tick, mss, options)
	return Seq(plain ^ t.mask(key))
}

// check reports whether iss is a cookie of the tick at now or of the one before, and the MSS that it tells.
func (t *cookieTuple) check(key *siphash.Key, now sched.Time, iss Seq, options uint32) (mss uint16, ok bool) {
	plain := uint32(iss) ^ t.mask(key)
	tick := uint64(now) / uint64(cookieTick)
	age := (tick - uint64(plain>>(cookieMACBits+cookieMSSBits))) & cookieTickMask
	index := plain >> cookieMACBits & (1<<cookieMSSBits - 1)
	if age > 1 || plain&(1<<cookieMACBits-1) != t.mac(key, tick-age, index, options) {
		return 0, false
	}
	return cookieMSS[index], true
}
