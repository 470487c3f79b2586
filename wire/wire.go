// Package wire is the bytes of network protocols: views of headers, iterators over their options, and encoders.
//
// A view is a named byte slice (IPv4, TCP, ARP, …) that a Parse function hands out after it has checked every bound once. From then on
// its accessors need no error: each reads a field that is known to be there. A view borrows the bytes it was made from; it is valid
// as long as they are, and its setters write through to them. Converting bytes to a view without its Parse function (wire.TCP(b)) is
// the caller's promise that the header is whole, as it is for bytes just written by a Put function.
//
// A Parse function that takes (hdr []byte, size int) is for packets that are not contiguous: hdr is the contiguous beginning, which
// must hold at least the header, and size is how many bytes there are in all, header included. Where a header's length is in its
// first bytes, IPv4HeaderLen, TCPHeaderLen and EthernetHeaderLen say how many bytes to make contiguous. A super-segment is an ordinary
// packet here, of up to 65535 bytes of IPv4 total length or IPv6 payload length.
//
// Numbers are in host byte order, lengths and offsets in bytes (not in the 4- or 8-byte units of the wire) unless said otherwise.
// Setters do not touch checksums; what does says so. Nothing in this package allocates.
package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// What a Parse function or an iterator finds wrong. They are compared with == or errors.Is.
var (
	// ErrShort says that there are fewer bytes than the header or message needs.
	ErrShort = errors.New("wire: fewer bytes than the header needs")
	// ErrVersion says that the IP version field is not the one of the protocol asked for.
	ErrVersion = errors.New("wire: wrong IP version")
	// ErrHeaderLen says that a header length field is below the least that the protocol allows.
	ErrHeaderLen = errors.New("wire: header length below the minimum")
	// ErrTotalLen says that a length field contradicts the packet: less than its header, or more than the bytes that came.
	ErrTotalLen = errors.New("wire: length field contradicts the packet")
	// ErrOption says that an option's length is impossible: it lacks, is too small, or reaches past the end of the options.
	ErrOption = errors.New("wire: option with impossible length")
	// ErrNeedMore says that the packet goes on behind the contiguous bytes that were given, and that they are needed to go on.
	ErrNeedMore = errors.New("wire: more contiguous bytes needed")
	// ErrExtensionOrder says that a hop-by-hop header is not the first extension header (RFC 8200 §4.1).
	ErrExtensionOrder = errors.New("wire: hop-by-hop options header not first")
	// ErrExtensionLimit says that there are more than MaxExtensions extension headers, or more than MaxExtensionBytes of them.
	ErrExtensionLimit = errors.New("wire: too many or too long extension headers")
	// ErrFormat says that a field which must have one value has another (ARP not for Ethernet and IPv4, NDP code not 0, …).
	ErrFormat = errors.New("wire: field has a value that the protocol does not allow")
)

// Protocol is an IP protocol number, also the Next Header of IPv6.
type Protocol uint8

// Protocol numbers, as assigned by IANA.
const (
	ProtoHopByHop    Protocol = 0   // IPv6 hop-by-hop options, RFC 8200 §4.3
	ProtoICMP        Protocol = 1   // RFC 792
	ProtoIGMP        Protocol = 2   // RFC 3376
	ProtoIPv4        Protocol = 4   // IPv4 in IP, RFC 2003
	ProtoTCP         Protocol = 6   // RFC 9293
	ProtoUDP         Protocol = 17  // RFC 768
	ProtoIPv6        Protocol = 41  // IPv6 in IP, RFC 2473
	ProtoRouting     Protocol = 43  // IPv6 routing header, RFC 8200 §4.4
	ProtoFragment    Protocol = 44  // IPv6 fragment header, RFC 8200 §4.5
	ProtoGRE         Protocol = 47  // RFC 2784
	ProtoESP         Protocol = 50  // RFC 4303
	ProtoAH          Protocol = 51  // RFC 4302
	ProtoICMPv6      Protocol = 58  // RFC 4443
	ProtoNoNext      Protocol = 59  // nothing follows, RFC 8200 §4.7
	ProtoDestOptions Protocol = 60  // IPv6 destination options, RFC 8200 §4.6
	ProtoSCTP        Protocol = 132 // RFC 9260
	ProtoUDPLite     Protocol = 136 // RFC 3828
)

