package wire

import (
	"net/netip"

	"github.com/weirnet/weir/checksum"
)

// UDPLen is the size of a UDP header.
const UDPLen = 8

// UDP is a view of a UDP header (RFC 768).
type UDP []byte

// ParseUDP checks the header of a datagram of size bytes, header included, and returns its view. The length field lies between 8 and
// size; what is behind it is not part of the datagram. Errors: ErrShort, ErrTotalLen.
func ParseUDP(hdr []byte, size int) (UDP, error) {
	if len(hdr) < UDPLen {
		return nil, ErrShort
	}
	h := UDP(hdr[:UDPLen:UDPLen])
	if n := h.Length(); n < UDPLen || n > size {
		return nil, ErrTotalLen
	}
	return h, nil
}

// SrcPort is the source port; 0 when the sender wants no answer.
func (h UDP) SrcPort() uint16 { return get16(h) }

// DstPort is the destination port.
func (h UDP) DstPort() uint16 { return get16(h[2:]) }

// Length is the length of header and data in bytes.
func (h UDP) Length() int { return int(get16(h[4:])) }

// Checksum is the checksum field; 0 when the sender made none.
func (h UDP) Checksum() uint16 { return get16(h[6:]) }

// SetSrcPort sets the source port.
func (h UDP) SetSrcPort(v uint16) { put16(h, v) }

// SetDstPort sets the destination port.
func (h UDP) SetDstPort(v uint16) { put16(h[2:], v) }

// SetLength sets the length of header and data, at most 65535.
func (h UDP) SetLength(n int) { put16(h[4:], uint16(n)) }

// SetChecksum sets the checksum field.
func (h UDP) SetChecksum(v uint16) { put16(h[6:], v) }

// UDPChecksum returns what belongs into the checksum field for a folded sum over pseudo-header, header and data: its complement, and
// 0xffff in place of 0, which would mean that there is none (RFC 768).
func UDPChecksum(sum uint16) uint16 {
	if sum == 0xffff {
		return 0xffff
	}
	return ^sum
}

// ComputeChecksum returns what belongs into the checksum field, whatever is in it now. dataSum is the folded sum of the data (all
// that Length counts behind the header).
func (h UDP) ComputeChecksum(src, dst netip.Addr, dataSum uint16) uint16 {
	sum := checksum.PseudoHeader(src, dst, uint8(ProtoUDP), h.Length())
	return UDPChecksum(checksum.Add(checksum.Sum(h[:6], sum), dataSum))
}

// VerifyChecksum reports whether the datagram's checksum is acceptable: the right one or, on IPv4 only, none (RFC 768; RFC 8200
// §8.1: over IPv6 a datagram without one is discarded; a v4-mapped dst counts as IPv6). dataSum is as for ComputeChecksum, and is not
// looked at if there is none.
func (h UDP) VerifyChecksum(src, dst netip.Addr, dataSum uint16) bool {
	if h.Checksum() == 0 {
		return dst.Is4()
	}
	sum := checksum.PseudoHeader(src, dst, uint8(ProtoUDP), h.Length())
	return checksum.Add(checksum.Sum(h[:UDPLen], sum), dataSum) == 0xffff
}

// UDPFields is what PutUDP writes.
type UDPFields struct {
	SrcPort, DstPort uint16
	Length           int // header and data; at most 65535
	Checksum         uint16
}

// PutUDP writes a header into the first 8 bytes of b and returns its view.
func PutUDP(b []byte, f UDPFields) UDP {
	h := UDP(b[:UDPLen:UDPLen])
	h.SetSrcPort(f.SrcPort)
	h.SetDstPort(f.DstPort)
	h.SetLength(f.Length)
	h.SetChecksum(f.Checksum)
	return h
}
