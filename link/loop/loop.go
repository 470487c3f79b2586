// Package loop is a device whose packets come back: the loopback interface of a stack.
package loop

import (
	"sync/atomic"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/internal/port"
	"github.com/weirnet/weir/packet"
)

// DefaultMTU is the largest there is.
const DefaultMTU = port.MaxMTU

// Options of a loop. The zero value is the fastest.
type Options struct {
	// MTU is in bytes of IP packet; 0: DefaultMTU. Below 576 it becomes 576, above 65535 that.
	MTU int
}

// Device is a loop. WritePackets hands the packets themselves to the device's own Sink.Deliver, in the caller's goroutine, with Depth
// one higher: the receiver bounds by it how deep deliveries nest. Super-segments and partial checksums come back as they are.
type Device struct {
	_             [0]func() // no ==: its code would be in every program
	port          port.Port
	info          link.Info
	sent, dropped atomic.Uint64
}

// Stats counts what was written, a super-segment as one packet.
type Stats struct {
	Sent    uint64 // delivered
	Dropped uint64 // larger than the loop takes, or not attached yet
}

// New returns a loop.
func New(o Options) *Device {
	return &Device{info: link.Info{
		MTU:      port.MTU(o.MTU, DefaultMTU),
		Offloads: port.Offloads,
		Queues:   1,
		GSOMax:   port.GSOMax,
	}}
}

// Attach sets where the packets go.
func (d *Device) Attach(s link.Sink) error { return d.port.Attach(s) }

// Info describes the loop.
func (d *Device) Info() link.Info { return d.info }

// Stats returns the counters.
func (d *Device) Stats() Stats { return Stats{Sent: d.sent.Load(), Dropped: d.dropped.Load()} }

// Close detaches the device.
func (d *Device) Close() error {
	d.port.Close()
	return nil
}

// WritePackets delivers batch before it returns. It takes all of it, or none with link.ErrClosed.
func (d *Device) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	if d.port.Closed() {
		return 0, link.ErrClosed
	}
	delivered := 0
	if sink := d.port.Enter(); sink != nil {
		defer d.port.Exit()
		delivered = port.Transfer(sink, queue, batch, d.fits)
	} else {
		port.Release(batch)
	}
	d.sent.Add(uint64(delivered))
	d.dropped.Add(uint64(len(batch) - delivered))
	return len(batch), nil
}

func (d *Device) fits(p *packet.Packet) bool { return port.FitsOffload(p, d.info.MTU) }
