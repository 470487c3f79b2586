package ip

import (
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// input6 takes an IPv6 packet (RFC 8200).
func (l *Layer) input6(in *inbound, p *packet.Packet) {
	hdr, _ := p.Peek(wire.IPv6Len)
	h, err := wire.ParseIPv6(hdr, p.Size())
	if err != nil {
		drop(p, &in.c.inHdrErrors)
		return
	}
	in.src, in.dst = key6(h[8:]), key6(h[24:])
	// A v4-mapped address on the wire is a trick to be taken for an IPv4 host.
	if in.src.is4() || in.dst.is4() {
		drop(p, &in.c.inAddrErrors)
		return
	}
	if in.judge(l.cfg.Forward); in.verdict == rejected {
		drop(p, &in.c.inAddrErrors)
		return
	}
	p.ECN = h.ECN()
	extra := p.Size() - h.TotalLen() // padding of the link
	if next := h.NextHeader(); in.verdict == forwarded || !next.IsExtension() {
		hdr, _ = p.Consume(packet.Network, wire.IPv6Len)
		trim6(p, extra)
		if h = wire.IPv6(hdr); in.verdict == forwarded {
			l.forward6(in, p, h)
			return
		}
		l.deliver6(in, p, next)
		return
	}
	l.extensions6(in, p, h.PayloadLen(), extra)
}

func trim6(p *packet.Packet, extra int) {
	if extra > 0 {
		data := p.Data()
		data.Truncate(data.Size() - extra)
	}
}

// deliver6 delivers a whole packet, all extension headers consumed or stripped.
func (l *Layer) deliver6(in *inbound, p *packet.Packet, upper wire.Protocol) {
	h := wire.IPv6(p.Header(packet.Network))
	if upper == wire.ProtoNoNext { // RFC 8200 §4.7: nothing to deliver
		drop(p, &in.c.inDiscards)
		return
	}
	m := &in.meta
	*m = Meta{Src: h.Src(), Dst: h.Dst(), Protocol: upper, TTL: h.HopLimit(), TOS: h.TrafficClass(), Batch: in.batch}
	l.deliver(in, p, m)
}

// extensions6 walks the extension headers of a packet for us, and delivers it or keeps it as a fragment.
func (l *Layer) extensions6(in *inbound, p *packet.Packet, payload, extra int) {
	b, _ := p.Peek(wire.IPv6Len + min(payload, wire.MaxExtensionBytes+wire.IPv6FragmentLen))
	h := wire.IPv6(b[:wire.IPv6Len])
	e := wire.WalkExtensions(h, b[wire.IPv6Len:], payload)
	for named := e.Pointer(); e.Next(); named = e.Pointer() {
		x := e.Extension()
		if f, ok := x.Fragment(); ok && !f.Atomic() {
			l.fragment6(in, p, &e, fragmentHeader{
				pos: x.Offset, named: named, next: f.NextHeader(), begin: f.Offset(), more: f.More(), id: f.ID(), extra: extra,
			})
			return
		}
		if trouble := checkExtension(x, in.verdict == multi); trouble.bad {
			l.refuse6(in, p, wire.IPv6Len, extra, trouble)
			return
		}
	}
	if err := e.Err(); err != nil {
		l.refuse6(in, p, wire.IPv6Len, extra, walkTrouble(err, &e))
		return
	}
	upper := e.Upper()
	p.Consume(packet.Network, wire.IPv6Len+e.Len())
	trim6(p, extra)
	l.deliver6(in, p, upper)
}

// trouble is what is wrong with an extension header, and which parameter problem to answer (none if silent).
type trouble struct {
	bad     bool
	silent  bool
	code    uint8
	pointer int
}

// checkExtension looks at one extension header other than a fragment header.
func checkExtension(x wire.Extension, multicast bool) trouble {
	if r, ok := x.Routing(); ok {
		// RFC 8200 §4.4; type 0 is one of those not known (RFC 5095).
		if r.SegmentsLeft() != 0 {
			return trouble{bad: true, code: wire.ICMPv6ErroneousField, pointer: x.Offset + 2}
		}
		return trouble{}
	}
	return checkOptions6(x.Options(), multicast)
}

// maxOptions6 is how many options, padding not counted, one header may have (RFC 8504 §5.3).
const maxOptions6 = 8

// checkOptions6 does with options, all of which are unknown here, what their types ask for (RFC 8200 §4.2).
func checkOptions6(it wire.IPv6Options, multicast bool) trouble {
	for n := 0; it.Next(); n++ {
		o := it.Option()
		if n == maxOptions6 {
			return trouble{bad: true, code: wire.ICMPv6TooManyOptions, pointer: o.Offset}
		}
		t := trouble{bad: true, code: wire.ICMPv6UnknownOption, pointer: o.Offset}
		switch o.Type.Action() {
		case wire.OptionSkip:
			continue
		case wire.OptionDiscard:
			t.silent = true
		case wire.OptionDiscardReportToUnicast:
			t.silent = multicast
		}
		return t
	}
	if it.Err() != nil {
		return trouble{bad: true, code: wire.ICMPv6ErroneousField, pointer: it.Pointer()}
	}
	return trouble{}
}

// walkTrouble is the answer to a chain that cannot be walked to its end.
func walkTrouble(err error, e *wire.Extensions) trouble {
	switch err {
	case wire.ErrExtensionOrder: // RFC 8200 §4: as an unknown next header
		return trouble{bad: true, code: wire.ICMPv6UnknownNextHeader, pointer: e.Pointer()}
	case wire.ErrExtensionLimit, wire.ErrNeedMore: // RFC 8883 §3.4
		return trouble{bad: true, code: wire.ICMPv6TooManyExtensions, pointer: wire.IPv6Len + e.Len()}
	}
	return trouble{bad: true, silent: true}
}

// refuse6 drops a packet for a bad extension header, with the parameter problem that it earns. The first n unread bytes are headers.
func (l *Layer) refuse6(in *inbound, p *packet.Packet, n, extra int, t trouble) {
	p.Consume(packet.Network, n)
	trim6(p, extra)
	l.refuseConsumed6(in, p, t)
}

// refuseConsumed6 is refuse6 for a packet whose network header is consumed.
func (l *Layer) refuseConsumed6(in *inbound, p *packet.Packet, t trouble) {
	if !t.silent {
		l.sendError(in.now, p, icmpError{typ: uint8(wire.ICMPv6ParamProblem), code: t.code, rest: uint32(t.pointer)})
	}
	drop(p, &in.c.inHdrErrors)
}

// fragmentHeader is a fragment header, and where in the packet it is.
type fragmentHeader struct {
	pos   int // of the header, from the start of the packet
	named int // of the Next Header field in front of it
	next  wire.Protocol
	begin int
	more  bool
	id    uint32
	extra int // bytes of padding behind the packet
}

// fragment6 takes a fragment for us (RFC 8200 §4.5), and goes on with the packet that it completes. e stands at the fragment header.
func (l *Layer) fragment6(in *inbound, p *packet.Packet, e *wire.Extensions, f fragmentHeader) {
	in.c.reasmReqds.Add(1)
	bodyAt := f.pos + wire.IPv6FragmentLen
	size := p.Size() - f.extra - bodyAt
	var t trouble
	switch {
	case size == 0 || p.Checksum == packet.ChecksumPartial || p.GSO != packet.GSONone:
		t = trouble{bad: true, silent: true}
	case f.more && size%8 != 0:
		t = trouble{bad: true, code: wire.ICMPv6ErroneousField, pointer: 4}
	case f.pos-wire.IPv6Len+f.begin+size > wire.IPv6MaxPayload: // a later fragment, about which no error is sent
		t = trouble{bad: true, silent: true}
	case f.begin == 0:
		t = checkChain(e, p.Size()-f.extra)
	}
	if t.bad {
		l.refuse6(in, p, wire.IPv6Len, f.extra, t)
		return
	}
	p.Consume(packet.Network, f.pos) // the fragment header stays, for an ICMP error to quote it
	trim6(p, f.extra)
	k := datagramKey{src: in.src, dst: in.dst, id: f.id, v6: true, scope: int32(scopeOf(in.ifc, in.src, in.dst))}
	whole := l.reasm.add(in, k, fragment{
		begin: f.begin, end: f.begin + size, p: p, more: f.more, ecn: p.ECN, named: int32(f.named), next: f.next,
	})
	if whole.p != nil {
		l.reassembled6(in, whole)
	}
}

// checkChain asks that a first fragment holds all headers up to and including the upper layer's (RFC 7112 §5). e stands at the fragment
// header of a packet of size bytes.
func checkChain(e *wire.Extensions, size int) trouble {
	for e.Next() {
	}
	if err := e.Err(); err == wire.ErrExtensionOrder || err == wire.ErrExtensionLimit {
		return walkTrouble(err, e)
	}
	least := 0
	switch e.Upper() {
	case wire.ProtoTCP:
		least = wire.TCPMinLen
	case wire.ProtoUDP, wire.ProtoICMPv6:
		least = wire.UDPLen
	}
	if e.Err() != nil || wire.IPv6Len+e.Len()+least > size {
		return trouble{bad: true, code: wire.ICMPv6IncompleteChain}
	}
	return trouble{}
}

// reassembled6 goes on with a packet put together of fragments: the fragment header is gone, and extension headers behind it are
// stripped once they are checked, so that the network header names the upper layer again.
func (l *Layer) reassembled6(in *inbound, whole datagram) {
	p := whole.p
	p.WritableHeaders()
	h := p.Header(packet.Network)
	if len(h)-wire.IPv6Len+whole.size > wire.IPv6MaxPayload { // the first fragment has more headers than the one that was checked
		drop(p, &in.c.inHdrErrors)
		return
	}
	wire.IPv6(h).SetPayloadLen(len(h) - wire.IPv6Len + whole.size)
	wire.IPv6(h).SetECN(whole.ecn)
	p.ECN = whole.ecn
	h[whole.named] = uint8(whole.next)
	upper := whole.next
	if upper.IsExtension() {
		b, _ := p.Peek(min(whole.size, wire.MaxExtensionBytes+wire.IPv6FragmentLen))
		e := wire.ContinueExtensions(upper, b, whole.size, len(h), int(whole.named))
		for e.Next() {
			t := trouble{bad: true, silent: true} // a fragment in a fragment
			if x := e.Extension(); x.Type != wire.ProtoFragment {
				t = checkExtension(x, in.verdict == multi)
			}
			if t.bad {
				l.refuseConsumed6(in, p, t)
				return
			}
		}
		if err := e.Err(); err != nil {
			l.refuseConsumed6(in, p, walkTrouble(err, &e))
			return
		}
		upper = e.Upper()
		stripped := e.Len()
		data := p.Data()
		data.TrimFront(stripped)
		h[whole.named] = uint8(upper)
		wire.IPv6(h).SetPayloadLen(len(h) - wire.IPv6Len + whole.size - stripped)
	}
	l.deliver6(in, p, upper)
}
