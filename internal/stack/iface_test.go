package stack

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/wire"
)

// write queues data, which must be taken at once.
func write(t testing.TB, c *TCP, data string) {
	t.Helper()
	if n, err := c.Write([]byte(data)); n != len(data) || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
}

func defaultBy(iface int) []ip.Route {
	return []ip.Route{{Prefix: netip.MustParsePrefix("198.18.0.0/15"), Iface: iface}}
}

// A connection takes another way when routes change under it; one that is bound to an interface stays there.
func TestConnectionsFollowRoutes(t *testing.T) {
	for _, bound := range []bool{false, true} {
		h := newHost(t, Config{})
		a, da := h.attach(InterfaceConfig{}, "192.0.2.1/32")
		b, db := h.attach(InterfaceConfig{})
		h.SetRoutes(defaultBy(a.Index()))
		bind := Bound{Local: port("192.0.2.1:0")}
		if bound {
			bind.Iface = a.Index()
		}
		c, p := h.connect(da, "198.18.0.9:9", bind)
		write(t, c, "one")
		p.receive()
		h.SetRoutes(append(defaultBy(b.Index()), ip.Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Iface: a.Index()}))
		if !bound {
			p.d = db
		}
		write(t, c, "two")
		p.receive()
		h.SetRoutes(nil)
		write(t, c, "three") // no way: lost, and comes again when there is one
		if n := len(da.take()) + len(db.take()); n != 0 {
			t.Errorf("bound %v: %d packets without a route", bound, n)
		}
		h.SetRoutes(defaultBy(a.Index()))
		p.d = da
		h.clock.Advance(5 * time.Second)
		if len(da.take()) == 0 {
			t.Errorf("bound %v: nothing is sent again by the new route", bound)
		}
	}
}

// The same for UDP sockets.
func TestDatagramsFollowRoutes(t *testing.T) {
	h := newHost(t, Config{})
	a, da := h.attach(InterfaceConfig{}, "192.0.2.1/32")
	b, db := h.attach(InterfaceConfig{})
	h.SetRoutes(defaultBy(a.Index()))
	free, _ := h.connectUDP("198.18.0.9:9", Bound{})
	bound, _ := h.connectUDP("198.18.0.9:9", Bound{Iface: a.Index()})
	send := func(wantFree, wantBound *tap) {
		t.Helper()
		for u, d := range map[*UDP]*tap{free: wantFree, bound: wantBound} {
			if err := u.Write(nil); err != nil {
				t.Fatal(err)
			}
			d.one(t)
		}
	}
	send(da, da)
	h.SetRoutes(append(defaultBy(b.Index()), ip.Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Iface: a.Index()}))
	send(db, da)
}

