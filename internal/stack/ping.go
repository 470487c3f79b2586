package stack

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// pingBuffer limits the receive queue of a Ping, as udpBuffer does.
const pingBuffer = 256 << 10

// Ping is an ICMP socket: it sends ICMP messages (their checksum is filled in), and receives those for us that the stack does not answer
// or use itself: echo replies above all. Its owner sets the Notifier before first use.
type Ping struct {
	stack    *Stack
	notifier Notifier
	proto    wire.Protocol
	local    netip.Addr // not valid: any
	remote   netip.Addr // not valid: unconnected
	iface    int

	mu     sync.Mutex
	queue  datagrams
	closed bool
}

// pingTable holds the ICMP sockets; there are few.
type pingTable struct {
	mu   sync.RWMutex
	list []*Ping
}

func (t *pingTable) each(fn func(*Ping)) {
	t.mu.RLock()
	all := slices.Clone(t.list)
	t.mu.RUnlock()
	for _, p := range all {
		fn(p)
	}
}

// any reports whether fn is true of any socket. It is called under the table's lock.
func (t *pingTable) any(fn func(*Ping) bool) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.ContainsFunc(t.list, fn)
}

// SetNotifier says who is told of readiness. Before first use.
func (p *Ping) SetNotifier(n Notifier) { p.notifier = n }

// OpenPing makes p an ICMP socket for IPv4 (wire.ProtoICMP) or IPv6 (wire.ProtoICMPv6); zero addresses mean any, as iface 0 does.
func (s *Stack) OpenPing(p *Ping, proto wire.Protocol, local, remote netip.Addr, iface int) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	local, remote = local.Unmap().WithZone(""), remote.Unmap().WithZone("")
	if remote.IsValid() {
		path, err := s.ip.Path(local, remote, iface, false)
		if err != nil {
			return err
		}
		local = path.Src
	} else if local.IsValid() && !local.IsUnspecified() && !s.ip.Table().IsLocal(local, iface) {
		return syscall.EADDRNOTAVAIL
	}
	if local.IsValid() && local.IsUnspecified() {
		local = netip.Addr{}
	}
	p.stack, p.proto, p.local, p.remote, p.iface = s, proto, local, remote, iface
	p.queue.init(s)
	s.pings.mu.Lock()
	s.pings.list = append(s.pings.list, p)
	s.pings.mu.Unlock()
	if s.closed.Load() {
		p.shut()
		return net.ErrClosed
	}
	return nil
}

// LocalAddr and RemoteAddr name the ends; not valid: any.
func (p *Ping) LocalAddr() netip.Addr { return p.local }

// RemoteAddr names the far end of a connected socket.
func (p *Ping) RemoteAddr() netip.Addr { return p.remote }

// ReadFrom takes the next ICMP message, without an IP header. Errors as UDP.ReadFrom.
func (p *Ping) ReadFrom(b []byte) (n int, src netip.Addr, truncated bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, src, false, net.ErrClosed
	}
	if p.queue.n == 0 {
		return 0, src, false, ErrWouldBlock
	}
	src = p.queue.first().src.Addr()
	size := p.queue.read(b, false)
	p.queue.uncharge()
	return min(size, len(b)), src, size > len(b), nil
}

// WriteTo sends an ICMP message; dst not valid: to the remote address.
func (p *Ping) WriteTo(b []byte, dst netip.Addr) error {
	s := p.stack
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	iface := p.iface
	if !dst.IsValid() {
		dst = p.remote
	} else if addr, zone, err := s.unzoned(dst); err != nil {
		return err
	} else {
		dst, iface = addr, cmp.Or(iface, zone)
	}
	switch {
	case closed:
		return net.ErrClosed
	case !dst.IsValid():
		return syscall.EDESTADDRREQ
	case dst.Is4() != (p.proto == wire.ProtoICMP):
		return syscall.EAFNOSUPPORT
	case len(b) < wire.ICMPv4Len:
		return syscall.EINVAL
	case len(b) > maxDatagram(dst.Is4()):
		return syscall.EMSGSIZE
	}
	path, err := s.ip.Path(p.local, dst, iface, false)
	if err != nil {
		return err
	}
	pkt := s.cfg.Packets.Get()
	pkt.Data().Append(b[wire.ICMPv4Len:])
	copy(pkt.Push(packet.Transport, wire.ICMPv4Len), b)
	if err := s.sendICMP(pkt, &path, p.proto); err != nil {
		return err
	}
	s.flushAll()
	return nil
}

// sendICMP completes the checksum of an ICMP message, whose first 8 bytes are the transport header, and sends it.
func (s *Stack) sendICMP(p *packet.Packet, path *ip.Path, proto wire.Protocol) error {
	h, data := p.Header(packet.Transport), p.Data()
	sum := data.Sum(0, data.Size(), 0)
	if proto == wire.ProtoICMP {
		m := wire.ICMPv4(h)
		m.SetChecksum(m.ComputeChecksum(sum))
	} else {
		m := wire.ICMPv6(h)
		m.SetChecksum(m.ComputeChecksum(path.Src, path.Dst, data.Size(), sum))
	}
	return s.ip.Send(s.now(), p, path, ip.Header{Protocol: proto})
}

