package weir

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/weirnet/weir/internal/stack"
)

// Dialer opens connections with options. Only Stack is required.
type Dialer struct {
	Stack *Stack
	// Local is our end; the zero AddrPort, or a part of it, is chosen. A port that a listener or another connection has gives
	// syscall.EADDRINUSE, unless SockOpts.ReuseAddr is set.
	Local netip.AddrPort
	// Interface is the name of the one by which packets leave; empty: by route.
	Interface string
	// Timeout bounds a Dial, name look-up included; 0: not. TCP itself gives up after about three minutes.
	Timeout time.Duration
	// FallbackDelay is how long an attempt may take before the next address of a name is tried beside it (RFC 8305 §5);
	// 0: 250 ms, negative: until it has failed.
	FallbackDelay time.Duration
	// FastOpen uses TCP Fast Open (RFC 7413), which saves a round trip: the first connection to a server asks for a cookie, and the SYNs of
	// later ones carry the first data. Dial then returns at once, and the SYN leaves with the first Write (or Read); errors of the
	// handshake come from these. Data on a SYN may reach the server's application twice: use it only for what may be done twice.
	FastOpen bool
	// Data is what a connection sends first, without a Write: with FastOpen, if a cookie is known, on the SYN. Dial waits for the handshake.
	Data []byte

	// Control may change the options of each socket before its first packet (the SYN) is sent; its error ends the attempt.
	Control func(*SockOpts) error
}

// Dial connects to an address. Networks are "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", and "ip:icmp", "ip4:icmp", "ip6:icmp" for
// ICMP messages. An address is "host:port" ("host" for ICMP), where host is an IP address (with the interface's name as zone, if it is
// link-local), a name (see LookupNetIP), or empty: this stack itself.
func (s *Stack) Dial(network, address string) (net.Conn, error) {
	return (&Dialer{Stack: s}).DialContext(context.Background(), network, address)
}

// DialContext is Dial that ends with ctx; a connection, once made, lives on.
func (s *Stack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return (&Dialer{Stack: s}).DialContext(ctx, network, address)
}

// DialTCP connects to remote. The zero AddrPort as local address, or a part of it, is chosen. Errors: syscall.ECONNREFUSED, ETIMEDOUT,
// EHOSTUNREACH, ENETUNREACH, EADDRINUSE, EADDRNOTAVAIL, context.Canceled, context.DeadlineExceeded, net.ErrClosed.
func (s *Stack) DialTCP(ctx context.Context, local, remote netip.AddrPort) (*TCPConn, error) {
	return (&Dialer{Stack: s, Local: local}).dialTCP(ctx, "tcp", remote)
}

// Dial is Stack.Dial with the Dialer's options.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext is Stack.DialContext with the Dialer's options.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.Timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, d.Timeout)
		defer cancel()
		ctx = limited
	}
	n, err := parseNetwork(network)
	if err == nil && address == "" && n.proto != "ip" {
		err = errMissingAddress
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	addrs, err := d.Stack.resolve(ctx, n, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: mapContext(err)}
	}
	for i, a := range addrs {
		addrs[i] = n.ourselves(a)
	}
	switch n.proto {
	case "tcp":
		c, err := d.race(ctx, network, addrs)
		return result(c, err)
	case "udp":
		c, err := d.first(ctx, network, addrs)
		return result(c, err)
	default:
		c, err := d.dialIP(network, n, addrs[0].Addr())
		return result(c, err)
	}
}

