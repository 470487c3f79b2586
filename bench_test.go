package weir_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

func BenchmarkRoundTrip(b *testing.B) {
	x, y := tcpPair(b, weir.Config{}, pipe.Options{})
	go func() {
		p := make([]byte, 1)
		for {
			if _, err := y.Read(p); err != nil {
				return
			}
			y.Write(p)
		}
	}()
	p := make([]byte, 1)
	for b.Loop() {
		x.Write(p)
		if _, err := x.Read(p); err != nil {
			b.Fatal(err)
		}
	}
	x.Close()
}

// BenchmarkDeadline sets a deadline before each call, as HTTP servers do.
func BenchmarkDeadline(b *testing.B) {
	x, _ := tcpPair(b, weir.Config{}, pipe.Options{})
	b.ReportAllocs()
	at := time.Now().Add(time.Minute)
	for b.Loop() {
		at = at.Add(1000)
		if err := x.SetReadDeadline(at); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBulk(b *testing.B) {
	for _, streams := range []int{1, 8} {
		for name, o := range map[string]pipe.Options{"super-segments": {}, "packets": {NoOffload: true}} {
			b.Run(fmt.Sprintf("%s/%d", name, streams), func(b *testing.B) { benchmarkBulk(b, o, streams) })
		}
	}
}

// benchmarkBulk has so many streams at once each send a part of b.N blocks.
func benchmarkBulk(b *testing.B, o pipe.Options, streams int) {
	s, d := newPair(b, weir.Config{}, o)
	const size = 256 << 10
	b.SetBytes(size)
	var all sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	for range streams {
		x, y := connect(b, s, d, netip.AddrPortFrom(addrB4, 80))
		all.Go(func() {
			defer x.Close()
			p := make([]byte, size)
			for left.Add(-1) >= 0 {
				if _, err := x.Write(p); err != nil {
					b.Error(err)
					return
				}
			}
		})
		all.Go(func() {
			p := make([]byte, size)
			for {
				if _, err := y.Read(p); err != nil {
					return
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkConnect(b *testing.B) {
	s, d := newPair(b, weir.Config{}, pipe.Options{})
	l, err := d.ListenTCP(netip.AddrPortFrom(addrB4, 80))
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	p := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		c, err := s.DialTCP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 80))
		if err != nil {
			b.Fatal(err)
		}
		c.Write(p)
		c.CloseWrite()
		if _, err := io.ReadAll(c); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

func BenchmarkUDP(b *testing.B) {
	s, d := newPair(b, weir.Config{}, pipe.Options{})
	u, err := d.ListenUDP(netip.AddrPortFrom(addrB4, 9))
	if err != nil {
		b.Fatal(err)
	}
	c, err := s.DialUDP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 9))
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 64)
	for b.Loop() {
		if _, err := c.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, _, err := u.ReadFromUDPAddrPort(p); err != nil {
			b.Fatal(err)
		}
	}
}
