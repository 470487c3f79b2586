package weir_test

import (
	"sync"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
)

// stuckDevice takes nothing until it is released, and then everything.
type stuckDevice struct {
	mu       sync.Mutex
	sink     link.Sink
	released bool
}

func (d *stuckDevice) Attach(s link.Sink) error { d.sink = s; return nil }
func (d *stuckDevice) Info() link.Info          { return link.Info{MTU: 1500, Queues: 1} }
func (d *stuckDevice) Close() error             { return nil }

func (d *stuckDevice) WritePackets(_ int, batch []*packet.Packet) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.released {
		return 0, link.ErrFull
	}
	for _, p := range batch {
		p.Release()
	}
	return len(batch), nil
}

func (d *stuckDevice) release() {
	d.mu.Lock()
	d.released = true
	d.mu.Unlock()
	d.sink.Writable(0)
}
