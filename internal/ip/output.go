package ip

import (
	"sync/atomic"
	"syscall"

	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// Header is what Send and Push put before a transport packet.
type Header struct {
	Protocol wire.Protocol
	TTL, TOS uint8 // TTL 0: the layer's default
	DF       bool
	// FlowLabel of IPv6, 20 bits (RFC 6437); 0: none.
	FlowLabel uint32
}

// Push prepends the IP header to a packet that fits the path's MTU (or is a super-segment cut to it later) and sets Iface: the way of
// TCP, which then appends to the transmit queue itself. Header and payload together must not exceed 65535 bytes (IPv6: 65535 and the
// header's 40). CsumStart of a partial checksum counts from the network header, so transport adds wire.IPv4MinLen or wire.IPv6Len.
func (l *Layer) Push(p *packet.Packet, path *Path, h Header) {
	size := p.Size()
	p.Iface = int32(path.Iface)
	l.count(path.Iface).outRequests.Add(uint64(max(p.Segs, 1)))
	if h.TTL == 0 {
		h.TTL = l.cfg.TTL
	}
	if path.Dst.Is4() {
		var id uint16
		if !h.DF {
			id = l.ids.next(path, h.Protocol, max(p.Segs, 1))
		}
		wire.PutIPv4(p.Push(packet.Network, wire.IPv4MinLen), wire.IPv4Fields{
			TOS: h.TOS, TotalLen: wire.IPv4MinLen + size, ID: id, DontFragment: h.DF, TTL: h.TTL, Protocol: h.Protocol,
			Src: path.Src, Dst: path.Dst,
		})
		return
	}
	wire.PutIPv6(p.Push(packet.Network, wire.IPv6Len), wire.IPv6Fields{
		TrafficClass: h.TOS, PayloadLen: size, NextHeader: h.Protocol, HopLimit: h.TTL, FlowLabel: h.FlowLabel, Src: path.Src, Dst: path.Dst,
	})
}

// Send pushes the header, fragments what is larger than the path's MTU, and transmits. It owns p in every case. Errors: EMSGSIZE if the
// packet is too large for the path and h.DF forbids to fragment it (or the path's MTU is none), or larger than IP allows. A
// super-segment is never fragmented: each of its segments must fit.
func (l *Layer) Send(now sched.Time, p *packet.Packet, path *Path, h Header) error {
	headerLen, limit := wire.IPv4MinLen, wire.IPv4MaxMTU
	if !path.Dst.Is4() {
		headerLen, limit = wire.IPv6Len, wire.IPv6Len+wire.IPv6MaxPayload
	}
	size := headerLen + p.Size()
	wireSize := size
	if p.GSO != packet.GSONone {
		wireSize = headerLen + p.HeaderSize() + int(p.GSOSize)
	}
	c := l.count(path.Iface)
	if size > limit || wireSize > path.MTU && (h.DF || p.GSO != packet.GSONone || path.MTU < wire.IPv4MinMTU) {
		drop(p, &c.fragFails)
		return syscall.EMSGSIZE
	}
	if wireSize <= path.MTU {
		l.Push(p, path, h)
		l.cfg.Transmit(path.Iface, p)
		return nil
	}
	return l.sendFragments(c, p, path, h)
}

// idSource gives IPv4 identifications that do not repeat soon for one destination, and tell nobody how many packets went elsewhere
// (RFC 7739 §5; RFC 6864): a counter picked by a keyed hash of addresses and protocol, run through a permutation that is keyed by the
// same hash.
type idSource struct {
	key      siphash.Key
	counters [256]atomic.Uint32
}

// next returns the first of n identifications.
func (s *idSource) next(path *Path, protocol wire.Protocol, n uint16) uint16 {
	h := path.ids
	if h == 0 {
		src, dst := path.Src.As4(), path.Dst.As4()
		h = s.key.Sum([]byte{src[0], src[1], src[2], src[3], dst[0], dst[1], dst[2], dst[3], uint8(protocol)})
		path.ids = h
	}
	i := s.counters[h%uint64(len(s.counters))].Add(uint32(n)) - uint32(n)
	return permute(uint16(i), h>>8)
}

// permute is a keyed permutation of 16-bit numbers: a Feistel network of four rounds on two bytes.
func permute(v uint16, key uint64) uint16 {
	a, b := uint8(v>>8), uint8(v)
	for range 4 {
		x := (uint32(b) + uint32(key&0xff) + 1) * (uint32(key&0x3fff) | 1) * 0x9e3779b1
		a, b = b, a^uint8(x>>24)
		key >>= 14
	}
	return uint16(a)<<8 | uint16(b)
}
