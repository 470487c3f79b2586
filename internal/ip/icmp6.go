package ip

import (
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// icmp6 takes an ICMPv6 message, its checksum verified (RFC 4443). It owns p.
func (l *Layer) icmp6(in *inbound, p *packet.Packet, m *Meta) {
	in.c.icmpIn.Add(1)
	b, ok := p.Peek(wire.ICMPv6Len)
	if !ok {
		drop(p, &in.c.inHdrErrors)
		return
	}
	switch typ := wire.ICMPv6Type(b[0]); {
	case typ == wire.ICMPv6Echo:
		l.echo(in, p, m, uint8(wire.ICMPv6EchoReply))
	case typ.IsError():
		l.errorFor6(in, p, m)
	default:
		l.deliverICMP(in, p, m)
	}
}
