package ip

import (
	"syscall"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// sendFragments cuts a packet of our own that is too large for its path into fragments, and transmits them (RFC 791 §3.2, RFC 8200
// §4.5). It owns p.
func (l *Layer) sendFragments(c *counters, p *packet.Packet, path *Path, h Header) error {
	l.Push(p, path, h)
	if !p.FinishChecksum() {
		drop(p, &c.fragFails)
		return syscall.EMSGSIZE
	}
	f := fragmenter{l: l, c: c, meta: p.Meta, iface: path.Iface}
	var payload buffer.Buffer
	payload.SetPool(l.cfg.Packets.Buffers())
	if !p.PayloadSince(packet.Transport, &payload) {
		payload.Merge(p.Data())
	}
	if hdr := p.Header(packet.Network); path.Dst.Is4() {
		f.header4 = fields4(wire.IPv4(hdr))
		f.cut4(&payload, path.MTU, nil)
	} else {
		f.cut6(&payload, path.MTU, wire.IPv6(hdr))
	}
	payload.Release()
	p.Release()
	return nil
}

// fields4 is what a header says, its lengths aside.
func fields4(h wire.IPv4) wire.IPv4Fields {
	return wire.IPv4Fields{
		TOS: h.TOS(), ID: h.ID(), MoreFragments: h.MoreFragments(), FragmentOffset: h.FragmentOffset(), TTL: h.TTL(), Protocol: h.Protocol(),
		Src: h.Src(), Dst: h.Dst(), Options: h[wire.IPv4MinLen:],
	}
}

// fragmenter cuts one datagram.
type fragmenter struct {
	l       *Layer
	c       *counters
	meta    packet.Meta
	iface   int
	header4 wire.IPv4Fields // of the datagram, or of the fragment that is cut further: FragmentOffset and MoreFragments are its own
}

// fragment makes a packet of the next n bytes of the payload.
func (f *fragmenter) fragment(payload *buffer.Buffer, n int) *packet.Packet {
	q := f.l.cfg.Packets.Get()
	q.Meta = f.meta
	q.Iface = int32(f.iface)
	q.Segs = 0
	payload.MoveTo(q.Data(), n)
	f.c.fragCreates.Add(1)
	return q
}

// cut4 transmits the payload in fragments of at most mtu bytes. later is the options that go into all but the first.
func (f *fragmenter) cut4(payload *buffer.Buffer, mtu int, later []byte) {
	h := f.header4
	for payload.Size() > 0 {
		room := mtu - h.HeaderLen()
		n := payload.Size()
		if h.MoreFragments = f.header4.MoreFragments; n > room {
			n = room &^ 7
			h.MoreFragments = true
		}
		q := f.fragment(payload, n)
		h.TotalLen = h.HeaderLen() + n
		wire.PutIPv4(q.Push(packet.Network, h.HeaderLen()), h)
		f.l.cfg.Transmit(f.iface, q)
		h.FragmentOffset += n
		h.Options = later
	}
	f.c.fragOKs.Add(1)
}

// cut6 transmits the payload in fragments of at most mtu bytes, each with the header h and a fragment header.
func (f *fragmenter) cut6(payload *buffer.Buffer, mtu int, h wire.IPv6) {
	x := wire.IPv6FragmentFields{NextHeader: h.NextHeader(), ID: uint32(f.l.cfg.Rand() >> 32)} // RFC 7739 §5.3
	room := (mtu - wire.IPv6Len - wire.IPv6FragmentLen) &^ 7
	for payload.Size() > 0 {
		n := min(payload.Size(), room)
		q := f.fragment(payload, n)
		x.More = payload.Size() > 0
		b := q.Push(packet.Network, wire.IPv6Len+wire.IPv6FragmentLen)
		copy(b, h)
		wire.IPv6(b).SetNextHeader(wire.ProtoFragment)
		wire.IPv6(b).SetPayloadLen(wire.IPv6FragmentLen + n)
		wire.PutIPv6Fragment(b[wire.IPv6Len:], x)
		f.l.cfg.Transmit(f.iface, q)
		x.Offset += n
	}
	f.c.fragOKs.Add(1)
}
