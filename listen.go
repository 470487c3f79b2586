package weir

import (
	"context"
	"net"
	"net/netip"

	"github.com/weirnet/weir/internal/stack"
)

// ListenConfig opens listeners and unconnected sockets with options. Only Stack is required.
type ListenConfig struct {
	Stack *Stack
	// Interface is the name of the only one whose packets are taken; empty: all.
	Interface string
	// Transparent lets a socket that listens on all addresses take those that are ours only by InterfaceConfig.AnyDestination, too,
	// and lets the address listened on be one that is not ours.
	Transparent bool
	// FastOpen accepts TCP Fast Open (RFC 7413): connections whose SYN has data and a cookie of ours can be read before their handshake is
	// complete, so many at a time. What they say may be a repetition, or come from who has lied about its address once it had a cookie.
	// 0: off.
	FastOpen int
	// Backlog is how many handshakes, and how many connections not yet accepted, a listener holds; 0: as Config says.
	Backlog int
	// Control may change the options: those of a TCP listener are applied to each connection that it accepts. Its error is Listen's.
	Control func(*SockOpts) error
}

// Listen listens for connections. Networks are "tcp", "tcp4" and "tcp6". An address is "host:port"; an empty host or :: stands for
// every address of the stack (with "tcp4" of IPv4, with "tcp6" of IPv6), 0.0.0.0 for every one of IPv4, port 0 for one that is free.
func (s *Stack) Listen(network, address string) (net.Listener, error) {
	return (&ListenConfig{Stack: s}).Listen(context.Background(), network, address)
}

// ListenPacket opens a socket for datagrams ("udp", "udp4", "udp6": addresses as for Listen) or ICMP messages ("ip4:icmp", "ip6:icmp":
// an address without port).
func (s *Stack) ListenPacket(network, address string) (net.PacketConn, error) {
	return (&ListenConfig{Stack: s}).ListenPacket(context.Background(), network, address)
}

// Listen is Stack.Listen with the ListenConfig's options. ctx bounds the look-up of a name in address.
func (l *ListenConfig) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	n, addr, err := l.address(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: mapContext(err)}
	}
	if n.proto != "tcp" {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: n.addr(addr), Err: unexpected(address)}
	}
	t, err := l.listenTCP(network, addr)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// ListenPacket is Stack.ListenPacket with the ListenConfig's options. ctx bounds the look-up of a name in address.
func (l *ListenConfig) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	n, addr, err := l.address(ctx, network, address)
	switch {
	case err != nil:
		return nil, &net.OpError{Op: "listen", Net: network, Err: mapContext(err)}
	case n.proto == "tcp":
		return nil, &net.OpError{Op: "listen", Net: network, Addr: n.addr(addr), Err: unexpected(address)}
	case n.proto == "ip":
		c, err := l.listenIP(network, n, addr.Addr())
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	u, err := l.listenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	return u, nil
}

// unexpected is net's error for a network that the call is not for.
func unexpected(address string) error {
	return &net.AddrError{Err: "unexpected address type", Addr: address}
}

// address parses both strings; of a name's addresses it takes the first of IPv4, if there is one, as net does.
func (l *ListenConfig) address(ctx context.Context, name, address string) (network, netip.AddrPort, error) {
	n, err := parseNetwork(name)
	if err != nil {
		return n, netip.AddrPort{}, err
	}
	if address == "" && n.proto != "ip" {
		address = ":0"
	}
	addrs, err := l.Stack.resolve(ctx, n, address)
	if err != nil {
		return n, netip.AddrPort{}, err
	}
	for _, a := range addrs {
		if a.Addr().Is4() {
			return n, a, nil
		}
	}
	return n, addrs[0], nil
}

// wildcard is which addresses a socket on addr takes, if addr stands for many, and how addr is then shown.
func wildcard(name string, addr netip.Addr) (stack.Family, netip.Addr) {
	n, _ := parseNetwork(name)
	switch {
	case addr.Is4():
		return stack.IPv4, addr
	case !addr.IsValid() && n.family == stack.IPv4:
		return stack.IPv4, netip.IPv4Unspecified()
	case !addr.IsValid():
		return n.family, netip.IPv6Unspecified()
	}
	return n.family, addr
}

// options are those that the socket itself and those that its connections get.
func (l *ListenConfig) options(network string, addr netip.AddrPort, lo *stack.ListenOptions, o *SockOpts) (at netip.AddrPort, err error) {
	local, iface, err := l.Stack.target(addr, l.Interface)
	if err != nil {
		return local, err
	}
	o.Network, o.Local, o.Transparent = protoOf(network), addr, l.Transparent
	o.ReuseAddr = o.Network == "tcp"
	err = o.settle(l.Control)
	family, all := wildcard(network, local.Addr())
	lo.Family, lo.Iface = family, iface
	lo.Transparent, lo.ReuseAddr, lo.ReusePort = o.Transparent, o.ReuseAddr, o.ReusePort
	lo.Traffic, lo.Keys, lo.Trace = o.traffic(), o.Keys, o.Trace
	return netip.AddrPortFrom(all, local.Port()), err
}

func (l *ListenConfig) listenTCP(network string, addr netip.AddrPort) (*TCPListener, error) {
	fail := func(err error) (*TCPListener, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: tcpAddr(addr), Err: wrap("bind", err)}
	}
	var lo stack.ListenOptions
	var o SockOpts
	addr, err := l.options(network, addr, &lo, &o)
	if err != nil {
		return fail(err)
	}
	t := &TCPListener{stack: l.Stack, name: network}
	lo.TCP, lo.FastOpen, lo.Backlog = o.tcp(), max(l.FastOpen, 0), max(l.Backlog, 0)
	lo.Exclusive = !o.ReuseAddr
	lo.Notifier = (*listenNotifier)(t)
	lo.Make = func() *stack.TCP { return &l.Stack.newTCPConn(network).sock }
	if t.sock, err = l.Stack.inner.ListenTCP(addr, lo); err != nil {
		return fail(err)
	}
	return t, nil
}

func (l *ListenConfig) listenUDP(network string, addr netip.AddrPort) (*UDPConn, error) {
	fail := func(err error) (*UDPConn, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: udpAddr(addr), Err: wrap("bind", err)}
	}
	var lo stack.ListenOptions
	var o SockOpts
	addr, err := l.options(network, addr, &lo, &o)
	if err != nil {
		return fail(err)
	}
	c := l.Stack.newUDPConn(network)
	if err := l.Stack.inner.ListenUDP(&c.sock, addr, lo); err != nil {
		return fail(err)
	}
	if o.ReceiveBuffer > 0 {
		c.sock.SetReadBuffer(o.ReceiveBuffer)
	}
	return c, nil
}
