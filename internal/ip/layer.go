// Package ip is the network layer of one stack: IPv4 and IPv6 input and output, routes, fragments, path MTU and ICMP.
//
// A Layer sits between devices and transport. Input takes what a device (or GRO) delivered, and ends in one of five ways: the packet
// is handed to Config.Deliver, answered by the layer itself (echo), kept for reassembly, forwarded, or dropped and counted. Transport
// asks Path for the way to a destination, and hands packets to Send, or pushes the header itself with Push and queues them. Everything
// leaves by Config.Transmit.
//
// Traffic to addresses of the stack's own takes the way over its loopback interface: Path answers with it, and without one that is up
// such an address is unreachable.
//
// All methods of a Layer are safe for concurrent use. The configuration that packets read is an immutable Table behind one pointer.
// No function of Config is called while a lock of the layer is held.
package ip

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// Meta is what transport learns of an inbound packet. It is valid until the call to which it was given returns.
type Meta struct {
	Src, Dst netip.Addr // unmapped, without zone
	Protocol wire.Protocol
	TTL, TOS uint8
	Iface    int
	Scope    int  // Iface for link-local addresses and for isolated interfaces, else 0
	Foreign  bool // Dst is ours only by AnyDestination
	Multi    bool // Dst is a multicast or broadcast address
	Batch    any  // what the caller of Input gave
}

// Config of a Layer. The functions are called without any lock of the layer.
type Config struct {
	Clock   sched.Clock
	Rand    func() uint64 // safe for concurrent use; must be unpredictable for strangers
	Packets *packet.Pool
	// Deliver takes a packet that is for us, its network header (with IPv6 extension headers) consumed, its transport checksum
	// verified (or vouched for). It owns p. It answers false (and leaves p with the layer) if no one wants the protocol or port: the
	// layer then sends the ICMP error due, if any (none for TCP, whose RST is transport's to send). Of ICMP it gets all that the
	// layer does not handle itself: everything but echo requests and error messages.
	Deliver func(now sched.Time, p *packet.Packet, m *Meta) bool
	// Echo takes an echo request for a Foreign address (HandleEcho), ICMP header not consumed; nil or false: dropped.
	Echo func(now sched.Time, p *packet.Packet, m *Meta) bool
	// Error tells the socket concerned. e is valid during the call.
	Error func(now sched.Time, e *Error)
	// Transmit queues a finished packet on an interface; it owns p, and drops and counts it if there is no room.
	Transmit func(iface int, p *packet.Packet)
	// Expired is called when a timer of the layer may have transmitted something, for which no batch of the caller's is under way; nil
	// if nobody need know.
	Expired func()
	// Memory bounds reassembly in bytes of chunk capacity; default 4 MiB.
	Memory  int
	Forward bool  // route packets that are not for us between interfaces that are not isolated
	TTL     uint8 // of what we send; 64
	// MinPathMTU is the least that ICMP can make of the MTU of an IPv4 path; 552.
	MinPathMTU int
}

const (
	defaultMemory = 4 << 20
	defaultTTL    = 64
)

// Layer is the network layer of one stack.
type Layer struct {
	cfg        Config
	table      atomic.Pointer[Table]
	generation atomic.Uint64
	timers     *sched.Timers
	inbounds   sync.Pool // of *inbound

	reasm  reassembly
	pmtu   pmtuCache
	limits limiter
	ids    idSource
	stats  [statShards]counters
}

// New returns a Layer with an empty table. It needs a Close.
func New(c Config) *Layer {
	if c.Memory <= 0 {
		c.Memory = defaultMemory
	}
	if c.MinPathMTU == 0 {
		c.MinPathMTU = minPathMTU4
	}
	if c.TTL == 0 {
		c.TTL = defaultTTL
	}
	l := &Layer{cfg: c, timers: sched.NewTimers(c.Clock)}
	l.inbounds.New = func() any { return new(inbound) }
	l.table.Store(&Table{})
	key := func() siphash.Key { return siphash.Key{K0: c.Rand(), K1: c.Rand()} }
	l.ids.key = key()
	l.pmtu.init(l, key())
	l.limits.init(key(), c.Rand)
	l.reasm.init(l, c.Memory)
	return l
}

// SetTable makes t the configuration for packets from now on.
func (l *Layer) SetTable(t *Table) {
	l.table.Store(t)
	l.generation.Add(1)
}

// Table returns the configuration in force.
func (l *Layer) Table() *Table { return l.table.Load() }

// Generation changes with every SetTable and path-MTU change: what Path answered before may be stale then.
func (l *Layer) Generation() uint64 { return l.generation.Load() }

// Close drops reassembly state and stops timers. When it has returned, the layer calls nothing of its own accord any more.
func (l *Layer) Close() {
	l.timers.Stop()
	l.reasm.close()
}
