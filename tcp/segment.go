package tcp

import (
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/wire"
)

// Segment is one TCP segment without its ports. Inbound, a Segment may be a super-segment (GRO). Input takes of Payload what it keeps
// (moving pieces); the caller Releases what is left. Outbound, Output appends shared references to Payload, which must be empty.
type Segment struct {
	Seq     Seq
	Ack     Seq
	Flags   wire.TCPFlags
	Window  uint16 // as on the wire, not scaled
	Urgent  uint16
	Options wire.TCPOptions
	Payload buffer.Buffer
	GSOSize int   // outbound: payload bytes of a full segment if Payload must be cut, else 0
	Segs    int   // how many segments of the wire this one is: joined (inbound), or will be cut into (outbound); 0 means 1
	ECN     uint8 // codepoint of the IP header
	ACE     bool  // outbound: the flags AE, CWR and ECE are AccECN's counter, which every segment has that this one is cut into
	// Header is, inbound, the header as it came, for digests that cover it. It is borrowed, as is what Options borrows.
	Header wire.TCP
}

// Len is SEG.LEN: payload bytes, and one each for SYN and FIN.
func (s *Segment) Len() int {
	n := s.Payload.Size()
	if s.Flags&wire.SYN != 0 {
		n++
	}
	if s.Flags&wire.FIN != 0 {
		n++
	}
	return n
}

// end is the sequence number behind the segment.
func (s *Segment) end() Seq { return s.Seq + Seq(s.Len()) }

// ParseSegment fills s (but Payload, Segs and ECN, which are left alone) from a checked header view. s borrows from h what
// Options borrows.
func ParseSegment(h wire.TCP, s *Segment) {
	s.Seq, s.Ack = Seq(h.Seq()), Seq(h.Ack())
	s.Flags, s.Window, s.Urgent = h.Flags(), h.Window(), h.Urgent()
	s.GSOSize = 0
	s.Header = h
	s.Options.Parse(h.OptionBytes())
}

// HeaderLen is the size of the TCP header with s.Options, a multiple of 4.
func (s *Segment) HeaderLen() int { return wire.TCPMinLen + s.Options.Len() }

// PutHeader writes the header (b is HeaderLen bytes) with checksum field zero.
func (s *Segment) PutHeader(b []byte, srcPort, dstPort uint16) {
	wire.PutTCP(b, wire.TCPFields{
		SrcPort: srcPort,
		DstPort: dstPort,
		Seq:     uint32(s.Seq),
		Ack:     uint32(s.Ack),
		Flags:   s.Flags,
		Window:  s.Window,
		Urgent:  s.Urgent,
		Options: &s.Options,
	})
}
