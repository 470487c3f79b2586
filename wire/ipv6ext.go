package wire

// How far Extensions walks. RFC 8504 §5.3 lets a node limit what it accepts; RFC 8883 has ICMPv6 codes to say so.
const (
	MaxExtensions     = 8   // headers in a packet
	MaxExtensionBytes = 512 // bytes of all of them together: what a caller makes contiguous behind the fixed header
)

// ipv6NextHeaderOffset is where the fixed IPv6 header has its Next Header field.
const ipv6NextHeaderOffset = 6

// Extension is one IPv6 extension header (RFC 8200 §4).
type Extension struct {
	Type   Protocol // ProtoHopByHop, ProtoRouting, ProtoFragment or ProtoDestOptions
	Next   Protocol // what follows it
	Offset int      // from the start of the IPv6 header: what an ICMPv6 parameter problem counts from
	Data   []byte   // the whole header
}

// Extensions walks over the extension headers of an IPv6 packet, in whatever order they come (RFC 8200 §4.1), except that hop-by-hop
// options come first only. It walks over hop-by-hop, routing, fragment and destination options headers; all else (AH, ESP, mobility
// and what nobody knows included) is an upper layer that the caller may not know. Behind a fragment header with an offset other than
// 0 lies the middle of something, so that ends the walk, too.
type Extensions struct {
	b       []byte
	size    int
	base    int // offset of b from the start of the IPv6 header
	off     int // in b, of what next names
	pointer int
	need    int
	count   int
	next    Protocol
	first   bool // a hop-by-hop header may come
	done    bool
	later   bool
	current Extension
	err     error
}

// WalkExtensions returns an iterator over the extension headers behind h. b is the contiguous beginning of what follows the fixed
// header, of which there are size bytes in the packet (h.PayloadLen()).
func WalkExtensions(h IPv6, b []byte, size int) Extensions {
	return Extensions{b: clip(b, size), size: size, base: IPv6Len, next: h.NextHeader(), pointer: ipv6NextHeaderOffset, first: true}
}

// ContinueExtensions is WalkExtensions for a packet of which earlier headers are gone, as after reassembly: next says what b begins
// with, pointer where the Next Header field lies that says so, and base how many bytes of the packet came before b, both from the
// start of the IPv6 header. A hop-by-hop header may not come any more.
func ContinueExtensions(next Protocol, b []byte, size, base, pointer int) Extensions {
	return Extensions{b: clip(b, size), size: size, base: base, next: next, pointer: pointer}
}

// clip is b without what lies beyond size bytes.
func clip(b []byte, size int) []byte { return b[:min(len(b), max(size, 0))] }

// Next goes to the next extension header, and reports whether there is one. After false, Err tells an orderly end (nil) from others.
func (e *Extensions) Next() bool {
	if e.done || e.err != nil {
		return false
	}
	if !e.next.IsExtension() {
		e.done = true
		return false
	}
	if e.next == ProtoHopByHop && !e.first {
		e.err = ErrExtensionOrder
		return false
	}
	n, ok := e.measure()
	if !ok {
		return false
	}
	h := e.b[e.off : e.off+n : e.off+n]
	e.current = Extension{Type: e.next, Next: Protocol(h[0]), Offset: e.base + e.off, Data: h}
	e.pointer = e.current.Offset
	if f, ok := e.current.Fragment(); ok && f.Offset() != 0 {
		e.done, e.later = true, true
	}
	e.next, e.off, e.first = e.current.Next, e.off+n, false
	e.count++
	return true
}

// measure returns the length of the header at off, all of which is contiguous; else it sets err.
func (e *Extensions) measure() (int, bool) {
	n := IPv6FragmentLen
	if e.count == MaxExtensions {
		e.err = ErrExtensionLimit
	} else if e.have(n) && e.next != ProtoFragment {
		n = (int(e.b[e.off+1]) + 1) * 8
		if e.off+n > MaxExtensionBytes {
			e.err = ErrExtensionLimit
		} else {
			e.have(n)
		}
	}
	return n, e.err == nil
}

// have reports whether n bytes from off on are there, and sets err if not.
func (e *Extensions) have(n int) bool {
	switch end := e.off + n; {
	case end > e.size:
		e.err = ErrShort
	case end > len(e.b):
		e.err, e.need = ErrNeedMore, end
	}
	return e.err == nil
}

// Refill goes on after ErrNeedMore with b, which begins with the same bytes and has at least Need() of them.
func (e *Extensions) Refill(b []byte) {
	e.b = clip(b, e.size)
	if e.err == ErrNeedMore {
		e.err, e.need = nil, 0
	}
}

// Extension is the header that Next went to.
func (e *Extensions) Extension() Extension { return e.current }

// Err says why the walk ended: nil at the upper layer or behind a later fragment's header; ErrNeedMore (see Need); ErrShort when the
// packet ends inside a header; ErrExtensionOrder; ErrExtensionLimit.
func (e *Extensions) Err() error { return e.err }

// Need is, after ErrNeedMore, how many contiguous bytes from the start of b on the walk needs to go on.
func (e *Extensions) Need() int { return e.need }

