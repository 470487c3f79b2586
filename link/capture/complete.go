package capture

import (
	"encoding/binary"
	"net/netip"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// Where the checksum lies in a transport header.
const (
	tcpChecksum = 16
	udpChecksum = 6
)

// complete makes b, the bytes of a packet and our own, those of a packet whose lengths and checksums are complete: a partial checksum is
// finished, and a super-segment becomes one packet of its size. What is not as m says stays as it is.
func complete(b []byte, m *packet.Meta, ethernet bool) {
	if ethernet {
		n, err := wire.EthernetHeaderLen(b)
		if err != nil {
			return
		}
		b = b[n:]
	}
	switch {
	case m.GSO != packet.GSONone:
		completeSuper(b, m.GSO)
	case m.Checksum == packet.ChecksumPartial:
		// The field holds the pseudo-header sum.
		if int(m.CsumStart) <= len(b) {
			finish(b[m.CsumStart:], int(m.CsumOffset), 0)
		}
	}
}

// completeSuper sets the lengths and checksums of a super-segment.
func completeSuper(b []byte, g packet.GSO) {
	var src, dst netip.Addr
	var transport []byte
	switch g {
	case packet.GSOTCP4, packet.GSOUDP4:
		n, err := wire.IPv4HeaderLen(b)
		if err != nil || n > len(b) {
			return
		}
		h := wire.IPv4(b[:n])
		h.SetTotalLen(len(b))
		h.SetChecksum(h.ComputeChecksum())
		src, dst, transport = h.Src(), h.Dst(), b[n:]
	case packet.GSOTCP6, packet.GSOUDP6:
		if len(b) < wire.IPv6Len {
			return
		}
		h := wire.IPv6(b[:wire.IPv6Len])
		h.SetPayloadLen(len(b) - wire.IPv6Len)
		x, err := wire.SkipExtensions(h, b[wire.IPv6Len:], len(b)-wire.IPv6Len)
		if err != nil {
			return
		}
		src, dst, transport = h.Src(), h.Dst(), b[wire.IPv6Len+x.Len:]
	}
	protocol, field := uint8(wire.ProtoTCP), tcpChecksum
	if g == packet.GSOUDP4 || g == packet.GSOUDP6 {
		protocol, field = uint8(wire.ProtoUDP), udpChecksum
		if len(transport) >= wire.UDPLen {
			wire.UDP(transport).SetLength(len(transport))
		}
	}
	if field+2 <= len(transport) {
		clear(transport[field : field+2])
		finish(transport, field, checksum.PseudoHeader(src, dst, protocol, len(transport)))
	}
}

// finish puts the checksum of b and an initial sum into its field, if it has one.
func finish(b []byte, field int, initial uint16) {
	if field+2 > len(b) {
		return
	}
	sum := ^checksum.Sum(b, initial)
	if sum == 0 && field == udpChecksum {
		sum = 0xffff // RFC 768: a computed zero is transmitted as all ones
	}
	binary.BigEndian.PutUint16(b[field:], sum)
}

// udpHeaders finds the IP and the UDP header in the bytes of a super-segment of UDP; false if they are not there.
func udpHeaders(b []byte, g packet.GSO, ethernet bool) (ip, udp int, ok bool) {
	if ethernet {
		n, err := wire.EthernetHeaderLen(b)
		if err != nil || n > len(b) {
			return 0, 0, false
		}
		ip = n
	}
	n := wire.IPv6Len
	if g == packet.GSOUDP4 {
		var err error
		if n, err = wire.IPv4HeaderLen(b[ip:]); err != nil {
			return 0, 0, false
		}
	} else if h := b[ip:]; len(h) >= n {
		x, err := wire.SkipExtensions(wire.IPv6(h[:n]), h[n:], len(h)-n)
		if err != nil {
			return 0, 0, false
		}
		n += x.Len
	}
	udp = ip + n
	return ip, udp, udp+wire.UDPLen <= len(b)
}

// completeDatagram makes b, which has the headers of a super-segment, its datagram number i.
func completeDatagram(b []byte, ip, udp, i int, noChecksum bool) {
	var src, dst netip.Addr
	if wire.IPVersion(b[ip:]) == 4 {
		h := wire.IPv4(b[ip:udp])
		h.SetTotalLen(len(b) - ip)
		if !h.DontFragment() {
			h.SetID(h.ID() + uint16(i))
		}
		h.SetChecksum(h.ComputeChecksum())
		src, dst = h.Src(), h.Dst()
	} else {
		h := wire.IPv6(b[ip : ip+wire.IPv6Len])
		h.SetPayloadLen(len(b) - ip - wire.IPv6Len)
		src, dst = h.Src(), h.Dst()
	}
	h := wire.UDP(b[udp : udp+wire.UDPLen])
	h.SetLength(len(b) - udp)
	h.SetChecksum(0)
	if !noChecksum {
		finish(b[udp:], udpChecksum, checksum.PseudoHeader(src, dst, uint8(wire.ProtoUDP), len(b)-udp))
	}
}
