package wire

import "net/netip"

// Quote is the packet that an ICMP error is about, as far as the error quotes it: what a stack needs to find the socket concerned,
// and to judge whether the error is plausible for it (RFC 5927). Addresses are those of the quoted packet: Src is who sent it.
type Quote struct {
	Src, Dst  netip.Addr
	Protocol  Protocol // the upper layer's
	TotalLen  int      // the quoted packet's length, as its header says; header and payload, in bytes
	Transport []byte   // what is quoted of the upper layer's header and data; empty in a later fragment
	Later     bool     // a fragment other than the first: Transport is not known
}

// ParseQuote4 reads the IPv4 packet quoted in b (ICMPv4.Quoted). The quoted length is not compared with b, which is but the packet's
// beginning. Errors: ErrShort, ErrVersion, ErrHeaderLen, ErrTotalLen (less than the header).
func ParseQuote4(b []byte) (Quote, error) {
	h, err := parseIPv4Header(b)
	if err != nil {
		return Quote{}, err
	}
	if h.TotalLen() < len(h) {
		return Quote{}, ErrTotalLen
	}
	q := Quote{Src: h.Src(), Dst: h.Dst(), Protocol: h.Protocol(), TotalLen: h.TotalLen(), Later: h.FragmentOffset() > 0}
	if !q.Later {
		q.Transport = clip(b, q.TotalLen)[len(h):]
	}
	return q, nil
}

// ParseQuote6 reads the IPv6 packet quoted in b (ICMPv6.Quoted), and walks over its extension headers. Errors: ErrShort (also when
// the quote ends among the extension headers), ErrVersion, and those of Extensions.
func ParseQuote6(b []byte) (Quote, error) {
	h, err := parseIPv6Header(b)
	if err != nil {
		return Quote{}, err
	}
	rest := clip(b[IPv6Len:], h.PayloadLen())
	c, err := SkipExtensions(h, rest, len(rest))
	if err != nil {
		return Quote{}, err
	}
	q := Quote{Src: h.Src(), Dst: h.Dst(), Protocol: c.Upper, TotalLen: h.TotalLen(), Later: c.Later}
	if !q.Later {
		q.Transport = rest[c.Len:]
	}
	return q, nil
}

// Ports returns source and destination port of a quoted TCP or UDP header, which are in its first four bytes; false if they are not
// quoted or the protocol has none.
func (q *Quote) Ports() (src, dst uint16, ok bool) {
	if q.Protocol != ProtoTCP && q.Protocol != ProtoUDP || len(q.Transport) < 4 {
		return 0, 0, false
	}
	return get16(q.Transport), get16(q.Transport[2:]), true
}

// TCPSeq returns the sequence number of a quoted TCP header; false if it is not quoted.
func (q *Quote) TCPSeq() (uint32, bool) {
	if q.Protocol != ProtoTCP || len(q.Transport) < 8 {
		return 0, false
	}
	return get32(q.Transport[4:]), true
}

// EchoID returns identifier and sequence number of a quoted echo request; false if it is none, or not quoted so far.
func (q *Quote) EchoID() (id, seq uint16, ok bool) {
	t := q.Transport
	if len(t) < 8 {
		return 0, 0, false
	}
	switch {
	case q.Protocol == ProtoICMP && q.Src.Is4() && ICMPv4Type(t[0]) == ICMPv4Echo:
	case q.Protocol == ProtoICMPv6 && !q.Src.Is4() && ICMPv6Type(t[0]) == ICMPv6Echo:
	default:
		return 0, 0, false
	}
	return get16(t[4:]), get16(t[6:]), true
}
