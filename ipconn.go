package weir

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/wire"
)

// IPConn is a socket for ICMP messages, as Dial and ListenPacket give it for "ip4:icmp" and its kin: a net.Conn and net.PacketConn. It
// sends whole ICMP messages, whose checksum is filled in, and receives those for us that the stack does not use itself, echo replies
// above all: always without an IP header, by Read too.
type IPConn struct {
	sock   stack.Ping
	stack  *Stack
	name   string // of the network
	rd, wr half
	closed atomic.Bool
}

// ipNotifier is an IPConn as its socket sees it.
type ipNotifier IPConn

// Notify wakes who waits for what has come about.
func (n *ipNotifier) Notify(stack.Ready) { n.rd.wake() }

// dialIP connects an ICMP socket.
func (d *Dialer) dialIP(name string, n network, remote netip.Addr) (*IPConn, error) {
	fail := func(err error) (*IPConn, error) {
		return nil, &net.OpError{Op: "dial", Net: name, Source: ipAddr(d.Local.Addr()), Addr: ipAddr(remote), Err: wrap("connect", err)}
	}
	var b stack.Bound
	to, err := d.bound("ip", netip.AddrPortFrom(remote, 0), &b, &SockOpts{})
	if err != nil {
		return fail(err)
	}
	if n.icmp == wire.ProtoICMP && to.Addr().Is6() {
		n.icmp = wire.ProtoICMPv6 // "ip:icmp" and an address of IPv6
	}
	c := d.Stack.newIPConn(name)
	if err := d.Stack.inner.OpenPing(&c.sock, n.icmp, b.Local.Addr(), to.Addr(), b.Iface); err != nil {
		return fail(err)
	}
	return c, nil
}

func (l *ListenConfig) listenIP(name string, n network, addr netip.Addr) (*IPConn, error) {
	fail := func(err error) (*IPConn, error) {
		return nil, &net.OpError{Op: "listen", Net: name, Addr: ipAddr(addr), Err: wrap("bind", err)}
	}
	var lo stack.ListenOptions
	local, err := l.options("ip", netip.AddrPortFrom(addr, 0), &lo, &SockOpts{})
	if err != nil {
		return fail(err)
	}
	if n.icmp == wire.ProtoICMP && local.Addr().Is6() {
		n.icmp = wire.ProtoICMPv6
	}
	c := l.Stack.newIPConn(name)
	if err := l.Stack.inner.OpenPing(&c.sock, n.icmp, local.Addr(), netip.Addr{}, lo.Iface); err != nil {
		return fail(err)
	}
	return c, nil
}

func (s *Stack) newIPConn(name string) *IPConn {
	c := &IPConn{stack: s, name: name}
	c.sock.SetNotifier((*ipNotifier)(c))
	return c
}

func (c *IPConn) fail(op, call string, err error) error {
	return &net.OpError{Op: op, Net: c.name, Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: wrap(call, err)}
}

// LocalAddr returns our address, a *net.IPAddr.
func (c *IPConn) LocalAddr() net.Addr {
	a := c.sock.LocalAddr()
	if !a.IsValid() {
		a = netip.IPv6Unspecified()
	}
	return ipAddr(a)
}

// RemoteAddr returns the far end's address, a *net.IPAddr, or nil if the socket is not connected.
func (c *IPConn) RemoteAddr() net.Addr { return ipAddr(c.sock.RemoteAddr()) }

// Read reads the next ICMP message; what does not fit into p is lost.
func (c *IPConn) Read(p []byte) (int, error) {
	n, _, err := c.read(p)
	return n, err
}

// ReadFrom is Read that says whence the message came: a *net.IPAddr.
func (c *IPConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, src, err := c.read(p)
	return n, ipAddr(src), err
}

func (c *IPConn) read(p []byte) (n int, src netip.Addr, err error) {
	c.rd.acquire(c.stack)
	err = c.rd.await(c.stack, func() (err error) {
		n, src, _, err = c.sock.ReadFrom(p)
		return err
	})
	c.rd.release()
	if err != nil {
		return 0, src, c.fail("read", "read", err)
	}
	return n, src, nil
}

// Write sends an ICMP message, its header of 8 bytes included, to the far end of a connected socket.
func (c *IPConn) Write(p []byte) (int, error) { return c.write(p, netip.Addr{}) }

// WriteTo sends an ICMP message, its header of 8 bytes included, to an address, a *net.IPAddr. Errors: syscall.EMSGSIZE, ENETUNREACH,
// EINVAL (no header), net.ErrWriteToConnected, …
func (c *IPConn) WriteTo(p []byte, dst net.Addr) (int, error) {
	a, ok := dst.(*net.IPAddr)
	if !ok || a == nil {
		return 0, c.fail("write", "sendto", errWrongAddress)
	}
	if c.sock.RemoteAddr().IsValid() {
		return 0, c.fail("write", "sendto", net.ErrWriteToConnected)
	}
	to, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		return 0, c.fail("write", "sendto", errMissingAddress)
	}
	return c.write(p, to.Unmap())
}

func (c *IPConn) write(p []byte, dst netip.Addr) (int, error) {
	err := c.wr.expired()
	if err == nil || c.closed.Load() {
		err = c.sock.WriteTo(p, dst)
	}
	if err != nil {
		return 0, c.fail("write", "sendto", err)
	}
	return len(p), nil
}

// SetDeadline sets both deadlines.
func (c *IPConn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.rd, &c.wr) }

// SetReadDeadline makes reads, those under way too, fail with os.ErrDeadlineExceeded from then on. The zero time: never.
func (c *IPConn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.rd) }

// SetWriteDeadline is SetReadDeadline for writes, which never wait.
func (c *IPConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.wr) }

func (c *IPConn) setDeadlines(t time.Time, halves ...*half) error {
	if c.closed.Load() {
		return c.fail("set", "setsockopt", net.ErrClosed)
	}
	for _, h := range halves {
		h.setDeadline(c.stack, t)
	}
	return nil
}

// Close closes the socket: calls under way and later ones give net.ErrClosed.
func (c *IPConn) Close() error {
	if c.closed.Swap(true) {
		return c.fail("close", "close", net.ErrClosed)
	}
	_ = c.sock.Close()
	c.rd.dropDeadline()
	c.wr.dropDeadline()
	return nil
}
