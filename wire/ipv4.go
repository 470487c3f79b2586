package wire

import (
	"net/netip"

	"github.com/weirnet/weir/checksum"
)

// Sizes of an IPv4 header.
const (
	IPv4MinLen = 20    // without options
	IPv4MaxLen = 60    // with 40 bytes of options
	IPv4MaxMTU = 65535 // largest total length
	IPv4MinMTU = 68    // every link carries this much (RFC 791 §3.2)
)

// IPv4 is a view of an IPv4 header with its options (RFC 791 §3.1), and of nothing behind it.
type IPv4 []byte

// IPv4HeaderLen returns the length in bytes of the header that begins with first, of which one byte is enough.
func IPv4HeaderLen(first []byte) (int, error) {
	if len(first) < 1 {
		return 0, ErrShort
	}
	if first[0]>>4 != 4 {
		return 0, ErrVersion
	}
	n := int(first[0]&0x0f) * 4
	if n < IPv4MinLen {
		return 0, ErrHeaderLen
	}
	return n, nil
}

// ParseIPv4 checks the header of a packet of size bytes and returns its view. Total length lies between header length and size;
// when it is less than size, the rest is padding of the link that is not part of the packet. The header checksum is not looked at.
// Errors: ErrShort, ErrVersion, ErrHeaderLen, ErrTotalLen.
func ParseIPv4(hdr []byte, size int) (IPv4, error) {
	h, err := parseIPv4Header(hdr)
	if err != nil {
		return nil, err
	}
	if t := h.TotalLen(); t < len(h) || t > size {
		return nil, ErrTotalLen
	}
	return h, nil
}

// parseIPv4Header is ParseIPv4 without the look at total length.
func parseIPv4Header(hdr []byte) (IPv4, error) {
	n, err := IPv4HeaderLen(hdr)
	if err != nil {
		return nil, err
	}
	if len(hdr) < n {
		return nil, ErrShort
	}
	return IPv4(hdr[:n:n]), nil
}

// HeaderLen is the length of the header with its options, in bytes.
func (h IPv4) HeaderLen() int { return int(h[0]&0x0f) * 4 }

// TOS is the whole type-of-service byte: DSCP and ECN.
func (h IPv4) TOS() uint8 { return h[1] }

// DSCP is the differentiated services codepoint (RFC 2474), 6 bits.
func (h IPv4) DSCP() uint8 { return h[1] >> 2 }

// ECN is the ECN codepoint (RFC 3168).
func (h IPv4) ECN() uint8 { return h[1] & 3 }

// TotalLen is the length of header and payload in bytes.
func (h IPv4) TotalLen() int { return int(get16(h[2:])) }

// PayloadLen is the length of what follows the header, in bytes.
func (h IPv4) PayloadLen() int { return h.TotalLen() - h.HeaderLen() }

// ID is the identification that the fragments of a datagram share (RFC 6864).
func (h IPv4) ID() uint16 { return get16(h[4:]) }

// Reserved is the first bit of the flags; it must be zero, and is ignored.
func (h IPv4) Reserved() bool { return h[6]&0x80 != 0 }

// DontFragment is the DF flag.
func (h IPv4) DontFragment() bool { return h[6]&0x40 != 0 }

// MoreFragments is the MF flag.
func (h IPv4) MoreFragments() bool { return h[6]&0x20 != 0 }

// FragmentOffset is where this fragment's payload goes in the datagram's payload, in bytes.
func (h IPv4) FragmentOffset() int { return int(get16(h[6:])&0x1fff) * 8 }

// IsFragment reports whether the packet is less than a whole datagram.
func (h IPv4) IsFragment() bool { return get16(h[6:])&0x3fff != 0 }

// TTL is the time to live in hops.
func (h IPv4) TTL() uint8 { return h[8] }

// Protocol is the payload's protocol.
func (h IPv4) Protocol() Protocol { return Protocol(h[9]) }

// Checksum is the header checksum field.
func (h IPv4) Checksum() uint16 { return get16(h[10:]) }

// Src is the source address.
func (h IPv4) Src() netip.Addr { return addr4(h[12:]) }

// Dst is the destination address.
func (h IPv4) Dst() netip.Addr { return addr4(h[16:]) }

// Src4 is the source address as bytes, for comparison without conversion.
func (h IPv4) Src4() [4]byte { return [4]byte(h[12:]) }

// Dst4 is the destination address as bytes, for comparison without conversion.
func (h IPv4) Dst4() [4]byte { return [4]byte(h[16:]) }

