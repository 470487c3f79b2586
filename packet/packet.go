// Package packet is one packet on its way through the stack.
//
// A Packet is a header block, an array inside the struct, followed by a payload rope. The block has a fixed origin: outbound headers are
// pushed leftwards from it. Inbound headers lie either to the left of it (another stack pushed them, and the pipe delivers the packet as
// it is) or in the first payload pieces (a device read them); the latter are copied to the right of the origin when they are consumed. So
// headers never move once they have been handed out, whatever becomes of the payload, and they are the packet's own to change.
package packet

import (
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
)

// Headroom is the number of bytes that can be pushed: link (22: Ethernet with two tags), network (60) and transport (60) headers.
const Headroom = 144

// block is the size of the header block: as much again right of the origin for the headers of packets that a device has read. What does
// not fit there (long chains of IPv6 extension headers) is kept beside it.
const block = 2 * Headroom

// Kind names a header.
type Kind uint8

const (
	Link Kind = iota
	Network
	Transport
	kinds
)

// Checksum says what is known of the transport checksum.
type Checksum uint8

const (
	ChecksumNone     Checksum = iota // outbound: complete in the packet; inbound: to be verified
	ChecksumPartial                  // the field holds the pseudo-header sum; CsumStart and CsumOffset say where to finish
	ChecksumVerified                 // inbound: the device (or GRO) vouches for it
)

// GSO says how a super-segment is to be cut.
type GSO uint8

const (
	GSONone GSO = iota
	GSOTCP4
	GSOTCP6
	GSOUDP4
	GSOUDP6
)

// MaxUDPSegs is the most datagrams that a UDP super-segment may stand for when it comes in or is cut, and SentUDPSegs the most of those
// that we make: Linux (UDP_MAX_SEGMENTS) takes 128, older kernels 64. TCP knows no such limit.
const (
	MaxUDPSegs  = 128
	SentUDPSegs = 64
)

// UDP reports whether g is of datagrams.
func (g GSO) UDP() bool { return g == GSOUDP4 || g == GSOUDP6 }

// Meta is what is known of a packet beside its bytes. It is copied as a value: by Clone, and by those who cut or join packets.
type Meta struct {
	Iface      int32 // index of the interface it came in by or goes out by
	Queue      uint16
	GSO        GSO
	Checksum   Checksum
	GSOSize    uint16     // payload bytes of a full segment, when GSO != GSONone
	CsumStart  uint16     // from the first byte of the network header
	CsumOffset uint16     // from CsumStart
	Segs       uint16     // how many packets of the wire this one stands for; 0 means 1
	Depth      uint8      // nesting of deliveries on this goroutine's stack (pipe, loop)
	ECN        uint8      // codepoint of the IP header, set by ip on input
	KeepCWR    bool       // every segment of the super-segment has its CWR flag (AccECN, RFC 9768 §3.3.4); else only the first (RFC 3168 §6.1.2)
	Received   sched.Time // by the clock of the stack; it takes that of the first packet of a batch for all of them. 0: not known
}

// Packet is one packet, inbound or outbound: the header block (headroom into which outbound headers are pushed) followed by a payload
// rope. Its bytes, in order, are the headers and then the payload. Inbound, headers are consumed from the front of those bytes,
// wherever they lie. What one stack pushed, another may consume (pipe: see Deliverable).
//
// A Packet has one owner at a time, who hands it on or owes a Release. It is not safe for concurrent use.
//
// Header bytes, as given by Push, Consume and Header, stay where they are until Release, whatever is consumed later and whatever becomes
// of Data, with one exception: headers that did not fit the block (hundreds of bytes of IPv6 extensions) may move in WritableHeaders.
// Peek's result is only good until the next call on the packet.
type Packet struct {
	Meta
	pool     *Pool
	data     buffer.Buffer
	aside    *buffer.Buffer  // consumed headers that did not fit the block: behind its bytes, before data. nil or empty else
	released bool            //
	shard    uint8           // which of the pool's counters counts it
	network  int16           // where the network header was before Deliverable forgot it; -1: not known
	front    int16           // the block's bytes are block[front:end]:
	cur      int16           // headers up to here, unread from here on
	end      int16           //
	headers  [kinds]position // where they are
	block    [block]byte
}

// position is the place of a header. Offsets from block on are in aside. len 0: there is no such header.
type position struct{ off, len int32 }

// reset makes p an empty packet.
func (p *Packet) reset() {
	p.Meta = Meta{}
	p.headers = [kinds]position{}
	p.network = -1
	p.front, p.cur, p.end = Headroom, Headroom, Headroom
}

