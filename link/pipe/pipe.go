// Package pipe joins two stacks back to back, in memory.
package pipe

import (
	"runtime"
	"sync/atomic"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/internal/port"
	"github.com/weirnet/weir/packet"
)

// DefaultMTU is that of Ethernet.
const DefaultMTU = 1500

// maxQueues bounds the transmit queues of an end. Whoever sends on a queue delivers to the other end, so that as many flows as there are
// queues are carried at once; there is no use in more than processors.
const maxQueues = 8

// Options of a pipe. The zero value is the fastest.
type Options struct {
	// MTU is in bytes of IP packet, both ways; 0: DefaultMTU. Below 576 it becomes 576, above 65535 that. IPv6 needs 1280.
	MTU int
	// NoOffload makes everything on the pipe a real packet of at most MTU bytes whose checksums are complete and will be verified.
	// Without it super-segments and partial checksums cross as they are.
	NoOffload bool
}

// End is one end of a pipe.
//
// WritePackets hands the packets themselves to the other end's Sink.Deliver, in the caller's goroutine, with Depth one higher: the
// receiver bounds by it how deep deliveries nest. A partial checksum stays packet.ChecksumPartial. Inbound that means good as it is (it
// never left this process) but incomplete in the packet, which matters to whoever forwards or captures it.
//
// Close is a barrier for this end alone. Both ends may close at once, under traffic.
type End struct {
	port port.Port
	peer *End
	info link.Info

	sent, dropped atomic.Uint64
}

// Stats counts what was written to one end, a super-segment as one packet.
type Stats struct {
	Sent    uint64 // delivered to the other end
	Dropped uint64 // larger than the pipe takes, or the other end not attached or closed
}

// New returns the two ends of a pipe; each is an *End. Close both.
func New(o Options) (a, b link.Device) {
	info := link.Info{MTU: port.MTU(o.MTU, DefaultMTU), Queues: min(runtime.GOMAXPROCS(0), maxQueues)}
	if !o.NoOffload {
		info.Offloads, info.GSOMax = port.Offloads, port.GSOMax
	}
	x, y := &End{info: info}, &End{info: info}
	x.peer, y.peer = y, x
	return x, y
}

// Attach sets where the packets go that are written to the other end.
func (e *End) Attach(s link.Sink) error { return e.port.Attach(s) }

// Info describes this end; both are the same.
func (e *End) Info() link.Info { return e.info }

// Stats returns the counters of this end.
func (e *End) Stats() Stats { return Stats{Sent: e.sent.Load(), Dropped: e.dropped.Load()} }

// Close detaches this end. What is written to the other end is dropped from now on.
func (e *End) Close() error {
	e.port.Close()
	return nil
}

// WritePackets delivers batch to the other end before it returns. It takes all of it, or none with link.ErrClosed.
func (e *End) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	if e.port.Closed() {
		return 0, link.ErrClosed
	}
	delivered := 0
	if sink := e.peer.port.Enter(); sink != nil {
		defer e.peer.port.Exit()
		delivered = port.Transfer(sink, queue, batch, e.fits)
	} else {
		port.Release(batch)
	}
	e.sent.Add(uint64(delivered))
	e.dropped.Add(uint64(len(batch) - delivered))
	return len(batch), nil
}

// fits reports whether p fits into the pipe, and makes of it what crosses.
func (e *End) fits(p *packet.Packet) bool {
	if e.info.Offloads != 0 {
		return port.FitsOffload(p, e.info.MTU)
	}
	if p.GSO != packet.GSONone || p.Size() > e.info.MTU || !p.FinishChecksum() {
		return false
	}
	p.Checksum = packet.ChecksumNone // somebody may have vouched for it to the sender; here it is to be verified all the same
	return true
}
