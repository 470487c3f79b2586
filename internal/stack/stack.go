// Package stack is a host's sockets with non-blocking operations and readiness callbacks: the flow table, interfaces, transmit queues,
// listeners and request handlers. Package weir puts blocking calls and net types over it; sim and drill drive it directly.
//
// Lock order: socket → flow-table shard → accept queue → timer wheel → transmit queue. A shard's lock is released before a socket's is taken.
// No user code, device call or blocking happens under a lock.
package stack

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// ErrWouldBlock is what a non-blocking operation answers when it can do nothing now; the socket's Notifier is called when it can.
const ErrWouldBlock = syscall.EAGAIN

// Ready says what a socket has become ready for.
type Ready uint8

const (
	ReadReady  Ready = 1 << iota // data, a connection, EOF or an error to read
	WriteReady                   // space to send, or an error
	ConnReady                    // the handshake is over: Err says how
	Canceled                     // a request: its peer gave up, its time ran out, or the stack closed
)

// A Notifier is told of readiness: with no lock held, from any goroutine. It must not block, nor call Stack.Close.
type Notifier interface{ Notify(Ready) }

// Config of a Stack. Clock, Rand and Spawn are required, the rest has defaults.
type Config struct {
	Clock sched.Clock
	Rand  func() uint64 // safe for concurrent use
	Spawn func(func())  // starts a goroutine; never called under a virtual clock

	Packets *packet.Pool
	TCP     *tcp.Config // not to be shared with another stack; nil: the defaults
	Memory  int64       // bytes of chunk capacity that all socket queues together may hold; 512 MiB, at least 512 KiB
	Forward bool        // route between interfaces

	MinPathMTU int // the least that ICMP can make of the MTU of an IPv4 path; 552

	MaxPending int // request handlers at once; 1024
	Backlog    int // of a listener: handshakes in progress, and connections not yet accepted; of the handler: handshakes; 4096
	MaxOrphans int // connections that were closed and have not ended; one more is reset; 16384

	// Trace is told of each event of all TCP connections, as TCP.SetTrace has it; nil: nobody is.
	Trace func(TraceEvent)

	// ISS, if not nil, gives the initial sequence numbers of connections in place of RFC 6528: for tests of sequence numbers that wrap.
	ISS func() tcp.Seq
}

// Stack is one host.
type Stack struct {
	cfg       Config
	inline    bool // virtual clock: one goroutine runs everything, the flusher never hands over
	timers    *sched.Timers
	ip        *ip.Layer
	flows     flowTable
	binds     bindTable
	listeners listenerTable
	numbers   tcp.Numbers
	portKey   siphash.Key
	labelKey  siphash.Key                 // of flow labels
	nextTry   [portCounters]atomic.Uint32 // RFC 6056 algorithm 4: the counters
	memory    memory
	left      leftovers
	pending   atomic.Int64 // undecided requests
	asked     atomic.Int64 // TCP requests that are undecided, or accepted and in SYN-RECEIVED
	refusals  atomic.Int64 // remembered
	timeWaits atomic.Int64 // records of connections in TIME-WAIT
	openings  atomic.Int64 // handshakes in progress, of listeners
	orphans   atomic.Int64 // sockets that were closed and are in the flow table
	cookies   atomic.Pointer[tcp.CookieKeys]
	// groupCookies is Listener.cookiesUntil of all that share their port: which of a group takes an ACK may be another one than took the SYN.
	groupCookies atomic.Int64
	fast         fastOpen
	udpChanges   atomic.Uint64 // of who takes which datagrams, among sockets
	pings        pingTable
	log          traceLog

	handlers handlers

	mu     sync.Mutex // configuration
	closed atomic.Bool
	routes []ip.Route
	last   int                          // the index given last
	ifaces atomic.Pointer[[]*Interface] // that are open, by index; immutable

	segments sync.Pool // *tcp.Segment
	batches  sync.Pool // *batch
	ropes    sync.Pool // *buffer.Buffer, empty
	stats    counters
}

