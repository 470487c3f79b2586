package weir

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/internal/stack"
)

// UDPConn is a UDP socket, connected to one far end or not: a net.Conn and net.PacketConn with the methods of net.UDPConn that make
// sense without a kernel. All methods are safe for concurrent use. Errors are *net.OpError, as TCPConn's.
//
// Addresses of IPv4 are 4 bytes long everywhere, on sockets for both families too.
type UDPConn struct {
	sock   stack.UDP
	stack  *Stack
	name   string // of the network
	rd, wr half
	closed atomic.Bool
}

func (s *Stack) newUDPConn(network string) *UDPConn {
	c := &UDPConn{stack: s, name: network}
	c.sock.SetNotifier((*udpNotifier)(c))
	return c
}

// udpNotifier is a UDPConn as its socket sees it.
type udpNotifier UDPConn

// Notify wakes who waits for what has come about.
func (n *udpNotifier) Notify(r stack.Ready) {
	if r&stack.ReadReady != 0 {
		n.rd.wake()
	}
	if r&stack.WriteReady != 0 {
		n.wr.wake()
	}
}

// DialUDP returns a socket connected to remote: it takes datagrams from there alone, and ICMP errors about what it has sent come back
// as errors of the next call. The zero AddrPort as local address, or a part of it, is chosen. Nothing is sent. Errors:
// syscall.ENETUNREACH, EADDRINUSE, EADDRNOTAVAIL, net.ErrClosed.
func (s *Stack) DialUDP(ctx context.Context, local, remote netip.AddrPort) (*UDPConn, error) {
	return (&Dialer{Stack: s, Local: local}).dialUDP(ctx, "udp", remote)
}

// ListenUDP returns a socket that takes datagrams to an address of the stack's. The zero Addr and :: take both families, 0.0.0.0 takes
// IPv4, port 0 chooses one. Errors: syscall.EADDRINUSE, EADDRNOTAVAIL (the address is not ours), net.ErrClosed.
func (s *Stack) ListenUDP(addr netip.AddrPort) (*UDPConn, error) {
	return (&ListenConfig{Stack: s}).listenUDP("udp", addr)
}

func (c *UDPConn) fail(op, call string, err error) error {
	return &net.OpError{Op: op, Net: c.name, Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: wrap(call, err)}
}

// LocalAddr returns our end, a *net.UDPAddr.
func (c *UDPConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.sock.LocalAddr()) }

// RemoteAddr returns the far end, a *net.UDPAddr, or nil if the socket is not connected.
func (c *UDPConn) RemoteAddr() net.Addr { return udpAddr(c.sock.RemoteAddr()) }

// Read reads the next datagram; what does not fit into p is lost. A datagram may be empty.
func (c *UDPConn) Read(p []byte) (int, error) {
	if len(p) == 0 { // as net: nothing is taken
		if c.closed.Load() {
			return 0, c.fail("read", "read", net.ErrClosed)
		}
		return 0, nil
	}
	n, _, _, err := c.receive(p)
	if err != nil {
		return 0, c.fail("read", "read", err)
	}
	return n, nil
}

// ReadFromUDPAddrPort reads the next datagram and says whence it came. It allocates nothing. What does not fit into p is lost.
func (c *UDPConn) ReadFromUDPAddrPort(p []byte) (int, netip.AddrPort, error) {
	n, src, _, err := c.ReadFromECN(p)
	return n, src, err
}

// ReadFromECN is ReadFromUDPAddrPort that also tells the ECN codepoint in the datagram's IP header, which UDP leaves to the program (RFC
// 8085 §3.1.7): 0 for Not-ECT, 1 for ECT(1), 2 for ECT(0), 3 for CE. What is sent has the lower two bits of SetTOS.
func (c *UDPConn) ReadFromECN(p []byte) (n int, src netip.AddrPort, ecn uint8, err error) {
	n, src, ecn, err = c.receive(p)
	if err != nil {
		return 0, src, 0, c.fail("read", "recvfrom", err)
	}
	return n, src, ecn, nil
}

// ReadFromUDP is ReadFromUDPAddrPort with net's type of address.
func (c *UDPConn) ReadFromUDP(p []byte) (int, *net.UDPAddr, error) {
	n, src, err := c.ReadFromUDPAddrPort(p)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(src), nil
}

// ReadFrom is ReadFromUDPAddrPort for net.PacketConn; the address is a *net.UDPAddr.
func (c *UDPConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, src, err := c.ReadFromUDP(p)
	if err != nil {
		return 0, nil, err
	}
	return n, src, nil
}

