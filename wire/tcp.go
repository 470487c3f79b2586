package wire

import (
	"net/netip"

	"github.com/weirnet/weir/checksum"
)

// Sizes of a TCP header.
const (
	TCPMinLen        = 20 // without options
	TCPMaxLen        = 60 // with all the options there can be
	TCPMaxOptionsLen = 40
)

// TCPFlags is the control bits of a TCP header (RFC 9293 §3.1), with AE of RFC 9768, which was NS, as the ninth.
type TCPFlags uint16

// Control bits.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	AE
)

// tcpFlagNames are the names of the bits, from the lowest.
const tcpFlagNames = "FINSYNRSTPSHACKURGECECWRAE"

// Has reports whether all of want is set.
func (f TCPFlags) Has(want TCPFlags) bool { return f&want == want }

// String returns the names of the set bits as "SYN|ACK", "none" if there are none. Bits behind AE are not shown.
func (f TCPFlags) String() string {
	var text [40]byte
	s := text[:0]
	for i := range 9 {
		if f&(1<<i) == 0 {
			continue
		}
		if len(s) > 0 {
			s = append(s, '|')
		}
		s = append(s, tcpFlagNames[3*i:min(3*i+3, len(tcpFlagNames))]...)
	}
	if len(s) == 0 {
		return "none"
	}
	return string(s)
}

// TCP is a view of a TCP header with its options (RFC 9293 §3.1), and of nothing behind it.
type TCP []byte

// TCPHeaderLen returns the length in bytes of the header that begins with first, of which 13 bytes are enough.
func TCPHeaderLen(first []byte) (int, error) {
	if len(first) < 13 {
		return 0, ErrShort
	}
	n := int(first[12]>>4) * 4
	if n < TCPMinLen {
		return 0, ErrHeaderLen
	}
	return n, nil
}

// ParseTCP checks the header of a segment of size bytes, header included, and returns its view. Errors: ErrShort, ErrHeaderLen, and
// ErrTotalLen when the data offset lies behind the end of the segment.
func ParseTCP(hdr []byte, size int) (TCP, error) {
	n, err := TCPHeaderLen(hdr)
	if err != nil {
		return nil, err
	}
	if n > size {
		return nil, ErrTotalLen
	}
	if len(hdr) < n {
		return nil, ErrShort
	}
	return TCP(hdr[:n:n]), nil
}

// SrcPort is the source port.
func (h TCP) SrcPort() uint16 { return get16(h) }

// DstPort is the destination port.
func (h TCP) DstPort() uint16 { return get16(h[2:]) }

// Seq is the sequence number of the first byte, or of the SYN.
func (h TCP) Seq() uint32 { return get32(h[4:]) }

// Ack is the acknowledgment number; it means something if the ACK flag is set.
func (h TCP) Ack() uint32 { return get32(h[8:]) }

// DataOffset is the length of the header with its options, in bytes.
func (h TCP) DataOffset() int { return int(h[12]>>4) * 4 }

// Flags is the control bits, the nine that are defined.
func (h TCP) Flags() TCPFlags { return TCPFlags(get16(h[12:]) & 0x1ff) }

// Reserved is the three bits between data offset and AE, which must be zero, and are ignored.
func (h TCP) Reserved() uint8 { return h[12] >> 1 & 7 }

// Window is the window field as it stands, not scaled.
func (h TCP) Window() uint16 { return get16(h[14:]) }

// Checksum is the checksum field.
func (h TCP) Checksum() uint16 { return get16(h[16:]) }

// Urgent is the urgent pointer; it means something if the URG flag is set.
func (h TCP) Urgent() uint16 { return get16(h[18:]) }

// OptionBytes is the options, padding included.
func (h TCP) OptionBytes() []byte { return h[TCPMinLen:h.DataOffset()] }

// Options iterates over the options.
func (h TCP) Options() TCPOptionIter { return TCPOptionIter{rest: h.OptionBytes()} }

// SetSrcPort sets the source port.
func (h TCP) SetSrcPort(v uint16) { put16(h, v) }

// SetDstPort sets the destination port.
func (h TCP) SetDstPort(v uint16) { put16(h[2:], v) }

// SetSeq sets the sequence number.
func (h TCP) SetSeq(v uint32) { put32(h[4:], v) }

// SetAck sets the acknowledgment number.
func (h TCP) SetAck(v uint32) { put32(h[8:], v) }

// SetFlags sets the nine control bits.
func (h TCP) SetFlags(f TCPFlags) { put16(h[12:], get16(h[12:])&^0x1ff|uint16(f)&0x1ff) }

// SetWindow sets the window field, already scaled down.
func (h TCP) SetWindow(v uint16) { put16(h[14:], v) }

// SetChecksum sets the checksum field.
func (h TCP) SetChecksum(v uint16) { put16(h[16:], v) }

// SetUrgent sets the urgent pointer.
func (h TCP) SetUrgent(v uint16) { put16(h[18:], v) }

// ComputeChecksum returns what belongs into the checksum field, whatever is in it now. dataLen and dataSum are the length in bytes
// and the folded sum of the data behind the header.
func (h TCP) ComputeChecksum(src, dst netip.Addr, dataLen int, dataSum uint16) uint16 {
	n := h.DataOffset()
	sum := checksum.PseudoHeader(src, dst, uint8(ProtoTCP), n+dataLen)
	sum = checksum.Sum(h[18:n], checksum.Sum(h[:16], sum))
	return ^checksum.Add(sum, dataSum)
}

// VerifyChecksum reports whether the checksum is right; the arguments are those of ComputeChecksum.
func (h TCP) VerifyChecksum(src, dst netip.Addr, dataLen int, dataSum uint16) bool {
	n := h.DataOffset()
	sum := checksum.PseudoHeader(src, dst, uint8(ProtoTCP), n+dataLen)
	return checksum.Add(checksum.Sum(h[:n], sum), dataSum) == 0xffff
}

// TCPFields is what PutTCP writes.
type TCPFields struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            TCPFlags
	Window           uint16 // already scaled down
	Checksum         uint16
	Urgent           uint16
	Options          *TCPOptions // nil: none
}

// HeaderLen is the number of bytes that PutTCP writes.
func (f *TCPFields) HeaderLen() int {
	if f.Options == nil {
		return TCPMinLen
	}
	return TCPMinLen + f.Options.Len()
}

// PutTCP writes a header with its options into the first f.HeaderLen() bytes of b and returns its view.
func PutTCP(b []byte, f TCPFields) TCP {
	n := TCPMinLen
	if f.Options != nil {
		n += f.Options.Put(b[TCPMinLen:])
	}
	h := TCP(b[:n:n])
	h.SetSrcPort(f.SrcPort)
	h.SetDstPort(f.DstPort)
	h.SetSeq(f.Seq)
	h.SetAck(f.Ack)
	put16(h[12:], uint16(n/4)<<12|uint16(f.Flags)&0x1ff)
	h.SetWindow(f.Window)
	h.SetChecksum(f.Checksum)
	h.SetUrgent(f.Urgent)
	return h
}