// New returns a running Stack without interfaces.
func New(c Config) *Stack {
	if c.Packets == nil {
		c.Packets = packet.NewPool(buffer.NewPool(buffer.Options{}))
	}
	if c.TCP == nil {
		c.TCP = &tcp.Config{}
	}
	c.TCP.Buffers = c.Packets.Buffers()
	setDefault(&c.Memory, 512<<20)
	setDefault(&c.MaxPending, 1024)
	setDefault(&c.Backlog, 4096)
	setDefault(&c.MaxOrphans, 16384)
	s := &Stack{cfg: c, timers: sched.NewTimers(c.Clock)}
	s.memory.init(c.Memory)
	s.log.init(s.timers, c.Trace)
	s.inline = sched.OneGoroutine(c.Clock)
	s.flows.init(siphash.Key{K0: c.Rand(), K1: c.Rand()})
	s.flows.locals.key = siphash.Key{K0: c.Rand(), K1: c.Rand()}
	s.portKey = siphash.Key{K0: c.Rand(), K1: c.Rand()}
	s.binds.key = siphash.Key{K0: c.Rand(), K1: c.Rand()}
	s.labelKey = siphash.Key{K0: c.Rand(), K1: c.Rand()}
	s.numbers.Key = siphash.Key{K0: c.Rand(), K1: c.Rand()}
	s.segments.New = func() any { return new(tcp.Segment) }
	s.batches.New = func() any { return new(batch) }
	s.ropes.New = func() any {
		b := new(buffer.Buffer)
		b.SetPool(c.Packets.Buffers())
		return b
	}
	s.ifaces.Store(new([]*Interface))
	s.ip = ip.New(ip.Config{
		Clock: c.Clock, Rand: c.Rand, Packets: c.Packets, Forward: c.Forward, MinPathMTU: c.MinPathMTU,
		Deliver: s.deliver, Echo: s.deliverEcho, Error: s.icmpError, Transmit: s.transmit, Expired: s.kickQueues,
	})
	return s
}

func setDefault[T int | int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Clock returns the stack's clock.
func (s *Stack) Clock() sched.Clock { return s.cfg.Clock }

// Packets returns the stack's pool.
func (s *Stack) Packets() *packet.Pool { return s.cfg.Packets }

// Timers returns the stack's timer wheel.
func (s *Stack) Timers() *sched.Timers { return s.timers }

func (s *Stack) now() sched.Time { return s.cfg.Clock.Now() }

// Close refuses new calls, ends every socket with net.ErrClosed (and requests with ECONNABORTED), sends RSTs best effort, closes the
// devices and drains everything. Idempotent; a second call waits for nothing.
func (s *Stack) Close() {
	if s.closed.Swap(true) {
		return
	}
	s.binds.each(func(b *bind) { b.owner.shut() })
	s.flows.each(func(f *flow) { f.owner.shut() })
	s.shutRecords()
	s.pings.each(func(p *Ping) { p.shut() })
	for _, i := range s.openInterfaces() {
		for _, q := range i.queues {
			q.drain() // of the RSTs
		}
		_ = i.Close()
	}
	s.timers.Stop()
	s.ip.Close()
	s.flows.each(func(f *flow) { f.owner.shut() }) // what deliveries under way have made in between
	s.shutRecords()
	s.left.shut()
	s.log.Expire(s.now()) // what the timer has not told
}

// StopListening closes every listener and lets no handler have more.
func (s *Stack) StopListening() {
	s.handlers.remove()
	s.binds.each(func(b *bind) {
		if l, ok := b.owner.(*Listener); ok {
			_ = l.Close()
		}
	})
}

// EachTCP calls fn for every TCP socket that has a connection, with no lock held.
func (s *Stack) EachTCP(fn func(*TCP)) {
	s.flows.each(func(f *flow) {
		if t, ok := f.owner.(*TCP); ok {
			fn(t)
		}
	})
}

// Closed reports whether Close was called.
func (s *Stack) Closed() bool { return s.closed.Load() }

// Lookup returns the way to dst that a new socket would take.
func (s *Stack) Lookup(src, dst netip.Addr, iface int, transparent bool) (ip.Path, error) {
	return s.ip.Path(src, dst, iface, transparent)
}
