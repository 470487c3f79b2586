package drill

import (
	"fmt"
	"net/netip"

	"github.com/weirnet/weir/wire"
)

// numbers are type and code of a message in the family of an address; not ok: it has none.
func (m *icmpSpec) numbers(is6 bool) (typ, code uint8, ok bool) {
	c, known := icmpNames[m.name]
	if !known {
		c = map[string]icmpCode{
			"time_exceeded":     {int(wire.ICMPv4TimeExceeded), 0, int(wire.ICMPv6TimeExceeded), 0},
			"source_quench":     {int(wire.ICMPv4SourceQuench), 0, none, none},
			"parameter_problem": {int(wire.ICMPv4ParamProblem), 0, int(wire.ICMPv6ParamProblem), 0},
			"echo_request":      {int(wire.ICMPv4Echo), 0, int(wire.ICMPv6Echo), 0},
			"echo_reply":        {int(wire.ICMPv4EchoReply), 0, int(wire.ICMPv6EchoReply), 0},
		}[m.name]
	}
	if is6 {
		return uint8(c.typ6), uint8(c.code6), c.typ6 != none
	}
	return uint8(c.typ4), uint8(c.code4), c.typ4 != none
}

func (m *icmpSpec) echo() bool { return m.name == "echo_request" || m.name == "echo_reply" }

// inboundICMP makes an ICMP message to the host: an error comes from the peer and quotes a packet of the host's.
func (r *runner) inboundICMP(p *packetEvent) ([]byte, error) {
	m := p.icmp
	src, dst := r.script.set.remote(), r.script.set.local()
	if p.src.Addr().IsValid() {
		src = p.src.Addr()
	}
	if p.dst.Addr().IsValid() {
		dst = p.dst.Addr()
	}
	var body []byte
	var rest uint32
	if m.echo() {
		body, rest = fillPattern(0, m.length), wire.ICMPEcho(uint16(m.id), uint16(m.seq))
	} else {
		f := r.current
		if m.udp != nil {
			f = r.currentUDP
		} else if m.quote != nil {
			f = r.currentTCP
		}
		if f == nil {
			return nil, fmt.Errorf("there is no connection that this ICMP error could be about")
		}
		if !p.addressed() {
			src, dst = f.remote.Addr(), f.local.Addr()
		}
		quoted, err := f.quotation(m)
		if err != nil {
			return nil, err
		}
		body = quoted
		rest = uint32(max(m.mtu, 0))
	}
	typ, code, ok := m.numbers(src.Is6())
	if !ok {
		return nil, fmt.Errorf("%s is not a message of this version of ICMP", m.name)
	}
	proto := wire.Protocol(wire.ProtoICMP)
	b := make([]byte, wire.ICMPv4Len, wire.ICMPv4Len+len(body))
	if src.Is6() {
		proto = wire.ProtoICMPv6
		all := append(b, body...)
		h := wire.PutICMPv6(all, wire.ICMPv6Fields{Type: wire.ICMPv6Type(typ), Code: code, Rest: rest})
		h.SetChecksum(icmp6Checksum(src, dst, all))
		return r.ipPacket(p, src, dst, proto, all), nil
	}
	all := append(b, body...)
	h := wire.PutICMPv4(all, wire.ICMPv4Fields{Type: wire.ICMPv4Type(typ), Code: code, Rest: rest})
	h.SetChecksum(^sumOf(all))
	return r.ipPacket(p, src, dst, proto, all), nil
}

// quotation is the beginning of a packet of the host's, as an ICMP error has it: what the script says, else the last that was sent.
func (f *flow) quotation(m *icmpSpec) ([]byte, error) {
	if m.quote == nil && m.udp == nil {
		b := f.lastData
		if b == nil {
			b = f.lastSent
		}
		if b == nil {
			return nil, fmt.Errorf("the host has sent nothing that this ICMP error could be about: say it in brackets, as in [1:1001(1000)]")
		}
		return b[:min(len(b), 576-28)], nil
	}
	r := &runner{} // headers as any host would send them
	p := &packetEvent{ip: ipSpec{ecn: -1, tos: -1, ttl: -1, flowLabel: -1}}
	var body []byte
	proto := f.proto
	if m.udp != nil {
		body = udpBytes(f.local, f.remote, m.udp.length)
	} else {
		g := *m.quote
		back := &flow{local: f.remote, remote: f.local, peerSYN: f.first - 1}
		body = segmentBytes(&g, back)
		seq := g.seq + f.offset
		body[4], body[5], body[6], body[7] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
	}
	b := r.ipPacket(p, f.local.Addr(), f.remote.Addr(), proto, body)
	limit := 28
	if f.local.Addr().Is6() {
		limit = 48
	}
	return b[:min(len(b), limit+12)], nil
}

// compareUDP compares a datagram.
func (r *runner) compareUDP(p *packetEvent, live *livePacket, raw []byte) string {
	if live.proto != wire.ProtoUDP || len(live.body) < wire.UDPLen {
		return "it is not a UDP datagram"
	}
	f, problem := r.flowOfLive(p, live, wire.ProtoUDP)
	if problem != "" {
		return problem
	}
	h := wire.UDP(live.body[:wire.UDPLen])
	data := live.body[wire.UDPLen:]
	switch {
	case h.Length() != len(live.body):
		return fmt.Sprintf("its length field is %d, expected %d", h.Length(), len(live.body))
	case len(data) != p.udp.length:
		return fmt.Sprintf("it has %d bytes of data, expected %d", len(data), p.udp.length)
	case h.Checksum() != 0 && !h.VerifyChecksum(live.src, live.dst, sumOf(data)):
		return "its checksum is wrong"
	}
	f.lastSent, f.lastData = raw, raw
	return ""
}

