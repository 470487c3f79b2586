package wire

import "github.com/weirnet/weir/checksum"

// ICMPv4Len is the size of an ICMP header: type, code, checksum, and four bytes whose meaning the type gives.
const ICMPv4Len = 8

// ICMPv4Type is the type of an ICMP message.
type ICMPv4Type uint8

// ICMP message types (RFC 792, RFC 1256).
const (
	ICMPv4EchoReply      ICMPv4Type = 0
	ICMPv4DstUnreachable ICMPv4Type = 3
	ICMPv4SourceQuench   ICMPv4Type = 4 // obsolete, RFC 6633
	ICMPv4Redirect       ICMPv4Type = 5
	ICMPv4Echo           ICMPv4Type = 8
	ICMPv4RouterAdvert   ICMPv4Type = 9
	ICMPv4RouterSolicit  ICMPv4Type = 10
	ICMPv4TimeExceeded   ICMPv4Type = 11
	ICMPv4ParamProblem   ICMPv4Type = 12
	ICMPv4Timestamp      ICMPv4Type = 13
	ICMPv4TimestampReply ICMPv4Type = 14
)

// Codes of ICMPv4DstUnreachable (RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1).
const (
	ICMPv4NetUnreachable       uint8 = 0
	ICMPv4HostUnreachable      uint8 = 1
	ICMPv4ProtoUnreachable     uint8 = 2
	ICMPv4PortUnreachable      uint8 = 3
	ICMPv4FragNeeded           uint8 = 4 // fragmentation needed and DF set; MTU says how much fits (RFC 1191)
	ICMPv4SourceRouteFailed    uint8 = 5
	ICMPv4NetUnknown           uint8 = 6
	ICMPv4HostUnknown          uint8 = 7
	ICMPv4HostIsolated         uint8 = 8
	ICMPv4NetProhibited        uint8 = 9
	ICMPv4HostProhibited       uint8 = 10
	ICMPv4NetUnreachableTOS    uint8 = 11
	ICMPv4HostUnreachableTOS   uint8 = 12
	ICMPv4AdminProhibited      uint8 = 13
	ICMPv4PrecedenceViolation  uint8 = 14
	ICMPv4PrecedenceCutoff     uint8 = 15
	ICMPv4TTLExceeded          uint8 = 0 // of ICMPv4TimeExceeded
	ICMPv4ReassemblyExceeded   uint8 = 1 // of ICMPv4TimeExceeded
	ICMPv4PointerIndicates     uint8 = 0 // of ICMPv4ParamProblem: see Pointer
	ICMPv4RequiredOptionAbsent uint8 = 1 // of ICMPv4ParamProblem
	ICMPv4BadLength            uint8 = 2 // of ICMPv4ParamProblem
)

// IsError reports whether messages of this type report an error about a packet, which they quote. Never is an error sent about one
// (RFC 1122 §3.2.2).
func (t ICMPv4Type) IsError() bool {
	switch t {
	case ICMPv4DstUnreachable, ICMPv4SourceQuench, ICMPv4Redirect, ICMPv4TimeExceeded, ICMPv4ParamProblem:
		return true
	}
	return false
}

// String returns the type's name, or its number.
func (t ICMPv4Type) String() string {
	switch t {
	case ICMPv4EchoReply:
		return "echo reply"
	case ICMPv4DstUnreachable:
		return "destination unreachable"
	case ICMPv4SourceQuench:
		return "source quench"
	case ICMPv4Redirect:
		return "redirect"
	case ICMPv4Echo:
		return "echo request"
	case ICMPv4RouterAdvert:
		return "router advertisement"
	case ICMPv4RouterSolicit:
		return "router solicitation"
	case ICMPv4TimeExceeded:
		return "time exceeded"
	case ICMPv4ParamProblem:
		return "parameter problem"
	case ICMPv4Timestamp:
		return "timestamp"
	case ICMPv4TimestampReply:
		return "timestamp reply"
	}
	return number("icmp type ", uint(t))
}

// ICMPv4 is a view of an ICMP message (RFC 792): the header and what of the message is contiguous behind it.
type ICMPv4 []byte

