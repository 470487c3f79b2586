package stack

import (
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/wire"
)

func TestUDPBothWays(t *testing.T) {
	for name, o := range map[string]pipe.Options{"offloads": {}, "NoOffload": {NoOffload: true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			server, client := &UDP{}, &UDP{}
			if err := w.b.ListenUDP(server, netip.AddrPortFrom(addrB, 53), ListenOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := w.a.ConnectUDP(client, netip.AddrPortFrom(addrB, 53), Bound{}); err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{0, 1, 1472, 1473, 9000, 65507} { // the larger ones in fragments
				sent := string(randomBytes(size))
				if err := client.Write([]byte(sent)); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 1<<16)
				n, src, truncated, err := server.ReadFrom(b)
				if err != nil || string(b[:n]) != sent || truncated || src != client.LocalAddr() {
					t.Fatalf("%d bytes: read %d from %v: %v", size, n, src, err)
				}
				if err := server.WriteTo(b[:n], src); err != nil {
					t.Fatal(err)
				}
				if n, _, _, err := client.ReadFrom(b); err != nil || string(b[:n]) != sent {
					t.Fatalf("%d bytes back: read %d: %v", size, n, err)
				}
			}
			if err := client.Write(make([]byte, 65508)); err != syscall.EMSGSIZE {
				t.Errorf("Write of 65508 bytes: %v, want EMSGSIZE", err)
			}
			if err := server.Write(nil); err != syscall.EDESTADDRREQ {
				t.Errorf("Write on an unconnected socket: %v, want EDESTADDRREQ", err)
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			if err := client.Write(nil); err != net.ErrClosed {
				t.Errorf("Write after Close: %v", err)
			}
			if _, _, _, err := client.ReadFrom(nil); err != net.ErrClosed {
				t.Errorf("Read after Close: %v", err)
			}
			if err := client.Close(); err != net.ErrClosed {
				t.Errorf("second Close: %v", err)
			}
		})
	}
}

func TestUDPTruncates(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	u, a := h.openUDP("192.0.2.1:53", ListenOptions{})
	d.inject(udpPacket(port("192.0.2.9:9"), port("192.0.2.1:53"), "abcdef"))
	d.inject(udpPacket(port("192.0.2.9:9"), port("192.0.2.1:53"), "next"))
	if a.ready&ReadReady == 0 {
		t.Error("nobody was told")
	}
	b := make([]byte, 3)
	if n, src, truncated, err := u.ReadFrom(b); n != 3 || src != port("192.0.2.9:9") || !truncated || err != nil {
		t.Errorf("read %d from %v, truncated %v: %v", n, src, truncated, err)
	}
	if data, _ := readUDP(t, u); data != "next" {
		t.Errorf("read %q: the rest of a datagram must be gone", data)
	}
}

// Datagrams pile up unread: what is held stays within the socket's limit, charged at the capacity of the memory that they pin.
func TestUDPQueueIsCharged(t *testing.T) {
	for _, size := range []int{0, 1, 100, 1400} {
		h := newHost(t, Config{})
		_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
		u, _ := h.openUDP("192.0.2.1:53", ListenOptions{})
		u.SetReadBuffer(64 << 10)
		p := udpPacket(port("192.0.2.9:9"), port("192.0.2.1:53"), strings.Repeat("x", size))
		for range 2000 {
			d.inject(p)
		}
		used, _ := h.Memory()
		_, pinned := h.Packets().Buffers().Outstanding()
		if used > 64<<10+512 || pinned > used {
			t.Errorf("datagrams of %d bytes: %d bytes charged, %d pinned, the limit is 64 KiB", size, used, pinned)
		}
		st := h.Stats().UDP
		read := uint64(0)
		for ; ; read++ {
			if _, _, _, err := u.ReadFrom(nil); err != nil {
				break
			}
		}
		if read < 25 || st.DatagramsIn != 2000 || st.Overflow != 2000-read {
			t.Errorf("datagrams of %d bytes: %d read, stats %+v", size, read, st)
		}
		if used, _ := h.Memory(); used != 0 {
			t.Errorf("%d bytes charged after all was read", used)
		}
	}
}