// Options iterates over the options.
func (h IPv4) Options() IPv4Options {
	return IPv4Options{rest: h[IPv4MinLen:h.HeaderLen()], offset: IPv4MinLen}
}

// HasOptions reports whether the header has options.
func (h IPv4) HasOptions() bool { return h[0]&0x0f > 5 }

// SetTOS sets DSCP and ECN.
func (h IPv4) SetTOS(v uint8) { h[1] = v }

// SetECN sets the ECN codepoint and leaves the DSCP.
func (h IPv4) SetECN(v uint8) { h[1] = h[1]&^3 | v&3 }

// SetTotalLen sets the length of header and payload, at most 65535.
func (h IPv4) SetTotalLen(n int) { put16(h[2:], uint16(n)) }

// SetID sets the identification.
func (h IPv4) SetID(v uint16) { put16(h[4:], v) }

// SetFragment sets DF, MF and the fragment offset; offset is in bytes, a multiple of 8.
func (h IPv4) SetFragment(dontFragment, moreFragments bool, offset int) {
	v := uint16(offset/8) & 0x1fff
	if dontFragment {
		v |= 0x4000
	}
	if moreFragments {
		v |= 0x2000
	}
	put16(h[6:], v)
}

// SetTTL sets the time to live.
func (h IPv4) SetTTL(v uint8) { h[8] = v }

// SetProtocol sets the payload's protocol.
func (h IPv4) SetProtocol(p Protocol) { h[9] = uint8(p) }

// SetChecksum sets the header checksum field.
func (h IPv4) SetChecksum(v uint16) { put16(h[10:], v) }

// SetSrc sets the source address, which is an IPv4 one (v4-mapped will do).
func (h IPv4) SetSrc(a netip.Addr) { putAddr4(h[12:], a) }

// SetDst sets the destination address, which is an IPv4 one (v4-mapped will do).
func (h IPv4) SetDst(a netip.Addr) { putAddr4(h[16:], a) }

// ComputeChecksum returns what belongs into the header checksum field, whatever is in it now.
func (h IPv4) ComputeChecksum() uint16 {
	return ^checksum.Sum(h[12:h.HeaderLen()], checksum.Sum(h[:10], 0))
}

// VerifyChecksum reports whether the header checksum is right.
func (h IPv4) VerifyChecksum() bool { return checksum.Sum(h[:h.HeaderLen()], 0) == 0xffff }

// DecrementTTL takes one hop off the time to live and updates the header checksum by RFC 1624; false, and nothing done, when no hop
// is left to go on (TTL 0 or 1).
func (h IPv4) DecrementTTL() bool {
	if h[8] <= 1 {
		return false
	}
	old := get16(h[8:])
	h[8]--
	h.SetChecksum(checksum.Update16(h.Checksum(), old, get16(h[8:])))
	return true
}

// IPv4Fields is what PutIPv4 writes.
type IPv4Fields struct {
	TOS            uint8
	TotalLen       int // header with options, and payload; at most 65535
	ID             uint16
	DontFragment   bool
	MoreFragments  bool
	FragmentOffset int // bytes, a multiple of 8
	TTL            uint8
	Protocol       Protocol
	Src, Dst       netip.Addr // IPv4 or v4-mapped; the zero Addr is 0.0.0.0
	Options        []byte     // at most 40 bytes; padded with end-of-list to a multiple of 4
}

// HeaderLen is the number of bytes that PutIPv4 writes.
func (f *IPv4Fields) HeaderLen() int { return IPv4MinLen + (len(f.Options)+3)&^3 }

// PutIPv4 writes a header with its checksum into the first f.HeaderLen() bytes of b and returns its view.
func PutIPv4(b []byte, f IPv4Fields) IPv4 {
	n := f.HeaderLen()
	h := IPv4(b[:n:n])
	h[0] = 4<<4 | uint8(n/4)
	h.SetTOS(f.TOS)
	h.SetTotalLen(f.TotalLen)
	h.SetID(f.ID)
	h.SetFragment(f.DontFragment, f.MoreFragments, f.FragmentOffset)
	h.SetTTL(f.TTL)
	h.SetProtocol(f.Protocol)
	h.SetSrc(f.Src)
	h.SetDst(f.Dst)
	clear(h[IPv4MinLen+copy(h[IPv4MinLen:], f.Options):])
	h.SetChecksum(h.ComputeChecksum())
	return h
}
