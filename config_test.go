package weir_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

func TestRoutes(t *testing.T) {
	a, b := newPair(t, weir.Config{}, pipe.Options{})
	other := netip.MustParsePrefix("198.18.0.0/16")
	b.Interface("eth0").SetAddrs(append(prefixes(addrB4), netip.MustParsePrefix("198.18.0.1/16"))...)
	echoServer(b)
	if err := second(a.Dial("tcp", "198.18.0.1:7")); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("without a route: %v", err)
	}
	if err := a.SetRoutes([]weir.Route{{Prefix: other, Gateway: addrB4}}); err != nil {
		t.Fatal(err)
	}
	c, err := a.Dial("tcp", "198.18.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	for _, bad := range []weir.Route{
		{Prefix: other, Interface: "nowhere"},
		{Prefix: other, Gateway: netip.MustParseAddr("203.0.113.1")},
		{},
	} {
		if err := a.SetRoutes([]weir.Route{bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if c, err = a.Dial("tcp", "198.18.0.1:7"); err != nil { // the routes before are still there
		t.Fatal(err)
	}
	c.Close()
	a.SetRoutes(nil)
	if err := second(a.Dial("tcp", "198.18.0.1:7")); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("after the route has gone: %v", err)
	}
}

func TestInterfaces(t *testing.T) {
	s := newStack(t, weir.Config{})
	x, y := pipe.New(pipe.Options{})
	defer y.Close()
	i := join(t, s, weir.InterfaceConfig{Device: x, Addrs: prefixes(addrA4), Down: true})
	if err := second(s.AddInterface(weir.InterfaceConfig{Name: "eth0", Device: y})); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("same name: %v", err)
	}
	if err := second(s.AddInterface(weir.InterfaceConfig{})); err == nil {
		t.Error("an interface without device")
	}
	if in := i.Info(); in.Name != "eth0" || in.MTU != 1500 || in.Up || len(in.Addrs) != 1 || in.Addrs[0].Addr() != addrA4 {
		t.Errorf("%+v", in)
	}
	if err := second(s.ListenTCP(netip.AddrPortFrom(addrA4, 80))); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("listen on an interface that is down: %v", err)
	}
	i.SetUp(true)
	l, err := s.ListenTCP(netip.AddrPortFrom(addrA4, 80))
	if err != nil || !i.Info().Up {
		t.Error(err, i.Info().Up)
	}
	l.Close()
	if all := s.Interfaces(); len(all) != 2 || all[0].Name() != "lo" || all[1].Name() != "eth0" {
		t.Error(all)
	}
	if err := i.Close(); err != nil || i.Close() != nil {
		t.Error(err)
	}
	if s.Interface("eth0") != nil || i.SetUp(true) == nil || i.SetAddrs() == nil {
		t.Error("a closed interface lives")
	}
}

func TestControl(t *testing.T) {
	a, b := newPair(t, weir.Config{}, pipe.Options{})
	no := errors.New("no")
	l, err := (&weir.ListenConfig{Stack: b, Control: func(o *weir.SockOpts) error {
		if o.Network != "tcp" || o.Local.Port() != 80 || !o.NoDelay || !o.KeepAlive.Enable {
			t.Errorf("options before: %+v", o)
		}
		o.Congestion = "reno"
		o.KeepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Hour}
		return nil
	}}).Listen(context.Background(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := (&weir.Dialer{Stack: a, Control: func(o *weir.SockOpts) error {
		if o.Network != "tcp" || o.Remote.String() != "192.0.2.2:80" {
			t.Errorf("options before: %+v", o)
		}
		o.UserTimeout = time.Minute
		o.SendBuffer = 100_000
		return nil
	}}).Dial("tcp4", "192.0.2.2:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if x, y := c.(*weir.TCPConn).Info().Congestion, s.(*weir.TCPConn).Info().Congestion; x != "cubic" || y != "reno" {
		t.Errorf("congestion control %s and %s", x, y)
	}
	if err := s.(*weir.TCPConn).SetCongestionControl("vegas"); err == nil {
		t.Error("unknown congestion control")
	}
	if _, err := (&weir.Dialer{Stack: a, Control: func(*weir.SockOpts) error { return no }}).Dial("tcp", "192.0.2.2:80"); !errors.Is(err, no) {
		t.Errorf("dial: %v", err)
	}
	bad := func(o *weir.SockOpts) error { o.Congestion = "vegas"; return nil }
	if _, err := (&weir.Dialer{Stack: a, Control: bad}).Dial("tcp", "192.0.2.2:80"); err == nil {
		t.Error("dialled with an unknown congestion control")
	}
	if _, err := (&weir.ListenConfig{Stack: a, Control: func(*weir.SockOpts) error { return no }}).ListenPacket(context.Background(), "udp", ":0"); !errors.Is(err, no) {
		t.Errorf("listen: %v", err)
	}
	if _, err := (&weir.ListenConfig{Stack: a, Control: bad}).Listen(context.Background(), "tcp", ":0"); err == nil {
		t.Error("listens with an unknown congestion control")
	}
	if n := a.Stats().Flows; n != 1 {
		t.Errorf("%d flows after Dials that failed", n)
	}
}

func TestUnspecifiedListeners(t *testing.T) {
	a, b := newPair(t, weir.Config{}, pipe.Options{})
	for _, c := range []struct {
		network, address string
		four, six        bool
	}{
		{"tcp", ":81", true, true},
		{"tcp", "[::]:82", true, true},
		{"tcp", "0.0.0.0:83", true, false},
		{"tcp4", ":84", true, false},
		{"tcp6", ":85", false, true},
		{"tcp6", "[::]:86", false, true},
	} {
		l, err := b.Listen(c.network, c.address)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for host, want := range map[string]bool{"192.0.2.2": c.four, "2001:db8::2": c.six} {
			conn, err := a.Dial("tcp", net.JoinHostPort(host, port))
			if (err == nil) != want {
				t.Errorf("%s %s: from %s: %v", c.network, c.address, host, err)
			}
			if err == nil {
				conn.Close()
			}
		}
		l.Close()
	}
	// Both in turn on one port.
	four, err := b.Listen("tcp4", ":87")
	if err != nil {
		t.Fatal(err)
	}
	defer four.Close()
	six, err := b.Listen("tcp6", ":87")
	if err != nil {
		t.Fatal(err)
	}
	defer six.Close()
}

// TestInfoAndStats compares what a connection and the stacks say with what was done. Time is virtual: on a machine that is busy for
// milliseconds, a tail loss probe would be right to send something again.
func TestInfoAndStats(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		go func() { x.Write(make([]byte, 100_000)); x.CloseWrite() }()
		if n, err := io.Copy(io.Discard, y); n != 100_000 || err != nil {
			t.Fatal(n, err)
		}
		y.Write([]byte{1}) // which acknowledges the FIN, if nothing did before
		if _, err := x.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if in := x.Info(); in.BytesSent != 100_000 || in.BytesAcked != 100_000 || in.Retransmits != 0 || in.SendMSS != 1448 || in.State.String() != "FIN-WAIT-2" || in.MinRTT != 2*time.Millisecond {
			t.Errorf("sender: %+v", in)
		}
		if in := y.Info(); in.BytesReceived != 100_000 || in.SegmentsReceived < 70 || in.State.String() != "CLOSE-WAIT" || in.Congestion != "cubic" {
			t.Errorf("receiver: %+v", in)
		}
	})
}