// receive needs the turn only to wait: each datagram is taken whole.
func (c *UDPConn) receive(p []byte) (n int, src netip.AddrPort, ecn uint8, err error) {
	if err := c.rd.expired(); err != nil {
		return 0, src, 0, c.unlessClosed(err)
	}
	n, src, ecn, _, err = c.sock.ReadFromECN(p)
	if err != stack.ErrWouldBlock {
		return n, src, ecn, err
	}
	c.rd.acquire(c.stack)
	defer c.rd.release()
	err = c.rd.await(c.stack, func() (err error) {
		n, src, ecn, _, err = c.sock.ReadFromECN(p)
		return err
	})
	return n, src, ecn, c.unlessClosed(err)
}

// unlessClosed puts net.ErrClosed before a deadline.
func (c *UDPConn) unlessClosed(err error) error {
	if err != nil && c.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// Write sends one datagram to the far end of a connected socket.
func (c *UDPConn) Write(p []byte) (int, error) {
	if err := c.send(p, c.sock.RemoteAddr(), true); err != nil {
		return 0, c.fail("write", "write", err)
	}
	return len(p), nil
}

// WriteToUDPAddrPort sends one datagram. It allocates nothing. It waits, up to the deadline, while the interface's queue is full.
// Errors: syscall.EMSGSIZE, ENETUNREACH, EINVAL (port 0), net.ErrWriteToConnected, …
func (c *UDPConn) WriteToUDPAddrPort(p []byte, dst netip.AddrPort) (int, error) {
	err := error(net.ErrWriteToConnected)
	if !c.sock.RemoteAddr().IsValid() {
		err = errMissingAddress
		if dst.Addr().IsValid() {
			err = c.send(p, dst, false)
		}
	}
	if err != nil {
		return 0, &net.OpError{Op: "write", Net: c.name, Source: c.LocalAddr(), Addr: udpAddr(dst), Err: wrap("sendto", err)}
	}
	return len(p), nil
}

// WriteToUDP is WriteToUDPAddrPort with net's type of address.
func (c *UDPConn) WriteToUDP(p []byte, dst *net.UDPAddr) (int, error) {
	if dst == nil {
		return 0, &net.OpError{Op: "write", Net: c.name, Source: c.LocalAddr(), Err: errMissingAddress}
	}
	return c.WriteToUDPAddrPort(p, dst.AddrPort())
}

// WriteTo is WriteToUDPAddrPort for net.PacketConn; the address must be a *net.UDPAddr.
func (c *UDPConn) WriteTo(p []byte, dst net.Addr) (int, error) {
	a, ok := dst.(*net.UDPAddr)
	if !ok {
		return 0, &net.OpError{Op: "write", Net: c.name, Source: c.LocalAddr(), Addr: dst, Err: errWrongAddress}
	}
	return c.WriteToUDP(p, a)
}

// send needs the turn only to wait: each datagram is sent whole.
func (c *UDPConn) send(p []byte, dst netip.AddrPort, connected bool) error {
	try := func() error {
		if connected {
			return c.sock.Write(p)
		}
		return c.sock.WriteTo(p, dst)
	}
	if err := c.wr.expired(); err != nil {
		return c.unlessClosed(err)
	}
	err := try()
	if err != stack.ErrWouldBlock {
		return err
	}
	c.wr.acquire(c.stack)
	defer c.wr.release()
	return c.unlessClosed(c.wr.await(c.stack, try))
}

// SetDeadline sets both deadlines.
func (c *UDPConn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.rd, &c.wr) }

// SetReadDeadline makes reads, those under way too, fail with os.ErrDeadlineExceeded from then on. The zero time: never.
func (c *UDPConn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.rd) }

// SetWriteDeadline is SetReadDeadline for writes.
func (c *UDPConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.wr) }

func (c *UDPConn) setDeadlines(t time.Time, halves ...*half) error {
	if c.closed.Load() {
		return c.setFail()
	}
	for _, h := range halves {
		h.setDeadline(c.stack, t)
	}
	return nil
}

func (c *UDPConn) setFail() error {
	return &net.OpError{Op: "set", Net: c.name, Addr: c.LocalAddr(), Err: net.ErrClosed}
}

// SetReadBuffer limits what may wait to be read, in bytes of memory. What comes when it is full is dropped and counted.
func (c *UDPConn) SetReadBuffer(bytes int) error {
	if c.closed.Load() {
		return c.setFail()
	}
	c.sock.SetReadBuffer(bytes)
	return nil
}

// SetWriteBuffer does nothing: what is sent waits in the interface's queue, which all sockets share.
func (c *UDPConn) SetWriteBuffer(int) error {
	if c.closed.Load() {
		return c.setFail()
	}
	return nil
}

// Close closes the socket: calls under way and later ones give net.ErrClosed. What is unread is dropped.
func (c *UDPConn) Close() error {
	if c.closed.Swap(true) {
		return c.fail("close", "close", net.ErrClosed)
	}
	_ = c.sock.Close()
	c.rd.dropDeadline()
	c.wr.dropDeadline()
	return nil
}