// mustLive makes use after release a panic instead of somebody else's corrupt packet.
func (p *Packet) mustLive() {
	if p.released {
		panic("packet: use of a packet after its release")
	}
}

// Push prepends n bytes for the given header and returns them (not zeroed). Nil, and nothing done, if the header block has no room for
// them or n is negative. The kinds may come in any order; of two headers of a kind, the outer is remembered.
func (p *Packet) Push(k Kind, n int) []byte {
	p.mustLive()
	if n < 0 || n > int(p.front) {
		return nil
	}
	p.front -= int16(n)
	p.headers[k] = position{int32(p.front), int32(n)}
	return p.block[p.front : int(p.front)+n : int(p.front)+n]
}

// Consume takes n bytes from the front of what is unread as the given header and returns them, contiguous; false, and nothing done, if
// the packet has fewer or n is negative. It costs a copy of the n bytes if they lie in the payload.
func (p *Packet) Consume(k Kind, n int) ([]byte, bool) {
	p.mustLive()
	if n < 0 || !p.fetch(n) {
		return p.consumeAside(k, n)
	}
	at := int(p.cur)
	p.cur += int16(n)
	p.headers[k] = position{int32(at), int32(n)}
	return p.block[at : at+n : at+n], true
}

// fetch makes the next n bytes lie in the block, right of cur. False if there are fewer, or no room for them there.
func (p *Packet) fetch(n int) bool {
	need := n - int(p.end-p.cur)
	if need <= 0 {
		return true
	}
	if need > p.data.Size() || need > block-int(p.end) || p.aside != nil && p.aside.Size() > 0 {
		return false
	}
	p.data.Read(p.block[p.end : int(p.end)+need])
	p.end += int16(need)
	return true
}

// consumeAside is Consume for what the block has no room for: the bytes are made contiguous in the payload, and moved to aside.
func (p *Packet) consumeAside(k Kind, n int) ([]byte, bool) {
	if n < 0 || n > int(p.end-p.cur)+p.data.Size() {
		return nil, false
	}
	p.spill()
	p.data.PullUp(0, n)
	p.needAside()
	at := p.aside.Size()
	p.data.MoveTo(p.aside, n)
	p.headers[k] = position{int32(block + at), int32(n)}
	return p.aside.PullUp(at, n)
}

// needAside makes the rope for headers that do not fit the block, which few packets ever need.
func (p *Packet) needAside() {
	if p.aside == nil {
		p.aside = new(buffer.Buffer)
		p.aside.SetPool(p.pool.Buffers())
	}
}

// spill puts unread bytes of the block in front of the payload.
func (p *Packet) spill() {
	if p.cur < p.end {
		p.data.Prepend(p.block[p.cur:p.end])
		p.end = p.cur
	}
}

// Peek returns the next n unread bytes, contiguous, without taking them; false if there are fewer or n is negative. They are good until
// the next call on the packet, and not to be changed.
func (p *Packet) Peek(n int) ([]byte, bool) {
	p.mustLive()
	if n < 0 || n > int(p.end-p.cur)+p.data.Size() {
		return nil, false
	}
	if p.fetch(n) {
		at := int(p.cur)
		return p.block[at : at+n : at+n], true
	}
	p.spill()
	return p.data.PullUp(0, n)
}

// Header returns a pushed or consumed header, nil if there is none. Whoever changes it calls WritableHeaders first.
func (p *Packet) Header(k Kind) []byte {
	p.mustLive()
	h := p.headers[k]
	if h.len == 0 {
		return nil
	}
	if h.off < block {
		return p.block[h.off : h.off+h.len : h.off+h.len]
	}
	b, _ := p.aside.PullUp(int(h.off)-block, int(h.len))
	return b
}

// WritableHeaders makes the bytes of all headers seen so far safe to change in place. Slices of headers that did not fit the block (see
// Packet) are stale after it; all others are not.
func (p *Packet) WritableHeaders() {
	p.mustLive()
	if p.aside != nil {
		p.aside.Writable(0, p.aside.Size())
	}
}

// HeaderSize is the number of bytes of all pushed and consumed headers.
func (p *Packet) HeaderSize() int { return int(p.cur-p.front) + p.asideSize() }

// Size is the number of bytes of the whole packet: headers and data.
func (p *Packet) Size() int { return int(p.end-p.front) + p.asideSize() + p.data.Size() }

func (p *Packet) asideSize() int {
	if p.aside == nil {
		return 0
	}
	return p.aside.Size()
}

