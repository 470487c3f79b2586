package stack

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

const (
	protoTCP    = wire.ProtoTCP
	protoUDP    = wire.ProtoUDP
	tcpChecksum = 16 // offset of the field in the header (RFC 9293 §3.1)
	udpChecksum = 6  // RFC 768
)

// scope is that of the key of a flow which takes a path, as ip.Meta has it for what comes back: the interface where an address means
// something else on each (link-local, isolated), else 0.
func (s *Stack) scope(p *ip.Path) int { return s.ip.Table().Scope(p.Iface, p.Src, p.Dst) }

// zoned is an address as the application sees it: one that means something only on an interface has that interface's name as its zone.
func (s *Stack) zoned(a netip.Addr, iface int) netip.Addr {
	if iface == 0 || !a.Is6() || !a.IsLinkLocalUnicast() {
		return a
	}
	if d := s.ip.Table().Interface(iface); d != nil {
		return a.WithZone(d.Name)
	}
	return a
}

// zonedPort is zoned for an address with a port.
func (s *Stack) zonedPort(a netip.AddrPort, iface int) netip.AddrPort {
	return netip.AddrPortFrom(s.zoned(a.Addr(), iface), a.Port())
}

// unzoned splits an address into one without zone and the interface that the zone names, 0 if none. ENODEV: there is none of that name.
func (s *Stack) unzoned(a netip.Addr) (addr netip.Addr, iface int, err error) {
	a = a.Unmap()
	zone := a.Zone()
	if zone == "" {
		return a, 0, nil
	}
	for _, d := range s.ip.Table().Interfaces() {
		if d.Name == zone {
			return a.WithZone(""), d.Index, nil
		}
	}
	return a, 0, syscall.ENODEV
}

// push makes a packet of seg (taking its payload) and appends it to q; without a queue it is dropped.
func (s *Stack) push(q *txQueue, k *flowKey, seg *tcp.Segment, mtu uint32, w *manner) {
	if q == nil {
		seg.Payload.Release()
		s.stats.noRoute.Add(1)
		return
	}
	path := ip.Path{Iface: q.iface.index, Src: k.localAddr().Addr(), Dst: k.remoteAddr().Addr(), MTU: int(mtu)}
	q.append(s.makePacket(&path, k.localPort, k.remotePort, seg, w))
}

// makePacket builds the packet of a segment, its checksum partial.
func (s *Stack) makePacket(path *ip.Path, srcPort, dstPort uint16, seg *tcp.Segment, w *manner) *packet.Packet {
	p := s.cfg.Packets.Get()
	if w.guard != nil {
		w.guard.Prepare(&seg.Options)
	}
	size := seg.Payload.Size()
	p.Data().Merge(&seg.Payload)
	b := p.Push(packet.Transport, seg.HeaderLen())
	seg.PutHeader(b, srcPort, dstPort)
	if w.guard != nil {
		w.guard.Sign(tcp.SignedSegment{Src: path.Src, Dst: path.Dst, Header: b, Payload: p.Data()})
	}
	p.Segs = 1
	if seg.GSOSize > 0 && size > seg.GSOSize {
		p.GSOSize = uint16(seg.GSOSize)
		p.Segs = uint16((size + seg.GSOSize - 1) / seg.GSOSize)
		p.GSO = packet.GSOTCP6
		p.KeepCWR = seg.ACE && seg.Flags.Has(wire.CWR)
		if path.Dst.Is4() {
			p.GSO = packet.GSOTCP4
		}
	}
	s.partial(p, path, protoTCP, b, tcpChecksum, len(b)+size)
	h := w.header(protoTCP, seg.ECN)
	h.DF = w.pathMTU != PathMTUFragment
	s.ip.Push(p, path, h)
	s.stats.segsOut.Add(uint64(p.Segs))
	return p
}

// partial puts the pseudo-header's sum into the checksum field of the transport header, for device or stack to finish.
func (s *Stack) partial(p *packet.Packet, path *ip.Path, proto wire.Protocol, header []byte, offset int, length int) {
	binary.BigEndian.PutUint16(header[offset:], checksum.PseudoHeader(path.Src, path.Dst, uint8(proto), length))
	p.Checksum = packet.ChecksumPartial
	p.CsumOffset = uint16(offset)
	p.CsumStart = 40
	if path.Dst.Is4() {
		p.CsumStart = 20
	}
}

// reply sends a segment that belongs to no connection, back along the flow k: by an interface, or (0) by route.
func (s *Stack) reply(k *flowKey, iface int, seg *tcp.Segment, w *manner) {
	path, err := s.ip.Path(k.localAddr().Addr(), k.remoteAddr().Addr(), iface, true)
	i := s.iface(path.Iface)
	if err != nil || i == nil {
		seg.Payload.Release()
		s.stats.noRoute.Add(1)
		return
	}
	hash := uint32(0)
	if len(i.queues) > 1 {
		hash = s.flowHash(k)
	}
	i.queue(hash).offer(s.makePacket(&path, k.localPort, k.remotePort, seg, w))
}

