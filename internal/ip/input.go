package ip

import (
	"sync/atomic"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// inbound is one packet on its way in, and what has been found out about it: passed by pointer through the steps of input, which all run
// before Input returns. It is then kept for another one, with the last judgement.
type inbound struct {
	_        [0]func() // no ==: its code would be in every program
	now      sched.Time
	t        *Table
	ifc      *Interface
	c        *counters
	batch    any
	src, dst key
	verdict  verdict
	meta     Meta // what transport gets of it

	judged judgement
}

// judgement is a verdict and all that it depends on, so that it holds for every packet of a flow until the configuration changes.
type judgement struct {
	t        *Table
	ifc      *Interface
	src, dst key
	verdict  verdict
}

// verdict says what becomes of a packet, by its destination.
type verdict uint8

const (
	rejected  verdict = iota
	ours              // an address assigned to us
	foreign           // ours by AnyDestination
	multi             // multicast or broadcast that we listen to
	forwarded         // somebody else's
)

// Input takes a packet that came in by an interface (p.Iface), joined or not. It owns p. Batch is handed through to Meta.Batch and
// Error.Batch (the caller collects there what a batch of packets makes necessary); ip does not look at it.
func (l *Layer) Input(now sched.Time, p *packet.Packet, batch any) {
	in := l.inbounds.Get().(*inbound)
	in.now, in.batch, in.t, in.c = now, batch, l.table.Load(), l.count(int(p.Iface))
	l.input(in, p)
	in.batch, in.meta.Batch = nil, nil
	l.inbounds.Put(in)
}

func (l *Layer) input(in *inbound, p *packet.Packet) {
	in.c.inReceives.Add(uint64(max(p.Segs, 1)))
	in.ifc = in.t.Interface(int(p.Iface))
	if in.ifc == nil || !in.ifc.Up {
		drop(p, &in.c.inDiscards)
		return
	}
	hdr, ok := p.Peek(wire.IPv4MinLen)
	switch {
	case ok && wire.IPVersion(hdr) == 4:
		l.input4(in, p, hdr)
	case ok && wire.IPVersion(hdr) == 6:
		l.input6(in, p)
	default:
		drop(p, &in.c.inHdrErrors)
	}
}

// drop releases a packet and counts it.
func drop(p *packet.Packet, counter *atomic.Uint64) {
	counter.Add(1)
	p.Release()
}

// judge sets the verdict by the packet's addresses. Source rules: RFC 1122 §3.2.1.3, RFC 4291 §2.7 and §2.5.
func (in *inbound) judge(forward bool) {
	if j := &in.judged; j.t == in.t && j.ifc == in.ifc && j.src == in.src && j.dst == in.dst {
		in.verdict = j.verdict
		return
	}
	in.verdict = in.destination(forward)
	if in.verdict != rejected && !in.sourceAllowed() {
		in.verdict = rejected
	}
	in.judged = judgement{in.t, in.ifc, in.src, in.dst, in.verdict}
}

func (in *inbound) destination(forward bool) verdict {
	dst := in.dst
	switch {
	case in.t.isLocal(dst, in.ifc):
		return ours
	case in.ifc.Loopback || dst.unspecified() || dst.loopback():
		return rejected
	case dst.multicast():
		if in.t.inGroup(dst, in.ifc) {
			return multi
		}
		return rejected
	case in.t.isBroadcast(dst, in.ifc):
		return multi
	case dst.linkLocal() || dst.reserved4():
		return rejected
	case in.ifc.AnyDestination:
		return foreign
	case forward && !in.ifc.Isolated && !in.src.linkLocal():
		return forwarded
	}
	return rejected
}

// sourceAllowed reports whether the source is one that a packet may come from: one host, not us unless over the loopback interface.
func (in *inbound) sourceAllowed() bool {
	src := in.src
	switch {
	case src.multicast() || src.reserved4():
		return false
	case in.ifc.Loopback:
		return in.t.isLocal(src, in.ifc)
	case src.loopback():
		return false
	case src.unspecified():
		return in.verdict == multi // a host that has no address yet: DHCP, duplicate address detection
	}
	return !in.t.isLocal(src, in.ifc) && !in.t.isBroadcast(src, in.ifc)
}

// deliver hands a whole packet that is for us, network header consumed, to ICMP or transport.
func (l *Layer) deliver(in *inbound, p *packet.Packet, m *Meta) {
	m.Iface = in.ifc.Index
	m.Scope = scopeOf(in.ifc, in.src, in.dst)
	m.Foreign = in.verdict == foreign
	m.Multi = in.verdict == multi
	if !l.checkTransport(in, p, m) {
		return
	}
	in.c.inDelivers.Add(uint64(max(p.Segs, 1)))
	switch {
	case m.Protocol == wire.ProtoICMP && m.Dst.Is4():
		l.icmp4(in, p, m)
	case m.Protocol == wire.ProtoICMPv6 && !m.Dst.Is4():
		l.icmp6(in, p, m)
	case l.cfg.Deliver == nil || !l.cfg.Deliver(in.now, p, m):
		l.unwanted(in, p, m)
	}
}

// unwanted answers a packet that transport has no use for (RFC 1122 §3.2.2.1, RFC 4443 §3.1 and §3.4).
func (l *Layer) unwanted(in *inbound, p *packet.Packet, m *Meta) {
	switch m.Protocol {
	case wire.ProtoTCP:
	case wire.ProtoUDP:
		l.Unreachable(in.now, p, PortUnreachable)
	default:
		in.c.inUnknownProtos.Add(1)
		l.Unreachable(in.now, p, ProtocolUnreachable)
	}
	p.Release()
}

// checkTransport verifies the checksum of TCP, UDP and ICMP, and cuts off what is behind a UDP datagram; if it answers false the packet
// is dropped and counted. A partial checksum is as good as verified: the packet never left this machine.
func (l *Layer) checkTransport(in *inbound, p *packet.Packet, m *Meta) bool {
	size := p.Size() - p.HeaderSize()
	pseudo := true
	switch {
	case m.Protocol == wire.ProtoUDP:
		ok := false
		if size, ok = checkUDP(p, size, m); !ok {
			drop(p, &in.c.inHdrErrors)
			return false
		}
		if size == 0 {
			return true
		}
	case m.Protocol == wire.ProtoTCP:
	case m.Protocol == wire.ProtoICMPv6 && !m.Dst.Is4():
	case m.Protocol == wire.ProtoICMP && m.Dst.Is4():
		pseudo = false
	default:
		return true
	}
	if p.Checksum != packet.ChecksumNone {
		return true
	}
	sum := p.Sum(p.HeaderSize())
	if pseudo {
		sum = addSum(sum, pseudoSum(in.src, in.dst, m.Protocol, size))
	}
	if sum != 0xffff {
		drop(p, &in.c.inChecksumErrors)
		return false
	}
	p.Checksum = packet.ChecksumVerified
	return true
}

// checkUDP compares the UDP length with the packet's, and returns how many bytes the checksum covers: 0 if there is none, which is only
// allowed over IPv4 (RFC 768; RFC 8200 §8.1).
func checkUDP(p *packet.Packet, size int, m *Meta) (covered int, ok bool) {
	b, ok := p.Peek(wire.UDPLen)
	if !ok {
		return 0, false
	}
	if p.GSO.UDP() {
		return size, true // the length field may be each datagram's
	}
	u, err := wire.ParseUDP(b, size)
	if err != nil {
		return 0, false
	}
	n, none := u.Length(), u.Checksum() == 0
	if n < size {
		data := p.Data()
		data.Truncate(n)
	}
	if none && p.Checksum == packet.ChecksumNone {
		return 0, m.Dst.Is4()
	}
	return n, true
}

// addSum adds two folded sums.
func addSum(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s + s>>16)
}

// pseudoSum is the folded sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1). The words of an address are the same ones in a key.
func pseudoSum(src, dst key, protocol wire.Protocol, size int) uint16 {
	s := uint64(protocol) + uint64(size)>>16 + uint64(size)&0xffff
	if src.is4() {
		s += src.lo&0xffff + src.lo>>16&0xffff + dst.lo&0xffff + dst.lo>>16&0xffff
	} else {
		for _, v := range [4]uint64{src.hi, src.lo, dst.hi, dst.lo} {
			s += v&0xffff_ffff + v>>32
		}
	}
	s = s>>32 + s&0xffff_ffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s>>16 + s&0xffff)
}