func TestUDPErrorsFromICMP(t *testing.T) {
	for _, c := range []struct {
		name          string
		local, remote string
		typ, code     uint8
		want          error
	}{
		{"port", "192.0.2.1/24", "192.0.2.9:9", uint8(wire.ICMPv4DstUnreachable), wire.ICMPv4PortUnreachable, syscall.ECONNREFUSED},
		{"host: may mend itself", "192.0.2.1/24", "192.0.2.9:9", uint8(wire.ICMPv4DstUnreachable), wire.ICMPv4HostUnreachable, nil},
		{"port, IPv6", "2001:db8::1/64", "[2001:db8::9]:9", uint8(wire.ICMPv6DstUnreachable), wire.ICMPv6PortUnreachable, syscall.ECONNREFUSED},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, Config{})
			_, d := h.attach(InterfaceConfig{}, c.local)
			u, a := h.connectUDP(c.remote, Bound{})
			other, _ := h.openUDP("[::]:77", ListenOptions{})
			if err := u.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			quoted := d.one(t)
			local, remote := u.LocalAddr().Addr(), u.RemoteAddr().Addr()
			d.inject(icmpPacket(remote, local, c.typ, c.code, 0, quoted))
			if told := a.ready != 0; told != (c.want != nil) {
				t.Errorf("told %v", a.ready)
			}
			err := u.Write([]byte("x"))
			if err != c.want {
				t.Errorf("Write after the error: %v, want %v", err, c.want)
			}
			if err := u.Write([]byte("x")); err != nil {
				t.Errorf("the error was reported twice: %v", err)
			}
			if _, _, _, err := other.ReadFrom(nil); err != ErrWouldBlock {
				t.Errorf("an unconnected socket reads %v", err)
			}
		})
	}
}

// A path that takes less than we send tells those, too, who sent from a socket that is not connected; but nobody who did not send.
func TestUDPLearnsPathMTU(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "2001:db8::1/64")
	u, _ := h.openUDP("[::]:5000", ListenOptions{})
	to := port("[2001:db8::9]:9")
	send := func() [][]byte {
		t.Helper()
		if err := u.WriteTo(make([]byte, 1400), to); err != nil {
			t.Fatal(err)
		}
		return d.take()
	}
	quoted := send()[0]
	tooBig := func(quoted []byte) []byte {
		return icmpPacket(addr("2001:db8::ff"), addr("2001:db8::1"), uint8(wire.ICMPv6PacketTooBig), 0, 1300, quoted)
	}
	wrong := append([]byte(nil), quoted...)
	wire.UDP(wrong[wire.IPv6Len:]).SetSrcPort(5001)
	d.inject(tooBig(wrong))
	if n := len(send()); n != 1 {
		t.Errorf("%d packets: an error about a socket that does not exist was believed", n)
	}
	d.inject(tooBig(quoted))
	if n := len(send()); n != 2 {
		t.Errorf("%d packets after packet too big, want two fragments", n)
	}
}

