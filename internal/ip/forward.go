package ip

import (
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/offload"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// forwardRoute finds the interface for a packet that is not for us; nil if it goes nowhere (and is dropped and answered).
func (l *Layer) forwardRoute(in *inbound, p *packet.Packet, is4 bool) *Interface {
	r := in.t.routeSet(is4).find(in.dst, -1)
	if r == nil || in.t.ifs[r.iface].Loopback {
		l.Unreachable(in.now, p, NetUnreachable)
		drop(p, &in.c.outNoRoutes)
		return nil
	}
	return &in.t.ifs[r.iface]
}

// forward4 sends on a packet that is not for us (RFC 1812 §5), network header consumed. It owns p.
func (l *Layer) forward4(in *inbound, p *packet.Packet, h wire.IPv4) {
	out := l.forwardRoute(in, p, true)
	if out == nil {
		return
	}
	if h.TTL() <= 1 {
		l.sendError(in.now, p, icmpError{typ: uint8(wire.ICMPv4TimeExceeded), code: wire.ICMPv4TTLExceeded})
		drop(p, &in.c.inHdrErrors)
		return
	}
	if !h.IsFragment() {
		consumeTransport(p, h.Protocol())
	}
	if !gsoFits(p, packet.GSOTCP4, packet.GSOUDP4, h.Protocol()) {
		drop(p, &in.c.inHdrErrors)
		return
	}
	tooBig := wireSize(p) > out.MTU
	if tooBig && h.DontFragment() {
		l.sendError(in.now, p, icmpError{
			typ: uint8(wire.ICMPv4DstUnreachable), code: wire.ICMPv4FragNeeded, rest: uint32(min(out.MTU, 0xffff)),
		})
		drop(p, &in.c.fragFails)
		return
	}
	p.WritableHeaders()
	wire.IPv4(p.Header(packet.Network)).DecrementTTL()
	if tooBig {
		l.forwardFragments(in, p, out)
		return
	}
	l.sendOn(in, p, out)
}

// forward6 is the same for IPv6 (RFC 8200 §5: routers do not fragment). Hop-by-hop options are left alone (RFC 8200 §4.3).
func (l *Layer) forward6(in *inbound, p *packet.Packet, h wire.IPv6) {
	out := l.forwardRoute(in, p, false)
	if out == nil {
		return
	}
	if h.HopLimit() <= 1 {
		l.sendError(in.now, p, icmpError{typ: uint8(wire.ICMPv6TimeExceeded), code: wire.ICMPv6HopLimitExceeded})
		drop(p, &in.c.inHdrErrors)
		return
	}
	consumeTransport(p, h.NextHeader())
	if !gsoFits(p, packet.GSOTCP6, packet.GSOUDP6, h.NextHeader()) {
		drop(p, &in.c.inHdrErrors)
		return
	}
	if wireSize(p) > out.MTU {
		l.sendError(in.now, p, icmpError{typ: uint8(wire.ICMPv6PacketTooBig), rest: uint32(out.MTU)})
		drop(p, &in.c.fragFails)
		return
	}
	p.WritableHeaders()
	wire.IPv6(p.Header(packet.Network)).DecrementHopLimit()
	l.sendOn(in, p, out)
}

// consumeTransport takes the transport header, so that whoever cuts a super-segment finds it.
func consumeTransport(p *packet.Packet, protocol wire.Protocol) {
	n := wire.UDPLen
	switch protocol {
	case wire.ProtoTCP:
		b, ok := p.Peek(wire.TCPMinLen)
		if !ok {
			return
		}
		if n, _ = wire.TCPHeaderLen(b); n == 0 {
			return
		}
	case wire.ProtoUDP:
	default:
		return
	}
	p.Consume(packet.Transport, n)
}

// gsoFits reports whether a packet that is to be cut is of the protocol for which its device says so, transport header and all, and how
// many it would become is no more than there may be.
func gsoFits(p *packet.Packet, tcp, udp packet.GSO, protocol wire.Protocol) bool {
	switch p.GSO {
	case packet.GSONone:
		return true
	case tcp:
		return protocol == wire.ProtoTCP && len(p.Header(packet.Transport)) >= wire.TCPMinLen
	case udp:
		size, _ := p.Unread()
		return protocol == wire.ProtoUDP && len(p.Header(packet.Transport)) == wire.UDPLen && size <= packet.MaxUDPSegs*int(p.GSOSize)
	}
	return false
}

// wireSize is the size of the packet, or of the largest that it is cut into.
func wireSize(p *packet.Packet) int {
	if p.GSO != packet.GSONone {
		return min(p.HeaderSize()+int(p.GSOSize), p.Size())
	}
	return p.Size()
}

// sendOn transmits a forwarded packet by an interface.
func (l *Layer) sendOn(in *inbound, p *packet.Packet, out *Interface) {
	outbound(p)
	p.Iface = int32(out.Index)
	in.c.forwarded.Add(uint64(max(p.Segs, 1)))
	l.cfg.Transmit(out.Index, p)
}

// outbound makes the checksum state and headers of an inbound packet those of an outbound one. What somebody vouched for is complete in
// a packet of the wire; the field of a super-segment is that of one of its segments, or nothing, and becomes a partial sum.
func outbound(p *packet.Packet) {
	p.StripBefore(packet.Network)
	if p.GSO == packet.GSONone {
		if p.Checksum == packet.ChecksumVerified {
			p.Checksum = packet.ChecksumNone
		}
		return
	}
	if p.Checksum == packet.ChecksumPartial {
		return
	}
	network, transport := p.Header(packet.Network), p.Header(packet.Transport)
	if len(transport) < wire.UDPLen {
		return
	}
	var src, dst key
	if wire.IPVersion(network) == 4 {
		src, dst = key4(network[12:]), key4(network[16:])
	} else {
		src, dst = key6(network[8:]), key6(network[24:])
	}
	if p.GSO == packet.GSOUDP4 && wire.UDP(transport).Checksum() == 0 {
		p.Checksum = packet.ChecksumNone // as it came: there is none (RFC 768)
		return
	}
	size := p.Size() - len(network)
	if p.GSO == packet.GSOTCP4 || p.GSO == packet.GSOTCP6 {
		wire.TCP(transport).SetChecksum(pseudoSum(src, dst, wire.ProtoTCP, size))
		p.CsumOffset = 16
	} else {
		wire.UDP(transport).SetChecksum(pseudoSum(src, dst, wire.ProtoUDP, size))
		p.CsumOffset = 6
	}
	p.CsumStart = uint16(len(network))
	p.Checksum = packet.ChecksumPartial
}

// forwardFragments cuts a forwarded packet that is too large for its way out and may be fragmented, TTL decremented. It owns p.
func (l *Layer) forwardFragments(in *inbound, p *packet.Packet, out *Interface) {
	outbound(p)
	parts := []*packet.Packet{p}
	if p.GSO != packet.GSONone {
		parts = offload.Split(l.cfg.Packets, p, parts[:0])
	}
	for _, p := range parts {
		in.c.forwarded.Add(1)
		if !p.FinishChecksum() {
			drop(p, &in.c.fragFails)
			continue
		}
		h := wire.IPv4(p.Header(packet.Network))
		f := fragmenter{l: l, c: in.c, meta: p.Meta, iface: out.Index, header4: fields4(h)}
		var payload buffer.Buffer
		payload.SetPool(l.cfg.Packets.Buffers())
		if !p.PayloadSince(packet.Transport, &payload) {
			payload.Merge(p.Data())
		}
		var later [wire.IPv4MaxLen - wire.IPv4MinLen]byte
		f.cut4(&payload, out.MTU, copiedOptions(h, later[:0]))
		payload.Release()
		p.Release()
	}
}

// copiedOptions appends to b the options that go into every fragment (RFC 791 §3.1), without padding.
func copiedOptions(h wire.IPv4, b []byte) []byte {
	for it := h.Options(); it.Next(); {
		if o := it.Option(); o.Type.Copied() {
			b = append(b, uint8(o.Type), uint8(2+len(o.Data)))
			b = append(b, o.Data...)
		}
	}
	return b
}
