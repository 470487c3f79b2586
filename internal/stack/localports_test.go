package stack

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/wire"
)

// The counts beside a map.
func TestLocalPortsBesideAMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 3))
	table := localPorts{key: siphash.Key{K0: 1, K1: 2}}
	want := make(map[netip.AddrPort]int)
	for step := range 50_000 {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(rnd.IntN(3))}), uint16(rnd.IntN(300)))
		if got := table.used(a); got != (want[a] > 0) {
			t.Fatalf("%d: %v is used: %v, by %d", step, a, got, want[a])
		}
		k := makeKey(protoTCP, a, port("198.18.0.1:80"), 0)
		switch {
		case want[a] == 0 || rnd.IntN(2) == 0 && step < 45_000:
			table.add(&k, 1)
			want[a]++
		default:
			table.add(&k, -1)
			want[a]--
		}
	}
	for a, n := range want {
		for k := makeKey(protoTCP, a, port("198.18.0.1:80"), 0); n > 0; n-- {
			table.add(&k, -1)
		}
	}
	for i := range table.shards {
		if s := &table.shards[i]; s.blocks != nil || s.more != nil {
			t.Errorf("%d and %d entries are left", len(s.blocks), len(s.more))
		}
	}
}

// Who binds without SO_REUSEADDR learns at once whether a connection has the port, whatever else is in the flow table: none, one in
// TIME-WAIT, of the address or of another one.
func TestPortInUse(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64")
	used := func(a string, f Family) bool {
		return h.portInUse(&bind{proto: protoTCP, addr: port(a), family: f})
	}
	check := func(when string, want bool) {
		t.Helper()
		for _, c := range []struct {
			addr   string
			family Family
			mine   bool
		}{
			{"192.0.2.1:999", Dual, true}, {"0.0.0.0:999", IPv4, true}, {"[::]:999", Dual, true}, {"[::]:999", IPv6, false},
			{"192.0.2.2:999", Dual, false}, {"192.0.2.1:998", Dual, false}, {"[2001:db8::1]:999", Dual, false}, {"0.0.0.0:998", IPv4, false},
		} {
			if got := used(c.addr, c.family); got != (want && c.mine) {
				t.Errorf("%s: %s (family %d) in use: %v", when, c.addr, c.family, got)
			}
		}
	}
	check("before", false)
	c, p := h.connect(d, "192.0.2.9:80", Bound{Local: port("192.0.2.1:999")})
	check("connected", true)
	p.finish(c)
	check("in TIME-WAIT", true)
	h.clock.Advance(2 * 60e9)
	check("afterwards", false)
	l, accept := h.listenTCP("192.0.2.1:999", ListenOptions{})
	p = h.dial(d, "192.0.2.7:5", "192.0.2.1:999")
	p.send(wire.ACK, "")
	s := accept()
	check("accepted", true)
	_ = l.Close()
	_ = s.Abort()
	check("reset", false)
}

// A dial from a port of its own takes no longer for what there is.
func BenchmarkPortInUse(b *testing.B) {
	var table flowTable
	table.locals.key = siphash.Key{K0: 1, K1: 2}
	for i := range 1_000_000 {
		k := makeKey(protoTCP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i >> 16)}), uint16(i)), port("198.18.0.1:80"), 0)
		table.locals.add(&k, 1)
	}
	free := port("192.0.2.99:2000")
	for b.Loop() {
		if table.locals.used(free) {
			b.Fatal("in use")
		}
	}
}

// Handshakes in progress of a listener that was closed are no connections that have the port yet.
func TestPortOfHandshakes(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(route0, "192.0.2.1/24")
	l, _ := h.listenTCP("192.0.2.1:80", ListenOptions{})
	d.inject(tcpPacket(port("192.0.2.9:1000"), port("192.0.2.1:80"), wire.SYN, 1, 0, ""))
	l.Close()
	for _, at := range []string{"192.0.2.1:80", "0.0.0.0:80"} {
		l, err := h.ListenTCP(port(at), ListenOptions{Exclusive: true})
		if err != nil {
			t.Errorf("%s: %v", at, err)
			continue
		}
		l.Close()
	}
}