// Data returns the rope behind the headers. If bytes that are not consumed still lie in the header block, they are moved into it first.
// The rope is the packet's: take bytes out of it by MoveTo or ShareTo.
func (p *Packet) Data() *buffer.Buffer {
	p.mustLive()
	p.spill()
	return &p.data
}

// Place appends payload: what is small to the header block, right of the origin, so that it needs no memory of its own. Headers can be
// pushed before and after that.
func (p *Packet) Place(b []byte) {
	p.mustLive()
	if p.data.Size() > 0 || p.asideSize() > 0 || len(b) > block-int(p.end) {
		p.Data().Append(b)
		return
	}
	p.end += int16(copy(p.block[p.end:], b))
}

// MoveUnread moves what is unread to the end of dst, and leaves the packet its headers. What lies in the header block is copied; the rest
// too if copied says so, else it is only referenced.
func (p *Packet) MoveUnread(dst *buffer.Buffer, copied bool) {
	p.mustLive()
	if p.cur < p.end {
		dst.Append(p.block[p.cur:p.end])
		p.end = p.cur
	}
	if !copied {
		dst.Merge(&p.data)
		return
	}
	p.data.Apply(dst.Append)
	p.data.Clear()
}

// Unread returns how many bytes are behind the headers, and how much chunk capacity these pin.
func (p *Packet) Unread() (size, footprint int) {
	return int(p.end-p.cur) + p.data.Size(), p.data.Footprint()
}

// Pool returns where the packet comes from.
func (p *Packet) Pool() *Pool { return p.pool }

// StripBefore drops all headers in front of the given one: what forwarding does with the link header that a packet came in with. False,
// and nothing done, if there is no header of that kind.
func (p *Packet) StripBefore(k Kind) bool {
	p.mustLive()
	at := p.headers[k]
	if at.len == 0 {
		return false
	}
	for i := range p.headers {
		if p.headers[i].off < at.off {
			p.headers[i] = position{}
		}
	}
	p.network = -1
	if at.off < block {
		p.front = int16(at.off)
		return true
	}
	cut := int(at.off) - block
	p.front = p.cur
	p.aside.TrimFront(cut)
	for i := range p.headers {
		if p.headers[i].len > 0 {
			p.headers[i].off -= int32(cut)
		}
	}
	return true
}

// Vec appends the bytes of the whole packet to v, borrowed until the next change of the packet: header block, then payload pieces.
func (p *Packet) Vec(v buffer.Vec) buffer.Vec {
	p.mustLive()
	if p.front < p.end {
		v = append(v, p.block[p.front:p.end:p.end])
	}
	if p.aside != nil {
		v = p.aside.Vec(v)
	}
	return p.data.Vec(v)
}

// PayloadSince appends to dst shared references to everything from the given header (inclusive) on; header-block bytes are copied. False,
// and nothing done, if there is no header of that kind.
func (p *Packet) PayloadSince(k Kind, dst *buffer.Buffer) bool {
	p.mustLive()
	h := p.headers[k]
	if h.len == 0 {
		return false
	}
	cut := 0
	if h.off < block {
		dst.Append(p.block[h.off:p.end])
	} else {
		cut = int(h.off) - block
	}
	if p.aside != nil {
		p.aside.ShareTo(dst, cut, p.aside.Size()-cut)
	}
	p.data.ShareTo(dst, 0, p.data.Size())
	return true
}

// Clone copies the header block and metadata and shares the payload.
func (p *Packet) Clone() *Packet {
	p.mustLive()
	q := p.pool.Get()
	q.Meta, q.headers, q.network = p.Meta, p.headers, p.network
	q.front, q.cur, q.end = p.front, p.cur, p.end
	copy(q.block[p.front:p.end], p.block[p.front:p.end])
	if p.asideSize() > 0 {
		q.needAside()
		p.aside.ShareTo(q.aside, 0, p.aside.Size())
	}
	p.data.ShareTo(&q.data, 0, p.data.Size())
	return q
}

// Deliverable turns an outbound packet into an inbound one: all headers are unread bytes again, kinds forgotten, metadata kept.
func (p *Packet) Deliverable() {
	p.mustLive()
	if p.headers[Network].len > 0 {
		p.network = -1
		if off := p.headers[Network].off; off < block {
			p.network = int16(off)
		}
	}
	if p.asideSize() > 0 {
		p.aside.Merge(&p.data)
		p.data.Merge(p.aside)
	}
	p.headers = [kinds]position{}
	p.cur = p.front
}