// deliverPing gives each ICMP socket concerned a copy.
func (s *Stack) deliverPing(p *packet.Packet, m *ip.Meta, b *batch) bool {
	s.pings.each(func(sock *Ping) {
		if sock.proto == m.Protocol && fits(sock.local, m.Dst) && fits(sock.remote, m.Src) && (sock.iface == 0 || sock.iface == m.Iface) {
			sock.take(p, s.zoned(m.Src, m.Scope), b)
		}
	})
	return drop(p)
}

func fits(want, have netip.Addr) bool { return !want.IsValid() || want == have }

func (p *Ping) take(pkt *packet.Packet, src netip.Addr, b *batch) {
	c := pkt.Clone()
	p.mu.Lock()
	ok := !p.closed && p.queue.add(c, netip.AddrPortFrom(src, 0), 0, pingBuffer, 0)
	p.mu.Unlock()
	c.Release()
	if ok {
		b.wake(p.notifier, ReadReady)
	}
}

// Close closes the socket.
func (p *Ping) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return net.ErrClosed
	}
	p.closed = true
	p.queue.drop()
	p.mu.Unlock()
	t := &p.stack.pings
	t.mu.Lock()
	t.list = slices.DeleteFunc(t.list, func(o *Ping) bool { return o == p })
	t.mu.Unlock()
	p.stack.relieve()
	if p.notifier != nil {
		p.notifier.Notify(ReadReady | WriteReady)
	}
	return nil
}

func (p *Ping) shut() { _ = p.Close() }

// EchoRequest is an echo request to an address that is ours only by AnyDestination.
type EchoRequest struct {
	Src, Dst netip.Addr
	Iface    int
	ID, Seq  uint16
	request
	scope int
	msg   *packet.Packet // the ICMP message, as unread data behind its network header
}

// deliverEcho asks the handler; false: no handler.
func (s *Stack) deliverEcho(_ sched.Time, p *packet.Packet, m *ip.Meta) bool {
	ask := s.handlers.echo.Load()
	return ask != nil && !s.closed.Load() && (*ask)(p, m)
}

// requestEcho asks a handler about an echo request, and takes p if it answers true.
func (s *Stack) requestEcho(handle func(*EchoRequest), p *packet.Packet, m *ip.Meta) bool {
	h, ok := p.Peek(wire.ICMPv4Len)
	if !ok {
		return false
	}
	if s.pending.Add(1) > int64(s.cfg.MaxPending) {
		s.pending.Add(-1)
		s.stats.requestDrops.Add(1)
		return drop(p)
	}
	handle(&EchoRequest{
		Src: s.zoned(m.Src, m.Scope), Dst: m.Dst, Iface: m.Iface, ID: wire.ICMPv4(h).ID(), Seq: wire.ICMPv4(h).Seq(),
		request: request{stack: s}, scope: m.Scope, msg: p,
	})
	return true
}

// Data returns a copy of what the request carries, before its decision.
func (r *EchoRequest) Data() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.msg == nil {
		return nil
	}
	b := make([]byte, r.msg.Data().Size())
	_, _ = r.msg.Data().ReadAt(b, 0)
	return b[wire.ICMPv4Len:]
}

// Reply answers with an echo reply from the address asked, carrying data.
func (r *EchoRequest) Reply(data []byte) error {
	if err := r.decide(); err != nil {
		return err
	}
	defer r.drop()
	s := r.stack
	path, err := s.ip.Path(r.Dst, r.Src, r.scope, true)
	if err != nil {
		return err
	}
	p := s.cfg.Packets.Get()
	p.Data().Append(data)
	h := p.Push(packet.Transport, wire.ICMPv4Len)
	proto := wire.Protocol(wire.ProtoICMP)
	if r.Dst.Is4() {
		wire.PutICMPv4(h, wire.ICMPv4Fields{Type: wire.ICMPv4EchoReply, Rest: wire.ICMPEcho(r.ID, r.Seq)})
	} else {
		proto = wire.ProtoICMPv6
		wire.PutICMPv6(h, wire.ICMPv6Fields{Type: wire.ICMPv6EchoReply, Rest: wire.ICMPEcho(r.ID, r.Seq)})
	}
	err = s.sendICMP(p, &path, proto)
	s.flushAll()
	return err
}

// Reject answers with an ICMP error (EHOSTUNREACH, ENETUNREACH, EACCES) or, for all else, with silence.
func (r *EchoRequest) Reject(err error) error {
	if e := r.decide(); e != nil {
		return e
	}
	if code, ok := unreachableCode(err); ok {
		r.stack.ip.Unreachable(r.stack.now(), r.msg, code)
		r.stack.flushAll()
	}
	r.drop()
	return nil
}

func (r *EchoRequest) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.msg.Release()
	r.msg = nil
}
