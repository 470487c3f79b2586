package weir_test

import (
	"context"
	"io"
	"net/netip"
	"testing"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

// maxConnectClose is how many allocations a connection may take from connect to close, both ends together. Five are what stays: two
// TCPConns, two congestion controls, and the options of the dial; now and then pools and the flow table grow.
const maxConnectClose = 12

func TestConnectCloseAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets things")
	}
	x, y := newPair(t, weir.Config{}, pipe.Options{})
	l, err := y.ListenTCP(netip.AddrPortFrom(addrB4, 80))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	say := func(from, to *weir.TCPConn) {
		if _, err := from.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, buf); err != nil {
			t.Fatal(err)
		}
	}
	turn := func() {
		c, err := x.DialTCP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 80))
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		say(c, s)
		say(s, c)
		s.Close()
		c.Close()
	}
	for range 1000 {
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n > maxConnectClose {
		t.Errorf("%v allocations for a connection, want at most %d", n, maxConnectClose)
	} else {
		t.Logf("%v allocations for a connection", n)
	}
}

// BenchmarkConnectClose: connect, 100 bytes there and back, close.
func BenchmarkConnectClose(b *testing.B) {
	x, y := newPair(b, weir.Config{}, pipe.Options{})
	l, err := y.ListenTCP(netip.AddrPortFrom(addrB4, 80))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		buf := make([]byte, 100)
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			io.ReadFull(c, buf)
			c.Write(buf)
			c.Close()
		}
	}()
	buf := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		c, err := x.DialTCP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 80))
		if err != nil {
			b.Fatal(err)
		}
		c.Write(buf)
		io.ReadFull(c, buf)
		c.Close()
	}
}
