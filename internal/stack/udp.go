package stack

import (
	"cmp"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
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

	mu          sync.Mutex
	queue       datagrams
	limit       int   // of the queue
	err         error // from ICMP, reported once
	traffic     Traffic
	path        ip.Path
	pathGen     uint64
	connected   bool
	transparent bool
	readClosed  bool
	closed      bool
	waiting     bool // on a transmit queue's waiting list
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
	return u.unlessClosed()
}

func (u *UDP) init(s *Stack, transparent bool) {
	u.stack, u.limit, u.transparent = s, udpBuffer, transparent
	u.queue.stack = s
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

// SetReadBuffer sets the limit of the receive queue in bytes of chunk capacity.
func (u *UDP) SetReadBuffer(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.limit = max(n, 4<<10)
}

// Waiting reports whether ReadFrom would return at once.
func (u *UDP) Waiting() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.closed || u.err != nil || u.queue.n > 0
}

// ReadFrom takes the next datagram: what does not fit into p is dropped, and truncated says so. Errors: ErrWouldBlock, one that an ICMP
// message brought (connected sockets, once), net.ErrClosed.
func (u *UDP) ReadFrom(p []byte) (n int, src netip.AddrPort, truncated bool, err error) {
	n, src, _, truncated, err = u.ReadFromECN(p)
	return n, src, truncated, err
}

// ReadFromECN is ReadFrom that tells the ECN codepoint with which the datagram came as well (RFC 3168 §5): a protocol above UDP that sends
// ECT, by Traffic.TOS, must hear of CE.
func (u *UDP) ReadFromECN(p []byte) (n int, src netip.AddrPort, ecn uint8, truncated bool, err error) {
	defer u.stack.relieve()
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.closed:
		return 0, src, 0, false, net.ErrClosed
	case u.err != nil:
		err, u.err = u.err, nil
		return 0, src, 0, false, err
	case u.queue.n == 0:
		return 0, src, 0, false, ErrWouldBlock
	}
	n, src, ecn, truncated = u.queue.read(p)
	return n, src, ecn, truncated, nil
}

// WriteTo sends a datagram. Errors: EMSGSIZE, ENETUNREACH, one that an ICMP message brought (once), ErrWouldBlock while the transmit
// queue is full, net.ErrClosed.
func (u *UDP) WriteTo(p []byte, dst netip.AddrPort) error {
	s := u.stack
	u.mu.Lock()
	path, err := u.way(dst)
	if err == nil {
		err = u.send(p, path, dst.Port())
	}
	u.mu.Unlock()
	if err == nil {
		s.stats.udpOut.Add(1)
	}
	if err == nil || err == ErrWouldBlock { // who waits for room flushes, too: see txQueue.wait
		s.flushAll()
	}
	return err
}

// Write is WriteTo to the remote address of a connected socket.
func (u *UDP) Write(p []byte) error {
	if !u.connected {
		return syscall.EDESTADDRREQ
	}
	return u.WriteTo(p, u.flow.key.remoteAddr())
}

// way returns the path for a datagram, or why there is none; u.mu is held.
func (u *UDP) way(dst netip.AddrPort) (*ip.Path, error) {
	if u.closed {
		return nil, net.ErrClosed
	}
	if err := u.err; err != nil {
		u.err = nil
		return nil, err
	}
	if !dst.IsValid() || dst.Port() == 0 {
		return nil, syscall.EINVAL
	}
	gen := u.stack.ip.Generation()
	addr, zone, err := u.stack.unzoned(dst.Addr())
	if err != nil {
		return nil, err
	}
	iface := cmp.Or(u.bind.iface, zone)
	if u.pathGen == gen && u.path.Dst == addr && (iface == 0 || iface == u.path.Iface) {
		return &u.path, nil
	}
	var src netip.Addr
	switch {
	case u.connected:
		src = u.flow.key.localAddr().Addr()
	case !u.bind.wildcard():
		src = u.bind.addr.Addr()
	case u.bind.family == IPv4 && !addr.Is4(), u.bind.family == IPv6 && addr.Is4():
		return nil, syscall.EAFNOSUPPORT
	}
	if src.IsValid() && src.Is4() != addr.Is4() {
		return nil, syscall.EAFNOSUPPORT
	}
	path, err := u.stack.ip.Path(src, addr, iface, u.transparent)
	if err != nil {
		return nil, err
	}
	u.path, u.pathGen = path, gen
	return &u.path, nil
}

// send builds the packet and queues it; u.mu is held.
func (u *UDP) send(b []byte, path *ip.Path, dstPort uint16) error {
	s := u.stack
	is4 := path.Dst.Is4()
	if len(b) > maxDatagram(is4) {
		return syscall.EMSGSIZE
	}
	i := s.iface(path.Iface)
	if i == nil {
		return syscall.ENETUNREACH
	}
	q := i.queue(0)
	if !q.room() {
		u.waiting = u.waiting || q.wait(u)
		if !u.waiting {
			return syscall.ENETDOWN
		}
		return ErrWouldBlock
	}
	p := s.cfg.Packets.Get()
	p.Data().Append(b)
	h := p.Push(packet.Transport, wire.UDPLen)
	length := wire.UDPLen + len(b)
	wire.PutUDP(h, wire.UDPFields{SrcPort: u.LocalAddr().Port(), DstPort: dstPort, Length: length})
	s.partial(p, path, protoUDP, h, udpChecksum, length)
	header := u.header(path, dstPort)
	if length+headerSize(is4)-20 > path.MTU {
		return s.ip.Send(s.now(), p, path, header)
	}
	s.ip.Push(p, path, header)
	q.append(p)
	return nil
}

