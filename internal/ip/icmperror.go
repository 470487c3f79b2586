package ip

import (
	"net/netip"
	"sync"
	"time"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// UnreachableCode names the ICMP errors that transport asks for.
type UnreachableCode uint8

const (
	PortUnreachable UnreachableCode = iota
	HostUnreachable
	NetUnreachable
	Prohibited
	ProtocolUnreachable
)

// Unreachable answers the inbound packet p (still the caller's), its network header consumed, with an ICMP destination unreachable
// (IPv6 ProtocolUnreachable: a parameter problem), subject to the rules and limits of RFC 1122 §3.2.2 and RFC 4443 §2.4. Port and
// protocol unreachable come from the address that p was sent to, the others from one of our own, if there is one.
func (l *Layer) Unreachable(now sched.Time, p *packet.Packet, code UnreachableCode) {
	e := icmpError{asHost: code == PortUnreachable || code == ProtocolUnreachable}
	hdr := p.Header(packet.Network)
	switch wire.IPVersion(hdr) {
	case 4:
		e.typ = uint8(wire.ICMPv4DstUnreachable)
		e.code = [...]uint8{
			PortUnreachable: wire.ICMPv4PortUnreachable, HostUnreachable: wire.ICMPv4HostUnreachable,
			NetUnreachable: wire.ICMPv4NetUnreachable, Prohibited: wire.ICMPv4AdminProhibited,
			ProtocolUnreachable: wire.ICMPv4ProtoUnreachable,
		}[min(code, ProtocolUnreachable)]
	case 6:
		e.typ = uint8(wire.ICMPv6DstUnreachable)
		e.code = [...]uint8{
			PortUnreachable: wire.ICMPv6PortUnreachable, HostUnreachable: wire.ICMPv6AddressUnreachable,
			NetUnreachable: wire.ICMPv6NoRoute, Prohibited: wire.ICMPv6AdminProhibited,
			ProtocolUnreachable: wire.ICMPv6UnknownNextHeader,
		}[min(code, ProtocolUnreachable)]
		if code >= ProtocolUnreachable { // RFC 4443 §3.4
			c, _ := wire.SkipExtensions(wire.IPv6(hdr[:wire.IPv6Len]), hdr[wire.IPv6Len:], len(hdr)-wire.IPv6Len)
			e.typ, e.rest = uint8(wire.ICMPv6ParamProblem), uint32(c.Pointer)
		}
	}
	l.sendError(now, p, e)
}

// icmpError is an ICMP error message to be sent.
type icmpError struct {
	typ, code uint8
	rest      uint32
	asHost    bool // from the address that the packet was sent to, be it only ours by AnyDestination
}

const (
	tosInternetwork = 0xc0 // RFC 1812 §4.3.2.5: ICMP errors have precedence INTERNETWORK CONTROL
	maxError4       = 576  // RFC 1812 §4.3.2.3: as much of the packet as fits
	maxError6       = wire.IPv6MinMTU
)

// sendError sends an ICMP error about an inbound packet, its network header consumed, if rules and limits allow it.
func (l *Layer) sendError(now sched.Time, p *packet.Packet, e icmpError) {
	t := l.table.Load()
	ifc := t.Interface(int(p.Iface))
	hdr := p.Header(packet.Network)
	if ifc == nil || !ifc.Up || hdr == nil {
		return
	}
	var src, dst netip.Addr
	if v4 := wire.IPVersion(hdr) == 4; v4 {
		if !quotable4(t, ifc, p, wire.IPv4(hdr)) {
			return
		}
		src, dst = wire.IPv4(hdr).Src(), wire.IPv4(hdr).Dst()
	} else {
		if !quotable6(ifc, p, hdr, e) {
			return
		}
		src, dst = wire.IPv6(hdr).Src(), wire.IPv6(hdr).Dst()
	}
	path, err := l.errorPath(t, ifc, src, dst, e.asHost)
	if err != nil {
		l.count(ifc.Index).outNoRoutes.Add(1)
		return
	}
	if !ifc.Loopback && !l.limits.allow(now, keyOf(src)) {
		l.count(ifc.Index).icmpLimited.Add(1)
		return
	}
	p.FinishChecksum() // what is quoted is to be what a wire would have carried (in vain, and no matter, for a super-segment: it is cut off)
	q := l.cfg.Packets.Get()
	p.PayloadSince(packet.Network, q.Data())
	h := Header{Protocol: wire.ProtoICMP, TOS: tosInternetwork}
	size := maxError4 - wire.IPv4MinLen
	if !src.Is4() {
		h = Header{Protocol: wire.ProtoICMPv6}
		size = maxError6 - wire.IPv6Len
	}
	q.Data().Truncate(size - wire.ICMPv4Len)
	l.sendICMP(now, q, &path, h, e)
}

// sendICMP pushes an ICMP header with checksum before q's data, which is the message's body, and sends it.
func (l *Layer) sendICMP(now sched.Time, q *packet.Packet, path *Path, h Header, e icmpError) {
	l.count(path.Iface).icmpOut.Add(1)
	body := q.Data()
	sum := body.Sum(0, body.Size(), 0)
	m := wire.PutICMPv4(q.Push(packet.Transport, wire.ICMPv4Len), wire.ICMPv4Fields{Type: wire.ICMPv4Type(e.typ), Code: e.code, Rest: e.rest})
	sum = addSum(sum, checksum.Sum(m[:wire.ICMPv4Len], 0))
	if h.Protocol == wire.ProtoICMPv6 {
		sum = addSum(sum, pseudoSum(keyOf(path.Src), keyOf(path.Dst), h.Protocol, q.Size()))
	}
	m.SetChecksum(^sum)
	l.Send(now, q, path, h) // an echo reply that does not fit is fragmented, so this does not fail
}

// errorPath is the way for an error about a packet from src to dst that came in by ifc.
func (l *Layer) errorPath(t *Table, ifc *Interface, src, dst netip.Addr, asHost bool) (Path, error) {
	iface := scopeOf(ifc, keyOf(src), keyOf(dst))
	k := keyOf(dst)
	many := k.multicast() || t.isBroadcast(k, ifc)
	if !many && (asHost || t.isLocal(k, ifc)) {
		return t.path(dst, src, iface, true)
	}
	path, err := t.path(netip.Addr{}, src, iface, false)
	if err != nil && !many && ifc.AnyDestination { // no address of our own
		return t.path(dst, src, iface, true)
	}
	return path, err
}

// quotable4 says whether an error may be sent about a packet (RFC 1122 §3.2.2): not one that went to many, nor a later fragment, nor
// from what is not one host, nor an ICMP error.
func quotable4(t *Table, ifc *Interface, p *packet.Packet, h wire.IPv4) bool {
	src, dst := key4(h[12:]), key4(h[16:])
	switch {
	case h.FragmentOffset() != 0, dst.multicast(), t.isBroadcast(dst, ifc):
		return false
	case src.unspecified(), src.multicast(), src.reserved4(), src.loopback() && !ifc.Loopback, t.isBroadcast(src, ifc):
		return false
	case h.Protocol() != wire.ProtoICMP:
		return true
	}
	typ, ok := transportByte(p, 0)
	return ok && !wire.ICMPv4Type(typ).IsError()
}

// quotable6 is the same for IPv6 (RFC 4443 §2.4 (e)), where packet too big and unrecognized option may answer a multicast.
func quotable6(ifc *Interface, p *packet.Packet, hdr []byte, e icmpError) bool {
	src, dst := key6(hdr[8:]), key6(hdr[24:])
	tooBig := e.typ == uint8(wire.ICMPv6PacketTooBig)
	option := e.typ == uint8(wire.ICMPv6ParamProblem) && e.code == wire.ICMPv6UnknownOption
	if src.unspecified() || src.multicast() || src.loopback() && !ifc.Loopback || dst.multicast() && !tooBig && !option {
		return false
	}
	upper, at, ok := upperOf(p, hdr)
	if !ok || upper != wire.ProtoICMPv6 {
		return ok
	}
	typ, ok := transportByte(p, at)
	return ok && !wire.ICMPv6Type(typ).IsError() && wire.ICMPv6Type(typ) != wire.ICMPv6Redirect
}

// upperOf finds the upper layer of an IPv6 packet whose network header is hdr; it begins at the given unread byte. Not ok: a later
// fragment. A chain that cannot be walked has the upper layer at which the walk ended.
func upperOf(p *packet.Packet, hdr []byte) (upper wire.Protocol, at int, ok bool) {
	rest := hdr[wire.IPv6Len:]
	e := wire.WalkExtensions(wire.IPv6(hdr[:wire.IPv6Len]), rest, len(rest))
	for e.Next() {
	}
	if e.Upper().IsExtension() && p.Header(packet.Transport) == nil {
		unread := p.Size() - p.HeaderSize()
		b, _ := p.Peek(min(unread, wire.MaxExtensionBytes+wire.IPv6FragmentLen))
		if len(rest) == 0 {
			e = wire.WalkExtensions(wire.IPv6(hdr[:wire.IPv6Len]), b, unread)
		} else {
			e = wire.ContinueExtensions(e.Upper(), b, unread, len(hdr), e.Pointer())
		}
		for e.Next() {
			if f, is := e.Extension().Fragment(); is && f.Offset() != 0 {
				return 0, 0, false
			}
		}
		at = e.Len()
	}
	return e.Upper(), at, true
}

// transportByte is the first byte of the transport header, consumed or at the given unread byte.
func transportByte(p *packet.Packet, at int) (uint8, bool) {
	if h := p.Header(packet.Transport); h != nil {
		return h[0], true
	}
	b, ok := p.Peek(at + 1)
	if !ok {
		return 0, false
	}
	return b[at], true
}

// Limits of ICMP errors. Against a flood from, or with the forged addresses of, many hosts there is a limit for all together; it is
// randomised, so that whether an error came tells nobody whether others were sent (as SAD DNS did to find open ports).
const (
	errorsPerDst   = 100  // a second and destination (IPv6: /64)
	errorBurst     = 50   // of one destination
	errorsPerLayer = 1000 // a second
	layerBurst     = 200  // of all
	limiterSlots   = 1024
)

// bucket is a token bucket. A token is worth the time in which one comes in, so that the level is a time, too.
type bucket struct {
	level time.Duration
	seen  sched.Time
}

// take takes cost out of a bucket that holds at most full, if it is there.
func (b *bucket) take(now sched.Time, cost, full time.Duration) bool {
	if now > b.seen {
		b.level = min(b.level+min(now.Sub(b.seen), full), full)
		b.seen = now
	}
	if b.level < cost {
		return false
	}
	b.level -= cost
	return true
}

// limiter limits ICMP errors. Destinations share slots by a keyed hash, so nobody can choose whom to share with.
type limiter struct {
	key  siphash.Key
	rand func() uint64

	mu     sync.Mutex
	global bucket
	slots  [limiterSlots]bucket
}

func (l *limiter) init(k siphash.Key, rand func() uint64) {
	l.key, l.rand = k, rand
	l.global.level = layerBurst * time.Second / errorsPerLayer
	for i := range l.slots {
		l.slots[i].level = errorBurst * time.Second / errorsPerDst
	}
}

// allow reports whether an error may be sent to dst now, and counts it.
func (l *limiter) allow(now sched.Time, dst key) bool {
	if !dst.is4() {
		dst.lo = 0
	}
	slot := &l.slots[hashKey(l.key, dst)%limiterSlots]
	l.mu.Lock()
	defer l.mu.Unlock()
	const one = time.Second / errorsPerDst
	if !slot.take(now, one, errorBurst*one) {
		return false
	}
	const all = time.Second / errorsPerLayer
	cost := all/2 + time.Duration(l.rand()%uint64(all)) // one on average
	return l.global.take(now, cost, layerBurst*all)
}
