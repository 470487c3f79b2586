package wire

import "net/netip"

// Sizes of IPv6.
const (
	IPv6Len        = 40    // the fixed header
	IPv6MinMTU     = 1280  // every link carries this much (RFC 8200 §5)
	IPv6MaxPayload = 65535 // without jumbograms, which weir does not do
)

// IPv6 is a view of the fixed IPv6 header (RFC 8200 §3), and of nothing behind it.
type IPv6 []byte

// ParseIPv6 checks the header of a packet of size bytes and returns its view. The payload length plus 40 is at most size; what is
// behind that is padding of the link. A jumbogram (RFC 2675) is a packet whose payload length is 0, and so seems empty.
// Errors: ErrShort, ErrVersion, ErrTotalLen.
func ParseIPv6(hdr []byte, size int) (IPv6, error) {
	h, err := parseIPv6Header(hdr)
	if err != nil {
		return nil, err
	}
	if h.TotalLen() > size {
		return nil, ErrTotalLen
	}
	return h, nil
}

// parseIPv6Header is ParseIPv6 without the look at payload length.
func parseIPv6Header(hdr []byte) (IPv6, error) {
	if len(hdr) < 1 {
		return nil, ErrShort
	}
	if hdr[0]>>4 != 6 {
		return nil, ErrVersion
	}
	if len(hdr) < IPv6Len {
		return nil, ErrShort
	}
	return IPv6(hdr[:IPv6Len:IPv6Len]), nil
}

// TrafficClass is the whole traffic class: DSCP and ECN.
func (h IPv6) TrafficClass() uint8 { return h[0]<<4 | h[1]>>4 }

// DSCP is the differentiated services codepoint (RFC 2474), 6 bits.
func (h IPv6) DSCP() uint8 { return h.TrafficClass() >> 2 }

// ECN is the ECN codepoint (RFC 3168).
func (h IPv6) ECN() uint8 { return h[1] >> 4 & 3 }

// FlowLabel is the flow label (RFC 6437), 20 bits.
func (h IPv6) FlowLabel() uint32 { return get32(h) & 0xfffff }

// PayloadLen is the length of all behind this header, extension headers included, in bytes.
func (h IPv6) PayloadLen() int { return int(get16(h[4:])) }

// TotalLen is the length of the packet: this header and PayloadLen.
func (h IPv6) TotalLen() int { return IPv6Len + h.PayloadLen() }

// NextHeader is the protocol of what follows this header: an extension header's or the upper layer's.
func (h IPv6) NextHeader() Protocol { return Protocol(h[6]) }

// HopLimit is how many hops the packet may still take.
func (h IPv6) HopLimit() uint8 { return h[7] }

// Src is the source address, without a zone.
func (h IPv6) Src() netip.Addr { return addr16(h[8:]) }

// Dst is the destination address, without a zone.
func (h IPv6) Dst() netip.Addr { return addr16(h[24:]) }

// Src16 is the source address as bytes, for comparison without conversion.
func (h IPv6) Src16() [16]byte { return [16]byte(h[8:]) }

// Dst16 is the destination address as bytes, for comparison without conversion.
func (h IPv6) Dst16() [16]byte { return [16]byte(h[24:]) }

// SetTrafficClass sets DSCP and ECN.
func (h IPv6) SetTrafficClass(v uint8) {
	h[0] = 6<<4 | v>>4
	h[1] = v<<4 | h[1]&0x0f
}

// SetECN sets the ECN codepoint and leaves the DSCP.
func (h IPv6) SetECN(v uint8) { h[1] = h[1]&^0x30 | v&3<<4 }

// SetFlowLabel sets the flow label, of which 20 bits count.
func (h IPv6) SetFlowLabel(v uint32) { put32(h, get32(h)&^0xfffff|v&0xfffff) }

// SetPayloadLen sets the length of all behind this header, at most 65535.
func (h IPv6) SetPayloadLen(n int) { put16(h[4:], uint16(n)) }

// SetNextHeader sets the protocol of what follows.
func (h IPv6) SetNextHeader(p Protocol) { h[6] = uint8(p) }

// SetHopLimit sets the hop limit.
func (h IPv6) SetHopLimit(v uint8) { h[7] = v }

// SetSrc sets the source address; a zone is not written.
func (h IPv6) SetSrc(a netip.Addr) { putAddr16(h[8:], a) }

// SetDst sets the destination address; a zone is not written.
func (h IPv6) SetDst(a netip.Addr) { putAddr16(h[24:], a) }

// DecrementHopLimit takes one hop off; false, and nothing done, when no hop is left to go on (0 or 1).
func (h IPv6) DecrementHopLimit() bool {
	if h[7] <= 1 {
		return false
	}
	h[7]--
	return true
}

// IPv6Fields is what PutIPv6 writes.
type IPv6Fields struct {
	TrafficClass uint8
	FlowLabel    uint32 // 20 bits
	PayloadLen   int    // extension headers included; at most 65535
	NextHeader   Protocol
	HopLimit     uint8
	Src, Dst     netip.Addr // zones are not written; the zero Addr is ::
}

// PutIPv6 writes a fixed header into the first 40 bytes of b and returns its view.
func PutIPv6(b []byte, f IPv6Fields) IPv6 {
	h := IPv6(b[:IPv6Len:IPv6Len])
	put32(h, 6<<28|uint32(f.TrafficClass)<<20|f.FlowLabel&0xfffff)
	h.SetPayloadLen(f.PayloadLen)
	h.SetNextHeader(f.NextHeader)
	h.SetHopLimit(f.HopLimit)
	h.SetSrc(f.Src)
	h.SetDst(f.Dst)
	return h
}