// A full transmit queue holds writers up, and room lets them go on: whoever waits is told.
func TestUDPWaitsForRoom(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	u, a := h.connectUDP("192.0.2.9:9", Bound{})
	d.setFull(true)
	fill := func() (n int) {
		for {
			err := u.Write(make([]byte, 1000))
			if err == ErrWouldBlock {
				return n
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	n := fill()
	if n < txLimit/1100 || n > txLimit/1000+1 {
		t.Errorf("%d datagrams were taken by a queue of %d bytes", n, txLimit)
	}
	a.ready = 0
	d.setFull(false)
	if len(d.take()) != n {
		t.Error("not all that was queued has left")
	}
	if a.ready&WriteReady == 0 {
		t.Error("the writer was not told of room")
	}
	if err := u.Write(nil); err != nil {
		t.Error(err)
	}
}

// An interface that goes away, or down, lets those go who wait for it.
func TestUDPWaiterOfAnInterfaceThatGoes(t *testing.T) {
	for name, end := range map[string]func(*Interface) error{
		"closed": func(i *Interface) error { return i.Close() }, "down": func(i *Interface) error { return i.SetUp(false) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, Config{})
			i, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
			u, a := h.connectUDP("192.0.2.9:9", Bound{})
			d.setFull(true)
			for u.Write(make([]byte, 60000)) == nil {
			}
			a.ready = 0
			if err := end(i); err != nil {
				t.Fatal(err)
			}
			if a.ready&WriteReady == 0 {
				t.Error("the writer was not told")
			}
			if err := u.Write(nil); err != syscall.ENETUNREACH {
				t.Errorf("Write: %v, want ENETUNREACH", err)
			}
		})
	}
}

func TestUDPWildcards(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{AnyDestination: true}, "192.0.2.1/24", "2001:db8::1/64")
	remote4, remote6 := port("192.0.2.9:9"), port("[2001:db8::9]:9")
	for _, c := range []struct {
		name, local    string
		o              ListenOptions
		v4, v6, others bool
	}{
		{"both families", "[::]:53", ListenOptions{}, true, true, false},
		{"IPv6 only", "[::]:53", ListenOptions{Family: IPv6}, false, true, false},
		{"IPv4", "0.0.0.0:53", ListenOptions{}, true, false, false},
		{"one address", "192.0.2.1:53", ListenOptions{}, true, false, false},
		{"one address, v4-mapped", "[::ffff:192.0.2.1]:53", ListenOptions{}, true, false, false},
		{"transparent", "[::]:53", ListenOptions{Transparent: true}, true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, _ := h.openUDP(c.local, c.o)
			defer u.Close()
			for _, in := range []struct {
				src  netip.AddrPort
				dst  string
				want bool
			}{
				{remote4, "192.0.2.1:53", c.v4}, {remote6, "[2001:db8::1]:53", c.v6}, {remote4, "198.18.0.1:53", c.others},
				{remote4, "224.0.0.1:53", c.v4 && !strings.Contains(c.name, "address")},
			} {
				d.inject(udpPacket(in.src, port(in.dst), in.dst))
				data, src := readUDP(t, u)
				if got := data == in.dst; got != in.want || got && src != in.src {
					t.Errorf("to %s: read %q from %v, want it: %v", in.dst, data, src, in.want)
				}
			}
			d.take()
			for _, to := range []struct {
				addr netip.AddrPort
				want bool
			}{{remote4, c.v4}, {netip.AddrPortFrom(netip.AddrFrom16(remote4.Addr().As16()), 9), c.v4}, {remote6, c.v6}} {
				err := u.WriteTo([]byte("x"), to.addr)
				if (err == nil) != to.want {
					t.Errorf("to %v: %v", to.addr, err)
				}
				if sent := d.take(); to.want && (len(sent) != 1 || parse(sent[0]).dst != to.addr.Addr().Unmap()) {
					t.Errorf("to %v: %x was written", to.addr, sent)
				}
			}
		})
	}
}

// A link-local address is another one on each interface: who hears from one can answer, and two peers of one address are two.
func TestUDPLinkLocal(t *testing.T) {
	h := newHost(t, Config{})
	var taps [2]*tap
	for i := range taps {
		_, taps[i] = h.attach(InterfaceConfig{}, "fe80::1/64")
	}
	u, _ := h.openUDP("[::]:53", ListenOptions{})
	peer := port("[fe80::9]:9")
	for i, d := range taps {
		d.inject(udpPacket(peer, port("[fe80::1]:53"), "hello"))
		_, src := readUDP(t, u)
		if want := []string{"eth0", "eth1"}[i]; src.Addr().Zone() != want {
			t.Errorf("a datagram from %v, want zone %s", src, want)
		}
		if err := u.WriteTo([]byte("x"), src); err != nil {
			t.Fatal(err)
		}
		if got := parse(d.one(t)); got.dst != peer.Addr() || got.src != addr("fe80::1") {
			t.Errorf("answered from %v to %v", got.src, got.dst)
		}
	}
	if err := u.WriteTo(nil, port("[fe80::9%nowhere]:9")); err != syscall.ENODEV {
		t.Errorf("to a zone that does not exist: %v", err)
	}
	c, _ := h.connectUDP("[fe80::9]:9", Bound{Iface: 2})
	if err := c.Write(nil); err != nil {
		t.Fatal(err)
	}
	taps[1].one(t)
	for i, d := range taps {
		d.inject(udpPacket(peer, netip.AddrPortFrom(addr("fe80::1"), c.LocalAddr().Port()), "x"))
		if data, _ := readUDP(t, c); (data == "x") != (i == 1) {
			t.Errorf("a socket of the second interface's reads %q off number %d", data, i+1)
		}
	}
	if c.RemoteAddr() != port("[fe80::9%eth1]:9") || c.LocalAddr().Addr().Zone() != "eth1" {
		t.Errorf("connected from %v to %v, want zones", c.LocalAddr(), c.RemoteAddr())
	}
}