// A connection from an address that is no longer ours finds no way, whoever opened it, and times out.
func TestConnectionsLoseTheirAddress(t *testing.T) {
	h := newHost(t, Config{})
	i, d := h.attach(InterfaceConfig{}, "192.0.2.1/24", "192.0.2.2/24")
	_, accept := h.listenTCP("192.0.2.1:80", ListenOptions{})
	p := h.dial(d, "192.0.2.9:9", "192.0.2.1:80")
	d.take()
	active, _ := h.connect(d, "192.0.2.9:10", Bound{Local: port("192.0.2.1:0")})
	passive := accept()
	if err := i.SetAddrs([]netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*TCP{active, passive} {
		write(t, c, "lost")
		if n := len(d.take()); n != 0 {
			t.Errorf("%d packets from an address that is not ours", n)
		}
		h.clock.Advance(time.Hour)
		if _, err := c.Read(make([]byte, 1)); err != syscall.ETIMEDOUT {
			t.Errorf("Read an hour later: %v, want ETIMEDOUT", err)
		}
		c.Close()
	}
	p.send(wire.ACK, "x")
	if n := len(d.take()); n != 0 {
		t.Errorf("%d packets in answer to one that is not for us", n)
	}
}

// The device's MTU shrinks under a connection.
func TestConnectionsFollowTheMTU(t *testing.T) {
	h := newHost(t, Config{})
	i, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	c, p := h.connect(d, "192.0.2.9:9", Bound{})
	d.sink.Changed(link.Info{MTU: 5, Queues: 1})
	if mtu := i.Info().MTU; mtu != 1500 {
		t.Errorf("an MTU of %d was believed", mtu)
	}
	d.sink.Changed(link.Info{MTU: 600, Queues: 1})
	write(t, c, string(randomBytes(500)))
	p.receive()
	p.send(wire.ACK, "")
	write(t, c, string(randomBytes(1000)))
	for _, b := range d.take() {
		if len(b) > 600 {
			t.Errorf("a packet of %d bytes by an MTU of 600", len(b))
		}
	}
	d.sink.Changed(link.Info{MTU: 600, Queues: 1, Down: true})
	if i.Info().Up {
		t.Error("the interface is up without a carrier")
	}
	if err := h.ConnectTCP(newSocket(&app{}), port("192.0.2.9:9"), Bound{}); err != syscall.ENETUNREACH {
		t.Errorf("connect without a carrier: %v", err)
	}
}

// A connection that waits for a stuck device goes on elsewhere when the interface is closed or taken down.
func TestConnectionsLeaveAStuckDevice(t *testing.T) {
	for name, end := range map[string]func(*Interface) error{
		"closed": func(i *Interface) error { return i.Close() }, "down": func(i *Interface) error { return i.SetUp(false) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, Config{})
			a, da := h.attach(InterfaceConfig{}, "192.0.2.1/32")
			b, db := h.attach(InterfaceConfig{}, "192.0.2.1/32")
			h.SetRoutes(append(defaultBy(a.Index()), ip.Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Iface: b.Index()}))
			c, p := h.connect(da, "198.18.0.9:9", Bound{Local: port("192.0.2.1:0")})
			da.setFull(true)
			u, _ := h.connectUDP("198.18.0.9:9", Bound{Local: port("192.0.2.1:0")})
			for u.Write(make([]byte, 60000)) == nil {
			}
			write(t, c, "data")
			if !c.waiting {
				t.Fatal("the connection does not wait")
			}
			if err := end(a); err != nil {
				t.Fatal(err)
			}
			p.d = db
			p.receive()
			if c.waiting {
				t.Error("it still waits")
			}
		})
	}
}

// Without another interface either, the patience of a connection on a stuck device ends as on a silent one.
func TestStuckDeviceTimesOut(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	c, _ := h.connect(d, "192.0.2.9:9", Bound{})
	d.setFull(true)
	for {
		if _, err := c.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	u, _ := h.connectUDP("192.0.2.9:9", Bound{})
	for u.Write(make([]byte, 60000)) == nil {
	}
	h.clock.Advance(time.Hour)
	if _, err := c.Read(make([]byte, 1)); err != syscall.ETIMEDOUT {
		t.Errorf("Read an hour later: %v, want ETIMEDOUT", err)
	}
}

func TestInterfaceClose(t *testing.T) {
	h := newHost(t, Config{})
	a, da := h.attach(InterfaceConfig{Name: "a"}, "192.0.2.1/24")
	b, _ := h.attach(InterfaceConfig{}, "198.18.0.1/24")
	if err := h.SetRoutes([]ip.Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Gateway: addr("192.0.2.254")}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !da.closed {
		t.Error("the device is open")
	}
	if h.InterfaceByName("a") != nil || len(h.Interfaces()) != 1 {
		t.Error("the interface is still there")
	}
	if _, err := h.Lookup(netip.Addr{}, addr("203.0.113.1"), 0, false); err != syscall.ENETUNREACH {
		t.Errorf("a route by a closed interface: %v", err)
	}
	if err := a.SetUp(true); err != syscall.ENODEV {
		t.Errorf("SetUp after Close: %v, want ENODEV", err)
	}
	da.sink.Changed(link.Info{MTU: 1400})
	c, _ := h.attach(InterfaceConfig{})
	if c.Index() != 3 || c.Info().Name != "eth1" || b.Info().Name != "eth0" {
		t.Errorf("number %d %s and %s, want 3, which never was, eth1 and eth0", c.Index(), c.Info().Name, b.Info().Name)
	}
	if i := h.iface(3); i != c || h.iface(2) != b || h.iface(1) != nil || h.iface(4) != nil {
		t.Error("interfaces are not found by number")
	}
}

// A route stays that way while its interface is down, and is back with it.
func TestRoutesOverDownAndUp(t *testing.T) {
	h := newHost(t, Config{})
	i, _ := h.attach(InterfaceConfig{Gateway6: addr("2001:db8::1")}, "192.0.2.1/24", "2001:db8::2/64")
	if err := h.SetRoutes([]ip.Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Gateway: addr("192.0.2.254")}}); err != nil {
		t.Fatal(err)
	}
	for _, up := range []bool{false, true} {
		if err := i.SetUp(up); err != nil {
			t.Fatal(err)
		}
		for _, dst := range []string{"203.0.113.1", "2001:db8:1::1"} {
			_, err := h.Lookup(netip.Addr{}, addr(dst), 0, false)
			if (err == nil) != up {
				t.Errorf("up %v: the way to %s: %v", up, dst, err)
			}
		}
	}
	if err := h.SetRoutes([]ip.Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Gateway: addr("203.0.113.1")}}); err == nil {
		t.Error("a gateway that is nowhere on link was taken")
	}
}

