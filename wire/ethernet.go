package wire

// Sizes of an Ethernet header.
const (
	EthernetMinLen = 14 // without tags
	EthernetMaxLen = 22 // with two tags
	vlanTagLen     = 4
)

// Ethernet is a view of an Ethernet II header with up to two 802.1Q/802.1ad tags, and of nothing behind it.
type Ethernet []byte

// VLANTag is the tag control information of an 802.1Q tag.
type VLANTag uint16

// ID is the VLAN identifier, 12 bits; 0 marks a frame that has a priority only.
func (t VLANTag) ID() uint16 { return uint16(t) & 0xfff }

// Priority is the priority code point, 3 bits.
func (t VLANTag) Priority() uint8 { return uint8(t >> 13) }

// DropEligible is the DEI bit.
func (t VLANTag) DropEligible() bool { return t&0x1000 != 0 }

// EthernetHeaderLen returns the length in bytes of the header that begins with first, tags included. ErrShort says that first is too
// short to tell, as never happens with EthernetMaxLen bytes.
func EthernetHeaderLen(first []byte) (int, error) {
	n := EthernetMinLen
	for {
		if len(first) < n {
			return 0, ErrShort
		}
		t := EtherType(get16(first[n-2:]))
		if t != EtherTypeVLAN && t != EtherTypeQinQ || n == EthernetMaxLen {
			return n, nil
		}
		n += vlanTagLen
	}
}

// ParseEthernet checks the header of a frame and returns its view. A third tag is left to be the payload. Errors: ErrShort.
func ParseEthernet(b []byte) (Ethernet, error) {
	n, err := EthernetHeaderLen(b)
	if err != nil {
		return nil, err
	}
	return Ethernet(b[:n:n]), nil
}

// Dst is the destination's hardware address.
func (h Ethernet) Dst() [6]byte { return [6]byte(h) }

// Src is the source's hardware address.
func (h Ethernet) Src() [6]byte { return [6]byte(h[6:]) }

// EtherType is the protocol of the payload, behind the tags. Below 0x600 it is a length instead, and the frame is an IEEE 802.3 one.
func (h Ethernet) EtherType() EtherType { return EtherType(get16(h[len(h)-2:])) }

// Tags is how many VLAN tags there are: 0, 1 or 2.
func (h Ethernet) Tags() int { return (len(h) - EthernetMinLen) / vlanTagLen }

// Tag is the VLAN tag i, counted from the outermost, and the EtherType that announced it; i < Tags().
func (h Ethernet) Tag(i int) (VLANTag, EtherType) {
	b := h[EthernetMinLen-2+i*vlanTagLen:]
	return VLANTag(get16(b[2:])), EtherType(get16(b))
}

// SetDst sets the destination's hardware address.
func (h Ethernet) SetDst(a [6]byte) { copy(h[:6], a[:]) }

// SetSrc sets the source's hardware address.
func (h Ethernet) SetSrc(a [6]byte) { copy(h[6:12], a[:]) }

// BroadcastAddr is the hardware address of everybody on the link.
func BroadcastAddr() [6]byte { return [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// IsMulticast reports whether a hardware address is a group's, the broadcast address included.
func IsMulticast(a [6]byte) bool { return a[0]&1 != 0 }

// MulticastAddr4 is the hardware address for an IPv4 multicast group (RFC 1112 §6.4).
func MulticastAddr4(group [4]byte) [6]byte {
	return [6]byte{0x01, 0x00, 0x5e, group[1] & 0x7f, group[2], group[3]}
}

// MulticastAddr6 is the hardware address for an IPv6 multicast group (RFC 2464 §7).
func MulticastAddr6(group [16]byte) [6]byte {
	return [6]byte{0x33, 0x33, group[12], group[13], group[14], group[15]}
}

// EthernetFields is what PutEthernet writes.
type EthernetFields struct {
	Dst, Src  [6]byte
	EtherType EtherType
}

// PutEthernet writes a header without tags into the first 14 bytes of b and returns its view.
func PutEthernet(b []byte, f EthernetFields) Ethernet {
	h := Ethernet(b[:EthernetMinLen:EthernetMinLen])
	h.SetDst(f.Dst)
	h.SetSrc(f.Src)
	put16(h[12:], uint16(f.EtherType))
	return h
}
