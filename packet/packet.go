// Package packet is one packet on its way through the stack.
package packet

import (
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
)

// Headroom is the size of the header block of a packet: link (22: Ethernet with two tags), network (60) and transport (60) headers.
const Headroom = 144

// Kind names a header.
type Kind uint8

const (
	Link Kind = iota
	Network
	Transport
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

// Packet is one packet, inbound or outbound: the header block (headroom into which outbound headers are pushed) followed by a payload
// rope. Its bytes, in order, are the pushed headers and then the payload. Inbound, headers are consumed from the front of those bytes,
// wherever they lie. What one stack pushed, another may consume (pipe: see Deliverable).
type Packet struct {
	Iface      int32 // index of the interface it came in by or goes out by
	Queue      uint16
	GSO        GSO
	Checksum   Checksum
	GSOSize    uint16 // payload bytes of a full segment, when GSO != GSONone
	CsumStart  uint16 // from the first byte of the network header
	CsumOffset uint16 // from CsumStart
	Segs       uint16 // how many packets of the wire this one stands for; 0 means 1
	Depth      uint8  // nesting of deliveries on this goroutine's stack (pipe, loop)
	ECN        uint8  // codepoint of the IP header, set by ip on input
	Received   sched.Time
	Hash       uint32
	// ...
}

// Pool gives out packets; safe for concurrent use.
type Pool struct{}

func NewPool(b *buffer.Pool) *Pool  { panic("stub") }
func (p *Pool) Buffers() *buffer.Pool { panic("stub") }

// Get returns an empty packet, one owner. Its payload rope takes chunks from the pool's buffer.Pool.
func (p *Pool) Get() *Packet { panic("stub") }

// Outstanding returns how many packets are out.
func (p *Pool) Outstanding() int { panic("stub") }

// Release gives the packet and its payload's references back. Twice panics in a checking pool.
func (p *Packet) Release() { panic("stub") }

// Push prepends n bytes for the given header and returns them (not zeroed). Nil if the header block has no room.
func (p *Packet) Push(k Kind, n int) []byte { panic("stub") }

// Consume takes n bytes from the front as the given header and returns them, contiguous; false if the packet is shorter.
func (p *Packet) Consume(k Kind, n int) ([]byte, bool) { panic("stub") }

// Peek returns the next n unconsumed bytes, contiguous, without taking them.
func (p *Packet) Peek(n int) ([]byte, bool) { panic("stub") }

// Header returns a pushed or consumed header, nil if there is none. Whoever changes it calls WritableHeaders first.
func (p *Packet) Header(k Kind) []byte { panic("stub") }

// WritableHeaders makes the bytes of all headers seen so far safe to change in place (slices from before the call are stale).
func (p *Packet) WritableHeaders() { panic("stub") }

// HeaderSize is the number of bytes of all pushed and consumed headers.
func (p *Packet) HeaderSize() int { panic("stub") }

// Size is the number of bytes of the whole packet: headers and data.
func (p *Packet) Size() int { panic("stub") }

// Data returns the rope behind the headers. (If bytes that are not consumed still lie in the header block, they are moved into it first.)
func (p *Packet) Data() *buffer.Buffer { panic("stub") }

// PayloadSince appends to dst shared references to everything from the given header (inclusive) on; header-block bytes are copied.
func (p *Packet) PayloadSince(k Kind, dst *buffer.Buffer) { panic("stub") }

// Clone copies the header block and metadata and shares the payload.
func (p *Packet) Clone() *Packet { panic("stub") }

// Deliverable turns an outbound packet into an inbound one: all headers are unread bytes again, kinds forgotten, metadata kept.
func (p *Packet) Deliverable() { panic("stub") }

// Vec appends the bytes of the whole packet to v (borrowed): header block, then payload pieces.
func (p *Packet) Vec(v buffer.Vec) buffer.Vec { panic("stub") }

// FinishChecksum completes a partial checksum in place (the last point before a device without that offload, before fragmentation,
// fault injection and capture) and sets ChecksumNone. Not for super-segments: those are cut first (see internal/offload).
func (p *Packet) FinishChecksum() { panic("stub") }
