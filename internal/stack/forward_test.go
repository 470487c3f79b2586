package stack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/sched"
)

// routed is two hosts with a router between them, which forwards from one pipe to the other.
type routed struct {
	clock   *sched.Virtual
	a, r, b *Stack
}

var farB = netip.MustParseAddr("198.18.0.2")

// newRouted joins the hosts with ordinary pools: nothing but the stacks' own work allocates.
func newRouted(t testing.TB, left, right pipe.Options) *routed {
	t.Helper()
	w := &routed{clock: sched.NewVirtual(testEpoch)}
	add := func(s *Stack, c InterfaceConfig) {
		if _, err := s.AddInterface(c); err != nil {
			t.Fatal(err)
		}
	}
	host := func(forward bool) *Stack {
		s := New(Config{Clock: w.clock, Rand: rand.Uint64, Forward: forward})
		t.Cleanup(s.Close)
		return s
	}
	w.a, w.r, w.b = host(false), host(true), host(false)
	a, ra := pipe.New(left)
	rb, b := pipe.New(right)
	prefix := netip.MustParsePrefix
	add(w.a, InterfaceConfig{Device: a, Addrs: []netip.Prefix{prefix("192.0.2.1/24")}, Gateway4: addr("192.0.2.254")})
	add(w.r, InterfaceConfig{Device: ra, Addrs: []netip.Prefix{prefix("192.0.2.254/24")}})
	add(w.r, InterfaceConfig{Device: rb, Addrs: []netip.Prefix{prefix("198.18.0.254/24")}})
	add(w.b, InterfaceConfig{Device: b, Addrs: []netip.Prefix{prefix("198.18.0.2/24")}, Gateway4: addr("198.18.0.254")})
	return w
}

// forwardLinks are the pipes on both sides of the router: super-segments pass, packets do, or the one is made of the other.
var forwardLinks = []struct {
	name        string
	left, right pipe.Options
}{
	{"super-segments", pipe.Options{}, pipe.Options{}},
	{"packets", pipe.Options{NoOffload: true}, pipe.Options{NoOffload: true}},
	{"super-segments to packets", pipe.Options{}, pipe.Options{NoOffload: true}},
	{"packets to super-segments", pipe.Options{NoOffload: true}, pipe.Options{}},
}

// sendUDP returns what sends n datagrams of size bytes from a to b in one batch and reads them.
func (w *routed) sendUDP(t testing.TB, n, size int) func() {
	client, server := &UDP{}, &UDP{}
	if err := w.b.ListenUDP(server, netip.AddrPortFrom(farB, 53), ListenOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.a.ConnectUDP(client, netip.AddrPortFrom(farB, 53), Bound{}); err != nil {
		t.Fatal(err)
	}
	out, in := room(n, size), room(n, size)
	return func() {
		if k, err := client.WriteBatch(out); err != nil {
			t.Fatal(k, err)
		}
		for k := 0; k < n; {
			m, err := server.ReadBatch(in)
			if err != nil {
				t.Fatalf("%d of %d arrived: %v", k, n, err)
			}
			k += m
		}
	}
}

// sendTCP returns what sends size bytes over a connection from a to b.
func (w *routed) sendTCP(t testing.TB, size int) func() {
	var server *TCP
	l, err := w.b.ListenTCP(netip.AddrPortFrom(farB, 80), ListenOptions{Make: func() *TCP { return newSocket(&app{}) }})
	if err != nil {
		t.Fatal(err)
	}
	client := newSocket(&app{})
	if err := w.a.ConnectTCP(client, netip.AddrPortFrom(farB, 80), Bound{}); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	out, in := make([]byte, size), make([]byte, 256<<10)
	return func() {
		for rest, left := out, size; left > 0; {
			n, err := client.Write(rest)
			if rest = rest[n:]; err != nil && err != ErrWouldBlock {
				t.Fatal(err)
			}
			moved := n
			for {
				n, err := server.Read(in)
				left, moved = left-n, moved+n
				if err != nil {
					break
				}
			}
			if moved == 0 && !w.clock.Step() {
				t.Fatal("stalled")
			}
		}
	}
}

func TestForwardingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets things")
	}
	for _, l := range forwardLinks {
		for _, c := range []struct {
			name string
			make func(*routed) func()
		}{
			{"UDP", func(w *routed) func() { return w.sendUDP(t, 1, 64) }},
			{"UDP, batches", func(w *routed) func() { return w.sendUDP(t, 40, 64) }},
			{"UDP, large", func(w *routed) func() { return w.sendUDP(t, 20, 1400) }},
			{"TCP", func(w *routed) func() { return w.sendTCP(t, 100) }},
			{"TCP, bulk", func(w *routed) func() { return w.sendTCP(t, 1<<20) }},
		} {
			t.Run(l.name+", "+c.name, func(t *testing.T) {
				w := newRouted(t, l.left, l.right)
				send := c.make(w)
				for range 50 {
					send()
				}
				before := w.r.Stats().IP.Forwarded
				const runs = 100
				allocs := testing.AllocsPerRun(runs, send)
				packets := float64(w.r.Stats().IP.Forwarded-before) / (runs + 1)
				if packets < 1 || allocs > packets/100 {
					t.Errorf("%v allocations for %v packets that were forwarded", allocs, packets)
				}
			})
		}
	}
}

func BenchmarkForward(b *testing.B) {
	for _, l := range forwardLinks {
		b.Run(fmt.Sprintf("%s/UDP", l.name), func(b *testing.B) {
			w := newRouted(b, l.left, l.right)
			const n = 64
			send := w.sendUDP(b, n, 64)
			b.ReportAllocs()
			for b.Loop() {
				send()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/datagram")
		})
		b.Run(fmt.Sprintf("%s/TCP", l.name), func(b *testing.B) {
			w := newRouted(b, l.left, l.right)
			const size = 1 << 20
			send := w.sendTCP(b, size)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				send()
			}
		})
	}
}
