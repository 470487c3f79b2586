package stack

import (
	"cmp"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/sched"
)

// udpBuffer is the default limit of a socket's receive queue, in bytes of chunk capacity and records.
const udpBuffer = 256 << 10

// UDP is a UDP socket, connected (an entry of the flow table) or not (a binding). Its owner sets the Notifier before first use.
type UDP struct {
	stack    *Stack
	notifier Notifier
	bind     bind // unconnected
	flow     flow // connected
	next     txWaiter

	connected   bool
	transparent bool
	gro         atomic.Bool // see SetGRO

	mu      sync.Mutex
	in      datagrams // what has come since the reader took out
	limit   int       // of both queues
	err     error     // from ICMP, reported once
	traffic Traffic
	path    ip.Path // of the last datagram
	pathGen uint64
	label   uint32 // its flow label,
	// which is for this port and path; 0: not known.
	labelPort uint16
	toPeer    bool // path is that to a connected socket's peer
	closed    bool
	waiting   bool // on a transmit queue's waiting list

	// The reader's, so that it meets who delivers only when out is empty.
	read sync.Mutex // taken before mu
	out  datagrams  // older than in
	// Changed under read, looked at under mu.
	outHeld atomic.Int64 // what out is charged, or was a few datagrams ago
	// Changed under mu, looked at under read.
	event atomic.Bool // closed or err is set
}

// SetNotifier says who is told of readiness. Before first use.
func (u *UDP) SetNotifier(n Notifier) { u.notifier = n }

// Notifier returns what SetNotifier set.
func (u *UDP) Notifier() Notifier { return u.notifier }

// ConnectUDP makes u a socket for one remote address.
func (s *Stack) ConnectUDP(u *UDP, remote netip.AddrPort, b Bound) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	gen := s.ip.Generation()
	path, err := s.ip.Path(b.Local.Addr(), remote.Addr(), b.Iface, b.Transparent)
	if err != nil {
		return err
	}
	local := netip.AddrPortFrom(path.Src, b.Local.Port())
	u.init(s, b.Transparent)
	u.traffic = b.Traffic
	u.connect(makeKey(protoUDP, local, remote, s.scope(&path)), b.Iface)
	u.path, u.pathGen = path, gen
	if _, err := s.insertFlow(&u.flow, protoUDP, &b); err != nil {
		return err
	}
	s.udpChanges.Add(1)
	return u.unlessClosed()
}

// connect makes u the socket of a flow, that keeps to an interface (0: by route, unless the flow has a scope).
func (u *UDP) connect(key flowKey, iface int) {
	u.flow = flow{key: key, owner: u}
	u.bind.iface = cmp.Or(int(key.scope), iface)
	u.connected = true
}

// ListenUDP makes u an unconnected socket. Errors: EADDRINUSE, EADDRNOTAVAIL (the address is not ours), net.ErrClosed.
func (s *Stack) ListenUDP(u *UDP, addr netip.AddrPort, o ListenOptions) error {
	u.init(s, o.Transparent)
	u.traffic = o.Traffic
	u.bind = bind{proto: protoUDP, addr: addr, family: o.Family, iface: o.Iface, transparent: o.Transparent,
		reuseAddr: o.ReuseAddr, reusePort: o.ReusePort, owner: u}
	if err := s.checkLocal(&u.bind); err != nil {
		return err
	}
	if err := s.bindPort(&u.bind); err != nil {
		return err
	}
	s.udpChanges.Add(1)
	return u.unlessClosed()
}

func (u *UDP) init(s *Stack, transparent bool) {
	u.stack, u.limit, u.transparent = s, udpBuffer, transparent
	u.in.init(s)
	u.out.init(s)
}

// unlessClosed ends a socket that the stack's Close may have missed.
func (u *UDP) unlessClosed() error {
	if u.stack.closed.Load() {
		u.shut()
		return net.ErrClosed
	}
	return nil
}

// LocalAddr names our end.
func (u *UDP) LocalAddr() netip.AddrPort {
	if u.connected {
		return u.stack.zonedPort(u.flow.key.localAddr(), int(u.flow.key.scope))
	}
	return u.stack.zonedPort(u.bind.addr, u.bind.iface)
}

// RemoteAddr names the far end of a connected socket.
func (u *UDP) RemoteAddr() netip.AddrPort {
	if !u.connected {
		return netip.AddrPort{}
	}
	return u.stack.zonedPort(u.flow.key.remoteAddr(), int(u.flow.key.scope))
}

// icmp takes an ICMP error about a datagram of ours (connected sockets).
func (u *UDP) icmp(now sched.Time, e *ip.Error, b *batch) {
	if e.MTU > 0 {
		u.stack.ip.SetPathMTU(now, e.Dst, e.Scope, e.MTU)
		return // the next datagram is fragmented to fit
	}
	if !e.Hard {
		return // RFC 1122 §4.1.3.3 asks that errors be passed up; as kernels do, only those that will not mend themselves
	}
	u.mu.Lock()
	u.err = e.Errno
	u.event.Store(true)
	u.mu.Unlock()
	b.wake(u.notifier, ReadReady|WriteReady)
}

// Close closes the socket. What is unread is dropped and counted, unless others share the port: then it is theirs.
func (u *UDP) Close() error {
	var left [2]datagrams
	u.read.Lock()
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		u.read.Unlock()
		return net.ErrClosed
	}
	u.closed = true
	u.event.Store(true)
	for i, q := range [2]*datagrams{&u.out, &u.in} {
		left[i].init(u.stack)
		left[i].take(q)
		q.drop()
	}
	u.mu.Unlock()
	u.read.Unlock()
	if u.connected {
		u.stack.flows.remove(&u.flow)
	} else {
		u.stack.binds.remove(&u.bind)
	}
	u.stack.udpChanges.Add(1)
	for i := range left {
		u.bequeath(&left[i])
		u.stack.stats.udpUnread.Add(uint64(left[i].drop()))
	}
	if u.notifier != nil {
		u.notifier.Notify(ReadReady | WriteReady)
	}
	return nil
}

// bequeath gives what was not read to the other sockets of the group (SO_REUSEPORT), and counts as overflow what they have no room for.
func (u *UDP) bequeath(left *datagrams) {
	s := u.stack
	for !u.connected && u.bind.reusePort && left.n > 0 {
		g := left.first()
		dst := u.bind.addr
		if u.bind.wildcard() { // to which of our addresses it came is not kept
			dst = netip.AddrPortFrom(netip.IPv6Unspecified(), dst.Port())
			if g.src.Addr().Is4() {
				dst = netip.AddrPortFrom(netip.IPv4Unspecified(), dst.Port())
			}
		}
		heir, ok := s.binds.find(protoUDP, dst, g.src, u.bind.iface, u.bind.transparent).(*UDP)
		if !ok || !heir.bind.reusePort {
			return
		}
		p := s.cfg.Packets.Get()
		p.ECN = g.ecn
		if g.held {
			p.Place(g.small[:g.size])
		} else {
			left.data.MoveTo(p.Data(), int(g.size))
		}
		src, segment := g.src, g.segment
		left.next()
		left.uncharge()
		heir.take(p, src, maxTTL, segment, nil)
		p.Release()
	}
}

// maxTTL is that of a datagram that was let in before.
const maxTTL = 255

func (u *UDP) shut() { _ = u.Close() }
