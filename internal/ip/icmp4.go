package ip

import (
	"net/netip"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// maxQuote is how much of an ICMP error is looked at: header, quoted network header with options or extension headers, and 8 bytes of
// the transport header.
const maxQuote = wire.ICMPv4Len + wire.IPv6Len + wire.MaxExtensionBytes + wire.IPv6FragmentLen + 8

// icmp4 takes an ICMP message, its checksum verified (RFC 792, RFC 1122 §3.2.2). It owns p.
func (l *Layer) icmp4(in *inbound, p *packet.Packet, m *Meta) {
	in.c.icmpIn.Add(1)
	b, ok := p.Peek(wire.ICMPv4Len)
	if !ok {
		drop(p, &in.c.inHdrErrors)
		return
	}
	switch typ := wire.ICMPv4Type(b[0]); {
	case typ == wire.ICMPv4Echo:
		l.echo(in, p, m, uint8(wire.ICMPv4EchoReply))
	case typ.IsError():
		l.errorFor4(in, p, m)
	default:
		l.deliverICMP(in, p, m)
	}
}

// deliverICMP offers to transport what the layer has no use for. Nobody is told if transport has none either (RFC 1122 §3.2.2).
func (l *Layer) deliverICMP(in *inbound, p *packet.Packet, m *Meta) {
	if l.cfg.Deliver == nil || !l.cfg.Deliver(in.now, p, m) {
		drop(p, &in.c.inDiscards)
	}
}

// echo answers an echo request with a reply of the given type, or hands it to Config.Echo if it is for a foreign address. A request to
// a broadcast or IPv4 multicast address is not answered (RFC 1122 §3.2.2.6 allows that: answers would multiply); one to an IPv6
// multicast address is, from a unicast address (RFC 4443 §4.2).
func (l *Layer) echo(in *inbound, p *packet.Packet, m *Meta, reply uint8) {
	if m.Foreign {
		in.c.echoRequests.Add(1)
		if l.cfg.Echo == nil || !l.cfg.Echo(in.now, p, m) {
			drop(p, &in.c.inDiscards)
		}
		return
	}
	if m.Src.IsUnspecified() || m.Multi && m.Dst.Is4() {
		drop(p, &in.c.inDiscards)
		return
	}
	in.c.echoRequests.Add(1)
	src := m.Dst
	if m.Multi {
		src = netip.Addr{}
	}
	path, err := l.Path(src, m.Src, m.Scope, false)
	if err != nil {
		drop(p, &in.c.outNoRoutes)
		return
	}
	b, _ := p.Consume(packet.Transport, wire.ICMPv4Len)
	q := l.cfg.Packets.Get()
	p.Data().MoveTo(q.Data(), p.Data().Size())
	l.sendICMP(in.now, q, &path, Header{Protocol: m.Protocol, TOS: m.TOS &^ 3}, icmpError{typ: reply, rest: wire.ICMPv4(b).Rest()})
	p.Release()
}