// flowHash chooses the transmit queue of a flow, for its connection and for records of it.
func (s *Stack) flowHash(k *flowKey) uint32 { return uint32(k.hash(s.flows.key)) }

// deliver is where ip hands transport its packets; false: nobody wants it.
func (s *Stack) deliver(now sched.Time, p *packet.Packet, m *ip.Meta) bool {
	b, _ := m.Batch.(*batch)
	switch m.Protocol {
	case protoTCP:
		return s.deliverTCP(now, p, m, b)
	case protoUDP:
		return s.deliverUDP(now, p, m, b)
	case wire.ProtoICMP, wire.ProtoICMPv6:
		return s.deliverPing(p, m, b)
	}
	return false
}

// deliverTCP finds whose segment it is. It always takes the packet: what nobody wants is answered with a RST.
func (s *Stack) deliverTCP(now sched.Time, p *packet.Packet, m *ip.Meta, b *batch) bool {
	h, ok := consumeTCP(p)
	if !ok || m.Multi {
		s.stats.badSegments.Add(1)
		p.Release()
		return true
	}
	s.stats.segsIn.Add(uint64(max(1, p.Segs)))
	seg := s.segments.Get().(*tcp.Segment)
	tcp.ParseSegment(h, seg)
	seg.Segs, seg.ECN = int(p.Segs), p.ECN
	seg.Payload.Merge(p.Data())
	k := makeKey(protoTCP, netip.AddrPortFrom(m.Dst, h.DstPort()), netip.AddrPortFrom(m.Src, h.SrcPort()), m.Scope)
	s.segment(now, seg, &k, p, m, b)
	seg.Payload.Clear()
	s.segments.Put(seg)
	return true
}

// consumeTCP takes the TCP header off; false if it is malformed.
func consumeTCP(p *packet.Packet) (wire.TCP, bool) {
	size := p.Size() - p.HeaderSize()
	first, ok := p.Peek(wire.TCPMinLen)
	if !ok {
		return nil, false
	}
	n, err := wire.TCPHeaderLen(first)
	if err != nil {
		return nil, false
	}
	b, ok := p.Consume(packet.Transport, n)
	if !ok {
		return nil, false
	}
	h, err := wire.ParseTCP(b, size)
	return h, err == nil
}

// tcpTaker is a flow's owner that takes segments; false: it is no longer the flow's owner, and the caller looks again.
type tcpTaker interface {
	input(now sched.Time, seg *tcp.Segment, m *ip.Meta, b *batch) bool
}

// segment hands a segment to its flow, or else to a listener or handler. It owns p (whose payload is in seg).
func (s *Stack) segment(now sched.Time, seg *tcp.Segment, k *flowKey, p *packet.Packet, m *ip.Meta, b *batch) {
	var floor issFloor
	for range 4 { // an owner that gives the flow up between look-up and lock has been replaced; that happens a bounded number of times
		owner, recorded := s.flows.find(k)
		taken := false
		if recorded {
			taken, floor = s.recordInput(now, seg, k, m, b)
		} else if o, ok := owner.(tcpTaker); ok {
			taken = o.input(now, seg, m, b)
		} else {
			break
		}
		if taken {
			p.Release()
			return
		}
	}
	ports := k.localPort != 0 && k.remotePort != 0 // 0 is nobody's: refused, as kernels do
	if ports && seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN && s.open(now, seg, k, p, m, floor) {
		return
	}
	if ports && s.takeCookie(now, seg, k, m, b) {
		p.Release()
		return
	}
	s.refuse(now, seg, k, p, m)
}

// icmpError tells the socket that an ICMP error concerns.
func (s *Stack) icmpError(now sched.Time, e *ip.Error) {
	b, _ := e.Batch.(*batch)
	k := makeKey(e.Protocol, netip.AddrPortFrom(e.Src, e.SrcPort), netip.AddrPortFrom(e.Dst, e.DstPort), e.Scope)
	owner, recorded := s.flows.find(&k)
	if recorded {
		s.recordICMP(now, &k, e)
		return
	}
	if o, ok := owner.(icmpTaker); ok {
		o.icmp(now, e, b)
		return
	}
	if owner == nil && e.MTU > 0 && s.mayHaveSent(e) {
		s.ip.SetPathMTU(now, e.Dst, e.Scope, e.MTU)
	}
}

// mayHaveSent reports whether a socket that is not in the flow table can be the origin of the packet that an ICMP error quotes.
func (s *Stack) mayHaveSent(e *ip.Error) bool {
	switch e.Protocol {
	case protoUDP:
		_, ok := s.binds.find(protoUDP, netip.AddrPortFrom(e.Src, e.SrcPort), netip.AddrPortFrom(e.Dst, e.DstPort), e.Scope, false).(*UDP)
		return ok
	case wire.ProtoICMP, wire.ProtoICMPv6:
		return s.pings.any(func(p *Ping) bool { return p.proto == e.Protocol && fits(p.local, e.Src) && fits(p.remote, e.Dst) })
	}
	return false
}
