package offload

import (
	"net/netip"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// Split cuts the super-segment p into packets of the wire, checksums complete, appended to out; p is released. Headers that were neither
// pushed nor consumed are found in the packet's bytes. Payload is referenced, not copied. A packet that is not a super-segment gets its
// checksum finished and is appended itself. What calls itself a super-segment and has no TCP or UDP header to be cut by is released, and
// nothing appended for it; so is a packet whose partial checksum lies outside of it, and one that would be more than packet.MaxUDPSegs
// datagrams.
func Split(pool *packet.Pool, p *packet.Packet, out []*packet.Packet) []*packet.Packet {
	if p.GSO == packet.GSONone {
		if !p.FinishChecksum() {
			p.Release()
			return out
		}
		return append(out, p)
	}
	s := splitter{pool: pool, p: p}
	if !s.findHeaders() {
		p.Release()
		return out
	}
	s.data = p.Data()
	if s.udp && s.data.Size() > packet.MaxUDPSegs*int(p.GSOSize) {
		p.Release()
		return out
	}
	for more := true; more; {
		var q *packet.Packet
		q, more = s.next()
		out = append(out, q)
	}
	p.Release()
	return out
}

// splitter cuts one super-segment.
type splitter struct {
	pool *packet.Pool
	p    *packet.Packet
	data *buffer.Buffer // what is not cut yet

	link, network, transport []byte // of p
	src, dst                 netip.Addr
	udp, noChecksum          bool
	sent                     int // bytes of payload cut off so far
	count                    int // packets made
}

// findHeaders looks at p's headers, taking them off its bytes if nobody has before. False: there is nothing to cut by.
func (s *splitter) findHeaders() bool {
	p := s.p
	s.udp = p.GSO.UDP()
	if p.Header(packet.Network) == nil && !consumeNetwork(p) {
		return false
	}
	if p.Header(packet.Transport) == nil && !consumeTransport(p, s.udp) {
		return false
	}
	s.link, s.network, s.transport = p.Header(packet.Link), p.Header(packet.Network), p.Header(packet.Transport)
	switch {
	case p.GSOSize == 0 || !wellFormed(s.transport, s.udp):
		return false
	case len(s.network) >= wire.IPv4MinLen && wire.IPVersion(s.network) == 4:
		s.src, s.dst = wire.IPv4(s.network).Src(), wire.IPv4(s.network).Dst()
	case len(s.network) >= wire.IPv6Len && wire.IPVersion(s.network) == 6:
		s.src, s.dst = wire.IPv6(s.network).Src(), wire.IPv6(s.network).Dst()
	default:
		return false
	}
	s.noChecksum = s.udp && p.Checksum != packet.ChecksumPartial && wire.UDP(s.transport).Checksum() == 0
	return true
}

// wellFormed reports whether b is a whole header of TCP or UDP.
func wellFormed(b []byte, udp bool) bool {
	if udp {
		return len(b) == wire.UDPLen
	}
	n, err := wire.TCPHeaderLen(b)
	return err == nil && n == len(b)
}

func consumeNetwork(p *packet.Packet) bool {
	b, ok := p.Peek(wire.IPv4MinLen)
	if !ok {
		return false
	}
	n := wire.IPv6Len
	if wire.IPVersion(b) == 4 {
		n, _ = wire.IPv4HeaderLen(b)
	}
	_, ok = p.Consume(packet.Network, n)
	return ok
}

func consumeTransport(p *packet.Packet, udp bool) bool {
	n := wire.UDPLen
	if !udp {
		b, ok := p.Peek(wire.TCPMinLen)
		if !ok {
			return false
		}
		n, _ = wire.TCPHeaderLen(b)
	}
	_, ok := p.Consume(packet.Transport, n)
	return ok
}

// next cuts off one packet, and says whether there is more. A super-segment without payload is one packet.
func (s *splitter) next() (q *packet.Packet, more bool) {
	n := min(s.data.Size(), int(s.p.GSOSize))
	q = s.pool.Get()
	q.Meta = s.p.Meta
	q.GSO, q.GSOSize, q.Segs, q.KeepCWR = packet.GSONone, 0, 0, false
	q.Checksum, q.CsumStart, q.CsumOffset = packet.ChecksumNone, 0, 0
	payload := q.Data()
	s.data.MoveTo(payload, n)
	more = s.data.Size() > 0
	sum := payload.Sum(0, n, 0)

	b := q.Push(packet.Transport, len(s.transport))
	copy(b, s.transport)
	if s.udp {
		s.finishUDP(wire.UDP(b), n, sum)
	} else {
		s.finishTCP(wire.TCP(b), n, sum, more)
	}
	b = q.Push(packet.Network, len(s.network))
	copy(b, s.network)
	s.finishIP(b, len(s.transport)+n)
	if len(s.link) > 0 {
		copy(q.Push(packet.Link, len(s.link)), s.link)
	}
	s.sent += n
	s.count++
	return q, more
}

// finishTCP makes b the header of the next segment. FIN and PSH belong to the last byte. CWR (RFC 3168 §6.1.2) is said once, unless it is
// part of AccECN's ACE field, which "all segments created from the same super-segment should retain" (RFC 9768 §3.3.4).
func (s *splitter) finishTCP(h wire.TCP, n int, sum uint16, more bool) {
	h.SetSeq(h.Seq() + uint32(s.sent))
	flags := h.Flags()
	if more {
		flags &^= wire.FIN | wire.PSH
	}
	if s.count > 0 && !s.p.KeepCWR {
		flags &^= wire.CWR
	}
	h.SetFlags(flags)
	h.SetChecksum(h.ComputeChecksum(s.src, s.dst, n, sum))
}

// finishUDP makes b the header of the next datagram.
func (s *splitter) finishUDP(h wire.UDP, n int, sum uint16) {
	h.SetLength(wire.UDPLen + n)
	if !s.noChecksum {
		h.SetChecksum(h.ComputeChecksum(s.src, s.dst, sum))
	}
}

// finishIP sets the length for a payload of n bytes and, where it means something (RFC 6864 §4.1), the identification.
func (s *splitter) finishIP(b []byte, n int) {
	if wire.IPVersion(b) == 6 {
		wire.IPv6(b).SetPayloadLen(len(b) - wire.IPv6Len + n)
		return
	}
	h := wire.IPv4(b)
	old := h.Checksum()
	oldLen, oldID := uint16(h.TotalLen()), h.ID()
	h.SetTotalLen(len(b) + n)
	ck := checksum.Update16(old, oldLen, uint16(h.TotalLen()))
	if !h.DontFragment() && s.count > 0 {
		h.SetID(oldID + uint16(s.count))
		ck = checksum.Update16(ck, oldID, h.ID())
	}
	h.SetChecksum(ck)
}
