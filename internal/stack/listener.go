package stack

import (
	"cmp"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/weirnet/weir/tcp"
)

// Listener takes connections to a port.
type Listener struct {
	bind     bind
	id       uint32 // in Stack.listeners
	stack    *Stack
	notifier Notifier
	make     func() *TCP
	options  *tcp.Options // of its connections; nil: the defaults
	traffic  Traffic
	trace    *tracer // of its connections; nil: nobody
	keys     atomic.Pointer[keyring]
	backlog  int          // handshakes in progress, and connections that wait, at most
	opening  atomic.Int64 // handshakes in progress
	closed   atomic.Bool

	cookiesUntil atomic.Int64 // the instant at which the last SYN cookie that was sent is too old

	mu    sync.Mutex // the accept queue's
	fast  tcp.FastOpenQueue
	queue []*TCP
	head  int
	due   int // places in it that admit has given to connections still being made
}

// ListenOptions say what a listener takes.
type ListenOptions struct {
	Family      Family // of a wildcard
	Iface       int    // 0: any
	Exclusive   bool   // TCP without SO_REUSEADDR: the port must not be that of a connection, be it in TIME-WAIT
	ReuseAddr   bool   // UDP with SO_REUSEADDR; see bind.conflicts
	ReusePort   bool   // SO_REUSEPORT
	Transparent bool   // a wildcard takes foreign addresses, too
	Backlog     int    // handshakes in progress, and connections not yet accepted, at most; 0: as Config says
	FastOpen    int    // Fast Open requests whose handshake is not complete, at most (TCP_FASTOPEN); 0: Fast Open is off
	// TCP is what its connections start with; nil: the defaults.
	TCP *tcp.Options
	// Trace is told of each event of the connections, from the SYN on, as TCP.SetTrace has it; nil: nobody is.
	Trace func(TraceEvent)
	// Traffic is what it, or an unconnected UDP socket, asks of IP.
	Traffic Traffic
	// Keys are those by which segments of connections are signed; nil: none are.
	Keys tcp.Keys
	// Make returns a new socket for an incoming connection, with its Notifier set; nil: one without. It is called under a lock, and must
	// neither block nor call the stack.
	Make func() *TCP
	// Notifier is told ReadReady when a connection waits.
	Notifier Notifier
}

// ListenTCP opens a listener. Errors: EADDRINUSE, EADDRNOTAVAIL (the address is not ours).
func (s *Stack) ListenTCP(addr netip.AddrPort, o ListenOptions) (*Listener, error) {
	l := &Listener{stack: s, notifier: o.Notifier, make: o.Make, options: o.TCP, traffic: o.Traffic, trace: newTracer(o.Trace), backlog: cmp.Or(o.Backlog, s.cfg.Backlog)}
	l.fast.Limit = o.FastOpen
	l.keys.Store(&keyring{o.Keys})
	if l.make == nil {
		l.make = func() *TCP { return new(TCP) }
	}
	l.bind = bind{proto: protoTCP, addr: addr, family: o.Family, iface: o.Iface, transparent: o.Transparent,
		reuseAddr: o.ReuseAddr, reusePort: o.ReusePort, owner: l}
	if err := s.checkLocal(&l.bind); err != nil {
		return nil, err
	}
	if o.Exclusive && !o.ReusePort && s.portInUse(&l.bind) {
		return nil, syscall.EADDRINUSE
	}
	s.listeners.add(l)
	if err := s.bindPort(&l.bind); err != nil {
		s.listeners.remove(l)
		return nil, err
	}
	if s.closed.Load() { // Close may have missed us
		l.Close()
		return nil, net.ErrClosed
	}
	return l, nil
}

// checkLocal brings the address into the form that packets have, and sees that a specific one is ours.
func (s *Stack) checkLocal(b *bind) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	addr, zone, err := s.unzoned(b.addr.Addr())
	if err != nil {
		return err
	}
	b.addr, b.iface = netip.AddrPortFrom(addr, b.addr.Port()), cmp.Or(b.iface, zone)
	if b.wildcard() && addr.Is4() {
		b.family = IPv4
	}
	if !b.wildcard() && !b.transparent && !s.ip.Table().IsLocal(b.addr.Addr(), b.iface) {
		return syscall.EADDRNOTAVAIL
	}
	return nil
}