// Upper is what follows the headers walked so far: when the walk is over, the upper layer's protocol (in a later fragment: that of
// the fragmentable part, none of whose beginning is in the packet).
func (e *Extensions) Upper() Protocol { return e.next }

// Later reports whether the walk ended behind the header of a later fragment, so that Upper is not in the packet.
func (e *Extensions) Later() bool { return e.later }

// Len is the length in bytes of the headers walked so far: Upper begins at b[Len()].
func (e *Extensions) Len() int { return e.off }

// Pointer is the offset from the start of the IPv6 header of the Next Header field that names Upper: what the ICMPv6 parameter
// problem "unrecognized Next Header type" points to, be it for an unknown upper layer or for ErrExtensionOrder (RFC 8200 §4).
func (e *Extensions) Pointer() int { return e.pointer }

// ExtensionChain is what SkipExtensions finds.
type ExtensionChain struct {
	Upper    Protocol     // the upper layer's protocol; what the fragmentable part begins with in a later fragment
	Len      int          // length of all extension headers in bytes
	Pointer  int          // offset of the Next Header field that names Upper
	Fragment IPv6Fragment // the first fragment header; nil if there is none
	Later    bool         // the walk ended behind the header of a later fragment: Upper is not in the packet
}

// SkipExtensions walks to the upper layer at once. The arguments are those of WalkExtensions, the errors those of Extensions.Err.
func SkipExtensions(h IPv6, b []byte, size int) (ExtensionChain, error) {
	e := WalkExtensions(h, b, size)
	var c ExtensionChain
	for e.Next() {
		if f, ok := e.current.Fragment(); ok && c.Fragment == nil {
			c.Fragment = f
		}
	}
	c.Upper, c.Len, c.Pointer, c.Later = e.next, e.off, e.pointer, e.later
	return c, e.err
}

// Fragment returns the view of a fragment header; false if x is none.
func (x Extension) Fragment() (IPv6Fragment, bool) {
	return IPv6Fragment(x.Data), x.Type == ProtoFragment
}

// Routing returns the view of a routing header; false if x is none.
func (x Extension) Routing() (IPv6Routing, bool) {
	return IPv6Routing(x.Data), x.Type == ProtoRouting
}

// Options iterates over the options of a hop-by-hop or destination options header; of others it iterates over nothing.
func (x Extension) Options() IPv6Options {
	if x.Type != ProtoHopByHop && x.Type != ProtoDestOptions {
		return IPv6Options{}
	}
	return IPv6Options{rest: x.Data[2:], offset: x.Offset + 2}
}

// IPv6Routing is a view of a routing header (RFC 8200 §4.4).
type IPv6Routing []byte

// Type is the variant of the header.
func (h IPv6Routing) Type() uint8 { return h[2] }

// SegmentsLeft is how many nodes are still to be visited. A node that does not know Type ignores the header if it is 0, and else
// discards the packet with a parameter problem, code 0, that points to Type.
func (h IPv6Routing) SegmentsLeft() uint8 { return h[3] }

// IPv6FragmentLen is the size of a fragment header.
const IPv6FragmentLen = 8

// IPv6Fragment is a view of a fragment header (RFC 8200 §4.5).
type IPv6Fragment []byte

// ParseIPv6Fragment checks that b holds a fragment header and returns its view. Errors: ErrShort.
func ParseIPv6Fragment(b []byte) (IPv6Fragment, error) {
	if len(b) < IPv6FragmentLen {
		return nil, ErrShort
	}
	return IPv6Fragment(b[:IPv6FragmentLen:IPv6FragmentLen]), nil
}

// NextHeader is what the fragmentable part begins with; that of the first fragment counts.
func (h IPv6Fragment) NextHeader() Protocol { return Protocol(h[0]) }

// Offset is where this fragment goes in the fragmentable part, in bytes.
func (h IPv6Fragment) Offset() int { return int(get16(h[2:]) &^ 7) }

// Reserved is the reserved byte and, in the low bits, the two reserved bits: to be ignored.
func (h IPv6Fragment) Reserved() uint16 { return uint16(h[1])<<2 | uint16(h[3]>>1&3) }

// More is the M flag: this is not the last fragment.
func (h IPv6Fragment) More() bool { return h[3]&1 != 0 }

// Atomic reports whether the packet is a whole one in spite of the header (RFC 6946).
func (h IPv6Fragment) Atomic() bool { return h.Offset() == 0 && !h.More() }

// ID is the identification that the fragments of a packet share.
func (h IPv6Fragment) ID() uint32 { return get32(h[4:]) }

// IPv6FragmentFields is what PutIPv6Fragment writes.
type IPv6FragmentFields struct {
	NextHeader Protocol
	Offset     int // bytes, a multiple of 8, at most 65528
	More       bool
	ID         uint32
}

// PutIPv6Fragment writes a fragment header into the first 8 bytes of b and returns its view.
func PutIPv6Fragment(b []byte, f IPv6FragmentFields) IPv6Fragment {
	h := IPv6Fragment(b[:IPv6FragmentLen:IPv6FragmentLen])
	h[0], h[1] = uint8(f.NextHeader), 0
	v := uint16(f.Offset) &^ 7
	if f.More {
		v |= 1
	}
	put16(h[2:], v)
	put32(h[4:], f.ID)
	return h
}
