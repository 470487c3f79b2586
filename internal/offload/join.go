package offload

import (
	"encoding/binary"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// maxFlows is how many flows are open at a time. Of one more, the one that was opened longest ago is closed: its later segments start a
// new super-segment.
const maxFlows = 8

// maxSize is the size of the largest super-segment, which both families can express.
const maxSize = 65535

// Joiner is GRO over one batch at a time: it holds nothing back between batches. The zero Joiner is ready. Not safe for concurrent use.
type Joiner struct {
	flows [maxFlows]flow
	used  int // flows[:used] have been used in this batch
	next  int // which to close when all are open

	// UDP has datagrams joined, too: where none is forwarded. Sockets take a super-segment at the cost of one datagram, but a router would
	// verify and sum for nothing.
	UDP              bool
	udp              [maxUDPFlows]udpFlow
	udpUsed, udpNext int
}

// flow is the last packet of one flow in the batch, as long as segments may be joined to it.
type flow struct {
	first      *packet.Packet // nil: closed
	ip         []byte         // its network header, consumed
	tcp        wire.TCP       // its transport header, consumed
	seq        uint32         // what comes next
	size       int            // of the whole packet so far
	segmentLen int            // payload of each segment
	segs       int            // packets of the wire
	joined     bool
	psh        bool
	keepCWR    bool // CWR is set in each of the segments, of which there are more than one
}

// segment is a packet of the batch that looks like TCP, headers consumed.
type segment struct {
	p       *packet.Packet
	ip      []byte
	tcp     wire.TCP
	payload int
}

// Join joins, in place, neighbouring TCP segments of one flow of the inbound batch and returns the shortened batch. Order within a flow
// is kept. TCP checksums of what might be joined are verified (unless vouched for), and then vouched for; a packet with a wrong one is
// left for ip to drop. What is not joined is left as it is, byte for byte. Packets must be bare IP, with nothing consumed.
//
// Joined are segments that follow upon one another without a gap, of equal size but for the last, and with headers that differ only in
// what follows from that: one ACK number, window, set of options (timestamps included), ECN codepoint, ACE field (RFC 9768) and TTL. CWR may
// also be set in the first one only, as RFC 3168 has it; packet.Meta.KeepCWR tells which. PSH ends a super-segment. The TCP checksum field of a super-segment is that of its first segment, and means nothing.
func (j *Joiner) Join(batch []*packet.Packet) []*packet.Packet {
	out := batch[:0]
	for _, p := range batch {
		if j.UDP {
			if known, gone := j.joinUDP(p); known {
				if !gone {
					out = append(out, p)
				}
				continue
			}
		}
		s, ok := parse(p)
		if !ok {
			if s.tcp != nil {
				j.end(&s)
				p.Deliverable()
			}
			out = append(out, p)
			continue
		}
		if j.join(&s) {
			continue
		}
		out = append(out, p)
		j.open(&s)
	}
	for i := range j.flows[:j.used] {
		j.flows[i].close()
	}
	j.used, j.next = 0, 0
	j.closeUDP()
	clear(batch[len(out):])
	return out
}

// parse takes the headers off a TCP segment. If it answers false and s.tcp is set, the headers are off nonetheless: it belongs to a flow,
// but is not to be joined with anything; else nothing has been done to it.
func parse(p *packet.Packet) (s segment, ok bool) {
	if p.HeaderSize() != 0 {
		return s, false
	}
	b, ok := p.Peek(wire.IPv4MinLen + wire.TCPMinLen)
	if !ok {
		return s, false
	}
	n := 0
	switch {
	case b[0] == 0x45 && b[9] == uint8(wire.ProtoTCP) && wire.IPv4(b).TotalLen() == p.Size() && !wire.IPv4(b).IsFragment():
		if n = wire.IPv4MinLen; !wire.IPv4(b[:n]).VerifyChecksum() {
			return s, false
		}
	case b[0]>>4 == 6 && b[6] == uint8(wire.ProtoTCP) && wire.IPv6(b).TotalLen() == p.Size():
		n = wire.IPv6Len
		if b, ok = p.Peek(wire.IPv6Len + wire.TCPMinLen); !ok {
			return s, false
		}
	default:
		return s, false
	}
	h, err := wire.TCPHeaderLen(b[n:])
	if err != nil || n+h > p.Size() {
		return s, false
	}
	s.p = p
	s.ip, _ = p.Consume(packet.Network, n)
	b, _ = p.Consume(packet.Transport, h)
	s.tcp = wire.TCP(b)
	s.payload = p.Size() - n - h
	// Handshakes, ends, resets, urgent data and pure ACKs stay alone (an ACK clocks the sender, and duplicates are counted). So does what
	// has been joined already.
	if s.tcp.Flags()&^(wire.PSH|wire.AE|wire.CWR|wire.ECE) != wire.ACK || s.payload == 0 || p.GSO != packet.GSONone {
		return s, false
	}
	return s, verify(&s)
}

// verify checks the TCP checksum, unless somebody vouches for it, and vouches for it then.
func verify(s *segment) bool {
	if s.p.Checksum != packet.ChecksumNone {
		return true
	}
	sum := checksum.Add(s.p.Sum(len(s.ip)), pseudoSum(s.ip, s.p.Size()-len(s.ip)))
	if sum != 0xffff {
		return false
	}
	s.p.Checksum = packet.ChecksumVerified
	return true
}

// pseudoSum is the sum of the pseudo-header of a segment of the given size.
func pseudoSum(ip []byte, size int) uint16 {
	sum := checksum.Add(uint16(wire.ProtoTCP), uint16(size))
	if len(ip) == wire.IPv4MinLen {
		return checksum.Sum(ip[12:20], sum)
	}
	return checksum.Sum(ip[8:40], sum)
}

// find returns the open flow that s belongs to; nil if there is none.
func (j *Joiner) find(s *segment) *flow {
	for i := range j.flows[:j.used] {
		f := &j.flows[i]
		if f.first == nil || binary.BigEndian.Uint32(f.tcp) != binary.BigEndian.Uint32(s.tcp) || len(f.ip) != len(s.ip) {
			continue
		}
		if len(s.ip) == wire.IPv4MinLen {
			if binary.BigEndian.Uint64(f.ip[12:]) == binary.BigEndian.Uint64(s.ip[12:]) {
				return f
			}
		} else if [32]byte(f.ip[8:]) == [32]byte(s.ip[8:]) {
			return f
		}
	}
	return nil
}

// end closes the flow that s belongs to.
func (j *Joiner) end(s *segment) {
	if f := j.find(s); f != nil {
		f.close()
	}
}

// join appends s to the packet of its flow, if it is what follows there; s.p is then gone. Else it closes the flow.
func (j *Joiner) join(s *segment) bool {
	f := j.find(s)
	if f == nil {
		return false
	}
	if s.tcp.Seq() != f.seq || s.payload > f.segmentLen || f.size+s.payload > maxSize || !f.alike(s) {
		f.close()
		return false
	}
	f.keepCWR = s.tcp.Flags().Has(wire.CWR)
	f.first.Data().Merge(s.p.Data())
	f.seq += uint32(s.payload)
	f.size += s.payload
	f.segs += max(int(s.p.Segs), 1)
	f.psh = s.tcp.Flags().Has(wire.PSH)
	f.joined = true
	short := s.payload < f.segmentLen
	s.p.Release()
	if short || f.psh {
		f.close()
	}
	return true
}

// alike compares the headers of the flow's packet with those of a segment.
func (f *flow) alike(s *segment) bool {
	a, b := f.tcp, s.tcp
	if len(a) != len(b) || a.Ack() != b.Ack() || a.Window() != b.Window() ||
		(a.Flags()^b.Flags())&^(wire.PSH|wire.CWR) != 0 || !f.cwrFollows(b.Flags()) || string(a[wire.TCPMinLen:]) != string(b[wire.TCPMinLen:]) {
		return false
	}
	if len(f.ip) == wire.IPv6Len {
		return [4]byte(f.ip) == [4]byte(s.ip) && f.ip[7] == s.ip[7] // traffic class and flow label; hop limit
	}
	x, y := wire.IPv4(f.ip), wire.IPv4(s.ip)
	if x.TOS() != y.TOS() || x.TTL() != y.TTL() || x[6] != y[6] {
		return false
	}
	// RFC 6864 §4.1: the identification of an atomic datagram means nothing. Others must count up, as Split makes them.
	return x.DontFragment() || y.ID() == x.ID()+uint16(f.segs)
}

// cwrFollows reports whether a segment with these flags may be joined as far as CWR goes: the first segment has it and no other (RFC 3168),
// all have it, or none.
func (f *flow) cwrFollows(flags wire.TCPFlags) bool {
	if f.joined {
		return flags.Has(wire.CWR) == f.keepCWR
	}
	return f.tcp.Flags().Has(wire.CWR) || !flags.Has(wire.CWR)
}

// open makes s the packet that the next segment of its flow may be joined to.
func (j *Joiner) open(s *segment) {
	if s.tcp.Flags().Has(wire.PSH) {
		s.p.Deliverable()
		return
	}
	f := j.slot()
	*f = flow{
		first: s.p, ip: s.ip, tcp: s.tcp, seq: s.tcp.Seq() + uint32(s.payload), size: s.p.Size(), segmentLen: s.payload,
		segs: max(int(s.p.Segs), 1),
	}
}

// slot returns a closed flow.
func (j *Joiner) slot() *flow {
	for i := range j.flows[:j.used] {
		if j.flows[i].first == nil {
			return &j.flows[i]
		}
	}
	if j.used < maxFlows {
		j.used++
		return &j.flows[j.used-1]
	}
	f := &j.flows[j.next]
	j.next = (j.next + 1) % maxFlows
	f.close()
	return f
}

// close makes the flow's packet an inbound packet again, with the lengths of what has been joined to it.
func (f *flow) close() {
	p := f.first
	if p == nil {
		return
	}
	if f.joined {
		p.GSO = packet.GSOTCP4
		if len(f.ip) == wire.IPv4MinLen {
			h := wire.IPv4(f.ip)
			h.SetChecksum(checksum.Update16(h.Checksum(), uint16(h.TotalLen()), uint16(f.size)))
			h.SetTotalLen(f.size)
		} else {
			p.GSO = packet.GSOTCP6
			wire.IPv6(f.ip).SetPayloadLen(f.size - wire.IPv6Len)
		}
		if f.psh {
			f.tcp.SetFlags(f.tcp.Flags() | wire.PSH)
		}
		p.GSOSize = uint16(f.segmentLen)
		p.Segs = uint16(f.segs)
		p.KeepCWR = f.keepCWR
		p.Checksum = packet.ChecksumVerified
	}
	p.Deliverable()
	*f = flow{}
}