// ParseICMPv4 checks that a message of size bytes has a header, which is in b, and returns the view of b, or of its first size
// bytes. Errors: ErrShort.
func ParseICMPv4(b []byte, size int) (ICMPv4, error) {
	if b = clip(b, size); len(b) < ICMPv4Len {
		return nil, ErrShort
	}
	return ICMPv4(b), nil
}

// Type is the message's type.
func (m ICMPv4) Type() ICMPv4Type { return ICMPv4Type(m[0]) }

// Code narrows the type.
func (m ICMPv4) Code() uint8 { return m[1] }

// Checksum is the checksum field.
func (m ICMPv4) Checksum() uint16 { return get16(m[2:]) }

// Rest is the four bytes behind the checksum, of which the type says what they are.
func (m ICMPv4) Rest() uint32 { return get32(m[4:]) }

// ID is the identifier of an echo message.
func (m ICMPv4) ID() uint16 { return get16(m[4:]) }

// Seq is the sequence number of an echo message.
func (m ICMPv4) Seq() uint16 { return get16(m[6:]) }

// MTU is the next hop's MTU in a "fragmentation needed" message; 0 from routers older than RFC 1191.
func (m ICMPv4) MTU() int { return int(get16(m[6:])) }

// Pointer is the offset, in the quoted packet, of what a parameter problem is about.
func (m ICMPv4) Pointer() int { return int(m[4]) }

// Body is what of the message is contiguous behind the header: the data of an echo message, else see Quoted.
func (m ICMPv4) Body() []byte { return m[ICMPv4Len:] }

// Quoted is the beginning of the packet that an error message is about, as far as it is contiguous, without the extensions that may
// follow (RFC 4884 §4: the length byte counts 4-byte words). Empty if this is not an error message.
func (m ICMPv4) Quoted() []byte {
	b := m.Body()
	switch m.Type() {
	case ICMPv4DstUnreachable, ICMPv4TimeExceeded, ICMPv4ParamProblem:
		if n := int(m[5]) * 4; n > 0 {
			return clip(b, n)
		}
		return b
	case ICMPv4Redirect, ICMPv4SourceQuench:
		return b
	}
	return nil
}

// SetType sets the message's type.
func (m ICMPv4) SetType(t ICMPv4Type) { m[0] = uint8(t) }

// SetCode sets the code.
func (m ICMPv4) SetCode(v uint8) { m[1] = v }

// SetChecksum sets the checksum field.
func (m ICMPv4) SetChecksum(v uint16) { put16(m[2:], v) }

// SetRest sets the four bytes behind the checksum.
func (m ICMPv4) SetRest(v uint32) { put32(m[4:], v) }

// SetID sets the identifier of an echo message.
func (m ICMPv4) SetID(v uint16) { put16(m[4:], v) }

// SetSeq sets the sequence number of an echo message.
func (m ICMPv4) SetSeq(v uint16) { put16(m[6:], v) }

// ComputeChecksum returns what belongs into the checksum field, whatever is in it now. bodySum is the folded sum of what of the
// message follows the view, 0 when the view is of the whole message; when it is not, its length must be even.
func (m ICMPv4) ComputeChecksum(bodySum uint16) uint16 {
	return ^checksum.Add(checksum.Sum(m[4:], checksum.Sum(m[:2], 0)), bodySum)
}

// VerifyChecksum reports whether the checksum is right; bodySum is as for ComputeChecksum.
func (m ICMPv4) VerifyChecksum(bodySum uint16) bool {
	return checksum.Add(checksum.Sum(m, 0), bodySum) == 0xffff
}

// ICMPv4Fields is what PutICMPv4 writes.
type ICMPv4Fields struct {
	Type     ICMPv4Type
	Code     uint8
	Checksum uint16
	Rest     uint32 // see ICMPEcho; the MTU as it is; a pointer shifted left by 24
}

// ICMPEcho is the Rest of an echo message, of either family.
func ICMPEcho(id, seq uint16) uint32 { return uint32(id)<<16 | uint32(seq) }

// PutICMPv4 writes a header into the first 8 bytes of b and returns a view of all of b.
func PutICMPv4(b []byte, f ICMPv4Fields) ICMPv4 {
	m := ICMPv4(b)
	m.SetRest(f.Rest)
	m.SetType(f.Type)
	m.SetCode(f.Code)
	m.SetChecksum(f.Checksum)
	return m
}