// IPv4 link-local addresses have no zones, and answers find their way in all the same.
func TestUDPLinkLocal4(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "169.254.1.1/16")
	u, _ := h.connectUDP("169.254.9.9:9", Bound{})
	d.inject(udpPacket(port("169.254.9.9:9"), u.LocalAddr(), "x"))
	if data, _ := readUDP(t, u); data != "x" {
		t.Error("the answer did not arrive")
	}
}

func TestUDPPorts(t *testing.T) {
	h := newHost(t, Config{})
	h.attach(InterfaceConfig{}, "192.0.2.1/24")
	h.openUDP("192.0.2.1:53", ListenOptions{})
	for _, c := range []struct {
		local string
		want  error
	}{{"192.0.2.1:53", syscall.EADDRINUSE}, {"0.0.0.0:53", syscall.EADDRINUSE}, {"198.18.0.1:53", syscall.EADDRNOTAVAIL}, {"[::]:54", nil}} {
		if err := h.ListenUDP(&UDP{}, port(c.local), ListenOptions{}); err != c.want {
			t.Errorf("listen on %s: %v, want %v", c.local, err, c.want)
		}
	}
	if err := h.ConnectUDP(&UDP{}, port("192.0.2.9:9"), Bound{Local: port("192.0.2.1:53")}); err != syscall.EADDRINUSE {
		t.Errorf("connect from a port that another socket is bound to: %v", err)
	}
	u, _ := h.connectUDP("192.0.2.9:9", Bound{Local: port("192.0.2.1:1000")})
	if err := h.ConnectUDP(&UDP{}, port("192.0.2.9:9"), Bound{Local: port("192.0.2.1:1000")}); err != syscall.EADDRINUSE {
		t.Errorf("the same connection a second time: %v", err)
	}
	u.Close()
	h.connectUDP("192.0.2.9:9", Bound{Local: port("192.0.2.1:1000")})
}

// Every ephemeral port can be used, for each far end anew; then there is none left, until one is given back.
func TestEphemeralPortsRunOut(t *testing.T) {
	h := newHost(t, Config{})
	h.attach(InterfaceConfig{}, "192.0.2.1/24")
	var all []*UDP
	seen := map[uint16]bool{}
	for range numEphemeral {
		u, _ := h.connectUDP("192.0.2.9:9", Bound{})
		all = append(all, u)
		seen[u.LocalAddr().Port()] = true
	}
	if len(seen) != numEphemeral {
		t.Errorf("%d ports, want %d", len(seen), numEphemeral)
	}
	if err := h.ConnectUDP(&UDP{}, port("192.0.2.9:9"), Bound{}); err != syscall.EADDRNOTAVAIL {
		t.Errorf("one more: %v, want EADDRNOTAVAIL", err)
	}
	h.connectUDP("192.0.2.9:10", Bound{})
	freed := all[7].LocalAddr().Port()
	all[7].Close()
	if u, _ := h.connectUDP("192.0.2.9:9", Bound{}); u.LocalAddr().Port() != freed {
		t.Errorf("port %d, want the one that is free, %d", u.LocalAddr().Port(), freed)
	}
}

// A datagram that is larger than the whole queue may be is received if the queue is empty: its fragments are charged at the capacity of
// their chunks, so that else a limit of 64 KiB would keep out datagrams of less.
func TestUDPLargerThanItsQueue(t *testing.T) {
	w := newWorld(t, pipe.Options{NoOffload: true})
	server, client := &UDP{}, &UDP{}
	if err := w.b.ListenUDP(server, netip.AddrPortFrom(addrB, 53), ListenOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.a.ConnectUDP(client, netip.AddrPortFrom(addrB, 53), Bound{}); err != nil {
		t.Fatal(err)
	}
	server.SetReadBuffer(16 << 10)
	for range 2 { // the second finds a queue that is not empty
		if err := client.Write(make([]byte, 65507)); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 1<<16)
	if n, _, truncated, err := server.ReadFrom(b); n != 65507 || truncated || err != nil {
		t.Errorf("read %d bytes, truncated %v: %v", n, truncated, err)
	}
	if _, _, _, err := server.ReadFrom(b); err != ErrWouldBlock {
		t.Errorf("the second datagram: %v, want that it was dropped", err)
	}
}