// String returns the protocol's usual name, or its number.
func (p Protocol) String() string {
	switch p {
	case ProtoHopByHop:
		return "hop-by-hop"
	case ProtoICMP:
		return "icmp"
	case ProtoIGMP:
		return "igmp"
	case ProtoIPv4:
		return "ipv4"
	case ProtoTCP:
		return "tcp"
	case ProtoUDP:
		return "udp"
	case ProtoIPv6:
		return "ipv6"
	case ProtoRouting:
		return "routing"
	case ProtoFragment:
		return "fragment"
	case ProtoGRE:
		return "gre"
	case ProtoESP:
		return "esp"
	case ProtoAH:
		return "ah"
	case ProtoICMPv6:
		return "icmpv6"
	case ProtoNoNext:
		return "no-next-header"
	case ProtoDestOptions:
		return "destination-options"
	case ProtoSCTP:
		return "sctp"
	case ProtoUDPLite:
		return "udplite"
	}
	return number("protocol ", uint(p))
}

// IsExtension reports whether p is an IPv6 extension header that Extensions walks over.
func (p Protocol) IsExtension() bool {
	return p == ProtoHopByHop || p == ProtoRouting || p == ProtoFragment || p == ProtoDestOptions
}

// EtherType is the protocol of an Ethernet frame's payload.
type EtherType uint16

// EtherTypes, as assigned by IEEE.
const (
	EtherTypeIPv4 EtherType = 0x0800
	EtherTypeARP  EtherType = 0x0806
	EtherTypeVLAN EtherType = 0x8100 // 802.1Q customer tag
	EtherTypeIPv6 EtherType = 0x86dd
	EtherTypeQinQ EtherType = 0x88a8 // 802.1ad service tag
)

// String returns the protocol's usual name, or its number.
func (t EtherType) String() string {
	switch t {
	case EtherTypeIPv4:
		return "ipv4"
	case EtherTypeARP:
		return "arp"
	case EtherTypeVLAN:
		return "802.1q"
	case EtherTypeIPv6:
		return "ipv6"
	case EtherTypeQinQ:
		return "802.1ad"
	}
	return number("ethertype ", uint(t))
}

// Codepoints of the ECN field, the low two bits of the IPv4 TOS and the IPv6 traffic class (RFC 3168 §5).
const (
	NotECT uint8 = 0
	ECT1   uint8 = 1
	ECT0   uint8 = 2
	CE     uint8 = 3
)

// IPVersion returns the version field of an IP packet, 0 if there is no byte.
func IPVersion(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	return int(b[0] >> 4)
}

// number is prefix followed by n in decimal.
func number(prefix string, n uint) string {
	var d [20]byte
	i := len(d)
	for {
		i--
		d[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return prefix + string(d[i:])
		}
	}
}

// Sizes of addresses.
const (
	ipv4AddrLen = 4
	ipv6AddrLen = 16
)

func get16(b []byte) uint16    { return binary.BigEndian.Uint16(b) }
func get32(b []byte) uint32    { return binary.BigEndian.Uint32(b) }
func put16(b []byte, v uint16) { binary.BigEndian.PutUint16(b, v) }
func put32(b []byte, v uint32) { binary.BigEndian.PutUint32(b, v) }

func addr4(b []byte) netip.Addr  { return netip.AddrFrom4([4]byte(b)) }
func addr16(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }

// putAddr4 writes an IPv4 (or v4-mapped) address; the zero Addr as 0.0.0.0.
func putAddr4(b []byte, a netip.Addr) {
	if !a.IsValid() {
		a = netip.IPv4Unspecified()
	}
	v := a.As4()
	copy(b[:4], v[:])
}

// putAddr16 writes an IPv6 address (an IPv4 one v4-mapped); the zero Addr as ::.
func putAddr16(b []byte, a netip.Addr) {
	v := [16]byte{}
	if a.IsValid() {
		v = a.As16()
	}
	copy(b[:16], v[:])
}
