package drill

import (
	"net/netip"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/wire"
)

// inbound makes the packet that a line of the script says arrives.
func (r *runner) inbound(p *packetEvent) ([]byte, error) {
	switch {
	case p.tcp != nil:
		f := r.flowOf(p, wire.ProtoTCP)
		f.seePeer(p.tcp)
		return r.ipPacket(p, f.remote.Addr(), f.local.Addr(), wire.ProtoTCP, segmentBytes(p.tcp, f)), nil
	case p.udp != nil:
		f := r.flowOf(p, wire.ProtoUDP)
		body := udpBytes(f.remote, f.local, p.udp.length)
		return r.ipPacket(p, f.remote.Addr(), f.local.Addr(), wire.ProtoUDP, body), nil
	}
	return r.inboundICMP(p)
}

// seePeer notes a SYN of the peer. One that comes when there was one already may be an attack or begin another connection on the same
// ports: which, the host's answer shows.
func (f *flow) seePeer(g *segmentSpec) {
	switch {
	case g.flags&wire.SYN == 0:
	case !f.hasSYN:
		f.peerSYN, f.hasSYN = g.seq, true
	case g.flags&wire.ACK == 0 && g.seq != f.peerSYN:
		f.fresh, f.nextSYN = true, g.seq
	}
}

// segmentBytes makes a TCP segment of the peer.
func segmentBytes(g *segmentSpec, f *flow) []byte {
	var options []byte
	for i := range g.options {
		options = g.options[i].appendTo(options, f)
	}
	for len(options)%4 != 0 {
		options = append(options, byte(wire.TCPOptionEnd))
	}
	b := make([]byte, wire.TCPMinLen, wire.TCPMinLen+len(options)+g.length)
	fields := wire.TCPFields{SrcPort: f.remote.Port(), DstPort: f.local.Port(), Seq: g.seq, Flags: g.flags, Window: 65535}
	if g.ack != nil {
		fields.Ack = f.ackToWire(*g.ack)
	}
	if g.win != nil {
		fields.Window = *g.win
	}
	if g.urg != nil {
		fields.Urgent = *g.urg
	}
	h := wire.PutTCP(b, fields)
	b = append(append(b, options...), fillPattern(f.peerPlace(g), g.length)...)
	headerLen := wire.TCPMinLen + len(options)
	b[12] = byte(headerLen/4)<<4 | b[12]&0x0f
	for i := range g.options {
		if g.options[i].secret != nil {
			f.sign(&g.options[i], b, headerLen)
		}
	}
	if g.headerLen >= 0 {
		headerLen = g.headerLen
	}
	b[12] = b[12]&0x0f | byte(headerLen/4)<<4
	sum := checksum.Sum(b, checksum.PseudoHeader(f.remote.Addr(), f.local.Addr(), uint8(wire.ProtoTCP), len(b)))
	if g.badSum {
		sum++
	}
	h.SetChecksum(^sum)
	return b
}

// peerPlace is where in the peer's stream the data of a segment begins.
func (f *flow) peerPlace(g *segmentSpec) uint32 {
	place := g.seq - f.peerSYN - 1
	if g.flags&wire.SYN != 0 {
		place++
	}
	return place
}

// udpBytes makes a UDP datagram.
func udpBytes(src, dst netip.AddrPort, n int) []byte {
	b := make([]byte, wire.UDPLen, wire.UDPLen+n)
	h := wire.PutUDP(b, wire.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: wire.UDPLen + n})
	b = append(b, fillPattern(0, n)...)
	sum := checksum.Sum(b, checksum.PseudoHeader(src.Addr(), dst.Addr(), uint8(wire.ProtoUDP), len(b)))
	h.SetChecksum(wire.UDPChecksum(sum))
	return b
}

// ipPacket puts an IP header in front of a body, as the script wants it.
func (r *runner) ipPacket(p *packetEvent, src, dst netip.Addr, proto wire.Protocol, body []byte) []byte {
	tos, ttl := 0, 64
	if p.ip.tos >= 0 {
		tos = p.ip.tos
	}
	if p.ip.ecn >= 0 {
		tos = tos&^3 | p.ip.ecn
	} else if p.ip.ect {
		tos = tos&^3 | int(wire.ECT0)
	}
	if p.ip.ttl >= 0 {
		ttl = p.ip.ttl
	}
	if src.Is4() {
		fields := wire.IPv4Fields{
			TOS: uint8(tos), DontFragment: true, TTL: uint8(ttl), Protocol: proto, Src: src, Dst: dst, Options: p.ip.options,
		}
		b := make([]byte, fields.HeaderLen(), fields.HeaderLen()+len(body))
		fields.TotalLen = len(b) + len(body)
		h := wire.PutIPv4(b, fields)
		h.SetChecksum(h.ComputeChecksum())
		return append(b, body...)
	}
	b := make([]byte, wire.IPv6Len, wire.IPv6Len+len(body))
	label := uint32(max(p.ip.flowLabel, 0))
	wire.PutIPv6(b, wire.IPv6Fields{
		TrafficClass: uint8(tos), FlowLabel: label, PayloadLen: len(body), NextHeader: proto, HopLimit: uint8(ttl), Src: src, Dst: dst,
	})
	return append(b, body...)
}