// header is the IP header of a datagram; u.mu is held.
func (u *UDP) header(path *ip.Path, dstPort uint16) ip.Header {
	var w manner
	k := makeKey(protoUDP, netip.AddrPortFrom(path.Src, u.LocalAddr().Port()), netip.AddrPortFrom(path.Dst, dstPort), 0)
	w.use(u.stack, &k, u.traffic)
	return w.header(protoUDP, u.traffic.TOS)
}

// maxDatagram is the largest payload that the 16-bit lengths of UDP and IPv4 allow.
func maxDatagram(is4 bool) int {
	if is4 {
		return 65535 - 20 - wire.UDPLen
	}
	return 65535 - wire.UDPLen
}

func (u *UDP) resume(sched.Time) {
	u.mu.Lock()
	u.waiting = false
	u.mu.Unlock()
	if u.notifier != nil {
		u.notifier.Notify(WriteReady)
	}
}

func (u *UDP) nextWaiter() *txWaiter { return &u.next }

// take queues a datagram that came in.
func (u *UDP) take(p *packet.Packet, src netip.AddrPort, ttl uint8, b *batch) {
	u.mu.Lock()
	if ttl < u.traffic.MinTTL {
		u.mu.Unlock()
		u.stack.stats.minTTLDrops.Add(1)
		return
	}
	ok := !u.closed && !u.readClosed && u.queue.add(p, src, u.limit)
	u.mu.Unlock()
	if !ok {
		u.stack.stats.udpOverflow.Add(1)
		return
	}
	b.wake(u.notifier, ReadReady)
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
	u.mu.Unlock()
	b.wake(u.notifier, ReadReady|WriteReady)
}

// Close closes the socket. What is unread is dropped, unless others share the port: then it is theirs.
func (u *UDP) Close() error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return net.ErrClosed
	}
	u.closed = true
	left := datagrams{stack: u.stack}
	u.queue.moveTo(&left)
	u.mu.Unlock()
	if u.connected {
		u.stack.flows.remove(&u.flow)
	} else {
		u.stack.binds.remove(&u.bind)
		u.bequeath(&left)
	}
	left.drop()
	u.stack.relieve()
	if u.notifier != nil {
		u.notifier.Notify(ReadReady | WriteReady)
	}
	return nil
}

// bequeath gives what was not read to the other sockets of the group (SO_REUSEPORT), and counts as overflow what they have no room for.
func (u *UDP) bequeath(left *datagrams) {
	s := u.stack
	for u.bind.reusePort && left.n > 0 {
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
		left.charge(-g.buf.Footprint())
		p.Data().Merge(&g.buf)
		heir.take(p, g.src, maxTTL, nil)
		p.Release()
		left.pop()
	}
}

// maxTTL is that of a datagram that was let in before.
const maxTTL = 255

func (u *UDP) shut() { _ = u.Close() }

// deliverUDP finds whose datagram it is; false: port unreachable.
func (s *Stack) deliverUDP(now sched.Time, p *packet.Packet, m *ip.Meta, b *batch) bool {
	size := p.Size() - p.HeaderSize()
	hb, ok := p.Consume(packet.Transport, wire.UDPLen)
	if !ok {
		s.stats.udpBad.Add(1)
		p.Release()
		return true
	}
	h, err := wire.ParseUDP(hb, size)
	if err != nil || h.DstPort() == 0 {
		s.stats.udpBad.Add(1)
		p.Release()
		return true
	}
	p.Data().Truncate(h.Length() - wire.UDPLen)
	src, dst := netip.AddrPortFrom(s.zoned(m.Src, m.Scope), h.SrcPort()), netip.AddrPortFrom(m.Dst, h.DstPort())
	k := makeKey(protoUDP, dst, src, m.Scope)
	s.stats.udpIn.Add(1)
	owner := s.flows.find(&k)
	if owner == nil {
		owner = s.binds.find(protoUDP, dst, k.remoteAddr(), m.Iface, m.Foreign)
	}
	switch o := owner.(type) {
	case *UDP:
		o.take(p, src, m.TTL, b)
	case *UDPRequest:
		return o.take(p, src, b) // releases p when it answers true
	default:
		if m.Multi || !s.requestUDP(now, p, &k, m) {
			s.stats.udpNoPort.Add(1)
			return m.Multi && drop(p)
		}
		return true
	}
	p.Release()
	return true
}

// drop releases p and reports that it is taken care of.
func drop(p *packet.Packet) bool {
	p.Release()
	return true
}
