package weir_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

// TestLinkLocal has two links on each of which there is a host fe80::2.
func TestLinkLocal(t *testing.T) {
	a := newStack(t, weir.Config{})
	ours, theirs := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
	for _, name := range []string{"left", "right"} {
		b := newStack(t, weir.Config{})
		da, db := pipe.New(pipe.Options{})
		join(t, a, weir.InterfaceConfig{Name: name, Device: da, Addrs: prefixes(ours)})
		join(t, b, weir.InterfaceConfig{Name: "eth0", Device: db, Addrs: prefixes(theirs)})
		l, err := b.Listen("tcp", "[fe80::2%eth0]:80")
		if err != nil {
			t.Fatal(err)
		}
		if s := l.Addr().String(); s != "[fe80::2%eth0]:80" {
			t.Errorf("listener's address %s", s)
		}
		u, err := b.ListenUDP(netip.MustParseAddrPort("[::]:9"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if s := c.LocalAddr().String(); s != "[fe80::2%eth0]:80" {
					t.Errorf("accepted connection's address %s", s)
				}
				c.Write([]byte(name))
				c.Close()
			}
		}()
		go func() {
			m := make([]byte, 100)
			for {
				_, src, err := u.ReadFromUDPAddrPort(m)
				if err != nil {
					return
				}
				if src.Addr().Zone() != "eth0" {
					t.Errorf("datagram from %v", src)
				}
				u.WriteToUDPAddrPort([]byte(name), src)
			}
		}()
	}
	for _, name := range []string{"left", "right"} {
		for _, network := range []string{"tcp", "udp"} {
			port := map[string]string{"tcp": "80", "udp": "9"}[network]
			address := "[fe80::2%" + name + "]:" + port
			c, err := a.Dial(network, address)
			if err != nil {
				t.Fatal(err)
			}
			if network == "udp" {
				c.Write([]byte("x"))
			}
			m := make([]byte, 100)
			n, err := c.Read(m)
			if string(m[:n]) != name || err != nil {
				t.Errorf("%s: %q, %v", address, m[:n], err)
			}
			if s := c.RemoteAddr().String(); s != address {
				t.Errorf("remote address %s, want %s", s, address)
			}
			if h, _, _ := net.SplitHostPort(c.LocalAddr().String()); h != "fe80::1%"+name {
				t.Errorf("local address %v", c.LocalAddr())
			}
			c.Close()
		}
		d := &weir.Dialer{Stack: a, Interface: name} // instead of a zone
		c, err := d.DialContext(context.Background(), "tcp", "[fe80::2]:80")
		if err != nil {
			t.Fatal(err)
		}
		m := make([]byte, 100)
		if n, err := c.Read(m); string(m[:n]) != name || err != nil {
			t.Errorf("by Interface: %q, %v", m[:n], err)
		}
		c.Close()
	}
	if err := second(a.Dial("tcp", "[fe80::2%nowhere]:80")); err == nil {
		t.Error("dialled by an interface that is not there")
	}
	if err := second(a.Dial("tcp", "[fe80::2]:80")); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("without zone: %v", err)
	}
}

// TestIsolated has two interfaces with the same addresses, each a world of its own, behind one listener each.
func TestIsolated(t *testing.T) {
	s := newStack(t, weir.Config{})
	var guests []*weir.Stack
	for _, name := range []string{"red", "blue"} {
		g := newStack(t, weir.Config{})
		dg, ds := pipe.New(pipe.Options{})
		join(t, g, weir.InterfaceConfig{Device: dg, Addrs: prefixes(addrA4)})
		join(t, s, weir.InterfaceConfig{Name: name, Device: ds, Addrs: prefixes(addrB4), Isolated: true, AnyDestination: true, Gateway4: addrA4})
		guests = append(guests, g)
		l, err := (&weir.ListenConfig{Stack: s, Interface: name}).Listen(context.Background(), "tcp", "192.0.2.2:80")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Write([]byte(name))
				c.Close()
			}
		}()
	}
	s.HandleTCP(func(r *weir.TCPRequest) {
		c, err := r.Accept(r.Context())
		if err != nil {
			t.Error(err)
			return
		}
		c.Write([]byte(r.Interface))
		c.Close()
	})
	for i, name := range []string{"red", "blue"} {
		for _, port := range []uint16{80, 81} {
			// The same four-tuple on both.
			c, err := guests[i].DialTCP(context.Background(), netip.AddrPortFrom(addrA4, 5000+port), netip.AddrPortFrom(addrB4, port))
			if err != nil {
				t.Fatal(err)
			}
			m := make([]byte, 100)
			if n, err := c.Read(m); string(m[:n]) != name || err != nil {
				t.Errorf("port %d of %s: %q, %v", port, name, m[:n], err)
			}
			defer c.Close()
		}
	}
}
