package stack

import (
	"net/netip"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
)

// recordSize is what a queued datagram is charged beside its chunks.
const recordSize = 128

// datagram is one that waits to be read.
type datagram struct {
	src netip.AddrPort
	ecn uint8 // codepoint of the IP header
	buf buffer.Buffer
}

// datagrams is a receive queue, charged at chunk capacity. Its ring grows and is kept until drop.
type datagrams struct {
	stack   *Stack
	ring    []datagram
	head, n int
	charged int
}

// add moves p's data into the queue; false, and nothing done, if the limit or the stack's memory budget does not allow it. The limit
// does not concern what finds the queue empty: a large datagram that came in many fragments, each in a chunk of its own, would else
// never be received.
func (d *datagrams) add(p *packet.Packet, src netip.AddrPort, limit int) bool {
	data := p.Data()
	least := min(data.Footprint(), 4*data.Size()) + recordSize // after the copy of what fills less than a quarter of its chunk
	if d.n > 0 && d.charged+least > limit || !d.stack.memory.received.reserve(d.charged, least) {
		return false
	}
	if d.n == len(d.ring) {
		d.grow()
	}
	g := &d.ring[(d.head+d.n)&(len(d.ring)-1)]
	g.src, g.ecn = src, p.ECN
	g.buf.SetPool(d.stack.cfg.Packets.Buffers())
	g.buf.Queue(data)
	d.n++
	held := g.buf.Footprint() + recordSize
	d.charged += held
	d.stack.memory.received.charge(held - least)
	return true
}

func (d *datagrams) charge(n int) {
	d.charged += n
	d.stack.memory.received.charge(n)
}

func (d *datagrams) grow() {
	grown := make([]datagram, max(4, 2*len(d.ring)))
	for i := range d.n {
		from := &d.ring[(d.head+i)&(len(d.ring)-1)]
		grown[i].src, grown[i].ecn = from.src, from.ecn
		grown[i].buf.SetPool(d.stack.cfg.Packets.Buffers())
		grown[i].buf.Merge(&from.buf)
	}
	d.ring, d.head = grown, 0
}

// read copies the first datagram out and takes it off; there is one.
func (d *datagrams) read(p []byte) (n int, src netip.AddrPort, ecn uint8, truncated bool) {
	g := d.first()
	n, src, ecn, truncated = min(len(p), g.buf.Size()), g.src, g.ecn, g.buf.Size() > len(p)
	_, _ = g.buf.ReadAt(p[:n], 0)
	d.pop()
	return n, src, ecn, truncated
}

func (d *datagrams) first() *datagram { return &d.ring[d.head] }

// pop drops the first datagram.
func (d *datagrams) pop() {
	g := d.first()
	d.charge(-g.buf.Footprint() - recordSize)
	g.buf.Release()
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.n--
}

// moveTo hands all datagrams over.
func (d *datagrams) moveTo(to *datagrams) {
	*to, *d = *d, datagrams{stack: d.stack}
}

// drop empties the queue and gives its memory back.
func (d *datagrams) drop() {
	for d.n > 0 {
		d.pop()
	}
	d.ring, d.head = nil, 0
}
