package ip

import (
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// input4 takes an IPv4 packet of which the first 20 bytes are in hdr (RFC 791, RFC 1122 §3.2.1).
func (l *Layer) input4(in *inbound, p *packet.Packet, hdr []byte) {
	n, err := wire.IPv4HeaderLen(hdr)
	if err == nil && n > len(hdr) {
		hdr, _ = p.Peek(n)
	}
	h, err := wire.ParseIPv4(hdr, p.Size())
	if err != nil || !h.VerifyChecksum() {
		drop(p, &in.c.inHdrErrors)
		return
	}
	in.src, in.dst = key4(h[12:]), key4(h[16:])
	if in.judge(l.cfg.Forward); in.verdict == rejected {
		drop(p, &in.c.inAddrErrors)
		return
	}
	hdr, _ = p.Consume(packet.Network, n)
	h = wire.IPv4(hdr)
	if extra := p.Size() - h.TotalLen(); extra > 0 { // padding of the link
		data := p.Data()
		data.Truncate(data.Size() - extra)
	}
	p.ECN = h.ECN()
	if h.HasOptions() && !l.options4(in, p, h) {
		return
	}
	switch {
	case in.verdict == forwarded:
		l.forward4(in, p, h)
	case h.IsFragment():
		l.fragment4(in, p, h)
	default:
		l.deliver4(in, p, h)
	}
}

// deliver4 delivers a whole datagram.
func (l *Layer) deliver4(in *inbound, p *packet.Packet, h wire.IPv4) {
	m := &in.meta
	*m = Meta{Src: h.Src(), Dst: h.Dst(), Protocol: h.Protocol(), TTL: h.TTL(), TOS: h.TOS(), Batch: in.batch}
	l.deliver(in, p, m)
}

// options4 checks the options, of which the layer acts on none. Source routes are refused (RFC 7126 §4.3 and §4.4: drop); impossible
// lengths earn a parameter problem (RFC 1122 §3.2.2.5). False: the packet is gone.
func (l *Layer) options4(in *inbound, p *packet.Packet, h wire.IPv4) bool {
	it := h.Options()
	for it.Next() {
		if o := it.Option(); o.Type == wire.IPv4OptionLSRR || o.Type == wire.IPv4OptionSSRR {
			drop(p, &in.c.inHdrErrors)
			return false
		}
	}
	if it.Err() != nil {
		l.sendError(in.now, p, icmpError{
			typ: uint8(wire.ICMPv4ParamProblem), code: wire.ICMPv4PointerIndicates, rest: uint32(it.Pointer()) << 24,
		})
		drop(p, &in.c.inHdrErrors)
		return false
	}
	return true
}

// fragment4 takes a fragment for us, and goes on with the datagram that it completes.
func (l *Layer) fragment4(in *inbound, p *packet.Packet, h wire.IPv4) {
	in.c.reasmReqds.Add(1)
	begin, more := h.FragmentOffset(), h.MoreFragments()
	size := p.Size() - p.HeaderSize()
	if size == 0 || more && size%8 != 0 || len(h)+begin+size > wire.IPv4MaxMTU ||
		p.Checksum == packet.ChecksumPartial || p.GSO != packet.GSONone {
		drop(p, &in.c.inHdrErrors)
		return
	}
	k := datagramKey{src: in.src, dst: in.dst, id: uint32(h.ID()), protocol: h.Protocol(), scope: int32(scopeOf(in.ifc, in.src, in.dst))}
	whole := l.reasm.add(in, k, fragment{begin: begin, end: begin + size, p: p, more: more, ecn: h.ECN()})
	if whole.p == nil {
		return
	}
	p = whole.p
	p.WritableHeaders()
	h = wire.IPv4(p.Header(packet.Network))
	h.SetFragment(false, false, 0)
	h.SetTotalLen(len(h) + whole.size)
	h.SetECN(whole.ecn)
	h.SetChecksum(h.ComputeChecksum())
	p.ECN = whole.ecn
	if len(h)+whole.size > wire.IPv4MaxMTU { // the first fragment has more options than the one that was checked
		drop(p, &in.c.inHdrErrors)
		return
	}
	l.deliver4(in, p, h)
}
