package wire

import (
	"net/netip"

	"github.com/weirnet/weir/checksum"
)

// ICMPv6Len is the size of an ICMPv6 header: type, code, checksum, and four bytes whose meaning the type gives. (RFC 4443 §2.1 has
// only the first four in the general format, but every message that there is has at least eight.)
const ICMPv6Len = 8

// ICMPv6Type is the type of an ICMPv6 message.
type ICMPv6Type uint8

// ICMPv6 message types.
const (
	ICMPv6DstUnreachable  ICMPv6Type = 1   // RFC 4443 §3.1
	ICMPv6PacketTooBig    ICMPv6Type = 2   // RFC 4443 §3.2
	ICMPv6TimeExceeded    ICMPv6Type = 3   // RFC 4443 §3.3
	ICMPv6ParamProblem    ICMPv6Type = 4   // RFC 4443 §3.4
	ICMPv6Echo            ICMPv6Type = 128 // RFC 4443 §4.1
	ICMPv6EchoReply       ICMPv6Type = 129 // RFC 4443 §4.2
	ICMPv6MLDQuery        ICMPv6Type = 130 // RFC 2710, RFC 3810
	ICMPv6MLDReport       ICMPv6Type = 131 // RFC 2710
	ICMPv6MLDDone         ICMPv6Type = 132 // RFC 2710
	ICMPv6RouterSolicit   ICMPv6Type = 133 // RFC 4861 §4.1
	ICMPv6RouterAdvert    ICMPv6Type = 134 // RFC 4861 §4.2
	ICMPv6NeighborSolicit ICMPv6Type = 135 // RFC 4861 §4.3
	ICMPv6NeighborAdvert  ICMPv6Type = 136 // RFC 4861 §4.4
	ICMPv6Redirect        ICMPv6Type = 137 // RFC 4861 §4.5
	ICMPv6MLDv2Report     ICMPv6Type = 143 // RFC 3810
)

// Codes of ICMPv6DstUnreachable (RFC 4443 §3.1).
const (
	ICMPv6NoRoute            uint8 = 0
	ICMPv6AdminProhibited    uint8 = 1
	ICMPv6BeyondScope        uint8 = 2
	ICMPv6AddressUnreachable uint8 = 3
	ICMPv6PortUnreachable    uint8 = 4
	ICMPv6SourcePolicy       uint8 = 5 // source address failed ingress/egress policy
	ICMPv6RejectRoute        uint8 = 6
)

// Codes of ICMPv6TimeExceeded (RFC 4443 §3.3) and of ICMPv6ParamProblem (RFC 4443 §3.4, RFC 7112, RFC 8883).
const (
	ICMPv6HopLimitExceeded    uint8 = 0
	ICMPv6ReassemblyExceeded  uint8 = 1
	ICMPv6ErroneousField      uint8 = 0 // erroneous header field encountered
	ICMPv6UnknownNextHeader   uint8 = 1
	ICMPv6UnknownOption       uint8 = 2
	ICMPv6IncompleteChain     uint8 = 3 // first fragment without the whole header chain
	ICMPv6RouterUnknownHeader uint8 = 5 // unrecognized next header, said by an intermediate node
	ICMPv6ExtensionTooBig     uint8 = 6
	ICMPv6ChainTooLong        uint8 = 7
	ICMPv6TooManyExtensions   uint8 = 8
	ICMPv6TooManyOptions      uint8 = 9
	ICMPv6OptionTooBig        uint8 = 10
)

// IsError reports whether messages of this type report an error about a packet, which they quote: those below 128. Never is an error
// sent about one (RFC 4443 §2.4 (e)).
func (t ICMPv6Type) IsError() bool { return t < 128 }

// String returns the type's name, or its number.
func (t ICMPv6Type) String() string {
	switch t {
	case ICMPv6DstUnreachable:
		return "destination unreachable"
	case ICMPv6PacketTooBig:
		return "packet too big"
	case ICMPv6TimeExceeded:
		return "time exceeded"
	case ICMPv6ParamProblem:
		return "parameter problem"
	case ICMPv6Echo:
		return "echo request"
	case ICMPv6EchoReply:
		return "echo reply"
	case ICMPv6MLDQuery:
		return "multicast listener query"
	case ICMPv6MLDReport:
		return "multicast listener report"
	case ICMPv6MLDDone:
		return "multicast listener done"
	case ICMPv6RouterSolicit:
		return "router solicitation"
	case ICMPv6RouterAdvert:
		return "router advertisement"
	case ICMPv6NeighborSolicit:
		return "neighbor solicitation"
	case ICMPv6NeighborAdvert:
		return "neighbor advertisement"
	case ICMPv6Redirect:
		return "redirect"
	case ICMPv6MLDv2Report:
		return "multicast listener report v2"
	}
	return number("icmpv6 type ", uint(t))
}

