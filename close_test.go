package weir_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link/pipe"
)

// TestCloseUnblocksEverything blocks one goroutine in each call that can, and demands net.ErrClosed from all.
func TestCloseUnblocksEverything(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	pool := buffer.NewPool(buffer.Options{Check: true})
	s, err := weir.New(weir.Config{Buffers: pool, DNS: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")}})
	if err != nil {
		t.Fatal(err)
	}
	far, device := pipe.New(pipe.Options{})
	defer far.Close()
	join(t, s, weir.InterfaceConfig{Device: device, Addrs: prefixes(addrA4)})
	l, err := s.ListenTCP(netip.MustParseAddrPort("127.0.0.1:80"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	c, err := s.DialTCP(ctx, netip.AddrPort{}, netip.MustParseAddrPort("127.0.0.1:80"))
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.ListenUDP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.ListenPacket("ip4:icmp", "")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var started sync.WaitGroup
	for name, call := range map[string]func() error{
		"accept":    func() error { _, err := l.Accept(); return err },
		"read":      func() error { _, err := c.Read(buf100); return err },
		"write":     func() error { _, err := c.Write(huge); return err },
		"write to":  func() error { _, err := peer.(*weir.TCPConn).WriteTo(blackhole{}); return err },
		"UDP read":  func() error { _, _, err := u.ReadFrom(make([]byte, 10)); return err },
		"ICMP read": func() error { _, _, err := p.ReadFrom(make([]byte, 10)); return err },
		"dial":      func() error { _, err := s.Dial("tcp", "192.0.2.9:80"); return err },
		"look up":   func() error { _, err := s.LookupNetIP(ctx, "ip", "example.org"); return err },
	} {
		started.Add(1)
		wg.Go(func() {
			started.Done()
			if err := call(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	started.Wait()
	for range 3 {
		wg.Go(func() { s.Close() })
	}
	wg.Wait()
	for name, err := range map[string]error{
		"listen":       second(s.Listen("tcp", ":0")),
		"listen UDP":   second(s.ListenUDP(netip.AddrPort{})),
		"listen ICMP":  second(s.ListenPacket("ip4:icmp", "")),
		"dial UDP":     second(s.Dial("udp", "127.0.0.1:9")),
		"set deadline": c.SetDeadline(past),
		"set option":   c.SetNoDelay(true),
		"close write":  c.CloseWrite(),
		"accept":       second(l.Accept()),
		"read":         second(c.Read(buf100)),
		"interface":    second(s.AddInterface(weir.InterfaceConfig{Device: far})),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if err := pool.Leaked(); err != nil {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// blackhole takes nothing, for as long as it may.
type blackhole struct{}

func (blackhole) Write(p []byte) (int, error) { return len(p), nil }

// TestCloseUnderLoad closes two stacks joined by a pipe at once, under traffic of all kinds.
func TestCloseUnderLoad(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	rounds := 300
	if testing.Short() || raceEnabled {
		rounds = 100
	}
	if *long {
		rounds = 10_000
	}
	for i := range rounds {
		closeUnderLoad(t, i%10 == 0)
	}
}

func closeUnderLoad(t *testing.T, check bool) {
	pool := buffer.NewPool(buffer.Options{Check: check})
	var stacks [2]*weir.Stack
	x, y := pipe.New(pipe.Options{})
	for i := range stacks {
		s, err := weir.New(weir.Config{Buffers: pool})
		if err != nil {
			t.Fatal(err)
		}
		stacks[i] = s
	}
	a, b := stacks[0], stacks[1]
	join(t, a, weir.InterfaceConfig{Device: x, Addrs: prefixes(addrA4)})
	join(t, b, weir.InterfaceConfig{Device: y, Addrs: prefixes(addrB4)})
	var wg, busy sync.WaitGroup
	l, err := b.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { io.Copy(c, c); c.Close() })
		}
	})
	b.HandleTCP(func(r *weir.TCPRequest) { r.Reject(syscall.ECONNRESET) })
	b.HandleUDP(func(r *weir.UDPRequest) {
		if c, err := r.Accept(r.Context()); err == nil {
			c.Read(make([]byte, 100))
			c.Close()
		}
	})
	for range 3 {
		busy.Add(1)
		wg.Go(func() {
			c, err := a.Dial("tcp", "192.0.2.2:80")
			busy.Done()
			if err != nil {
				return
			}
			defer c.Close()
			wg.Go(func() { io.Copy(io.Discard, c) })
			for err == nil {
				_, err = c.Write(huge[:100_000])
			}
		})
	}
	wg.Go(func() {
		for err := error(nil); !errors.Is(err, net.ErrClosed); {
			_, err = a.Dial("tcp", "192.0.2.2:81")
		}
	})
	u, err := a.Dial("udp", "192.0.2.2:9")
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		for err := error(nil); !errors.Is(err, net.ErrClosed); {
			_, err = u.Write(buf100)
		}
	})
	busy.Wait()
	wg.Go(func() { a.Close() })
	wg.Go(func() { b.Close() })
	wg.Wait()
	if err := pool.Leaked(); err != nil {
		t.Fatal(err)
	}
}
