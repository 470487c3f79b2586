package interop

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// gate is a device that lets nothing through while it is shut. It counts the TCP packets of each source port.
type gate struct {
	link.Device
	shut atomic.Bool

	mu    sync.Mutex
	count map[uint16]int
}

func (g *gate) wrap(inner link.Device) link.Device {
	g.Device, g.count = inner, map[uint16]int{}
	return g
}

func (g *gate) Attach(s link.Sink) error {
	deliver := s.Deliver
	s.Deliver = func(queue int, batch []*packet.Packet) {
		if g.pass(batch) {
			deliver(queue, batch)
		}
	}
	return g.Device.Attach(s)
}

func (g *gate) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	if !g.pass(batch) {
		return len(batch), nil
	}
	return g.Device.WritePackets(queue, batch)
}

// pass counts batch, and releases it if it must not pass.
func (g *gate) pass(batch []*packet.Packet) bool {
	shut := g.shut.Load()
	for _, p := range batch {
		if port, ok := sourcePort(p); ok {
			g.mu.Lock()
			g.count[port]++
			g.mu.Unlock()
		}
		if shut {
			p.Release()
		}
	}
	return !shut
}

// sourcePort is that of a TCP packet without IP options and extension headers.
func sourcePort(p *packet.Packet) (uint16, bool) {
	var front [wire.IPv6Len + 2]byte
	n := 0
	for _, v := range p.Vec(nil) {
		n += copy(front[n:], v)
	}
	switch {
	case front[0] == 0x45 && front[9] == byte(wire.ProtoTCP):
		return binary.BigEndian.Uint16(front[wire.IPv4MinLen:]), true
	case front[0]>>4 == 6 && front[6] == byte(wire.ProtoTCP):
		return binary.BigEndian.Uint16(front[wire.IPv6Len:]), true
	}
	return 0, false
}

// sent is how many TCP packets there were from the port of an address.
func (g *gate) sent(from net.Addr) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count[addrPort(from).Port()]
}