// ICMPv6 is a view of an ICMPv6 message (RFC 4443): the header and what of the message is contiguous behind it.
type ICMPv6 []byte

// ParseICMPv6 checks that a message of size bytes has a header, which is in b, and returns the view of b, or of its first size
// bytes. Errors: ErrShort.
func ParseICMPv6(b []byte, size int) (ICMPv6, error) {
	if b = clip(b, size); len(b) < ICMPv6Len {
		return nil, ErrShort
	}
	return ICMPv6(b), nil
}

// Type is the message's type.
func (m ICMPv6) Type() ICMPv6Type { return ICMPv6Type(m[0]) }

// Code narrows the type.
func (m ICMPv6) Code() uint8 { return m[1] }

// Checksum is the checksum field.
func (m ICMPv6) Checksum() uint16 { return get16(m[2:]) }

// Rest is the four bytes behind the checksum, of which the type says what they are.
func (m ICMPv6) Rest() uint32 { return get32(m[4:]) }

// ID is the identifier of an echo message.
func (m ICMPv6) ID() uint16 { return get16(m[4:]) }

// Seq is the sequence number of an echo message.
func (m ICMPv6) Seq() uint16 { return get16(m[6:]) }

// MTU is the next hop's MTU in a "packet too big" message, as sent: any 32-bit number.
func (m ICMPv6) MTU() uint32 { return get32(m[4:]) }

// Pointer is the offset, in the quoted packet, of what a parameter problem is about; it may lie behind what is quoted.
func (m ICMPv6) Pointer() uint32 { return get32(m[4:]) }

// Body is what of the message is contiguous behind the header: the data of an echo message, else see Quoted.
func (m ICMPv6) Body() []byte { return m[ICMPv6Len:] }

// Quoted is the beginning of the packet that an error message is about, as far as it is contiguous, without the extensions that may
// follow (RFC 4884 §4: the length byte counts 8-byte words). Empty if this is not an error message.
func (m ICMPv6) Quoted() []byte {
	b := m.Body()
	switch {
	case !m.Type().IsError():
		return nil
	case m.Type() == ICMPv6DstUnreachable, m.Type() == ICMPv6TimeExceeded:
		if n := int(m[4]) * 8; n > 0 {
			return clip(b, n)
		}
	}
	return b
}

// SetType sets the message's type.
func (m ICMPv6) SetType(t ICMPv6Type) { m[0] = uint8(t) }

// SetCode sets the code.
func (m ICMPv6) SetCode(v uint8) { m[1] = v }

// SetChecksum sets the checksum field.
func (m ICMPv6) SetChecksum(v uint16) { put16(m[2:], v) }

// SetRest sets the four bytes behind the checksum.
func (m ICMPv6) SetRest(v uint32) { put32(m[4:], v) }

// SetID sets the identifier of an echo message.
func (m ICMPv6) SetID(v uint16) { put16(m[4:], v) }

// SetSeq sets the sequence number of an echo message.
func (m ICMPv6) SetSeq(v uint16) { put16(m[6:], v) }

// ComputeChecksum returns what belongs into the checksum field, whatever is in it now, over pseudo-header (RFC 8200 §8.1), the view,
// and bodyLen more bytes of the message behind it, whose folded sum is bodySum: 0 and 0 when the view is of the whole message. If it
// is not, its length must be even.
func (m ICMPv6) ComputeChecksum(src, dst netip.Addr, bodyLen int, bodySum uint16) uint16 {
	sum := checksum.PseudoHeader(src, dst, uint8(ProtoICMPv6), len(m)+bodyLen)
	return ^checksum.Add(checksum.Sum(m[4:], checksum.Sum(m[:2], sum)), bodySum)
}

// VerifyChecksum reports whether the checksum is right; the arguments are those of ComputeChecksum.
func (m ICMPv6) VerifyChecksum(src, dst netip.Addr, bodyLen int, bodySum uint16) bool {
	sum := checksum.PseudoHeader(src, dst, uint8(ProtoICMPv6), len(m)+bodyLen)
	return checksum.Add(checksum.Sum(m, sum), bodySum) == 0xffff
}

// ICMPv6Fields is what PutICMPv6 writes.
type ICMPv6Fields struct {
	Type     ICMPv6Type
	Code     uint8
	Checksum uint16
	Rest     uint32 // see ICMPEcho; MTU and pointer as they are
}

// PutICMPv6 writes a header into the first 8 bytes of b and returns a view of all of b.
func PutICMPv6(b []byte, f ICMPv6Fields) ICMPv6 {
	m := ICMPv6(b)
	m.SetRest(f.Rest)
	m.SetType(f.Type)
	m.SetCode(f.Code)
	m.SetChecksum(f.Checksum)
	return m
}
