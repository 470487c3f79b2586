package stack

import (
	"net/netip"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
)

const (
	recordSize = 128 // what a queued datagram is charged beside its chunks, in bytes: its record
	smallSize  = 88  // bytes of payload that its record holds itself
)

// queued is a datagram that waits to be read, or several that came as one super-segment.
type queued struct {
	_       [0]func() // no ==: its code would be in every program
	src     netip.AddrPort
	size    int32  // bytes of payload that are left
	segment uint16 // 0: one datagram; else the size of each of several, but for the last, which may be smaller
	ecn     uint8  // codepoint of the IP header
	held    bool   // the payload is in small
	small   [smallSize]byte
}

// segs is how many datagrams there are.
func (g *queued) segs() int { return segments(int(g.size), int(g.segment)) }

// segments is how many datagrams of at most segment bytes there are in size; segment 0: one.
func segments(size, segment int) int {
	if segment == 0 || size <= segment {
		return 1
	}
	return (size + segment - 1) / segment
}

// datagrams is a receive queue, charged at chunk capacity. Small payload is in the records, all other in one rope, in the same order, where
// what would pin more than twice its size is copied together. The ring grows and is kept until drop.
type datagrams struct {
	stack   *Stack
	ring    []queued
	head, n int // of records
	data    buffer.Buffer
	charged int // to the memory budget: no less than held
}

// held is what the queue holds, in bytes of chunk capacity and records.
func (d *datagrams) held() int { return d.n*recordSize + d.data.Footprint() }

// prepaid is how many bytes are charged at once, as far as the limit lets, so that not each datagram touches the budget.
const prepaid = 4 << 10

// init is to be called before the first add.
func (d *datagrams) init(s *Stack) {
	d.stack = s
	d.data.SetPool(s.cfg.Packets.Buffers())
}

// add moves what is unread of p into the queue, one datagram or (segment > 0) several; false, and nothing done, if the limit or the stack's
// memory budget does not allow it. The limit does not concern what finds the queue empty: a large datagram that came in many fragments,
// each in a chunk of its own, would else never be received. Others is what else counts towards the limit.
func (d *datagrams) add(p *packet.Packet, src netip.AddrPort, segment uint16, limit, others int) bool {
	size, footprint := p.Unread()
	small := size <= smallSize && segment == 0
	copied := small || footprint > 2*size
	cost := recordSize
	switch {
	case small:
	case copied:
		cost += d.data.AppendCost(size)
	default:
		cost += footprint
	}
	if own := d.held(); own+others > 0 && own+others+cost > limit || !d.pay(own+cost, limit-others, others) {
		return false
	}
	if d.n == len(d.ring) {
		d.grow()
	}
	g := &d.ring[(d.head+d.n)&(len(d.ring)-1)]
	g.src, g.size, g.segment, g.ecn, g.held = src, int32(size), segment, p.ECN, small
	d.n++
	if small {
		b, _ := p.Peek(size)
		copy(g.small[:], b)
	} else {
		p.MoveUnread(&d.data, copied)
		if more := d.held() - d.charged; more > 0 { // bytes that lay in the packet's block are in a chunk now
			d.stack.memory.received.charge(more)
			d.charged += more
		}
	}
	return true
}

// pay charges for want bytes to be held, if the budget has as much, and if it can for some more up to most. Others is what the socket holds
// elsewhere.
func (d *datagrams) pay(want, most, others int) bool {
	need := want - d.charged
	if need <= 0 {
		return true
	}
	m := &d.stack.memory.received
	if more := min(max(need, prepaid), most-d.charged); more > need && m.reserve(d.charged+others, more) {
		d.charged += more
		return true
	}
	if !m.reserve(d.charged+others, need) {
		return false
	}
	d.charged += need
	return true
}

// grow doubles the ring.
func (d *datagrams) grow() {
	grown := make([]queued, max(4, 2*len(d.ring)))
	n := copy(grown, d.ring[d.head:])
	copy(grown[n:], d.ring[:d.head])
	d.ring, d.head = grown, 0
}

// first is the record of what is read next; there is one.
func (d *datagrams) first() *queued { return &d.ring[d.head] }

// read copies the next datagram out, with whole all of those that came with it, and takes it off; there is one. Size is how large it was.
// What that frees is for uncharge to give back.
func (d *datagrams) read(b []byte, whole bool) (size int) {
	g := d.first()
	size = int(g.size)
	if g.held {
		copy(b, g.small[:size])
		d.next()
		return size
	}
	if !whole && g.segment > 0 {
		size = min(size, int(g.segment))
	}
	n, _ := d.data.Read(b[:min(len(b), size)])
	d.data.TrimFront(size - n)
	if g.size -= int32(size); g.size == 0 {
		d.next()
	}
	return size
}

// next goes on to the next record.
func (d *datagrams) next() {
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.n--
}

// uncharge gives back what is charged for what is no longer there.
func (d *datagrams) uncharge() {
	held := d.held()
	d.stack.memory.received.charge(held - d.charged)
	d.charged = held
}

// count is how many datagrams there are.
func (d *datagrams) count() (segs int) {
	for i := range d.n {
		segs += d.ring[(d.head+i)&(len(d.ring)-1)].segs()
	}
	return segs
}

// take makes the datagrams of another queue those of d, which is empty. Each keeps a ring.
func (d *datagrams) take(from *datagrams) {
	d.ring, from.ring = from.ring, d.ring
	d.head, d.n, d.charged = from.head, from.n, from.charged
	d.data.Merge(&from.data)
	from.head, from.n, from.charged = 0, 0, 0
}

// drop empties the queue, gives its memory back, and returns how many datagrams were in it.
func (d *datagrams) drop() (segs int) {
	segs = d.count()
	d.data.Release()
	d.ring, d.head, d.n = nil, 0, 0
	d.uncharge()
	return segs
}