// failing is a device that cannot be attached.
type failing struct{ tap }

func (*failing) Attach(link.Sink) error { return link.ErrAttached }

func TestAddInterfaceErrors(t *testing.T) {
	h := newHost(t, Config{})
	h.attach(InterfaceConfig{Name: "a"}, "192.0.2.1/24")
	bad := []netip.Prefix{netip.MustParsePrefix("224.0.0.1/8")}
	for name, c := range map[string]InterfaceConfig{
		"no device": {}, "the name is taken": {Name: "a", Device: newTap()}, "a bad address": {Device: newTap(), Addrs: bad},
		"the device refuses": {Device: &failing{tap: tap{info: link.Info{MTU: 1500}}}},
		"a bad MTU":          {Device: &tap{info: link.Info{MTU: 7}}},
	} {
		if _, err := h.AddInterface(c); err == nil {
			t.Errorf("%s: no error", name)
		}
		if n := len(h.Interfaces()); n != 1 {
			t.Errorf("%s: %d interfaces", name, n)
		}
	}
	h.Close()
	if _, err := h.AddInterface(InterfaceConfig{Device: newTap()}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Isolated interfaces are worlds of their own: the same addresses and ports on each are different flows, and answers stay where the
// question came from.
func TestIsolatedInterfacesOverlap(t *testing.T) {
	h := newHost(t, Config{})
	_, accept := h.listenTCP("[::]:80", ListenOptions{})
	var peers [3]*peer
	var servers [3]*TCP
	for i := range peers {
		_, d := h.attach(InterfaceConfig{Isolated: true}, "192.0.2.1/24")
		peers[i] = h.dial(d, "192.0.2.9:9", "192.0.2.1:80")
		servers[i] = accept()
	}
	for i, p := range peers {
		p.send(wire.ACK|wire.PSH, string(rune('a'+i)))
		p.receive()
		b := make([]byte, 9)
		if n, err := servers[i].Read(b); err != nil || string(b[:n]) != string(rune('a'+i)) {
			t.Errorf("interface %d: read %q, %v", i+1, b[:n], err)
		}
		write(t, servers[i], "answer")
		p.receive()
	}
	if n := h.flows.len(); n != len(peers) {
		t.Errorf("%d flows, want one for each interface", n)
	}
	// Without a way in from elsewhere: a socket that is not of the interface cannot send there.
	if err := h.ConnectTCP(newSocket(&app{}), port("192.0.2.9:9"), Bound{}); err != syscall.ENETUNREACH {
		t.Errorf("connect from outside: %v", err)
	}
	h.connect(peers[1].d, "192.0.2.9:99", Bound{Iface: 2})
	peers[2].send(wire.RST|wire.ACK, "")
	if _, err := servers[2].Read(make([]byte, 1)); err != syscall.ECONNRESET {
		t.Errorf("the connection that was reset reads %v", err)
	}
	if _, err := servers[0].Read(make([]byte, 1)); err != ErrWouldBlock {
		t.Errorf("another one of the same addresses reads %v", err)
	}
	// Resets of what no connection is there for, too.
	stray := &peer{t: t, d: peers[2].d, src: port("192.0.2.9:1"), dst: port("192.0.2.1:2")}
	stray.send(wire.ACK, "")
	stray.receive()
}

// AnyDestination makes any unicast address ours, and nothing else.
func TestAnyDestination(t *testing.T) {
	h := newHost(t, Config{})
	var tcp, udp, echo []netip.Addr
	h.SetTCPHandler(func(r *TCPRequest) { tcp = append(tcp, r.Dst.Addr()); r.Reject(nil) })
	h.SetUDPHandler(func(r *UDPRequest) { udp = append(udp, r.Dst.Addr()); r.Reject(nil) })
	h.SetEchoHandler(func(r *EchoRequest) { echo = append(echo, r.Dst); r.Reject(nil) })
	_, d := h.attach(InterfaceConfig{AnyDestination: true}, "192.0.2.1/24", "2001:db8::1/64")
	for _, c := range []struct {
		dst  string
		want bool
	}{
		{"198.18.0.1", true}, {"8.8.8.8", true}, {"2001:db8:1::1", true},
		{"127.0.0.1", false}, {"0.0.0.0", false}, {"224.0.0.5", false}, {"255.255.255.255", false}, {"192.0.2.255", false},
		{"169.254.1.1", false}, {"240.0.0.1", false}, {"::1", false}, {"::", false}, {"ff02::5", false}, {"ff0e::5", false},
		{"fe80::5", false}, {"::ffff:198.18.0.1", false},
	} {
		dst := addr(c.dst)
		src, typ := addr("192.0.2.9"), uint8(wire.ICMPv4Echo)
		if dst.Is6() {
			src, typ = addr("2001:db8::9"), uint8(wire.ICMPv6Echo)
		}
		tcp, udp, echo = nil, nil, nil
		if dst.Is4In6() { // as an IPv6 packet
			b := tcpPacket(netip.AddrPortFrom(src, 9), netip.AddrPortFrom(addr("2001:db8:1::1"), 80), wire.SYN, 1, 0, "")
			wire.IPv6(b).SetDst(dst)
			d.inject(b)
		} else {
			d.inject(tcpPacket(netip.AddrPortFrom(src, 9), netip.AddrPortFrom(dst, 80), wire.SYN, 1, 0, ""))
			d.inject(udpPacket(netip.AddrPortFrom(src, 9), netip.AddrPortFrom(dst, 80), "x"))
			d.inject(icmpPacket(src, dst, typ, 0, 1<<16|2, nil))
		}
		for what, got := range map[string][]netip.Addr{"TCP": tcp, "UDP": udp, "echo": echo} {
			if (len(got) == 1 && got[0] == dst) != c.want || len(got) > 1 {
				t.Errorf("to %s: the handler of %s has %v, want it: %v", c.dst, what, got, c.want)
			}
		}
		if n := len(d.take()); n > 0 && !c.want {
			t.Errorf("to %s: %d answers", c.dst, n)
		}
	}
}

// A listener takes foreign addresses if it is transparent, and a connection may be from one.
func TestTransparentSockets(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{AnyDestination: true}, "192.0.2.1/24")
	_, accept := h.listenTCP("[::]:80", ListenOptions{Transparent: true})
	p := h.dial(d, "192.0.2.9:9", "198.18.0.1:80")
	if c := accept(); c.LocalAddr() != port("198.18.0.1:80") {
		t.Errorf("accepted at %v", c.LocalAddr())
	}
	p.send(wire.FIN|wire.ACK, "")
	p.receive()
	h.listenTCP("198.18.0.2:81", ListenOptions{Transparent: true})
	h.dial(d, "192.0.2.9:9", "198.18.0.2:81")
	c, _ := h.connect(d, "192.0.2.9:9", Bound{Local: port("198.18.0.3:7"), Transparent: true})
	if c.LocalAddr() != port("198.18.0.3:7") {
		t.Errorf("connected from %v", c.LocalAddr())
	}
	other := newHost(t, Config{})
	other.attach(InterfaceConfig{}, "192.0.2.1/24")
	if err := other.ConnectTCP(newSocket(&app{}), port("192.0.2.9:9"), Bound{Local: port("198.18.0.3:7")}); err != syscall.EADDRNOTAVAIL {
		t.Errorf("from an address that is not ours: %v", err)
	}
}

// What a timer of the network layer sends leaves at once.
func TestReassemblyTimeoutIsSent(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	b := udpPacket(port("192.0.2.9:9"), port("192.0.2.1:53"), "01234567")
	first := wire.IPv4(b)
	first.SetFragment(false, true, 0)
	first.SetChecksum(first.ComputeChecksum())
	d.inject(b)
	h.clock.Advance(time.Minute)
	if got := parse(d.one(t)); got.proto != wire.ProtoICMP || wire.ICMPv4(got.body).Type() != wire.ICMPv4TimeExceeded {
		t.Errorf("%+v was sent, want time exceeded", got)
	}
}

func TestCloseEndsEverySocket(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	l, accept := h.listenTCP("192.0.2.1:80", ListenOptions{})
	p := h.dial(d, "192.0.2.9:9", "192.0.2.1:80")
	server := accept()
	p.send(wire.ACK|wire.PSH, "unread")
	d.take()
	// One that is over, and has left the flow table, with something to read.
	q := h.dial(d, "192.0.2.9:10", "192.0.2.1:80")
	over := accept()
	d.take()
	q.send(wire.ACK|wire.PSH, "unread")
	q.send(wire.RST|wire.ACK, "")
	d.take()
	client, _ := h.connect(d, "192.0.2.9:9", Bound{})
	connecting := newSocket(&app{})
	if err := h.ConnectTCP(connecting, port("192.0.2.9:8"), Bound{}); err != nil {
		t.Fatal(err)
	}
	u, _ := h.openUDP("192.0.2.1:53", ListenOptions{})
	d.take()
	h.Close()
	h.Close()
	b := make([]byte, 9)
	for name, c := range map[string]*TCP{"server": server, "over": over, "client": client, "connecting": connecting} {
		if _, err := c.Read(b); err != net.ErrClosed {
			t.Errorf("%s: Read: %v", name, err)
		}
		if _, err := c.Write(b); err != net.ErrClosed {
			t.Errorf("%s: Write: %v", name, err)
		}
		_ = c.Close()
	}
	if _, err := l.Accept(); err != net.ErrClosed {
		t.Errorf("Accept: %v", err)
	}
	if _, _, _, err := u.ReadFrom(b); err != net.ErrClosed {
		t.Errorf("ReadFrom: %v", err)
	}
	resets := 0
	for _, b := range d.take() {
		if parse(b).tcp().Flags().Has(wire.RST) {
			resets++
		}
	}
	if resets != 2 {
		t.Errorf("%d resets, want one for each established connection", resets)
	}
	for name, err := range map[string]error{
		"connect": h.ConnectTCP(&TCP{}, port("192.0.2.9:9"), Bound{}), "connect UDP": h.ConnectUDP(&UDP{}, port("192.0.2.9:9"), Bound{}),
		"listen UDP": h.ListenUDP(&UDP{}, port("192.0.2.1:9"), ListenOptions{}), "ping": h.OpenPing(&Ping{}, wire.ProtoICMP, netip.Addr{}, netip.Addr{}, 0),
	} {
		if err != net.ErrClosed {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}
