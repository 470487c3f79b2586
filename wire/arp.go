package wire

import "net/netip"

// ARPLen is the size of an ARP packet for Ethernet and IPv4.
const ARPLen = 28

// arpEthernetIPv4 is the first six bytes of every such packet: hardware type 1, protocol type 0x0800, address lengths 6 and 4.
const arpEthernetIPv4 = 0x0001_0800_0604

// ARPOp is what an ARP packet wants.
type ARPOp uint16

// ARP operations (RFC 826).
const (
	ARPRequest ARPOp = 1
	ARPReply   ARPOp = 2
)

// ARP is a view of an ARP packet for Ethernet and IPv4 (RFC 826).
type ARP []byte

// ParseARP checks that b begins with an ARP packet for Ethernet and IPv4 and returns its view; what is behind it is padding. Any
// operation passes. Errors: ErrShort, ErrFormat (another hardware or protocol).
func ParseARP(b []byte) (ARP, error) {
	if len(b) < ARPLen {
		return nil, ErrShort
	}
	if uint64(get32(b))<<16|uint64(get16(b[4:])) != arpEthernetIPv4 {
		return nil, ErrFormat
	}
	return ARP(b[:ARPLen:ARPLen]), nil
}

// Op is what the packet wants.
func (p ARP) Op() ARPOp { return ARPOp(get16(p[6:])) }

// SenderHardware is the sender's hardware address.
func (p ARP) SenderHardware() [6]byte { return [6]byte(p[8:]) }

// SenderAddr is the sender's IPv4 address; 0.0.0.0 in a probe (RFC 5227).
func (p ARP) SenderAddr() netip.Addr { return addr4(p[14:]) }

// TargetHardware is the target's hardware address; meaningless in a request.
func (p ARP) TargetHardware() [6]byte { return [6]byte(p[18:]) }

// TargetAddr is the IPv4 address that is asked for, or of whom the reply is to.
func (p ARP) TargetAddr() netip.Addr { return addr4(p[24:]) }

// ARPFields is what PutARP writes.
type ARPFields struct {
	Op                             ARPOp
	SenderHardware, TargetHardware [6]byte
	SenderAddr, TargetAddr         netip.Addr // IPv4; the zero Addr is 0.0.0.0
}

// PutARP writes a packet into the first 28 bytes of b and returns its view.
func PutARP(b []byte, f ARPFields) ARP {
	p := ARP(b[:ARPLen:ARPLen])
	put32(p, arpEthernetIPv4>>16)
	put16(p[4:], arpEthernetIPv4&0xffff)
	put16(p[6:], uint16(f.Op))
	copy(p[8:14], f.SenderHardware[:])
	putAddr4(p[14:], f.SenderAddr)
	copy(p[18:24], f.TargetHardware[:])
	putAddr4(p[24:], f.TargetAddr)
	return p
}
