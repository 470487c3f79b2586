package stack

import (
	"bytes"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/wire"
)

func echoMessage(typ uint8, id, seq uint16, data string) []byte {
	return append([]byte{typ, 0, 0, 0, byte(id >> 8), byte(id), byte(seq >> 8), byte(seq)}, data...)
}

func openPing(t *testing.T, s *Stack, proto wire.Protocol, local, remote string, iface int) (*Ping, *app) {
	t.Helper()
	p, a := &Ping{}, &app{}
	p.SetNotifier(a)
	var l, r netip.Addr
	if local != "" {
		l = addr(local)
	}
	if remote != "" {
		r = addr(remote)
	}
	if err := s.OpenPing(p, proto, l, r, iface); err != nil {
		t.Fatal(err)
	}
	return p, a
}

func TestPing(t *testing.T) {
	w := newWorld(t, pipe.Options{NoOffload: true})
	p, a := openPing(t, w.a, wire.ProtoICMP, "", addrB.String(), 0)
	if p.LocalAddr() != addrA || p.RemoteAddr() != addrB {
		t.Errorf("from %v to %v", p.LocalAddr(), p.RemoteAddr())
	}
	b := make([]byte, 1<<16)
	for _, size := range []int{0, 56, 1472, 1473, 60000} { // the larger ones in fragments
		sent := echoMessage(uint8(wire.ICMPv4Echo), 7, uint16(size), string(randomBytes(size)))
		a.ready = 0
		if err := p.WriteTo(sent, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
		if a.ready&ReadReady == 0 {
			t.Error("nobody was told")
		}
		n, src, truncated, err := p.ReadFrom(b)
		if err != nil || src != addrB || truncated || b[0] != uint8(wire.ICMPv4EchoReply) || !bytes.Equal(b[4:n], sent[4:]) {
			t.Errorf("%d bytes: read %d from %v: %v", size, n, src, err)
		}
	}
	if _, _, _, err := p.ReadFrom(b); err != ErrWouldBlock {
		t.Errorf("Read of nothing: %v", err)
	}
	for _, c := range []struct {
		message []byte
		dst     netip.Addr
		want    error
	}{
		{make([]byte, 7), addrB, syscall.EINVAL}, {make([]byte, 66000), addrB, syscall.EMSGSIZE},
		{make([]byte, 8), addr("2001:db8::1"), syscall.EAFNOSUPPORT}, {make([]byte, 8), addr("203.0.113.1"), syscall.ENETUNREACH},
	} {
		if err := p.WriteTo(c.message, c.dst); err != c.want {
			t.Errorf("%d bytes to %v: %v, want %v", len(c.message), c.dst, err, c.want)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != net.ErrClosed {
		t.Errorf("second Close: %v", err)
	}
	if _, _, _, err := p.ReadFrom(b); err != net.ErrClosed {
		t.Errorf("Read after Close: %v", err)
	}
	if err := p.WriteTo(make([]byte, 8), addrB); err != net.ErrClosed {
		t.Errorf("Write after Close: %v", err)
	}
}

// Who gets a message: every socket that it fits.
func TestPingSocketsAreChosen(t *testing.T) {
	h := newHost(t, Config{})
	_, d1 := h.attach(InterfaceConfig{}, "192.0.2.1/24", "192.0.2.2/24", "fe80::1/64")
	_, d2 := h.attach(InterfaceConfig{}, "198.18.0.1/24", "fe80::1/64")
	type socket struct {
		name, local, remote string
		proto               wire.Protocol
		iface               int
	}
	sockets := []socket{
		{"any", "", "", wire.ProtoICMP, 0}, {"local", "192.0.2.1", "", wire.ProtoICMP, 0}, {"remote", "", "192.0.2.9", wire.ProtoICMP, 0},
		{"second", "", "", wire.ProtoICMP, 2}, {"any6", "::", "", wire.ProtoICMPv6, 0}, {"scoped", "", "fe80::9", wire.ProtoICMPv6, 2},
	}
	var all []*Ping
	for _, s := range sockets {
		p, _ := openPing(t, h.Stack, s.proto, s.local, s.remote, s.iface)
		all = append(all, p)
	}
	for _, c := range []struct {
		d        *tap
		src, dst string
		want     string
	}{
		{d1, "192.0.2.9", "192.0.2.1", "any local remote "}, {d1, "192.0.2.8", "192.0.2.2", "any "}, {d2, "198.18.0.9", "198.18.0.1", "any second "},
		{d1, "fe80::9", "fe80::1", "any6 "}, {d2, "fe80::9", "fe80::1", "any6 scoped "},
	} {
		typ := uint8(wire.ICMPv4EchoReply)
		if addr(c.src).Is6() {
			typ = uint8(wire.ICMPv6EchoReply)
		}
		c.d.inject(icmpPacket(addr(c.src), addr(c.dst), typ, 0, 1, []byte("x")))
		got := ""
		for i, p := range all {
			if _, src, _, err := p.ReadFrom(make([]byte, 100)); err == nil {
				got += sockets[i].name + " "
				if src.WithZone("") != addr(c.src) || src.Is6() != (src.Zone() != "") {
					t.Errorf("from %v, want %s with its zone", src, c.src)
				}
			}
		}
		if got != c.want {
			t.Errorf("a reply from %s to %s is read by %q, want %q", c.src, c.dst, got, c.want)
		}
	}
	if err := all[4].WriteTo(echoMessage(uint8(wire.ICMPv6Echo), 1, 1, ""), addr("fe80::9%eth1")); err != nil {
		t.Fatal(err)
	}
	d2.one(t)
	for _, bad := range []struct {
		local, remote string
		want          error
	}{{"192.0.2.77", "", syscall.EADDRNOTAVAIL}, {"", "203.0.113.1", syscall.ENETUNREACH}} {
		var r netip.Addr
		if bad.remote != "" {
			r = addr(bad.remote)
		}
		var l netip.Addr
		if bad.local != "" {
			l = addr(bad.local)
		}
		if err := h.OpenPing(&Ping{}, wire.ProtoICMP, l, r, 0); err != bad.want {
			t.Errorf("open from %q to %q: %v, want %v", bad.local, bad.remote, err, bad.want)
		}
	}
}

// Replies that nobody reads are held within a limit.
func TestPingQueueIsCharged(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	openPing(t, h.Stack, wire.ProtoICMP, "", "", 0)
	for range 1000 {
		d.inject(icmpPacket(addr("192.0.2.9"), addr("192.0.2.1"), uint8(wire.ICMPv4EchoReply), 0, 1, make([]byte, 100)))
	}
	if used, _ := h.Memory(); used > pingBuffer+512 || used < pingBuffer/2 {
		t.Errorf("%d bytes are held, the limit is %d", used, pingBuffer)
	}
}
