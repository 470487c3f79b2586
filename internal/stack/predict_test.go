package stack

import (
	"math/bits"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// opened is what a SYN of ours shows.
type opened struct {
	port, id      uint16
	iss, tsOffset uint32
	df            bool
}

// openTo sends a SYN to each of n servers, at the same instant.
func openTo(t *testing.T, seed uint64, n int) (all []opened) {
	h := newHost(t, Config{TCP: &tcp.Config{}})
	for range seed {
		h.cfg.Rand()
	}
	h.numbers.Key.K0, h.portKey.K0 = h.cfg.Rand(), h.cfg.Rand()
	_, d := h.attach(route0, "192.0.2.1/24")
	for i := range n {
		c := newSocket(&app{})
		if err := h.ConnectTCP(c, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 80), Bound{}); err != nil {
			t.Fatal(err)
		}
		b := d.one(t)
		hd := parse(b).tcp()
		var o wire.TCPOptions
		o.Parse(hd.OptionBytes())
		all = append(all, opened{hd.SrcPort(), wire.IPv4(b).ID(), hd.Seq(), o.TSVal, wire.IPv4(b).DontFragment()})
		c.Abort()
	}
	return all
}

// RFC 6528, RFC 6056, RFC 7323 §5.4, RFC 6864: of what a stack has shown to one server, nothing can be told of what it shows to another, nor
// of what another stack does.
func TestNothingPredictable(t *testing.T) {
	const n = 400
	x, y := openTo(t, 1, n), openTo(t, 2, n)
	for name, of := range map[string]func(opened) uint32{
		"ISN": func(o opened) uint32 { return o.iss }, "timestamp offset": func(o opened) uint32 { return o.tsOffset },
	} {
		steps, flips, same := map[uint32]bool{}, 0, 0
		for i := range x {
			if of(x[i]) == of(y[i]) {
				same++
			}
			if i > 0 {
				steps[of(x[i])-of(x[i-1])] = true
				flips += bits.OnesCount32(of(x[i]) ^ of(x[i-1]))
			}
		}
		if mean := float64(flips) / (n - 1); same > 0 || len(steps) < n-2 || mean < 15 || mean > 17 {
			t.Errorf("%s: %d of %d the same in two stacks, %d steps between neighbours, %.1f bits of them differ", name, same, n, len(steps), mean)
		}
	}
	steps, same := map[uint16]bool{}, 0
	for i := range x {
		if x[i].port == y[i].port {
			same++
		}
		if x[i].id != 0 || !x[i].df {
			t.Errorf("IP ID %d, DF %v: a packet that is not fragmented needs no ID", x[i].id, x[i].df)
		}
		if i > 0 {
			steps[x[i].port-x[i-1].port] = true
		}
	}
	if same > 3 || len(steps) < n*95/100 {
		t.Errorf("ports: %d of %d the same in two stacks, %d different steps between neighbours", same, n, len(steps))
	}
}

// The initial sequence numbers of one pair of sockets grow with time, so that no old segment lies in a new window (RFC 9293 §3.4.1), and
// their timestamps go on.
func TestISNOfOneTupleGrows(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(route0, "192.0.2.1/24")
	var last opened
	for i := range 5 {
		c := newSocket(&app{})
		if err := h.ConnectTCP(c, port("198.18.0.1:80"), Bound{Local: port("192.0.2.1:4000")}); err != nil {
			t.Fatal(err)
		}
		hd := parse(d.one(t)).tcp()
		var o wire.TCPOptions
		o.Parse(hd.OptionBytes())
		if iss := hd.Seq(); i > 0 && (iss-last.iss != 250_000 || o.TSVal-last.tsOffset != 1000) {
			t.Errorf("after a second the number has grown by %d, want 250000, and TSval by %d", iss-last.iss, o.TSVal-last.tsOffset)
		}
		last = opened{iss: hd.Seq(), tsOffset: o.TSVal}
		c.Abort()
		h.clock.Advance(time.Second)
	}
}
