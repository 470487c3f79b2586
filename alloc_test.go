package weir_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

// tcpPair returns both ends of a connection between two hosts joined by a pipe.
func tcpPair(t testing.TB, c weir.Config, o pipe.Options) (x, y *weir.TCPConn) {
	t.Helper()
	a, b := newPair(t, c, o)
	return connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
}

func connect(t testing.TB, a, b *weir.Stack, to netip.AddrPort) (x, y *weir.TCPConn) {
	t.Helper()
	l, err := b.ListenTCP(to)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if x, err = a.DialTCP(context.Background(), netip.AddrPort{}, to); err != nil {
		t.Fatal(err)
	}
	if y, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	return x, y
}

func noAllocs(t *testing.T, what string, fn func()) {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	for range 100 { // pools fill, queues grow
		fn()
	}
	if n := testing.AllocsPerRun(2000, fn); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}

func TestTCPAllocatesNothing(t *testing.T) {
	for name, o := range map[string]pipe.Options{"super-segments": {}, "packets": {NoOffload: true}} {
		t.Run(name, func(t *testing.T) {
			x, y := tcpPair(t, weir.Config{}, o)
			for _, size := range []int{1, 1000, 30_000} {
				out, in := make([]byte, size), make([]byte, size)
				noAllocs(t, "one way", func() {
					if _, err := x.Write(out); err != nil {
						t.Fatal(err)
					}
					for n := 0; n < size; {
						m, err := y.Read(in)
						if err != nil {
							t.Fatal(err)
						}
						n += m
					}
				})
			}
		})
	}
}

// TestBlockingAllocatesNothing has each Read wait for what the other goroutine writes.
func TestBlockingAllocatesNothing(t *testing.T) {
	x, y := tcpPair(t, weir.Config{}, pipe.Options{})
	go func() {
		b := make([]byte, 10)
		for {
			n, err := y.Read(b)
			if err != nil {
				return
			}
			y.Write(b[:n])
		}
	}()
	b := []byte{1}
	noAllocs(t, "round trip", func() {
		if _, err := x.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Read(b); err != nil {
			t.Fatal(err)
		}
	})
	x.Close()
}

func TestUDPAllocatesNothing(t *testing.T) {
	for name, o := range map[string]pipe.Options{"with offloads": {}, "without": {NoOffload: true}} {
		t.Run(name, func(t *testing.T) {
			a, b := newPair(t, weir.Config{}, o)
			s, err := b.ListenUDP(netip.AddrPortFrom(netip.Addr{}, 9))
			if err != nil {
				t.Fatal(err)
			}
			for _, to := range []netip.Addr{addrB4, addrB6} {
				c, err := a.DialUDP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(to, 9))
				if err != nil {
					t.Fatal(err)
				}
				msg, in := make([]byte, 64), make([]byte, 100)
				noAllocs(t, "there and back", func() {
					if _, err := c.Write(msg); err != nil {
						t.Fatal(err)
					}
					n, src, err := s.ReadFromUDPAddrPort(in)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := s.WriteToUDPAddrPort(in[:n], src); err != nil {
						t.Fatal(err)
					}
					if _, err := c.Read(in); err != nil {
						t.Fatal(err)
					}
				})
			}
		})
	}
}

func TestDeadlinesAllocateNothing(t *testing.T) {
	x, _ := tcpPair(t, weir.Config{}, pipe.Options{})
	d := time.Now().Add(time.Hour)
	noAllocs(t, "set deadline", func() {
		x.SetReadDeadline(d)
		x.SetWriteDeadline(d)
		x.SetDeadline(time.Time{})
		d = d.Add(time.Second)
	})
}
