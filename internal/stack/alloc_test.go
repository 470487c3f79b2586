package stack

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/sched"
)

// plainPair is a connection between two stacks with ordinary pools under a virtual clock: nothing but the stack's own work allocates.
func plainPair(t *testing.T, o pipe.Options) (clock *sched.Virtual, client, server *TCP, a, b *Stack) {
	t.Helper()
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets things")
	}
	clock = sched.NewVirtual(testEpoch)
	da, db := pipe.New(o)
	a, b = New(Config{Clock: clock, Rand: rand.Uint64}), New(Config{Clock: clock, Rand: rand.Uint64})
	t.Cleanup(a.Close)
	t.Cleanup(b.Close)
	if _, err := a.AddInterface(InterfaceConfig{Device: da, Addrs: []netip.Prefix{netip.PrefixFrom(addrA, 24)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.AddInterface(InterfaceConfig{Device: db, Addrs: []netip.Prefix{netip.PrefixFrom(addrB, 24)}}); err != nil {
		t.Fatal(err)
	}
	l, err := b.ListenTCP(netip.AddrPortFrom(addrB, 80), ListenOptions{Make: func() *TCP { return newSocket(&app{}) }})
	if err != nil {
		t.Fatal(err)
	}
	client = newSocket(&app{})
	if err := a.ConnectTCP(client, netip.AddrPortFrom(addrB, 80), Bound{}); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return clock, client, server, a, b
}

var allocLinks = map[string]pipe.Options{"super-segments": {MTU: 65535}, "MTU 1500": {MTU: 1500, NoOffload: true}}

func TestBulkAllocatesNothing(t *testing.T) {
	for name, o := range allocLinks {
		t.Run(name, func(t *testing.T) {
			clock, client, server, a, _ := plainPair(t, o)
			out, in := make([]byte, 1<<20), make([]byte, 256<<10)
			send := func() {
				for rest, left := out, len(out); left > 0; {
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
					if moved == 0 && !clock.Step() {
						t.Fatal("stalled")
					}
				}
			}
			for range 20 {
				send()
			}
			before := a.Stats().TCP.SegmentsOut
			const runs = 50
			allocs := testing.AllocsPerRun(runs, send)
			if segments := float64(a.Stats().TCP.SegmentsOut-before) / (runs + 1); allocs > segments/100 {
				t.Errorf("%v allocations for %v segments", allocs, segments)
			}
		})
	}
}

func TestRoundTripsAllocateNothing(t *testing.T) {
	for name, o := range allocLinks {
		t.Run(name, func(t *testing.T) {
			_, client, server, _, _ := plainPair(t, o)
			b := make([]byte, 100)
			turn := func(from, to *TCP) {
				if n, err := from.Write(b[:10]); n != 10 {
					t.Fatal(err)
				}
				if n, err := to.Read(b); n != 10 {
					t.Fatal(err)
				}
			}
			trip := func() { turn(client, server); turn(server, client) }
			for range 100 {
				trip()
			}
			if n := testing.AllocsPerRun(1000, trip); n != 0 {
				t.Errorf("%v allocations in a round trip", n)
			}
		})
	}
}

func TestDatagramsAllocateNothing(t *testing.T) {
	for name, o := range allocLinks {
		t.Run(name, func(t *testing.T) {
			_, _, _, a, b := plainPair(t, o)
			server, client := &UDP{}, &UDP{}
			server.SetNotifier(&app{})
			client.SetNotifier(&app{})
			if err := b.ListenUDP(server, netip.AddrPortFrom(addrB, 53), ListenOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := a.ConnectUDP(client, netip.AddrPortFrom(addrB, 53), Bound{}); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 1400)
			trip := func() {
				if err := client.Write(buf); err != nil {
					t.Fatal(err)
				}
				n, src, _, err := server.ReadFrom(buf)
				if err != nil {
					t.Fatal(err)
				}
				if err := server.WriteTo(buf[:n], src); err != nil {
					t.Fatal(err)
				}
				if _, _, _, err := client.ReadFrom(buf); err != nil {
					t.Fatal(err)
				}
			}
			for range 100 {
				trip()
			}
			if n := testing.AllocsPerRun(1000, trip); n != 0 {
				t.Errorf("%v allocations for two datagrams", n)
			}
		})
	}
}