// Addr returns the address listened on, its port chosen.
func (l *Listener) Addr() netip.AddrPort { return l.stack.zonedPort(l.bind.addr, l.bind.iface) }

// full: there is no place in the accept queue now.
func (l *Listener) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)-l.head+l.due >= l.backlog
}

// admit gives a connection that is to be made a place in the accept queue, if there is one: push takes it, or else dismiss gives it back.
func (l *Listener) admit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue)-l.head+l.due >= l.backlog {
		return false
	}
	l.due++
	return true
}

// dismiss gives back a place, of a connection that was not made.
func (l *Listener) dismiss() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due--
}

// heir is the listener that takes over a connection of a closed one: of those that shared its port; nil if there is none.
func (l *Listener) heir(k *flowKey) *Listener {
	if !l.bind.reusePort {
		return nil
	}
	next, ok := l.stack.binds.find(protoTCP, k.localAddr(), k.remoteAddr(), l.bind.iface, l.bind.transparent).(*Listener)
	if !ok || !next.bind.reusePort {
		return nil
	}
	return next
}

// push adds a connection that was admitted to the accept queue or, if the listener was closed meanwhile, to that of its heir; no lock is held.
func (l *Listener) push(t *TCP, b *batch) {
	if !l.enqueue(t, b, 1) {
		l.bequeath(t, b)
	}
}

// bequeath gives a connection of a closed listener to its heir, even beyond that one's backlog: the peer has an open connection.
func (l *Listener) bequeath(t *TCP, b *batch) {
	for { // ends: who is closed is nobody's heir
		if l = l.heir(&t.flow.key); l == nil {
			_ = t.Abort()
			return
		}
		if l.enqueue(t, b, 0) {
			return
		}
	}
}

// enqueue takes a connection, and with it the places that it was given; false if the listener is closed.
func (l *Listener) enqueue(t *TCP, b *batch, due int) bool {
	l.mu.Lock()
	l.due -= due
	if l.closed.Load() {
		l.mu.Unlock()
		return false
	}
	if l.head > 0 && len(l.queue) == cap(l.queue) { // use the room in front before growing
		n := copy(l.queue, l.queue[l.head:])
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
	l.queue = append(l.queue, t)
	l.mu.Unlock()
	b.wake(l.notifier, ReadReady)
	return true
}

// Accept returns a connection that waits, or ErrWouldBlock, or net.ErrClosed.
func (l *Listener) Accept() (*TCP, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return nil, net.ErrClosed
	}
	if l.head == len(l.queue) {
		return nil, ErrWouldBlock
	}
	t := l.queue[l.head]
	l.queue[l.head] = nil
	if l.head++; l.head == len(l.queue) {
		l.queue, l.head = l.queue[:0], 0
	}
	return t, nil
}

// Waiting reports whether Accept would return at once.
func (l *Listener) Waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head < len(l.queue) || l.closed.Load()
}

// Close stops listening. Connections that wait unaccepted, and handshakes in progress when their next segment comes, are given to the other
// listeners of the group, if there are any (SO_REUSEPORT), or reset.
func (l *Listener) Close() error {
	l.stack.binds.remove(&l.bind) // first: then nobody inherits from who is about to go
	l.mu.Lock()
	if l.closed.Swap(true) {
		l.mu.Unlock()
		return net.ErrClosed
	}
	waiting := l.queue[l.head:]
	l.queue, l.head = nil, 0
	l.mu.Unlock()
	if l.opening.Load() == 0 {
		l.stack.listeners.remove(l)
	}
	for _, t := range waiting {
		l.bequeath(t, nil)
	}
	if l.notifier != nil {
		l.notifier.Notify(ReadReady)
	}
	return nil
}

func (l *Listener) shut() { _ = l.Close() }