// result keeps a nil pointer out of a net.Conn.
func result[C net.Conn](c C, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

// ourselves turns the address that means any into our own loopback address, as kernels do.
func (n network) ourselves(a netip.AddrPort) netip.AddrPort {
	addr := a.Addr()
	switch {
	case addr.IsValid() && !addr.IsUnspecified():
		return a
	case addr.Is4(), !addr.IsValid() && n.family != stack.IPv6:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
}

// bound is what the Dialer's fields and Control ask for, and where to.
func (d *Dialer) bound(network string, remote netip.AddrPort, b *stack.Bound, o *SockOpts) (to netip.AddrPort, err error) {
	to, iface, err := d.Stack.target(remote, d.Interface)
	if err != nil {
		return to, err
	}
	local, bound, err := d.Stack.target(d.Local, cmp.Or(d.Interface, remote.Addr().Zone()))
	if err != nil {
		return to, err
	}
	o.Network, o.Local, o.Remote = protoOf(network), d.Local, remote
	if err := o.settle(d.Control); err != nil {
		return to, err
	}
	b.Local, b.Iface = local, cmp.Or(bound, iface)
	b.Transparent, b.ReuseAddr, b.ReusePort = o.Transparent, o.ReuseAddr, o.ReusePort
	b.Traffic, b.Keys, b.Trace = o.traffic(), o.Keys, o.Trace
	return to, nil
}

// failed is the error of an attempt.
func (d *Dialer) failed(network string, end func(netip.AddrPort) net.Addr, remote netip.AddrPort, err error) error {
	return &net.OpError{
		Op: "dial", Net: network, Source: end(d.Local), Addr: end(remote), Err: wrap("connect", d.Stack.orClosed(mapContext(err))),
	}
}

// dialTCP makes one attempt.
func (d *Dialer) dialTCP(ctx context.Context, network string, remote netip.AddrPort) (*TCPConn, error) {
	fail := func(err error) (*TCPConn, error) { return nil, d.failed(network, tcpAddr, remote, err) }
	if !remote.IsValid() {
		return fail(errMissingAddress)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	var b stack.Bound
	var o SockOpts
	to, err := d.bound(network, remote, &b, &o)
	if err != nil {
		return fail(err)
	}
	b.TCP, b.FastOpen = o.tcp(), d.FastOpen
	b.Exclusive = !o.ReuseAddr && !o.ReusePort
	b.Data = d.Data[:min(len(d.Data), maxDialData)]
	c := d.Stack.newTCPConn(network)
	if err := d.Stack.inner.ConnectTCP(&c.sock, to, b); err != nil {
		return fail(err)
	}
	if err := c.establish(ctx); err != nil {
		_ = c.Close()
		return fail(err)
	}
	if _, err := c.Write(d.Data[len(b.Data):]); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// maxDialData is how much of Dialer.Data is queued with the SYN, in bytes: more than it can carry.
const maxDialData = 64 << 10

// establish waits for the end of the handshake.
func (c *TCPConn) establish(ctx context.Context) error {
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, c.wr.wake)
		defer stop()
	}
	c.wr.acquire(c.stack)
	defer c.wr.release()
	return c.wr.await(c.stack, func() error {
		err := c.sock.Connected()
		if err == stack.ErrWouldBlock && ctx.Err() != nil {
			err = ctx.Err()
		}
		return err
	})
}

// first connects a UDP socket to the first address to which there is a way.
func (d *Dialer) first(ctx context.Context, network string, addrs []netip.AddrPort) (c *UDPConn, err error) {
	for i, a := range addrs {
		next, nextErr := d.dialUDP(ctx, network, a)
		if nextErr == nil {
			return next, nil
		}
		if i == 0 {
			err = nextErr
		}
	}
	return nil, err
}

func (d *Dialer) dialUDP(ctx context.Context, network string, remote netip.AddrPort) (*UDPConn, error) {
	fail := func(err error) (*UDPConn, error) { return nil, d.failed(network, udpAddr, remote, err) }
	if !remote.IsValid() {
		return fail(errMissingAddress)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	var b stack.Bound
	var o SockOpts
	to, err := d.bound(network, remote, &b, &o)
	if err != nil {
		return fail(err)
	}
	c := d.Stack.newUDPConn(network)
	if err := d.Stack.inner.ConnectUDP(&c.sock, to, b); err != nil {
		return fail(err)
	}
	if o.ReceiveBuffer > 0 {
		c.sock.SetReadBuffer(o.ReceiveBuffer)
	}
	return c, nil
}
