package stack

import (
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/wire"
)

// ICMP errors about a SYN end the attempt; about an open connection they are only remembered, if what they quote is in flight.
func TestTCPErrorsFromICMP(t *testing.T) {
	for _, c := range []struct {
		name      string
		typ, code uint8
		want      error
	}{
		{"host unreachable", uint8(wire.ICMPv4DstUnreachable), wire.ICMPv4HostUnreachable, syscall.EHOSTUNREACH},
		{"net unreachable", uint8(wire.ICMPv4DstUnreachable), wire.ICMPv4NetUnreachable, syscall.ENETUNREACH},
		{"protocol unreachable", uint8(wire.ICMPv4DstUnreachable), wire.ICMPv4ProtoUnreachable, syscall.ENOPROTOOPT},
		{"port unreachable", uint8(wire.ICMPv4DstUnreachable), wire.ICMPv4PortUnreachable, syscall.ECONNREFUSED},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, Config{})
			_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
			report := func(quoted []byte) {
				d.inject(icmpPacket(addr("192.0.2.254"), addr("192.0.2.1"), c.typ, c.code, 0, quoted))
			}
			a := &app{}
			syn := newSocket(a)
			if err := h.ConnectTCP(syn, port("192.0.2.9:80"), Bound{}); err != nil {
				t.Fatal(err)
			}
			quoted := d.one(t)
			forged := append([]byte(nil), quoted...)
			wire.TCP(forged[wire.IPv4MinLen:]).SetSeq(12345)
			if report(forged); syn.Connected() != ErrWouldBlock {
				t.Error("an error about what was never sent was believed")
			}
			report(quoted)
			if err := syn.Connected(); err != c.want || a.ready&ConnReady == 0 || h.flows.len() != 0 {
				t.Errorf("Connected: %v, want %v; told %v", err, c.want, a.ready)
			}

			open, _ := h.connect(d, "192.0.2.9:80", Bound{})
			write(t, open, "data")
			report(d.one(t))
			if _, err := open.Read(make([]byte, 1)); err != ErrWouldBlock {
				t.Errorf("an open connection reads %v", err)
			}
			h.clock.Advance(time.Hour)
			if _, err := open.Read(make([]byte, 1)); err != c.want {
				t.Errorf("the reason of its timing out: %v, want %v", err, c.want)
			}
		})
	}
}

// A router's word that a packet is too big lowers the size of segments, and what was too big is sent again at once.
func TestTCPLearnsPathMTU(t *testing.T) {
	for _, c := range []struct {
		local, remote, router string
		headers, mtu          int
	}{
		{"192.0.2.1/24", "192.0.2.9:80", "192.0.2.254", 40, 1000},
		{"2001:db8::1/64", "[2001:db8::9]:80", "2001:db8::ff", 60, 1300},
	} {
		h := newHost(t, Config{})
		_, d := h.attach(InterfaceConfig{}, c.local)
		conn, p := h.connect(d, c.remote, Bound{})
		tooBig := func(mtu int, quoted []byte) {
			local := conn.LocalAddr().Addr()
			if local.Is4() {
				d.inject(icmpPacket(addr(c.router), local, uint8(wire.ICMPv4DstUnreachable), wire.ICMPv4FragNeeded, uint32(mtu), quoted))
				return
			}
			d.inject(icmpPacket(addr(c.router), local, uint8(wire.ICMPv6PacketTooBig), 0, uint32(mtu), quoted))
		}
		write(t, conn, string(randomBytes(500)))
		small := d.one(t)
		tooBig(c.mtu, small) // it fits: a lie
		if path, err := h.Lookup(conn.LocalAddr().Addr(), conn.RemoteAddr().Addr(), 0, false); err != nil || path.MTU != 1500 {
			t.Errorf("MTU %d after an error about a small packet: %v", path.MTU, err)
		}
		p.ack = parse(small).tcp().Seq() + 500
		p.send(wire.ACK, "")
		d.take()
		write(t, conn, string(randomBytes(4200)))
		large := d.take()
		if len(large) != 3 || len(large[0]) != c.headers+1400 {
			t.Fatalf("%d packets, the first of %d bytes", len(large), len(large[0]))
		}
		tooBig(c.mtu, large[0])
		again := d.take()
		for _, b := range again {
			if len(b) > c.mtu {
				t.Errorf("%d bytes are sent again over a path of %d", len(b), c.mtu)
			}
		}
		if len(again) == 0 || parse(again[0]).tcp().Seq() != parse(large[0]).tcp().Seq() {
			t.Error("what was too big is not sent again at once")
		}

		// What is learned by one connection is good for the next.
		path, err := h.Lookup(conn.LocalAddr().Addr(), conn.RemoteAddr().Addr(), 0, false)
		if err != nil || path.MTU != c.mtu {
			t.Errorf("the path's MTU is %d, want %d: %v", path.MTU, c.mtu, err)
		}
		conn2 := newSocket(&app{})
		if err := h.ConnectTCP(conn2, p.src, Bound{}); err != nil {
			t.Fatal(err)
		}
		var o wire.TCPOptions
		o.Parse(parse(d.one(t)).tcp().OptionBytes())
		if int(o.MSS) != 1500-c.headers || conn2.Info().PathMTU != c.mtu { // the way back may be wider
			t.Errorf("MSS %d is announced over a path of %d, which is used as one of %d", o.MSS, c.mtu, conn2.Info().PathMTU)
		}
		h.clock.Advance(11 * time.Minute)
		if path, _ := h.Lookup(conn.LocalAddr().Addr(), conn.RemoteAddr().Addr(), 0, false); path.MTU != 1500 {
			t.Errorf("the path's MTU is %d eleven minutes later, want it forgotten", path.MTU)
		}
	}
}