// compareICMP compares an ICMP message.
func (r *runner) compareICMP(p *packetEvent, live *livePacket) string {
	m := p.icmp
	is6 := live.proto == wire.ProtoICMPv6
	if live.proto != wire.ProtoICMP && !is6 || len(live.body) < wire.ICMPv4Len {
		return "it is not an ICMP message"
	}
	typ, code, ok := m.numbers(is6)
	h := wire.ICMPv4(live.body)
	rest := h.Rest()
	switch {
	case !ok || live.body[0] != typ || live.body[1] != code:
		return fmt.Sprintf("it has ICMP type %d and code %d, expected %s", live.body[0], live.body[1], m.name)
	case m.mtu >= 0 && int(rest) != m.mtu:
		return fmt.Sprintf("its MTU is %d, expected %d", rest, m.mtu)
	case m.echo() && rest != wire.ICMPEcho(uint16(m.id), uint16(m.seq)):
		return fmt.Sprintf("its id is %d and its number %d, expected %d and %d", rest>>16, rest&0xffff, m.id, m.seq)
	case m.echo() && len(live.body)-wire.ICMPv4Len != m.length:
		return fmt.Sprintf("it has %d bytes of data, expected %d", len(live.body)-wire.ICMPv4Len, m.length)
	}
	sum := sumOf(live.body)
	if is6 {
		sum = ^icmp6Checksum(live.src, live.dst, live.body)
	}
	if sum != 0xffff {
		return "its checksum is wrong"
	}
	if m.quote != nil || m.udp != nil {
		return compareQuote(m, live.body[wire.ICMPv4Len:])
	}
	return ""
}

// compareQuote compares what an ICMP error of the host says about a packet of the peer's.
func compareQuote(m *icmpSpec, b []byte) string {
	quoted, ok := parseQuoted(b)
	switch {
	case !ok:
		return "it quotes no packet"
	case m.udp != nil:
		if quoted.proto != wire.ProtoUDP || len(quoted.body) < wire.UDPLen {
			return "it does not quote a UDP datagram"
		}
		if n := wire.UDP(quoted.body).Length() - wire.UDPLen; n != m.udp.length {
			return fmt.Sprintf("it quotes a datagram of %d bytes, expected %d", n, m.udp.length)
		}
	case quoted.proto != wire.ProtoTCP || len(quoted.body) < 8:
		return "it does not quote a TCP segment"
	case wire.TCP(quoted.body).Seq() != m.quote.seq:
		return fmt.Sprintf("it quotes sequence number %d, expected %d", wire.TCP(quoted.body).Seq(), m.quote.seq)
	}
	return ""
}

// parseQuoted takes the beginning of a packet apart.
func parseQuoted(b []byte) (p livePacket, ok bool) {
	switch {
	case wire.IPVersion(b) == 4 && len(b) >= wire.IPv4MinLen:
		h := wire.IPv4(b)
		if n := h.HeaderLen(); n <= len(b) && n >= wire.IPv4MinLen {
			return livePacket{src: h.Src(), dst: h.Dst(), proto: h.Protocol(), body: b[n:]}, true
		}
	case wire.IPVersion(b) == 6 && len(b) >= wire.IPv6Len:
		h := wire.IPv6(b)
		return livePacket{src: h.Src(), dst: h.Dst(), proto: h.NextHeader(), body: b[wire.IPv6Len:]}, true
	}
	return p, false
}

// icmp6Checksum is what belongs into the checksum field of an ICMPv6 message that has 0 there, or, of a whole one, 0.
func icmp6Checksum(src, dst netip.Addr, b []byte) uint16 {
	return ^sumFrom(b, src, dst, uint8(wire.ProtoICMPv6))
}

// describeICMP prints an ICMP message of the wire.
func describeICMP(live *livePacket) string {
	if len(live.body) < wire.ICMPv4Len {
		return fmt.Sprintf("icmp %x", live.body)
	}
	typ, code := int(live.body[0]), int(live.body[1])
	is6 := live.proto == wire.ProtoICMPv6
	text := fmt.Sprintf("icmp type %d code %d", typ, code)
	for _, name := range icmpOrder() {
		c := icmpNames[name]
		if is6 && c.typ6 == typ && c.code6 == code || !is6 && c.typ4 == typ && c.code4 == code {
			text = "icmp unreachable " + name
			break
		}
	}
	for _, name := range []string{"time_exceeded", "echo_request", "echo_reply", "parameter_problem"} {
		if t, k, ok := (&icmpSpec{name: name}).numbers(is6); ok && int(t) == typ && int(k) == code {
			text = "icmp " + name
			if (&icmpSpec{name: name}).echo() {
				h := wire.ICMPv4(live.body)
				return fmt.Sprintf("%s id %d seq %d (%d)", text, h.ID(), h.Seq(), len(live.body)-wire.ICMPv4Len)
			}
		}
	}
	if rest := wire.ICMPv4(live.body).Rest(); rest != 0 {
		text += fmt.Sprintf(" mtu %d", rest)
	}
	if q, ok := parseQuoted(live.body[wire.ICMPv4Len:]); ok && len(q.body) >= 8 {
		if q.proto == wire.ProtoTCP {
			return fmt.Sprintf("%s [seq %d on the wire]", text, wire.TCP(q.body).Seq())
		}
		return fmt.Sprintf("%s [udp (%d)]", text, wire.UDP(q.body).Length()-wire.UDPLen)
	}
	return text
}
