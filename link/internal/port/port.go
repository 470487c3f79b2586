// Package port is the side of an in-memory device that faces its stack: the sink, and the barrier that Close promises.
package port

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// Offloads of a device that leaves packets as they are.
const Offloads = link.TxChecksum | link.TxTSO4 | link.TxTSO6 | link.TxUSO | link.TxACE | link.RxJoined

// GSOMax is the largest super-segment of such a device: the largest IPv4 packet.
const GSOMax = 65535

// The MTUs that such a device can have. IPv6 needs 1280 (RFC 8200 §5), IPv4 works with 576 (RFC 791 §3.1).
const (
	MinMTU = 576
	MaxMTU = 65535
)

// MTU returns an MTU as an option gives it, 0 meaning the given default, within MinMTU and MaxMTU.
func MTU(option, byDefault int) int {
	if option == 0 {
		return byDefault
	}
	return min(max(option, MinMTU), MaxMTU)
}

// closed is set in Port.state for good by Close. The bits below count the calls inside the sink.
const closed = 1 << 62

// Port holds a device's Sink and counts the calls inside it, so that Close can wait for them. The zero Port is ready.
//
// Entering never blocks: it succeeds or is refused. So a delivery that comes back to the same port further up the call chain, while a
// Close waits for that chain to end, is dropped and the chain goes on to its end (a sync.RWMutex would hold it up for ever), and two
// ports whose deliveries nest in one another may close at once.
type Port struct {
	_     [0]func() // no ==: its code would be in every program
	sink  atomic.Pointer[link.Sink]
	state atomic.Int64

	mu   sync.Mutex    // over the two below
	idle chan struct{} // made by Close
	left bool          // idle is closed: the last call has left
}

// Attach sets the sink: link.ErrAttached if there is one, link.ErrClosed after Close.
func (p *Port) Attach(s link.Sink) error {
	if p.Closed() {
		return link.ErrClosed
	}
	if !p.sink.CompareAndSwap(nil, &s) {
		return link.ErrAttached
	}
	return nil
}

// Enter returns the sink for one call into it, which Exit ends; nil (and no Exit) if none is attached or the port is closed.
func (p *Port) Enter() *link.Sink {
	s := p.sink.Load()
	if s == nil || p.Closed() {
		return nil
	}
	if p.state.Add(1)&closed != 0 {
		p.Exit()
		return nil
	}
	return s
}

// Exit ends what Enter began.
func (p *Port) Exit() {
	if p.state.Add(-1) == closed {
		p.leave()
	}
}

// leave tells who closes the port that nobody is inside any more.
func (p *Port) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle != nil && !p.left {
		p.left = true
		close(p.idle)
	}
}

// Closed reports whether Close has begun.
func (p *Port) Closed() bool { return p.state.Load()&closed != 0 }

// Close refuses entry from now on and waits until all who entered have left. It is idempotent, and every call waits. It must not be
// called between Enter and Exit on one goroutine.
func (p *Port) Close() {
	p.state.Or(closed)
	p.mu.Lock()
	if p.idle == nil {
		p.idle = make(chan struct{})
	}
	p.mu.Unlock()
	if p.state.Load() == closed {
		p.leave()
	}
	<-p.idle
}

// Transfer delivers those of batch that fit to s, which Enter returned, and releases the others. It returns how many it delivered.
func Transfer(s *link.Sink, queue int, batch []*packet.Packet, fits func(*packet.Packet) bool) (delivered int) {
	begin := 0 // of those to be delivered: the slice is borrowed, so it is cut up, not changed
	for i, p := range batch {
		if !fits(p) {
			receive(s, queue, batch[begin:i])
			p.Release()
			delivered += i - begin
			begin = i + 1
		}
	}
	receive(s, queue, batch[begin:])
	return delivered + len(batch) - begin
}

// receive turns packets that were written into received ones and delivers them. They keep their checksum state: a partial checksum
// that never left this process is as good as verified, and stays partial, for a receiver that forwards the packet must know that its
// field is not complete.
func receive(s *link.Sink, queue int, batch []*packet.Packet) {
	switch {
	case len(batch) == 0:
		return
	case s.Deliver == nil:
		Release(batch)
		return
	}
	var now sched.Time
	if s.Clock != nil {
		now = s.Clock.Now()
	}
	for _, p := range batch {
		p.Deliverable()
		p.Queue, p.Received = uint16(queue), now
		if p.Depth < math.MaxUint8 {
			p.Depth++
		}
	}
	s.Deliver(queue, batch)
}

// FitsOffload reports whether p fits into a device of the given MTU that takes every kind of super-segment.
func FitsOffload(p *packet.Packet, mtu int) bool {
	if p.GSO != packet.GSONone {
		return p.Size() <= GSOMax && p.HeaderSize()+int(p.GSOSize) <= mtu
	}
	return p.Size() <= mtu
}

// Release releases packets that go nowhere.
func Release(batch []*packet.Packet) {
	for _, p := range batch {
		p.Release()
	}
}
