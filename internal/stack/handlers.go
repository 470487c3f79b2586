package stack

import (
	"net/netip"
	"sync/atomic"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// handlers are what is done with what no socket takes; nil: it is refused. They are more than the program's functions, so that a program
// which has none is not linked with requests.
type handlers struct {
	tcp  atomic.Pointer[askTCP]
	udp  atomic.Pointer[askUDP]
	echo atomic.Pointer[askEcho]
}

type (
	askTCP  func(now sched.Time, seg *tcp.Segment, k flowKey, p *packet.Packet, m *ip.Meta, floor issFloor) // owns p
	askUDP  func(now sched.Time, p *packet.Packet, k flowKey, m *ip.Meta, segment uint16)                   // owns p
	askEcho func(p *packet.Packet, m *ip.Meta) bool                                                         // owns p if it answers true
)

func (h *handlers) remove() {
	h.tcp.Store(nil)
	h.udp.Store(nil)
	h.echo.Store(nil)
}

// SetTCPHandler says who takes a SYN that no listener takes, with no lock held; nil: nobody, it is reset.
func (s *Stack) SetTCPHandler(fn func(*TCPRequest)) {
	if fn == nil {
		s.handlers.tcp.Store(nil)
		return
	}
	ask := askTCP(func(now sched.Time, seg *tcp.Segment, k flowKey, p *packet.Packet, m *ip.Meta, floor issFloor) {
		s.requestTCP(fn, now, seg, &k, p, m, floor)
	})
	s.handlers.tcp.Store(&ask)
}

// SetUDPHandler says who takes the first datagram of a flow that no socket takes, with no lock held; nil: nobody, it is refused.
func (s *Stack) SetUDPHandler(fn func(*UDPRequest)) {
	if fn == nil {
		s.handlers.udp.Store(nil)
		return
	}
	ask := askUDP(func(now sched.Time, p *packet.Packet, k flowKey, m *ip.Meta, segment uint16) {
		s.requestUDP(fn, now, p, &k, m, segment)
	})
	s.handlers.udp.Store(&ask)
}

// SetEchoHandler says who takes an echo request to an address that is ours only by AnyDestination, with no lock held; nil: nobody.
func (s *Stack) SetEchoHandler(fn func(*EchoRequest)) {
	if fn == nil {
		s.handlers.echo.Store(nil)
		return
	}
	ask := askEcho(func(p *packet.Packet, m *ip.Meta) bool { return s.requestEcho(fn, p, m) })
	s.handlers.echo.Store(&ask)
}

// datagramTaker is a flow's owner that takes datagrams; false: answer port unreachable. The packet stays the caller's.
type datagramTaker interface {
	take(p *packet.Packet, src netip.AddrPort, ttl uint8, segment uint16, b *batch) bool
}

// icmpTaker is a flow's owner that wants to know of ICMP errors.
type icmpTaker interface {
	icmp(now sched.Time, e *ip.Error, b *batch)
}
