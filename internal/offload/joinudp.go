package offload

import (
	"encoding/binary"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// maxUDPFlows is how many flows of datagrams are open at a time.
const maxUDPFlows = 4

// udpFlow is the last packet of a flow of datagrams in the batch, as long as datagrams may be joined to it.
type udpFlow struct {
	first   *packet.Packet // nil: closed
	ip      []byte         // its network header, consumed
	udp     wire.UDP       // its transport header, consumed
	segment int            // payload of each datagram
	size    int            // of the whole packet so far
	segs    int
}

// datagram is a packet of the batch that may be joined with others, headers consumed.
type datagram struct {
	p       *packet.Packet
	ip      []byte
	udp     wire.UDP
	payload int
}

// copiedSize is up to which size payload is copied behind what it is joined to: a piece for each of many small datagrams would cost more.
const copiedSize = 256

// joinUDP joins p to the packet of its flow and answers that it is gone. Else it leaves p as it is, byte for byte, as what later datagrams
// of its flow may be joined to. Joined are datagrams of equal size (but for the last) with a checksum, which is verified unless somebody
// vouches for it, and IP headers that differ in length, checksum and identification only. Known is false of what is not UDP.
func (j *Joiner) joinUDP(p *packet.Packet) (known, gone bool) {
	d, ok := parseUDP(p)
	if !ok {
		if j.udpUsed > 0 && perhapsUDP(p) { // of any of the flows: what comes later is not to overtake it
			j.closeUDP()
		}
		return false, false
	}
	f := j.findUDP(&d)
	if f != nil && d.payload > 0 && d.payload <= f.segment && f.segs < packet.SentUDPSegs && f.size+d.payload <= maxSize && f.alike(&d) && d.verify() {
		p.MoveUnread(f.first.Data(), d.payload <= copiedSize)
		f.size += d.payload
		f.segs++
		p.Release()
		if d.payload < f.segment {
			f.close()
		}
		return true, true
	}
	if f == nil {
		f = j.slotUDP()
	}
	f.close()
	if d.payload == 0 || !d.verify() {
		p.Deliverable()
		return true, false
	}
	*f = udpFlow{first: p, ip: d.ip, udp: d.udp, segment: d.payload, size: p.Size(), segs: 1}
	return true, false
}

// perhapsUDP reports whether p may be a datagram, or part of one, that is left to ip: a fragment, one without a checksum or with options, or a
// super-segment.
func perhapsUDP(p *packet.Packet) bool {
	b, ok := p.Peek(wire.IPv4MinLen)
	return ok && (b[0]>>4 == 4 && b[9] == uint8(wire.ProtoUDP) || b[0]>>4 == 6 && b[6] != uint8(wire.ProtoTCP))
}

// parseUDP takes the headers off a datagram; if it answers false nothing has been done to p.
func parseUDP(p *packet.Packet) (d datagram, ok bool) {
	b, ok := p.Peek(wire.IPv4MinLen + wire.UDPLen)
	if !ok || p.HeaderSize() != 0 || p.GSO != packet.GSONone {
		return d, false
	}
	n := wire.IPv4MinLen
	switch {
	case b[0] == 0x45 && b[9] == uint8(wire.ProtoUDP):
		h := wire.IPv4(b[:n])
		if h.TotalLen() != p.Size() || h.IsFragment() || !h.VerifyChecksum() {
			return d, false
		}
	case b[0]>>4 == 6 && b[6] == uint8(wire.ProtoUDP):
		if n = wire.IPv6Len; wire.IPv6(b).TotalLen() != p.Size() {
			return d, false
		}
		if b, ok = p.Peek(n + wire.UDPLen); !ok {
			return d, false
		}
	default:
		return d, false
	}
	if h := wire.UDP(b[n:]); h.Length() != p.Size()-n || h.Checksum() == 0 && p.Checksum == packet.ChecksumNone {
		return d, false // ip knows what to do with these
	}
	d.p = p
	d.ip, _ = p.Consume(packet.Network, n)
	d.udp, _ = p.Consume(packet.Transport, wire.UDPLen)
	d.payload = p.Size() - n - wire.UDPLen
	return d, true
}

// verify is verify for datagrams.
func (d *datagram) verify() bool {
	if d.p.Checksum != packet.ChecksumNone {
		return true
	}
	size := d.p.Size() - len(d.ip)
	sum := checksum.Add(uint16(wire.ProtoUDP), uint16(size))
	if len(d.ip) == wire.IPv4MinLen {
		sum = checksum.Sum(d.ip[12:20], sum)
	} else {
		sum = checksum.Sum(d.ip[8:40], sum)
	}
	if checksum.Add(d.p.Sum(len(d.ip)), sum) != 0xffff {
		return false
	}
	d.p.Checksum = packet.ChecksumVerified
	return true
}

// findUDP returns the open flow that d belongs to; nil if there is none.
func (j *Joiner) findUDP(d *datagram) *udpFlow {
	for i := range j.udp[:j.udpUsed] {
		f := &j.udp[i]
		if f.first == nil || binary.BigEndian.Uint32(f.udp) != binary.BigEndian.Uint32(d.udp) || len(f.ip) != len(d.ip) {
			continue
		}
		if len(d.ip) == wire.IPv4MinLen {
			if binary.BigEndian.Uint64(f.ip[12:]) == binary.BigEndian.Uint64(d.ip[12:]) {
				return f
			}
		} else if [32]byte(f.ip[8:]) == [32]byte(d.ip[8:]) {
			return f
		}
	}
	return nil
}

// alike compares the headers of the flow's packet with those of a datagram.
func (f *udpFlow) alike(d *datagram) bool {
	if (f.udp.Checksum() == 0) != (d.udp.Checksum() == 0) {
		return false
	}
	if len(f.ip) == wire.IPv6Len {
		return [4]byte(f.ip) == [4]byte(d.ip) && f.ip[7] == d.ip[7] // traffic class and flow label; hop limit
	}
	x, y := wire.IPv4(f.ip), wire.IPv4(d.ip)
	return x.TOS() == y.TOS() && x.TTL() == y.TTL() && x[6] == y[6]
}

// slotUDP returns a closed flow, or one to close.
func (j *Joiner) slotUDP() *udpFlow {
	for i := range j.udp[:j.udpUsed] {
		if j.udp[i].first == nil {
			return &j.udp[i]
		}
	}
	if j.udpUsed < maxUDPFlows {
		j.udpUsed++
		return &j.udp[j.udpUsed-1]
	}
	j.udpNext = (j.udpNext + 1) % maxUDPFlows
	return &j.udp[j.udpNext]
}

// closeUDP ends all flows with the batch.
func (j *Joiner) closeUDP() {
	for i := range j.udp[:j.udpUsed] {
		j.udp[i].close()
	}
	j.udpUsed = 0
}

// close makes the flow's packet an inbound packet again, with the lengths of what has been joined to it.
func (f *udpFlow) close() {
	p := f.first
	if p == nil {
		return
	}
	if f.segs > 1 {
		p.GSO = packet.GSOUDP4
		if len(f.ip) == wire.IPv4MinLen {
			h := wire.IPv4(f.ip)
			h.SetChecksum(checksum.Update16(h.Checksum(), uint16(h.TotalLen()), uint16(f.size)))
			h.SetTotalLen(f.size)
		} else {
			p.GSO = packet.GSOUDP6
			wire.IPv6(f.ip).SetPayloadLen(f.size - wire.IPv6Len)
		}
		f.udp.SetLength(f.size - len(f.ip))
		p.GSOSize, p.Segs = uint16(f.segment), uint16(f.segs)
		p.Checksum = packet.ChecksumVerified
	}
	p.Deliverable()
	*f = udpFlow{}
}
