package ip

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// quiet is a layer that releases all that it is given.
func quiet(t testing.TB) (*Layer, *packet.Pool) {
	pool := packet.NewPool(buffer.NewPool(buffer.Options{}))
	var n uint64
	l := New(Config{
		Clock: sched.NewVirtual(time.Unix(1, 0)), Rand: func() uint64 { n += 0x9e3779b97f4a7c15; return n }, Packets: pool, Forward: true,
		Deliver:  func(_ sched.Time, p *packet.Packet, _ *Meta) bool { p.Release(); return true },
		Transmit: func(_ int, p *packet.Packet) { p.Release() },
	})
	table, err := NewTable(interfaces(), routes())
	if err != nil {
		t.Fatal(err)
	}
	l.SetTable(table)
	t.Cleanup(l.Close)
	return l, pool
}

// received makes a packet of bytes in one chunk, as a device reads it.
func received(pool *packet.Pool, b []byte) *packet.Packet {
	p := pool.Get()
	p.Iface = ifOne
	c := pool.Buffers().Get(len(b))
	copy(c.Data(), b)
	p.Data().AppendChunk(c, 0, len(b), true)
	return p
}

func TestInputAllocs(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	l, pool := quiet(t)
	for name, b := range map[string][]byte{
		"TCP4":      v4(peer4, own4, wire.ProtoTCP, tcp(peer4, own4, 1, pattern(1400))),
		"TCP6":      v6(peer6, own6, wire.ProtoTCP, tcp(peer6, own6, 1, pattern(1400))),
		"UDP4":      udp4(peer4, own4, pattern(100)),
		"UDP6":      udp6(peer6, own6, pattern(100)),
		"options6":  v6(peer6, own6, wire.ProtoDestOptions, ext(wire.ProtoUDP, nil, udp(peer6, own6, 1, 2, nil))),
		"forward4":  v4(peer4, far4, wire.ProtoTCP, tcp(peer4, far4, 1, pattern(1000))),
		"forward6":  v6(peer6, far6, wire.ProtoTCP, tcp(peer6, far6, 1, pattern(1000))),
		"echo4":     icmp4Packet(peer4, own4, 8, 0, 7, pattern(56)),
		"echo6":     icmp6Packet(peer6, own6, 128, 0, 7, pattern(56)),
		"not ours":  udp4(peer4, "224.9.9.9", nil),
		"malformed": make([]byte, 100),
	} {
		run := func() { l.Input(0, received(pool, b), nil) }
		run()
		if n := testing.AllocsPerRun(200, run); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestOutputAllocs(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	l, pool := quiet(t)
	for _, dst := range []netip.Addr{addr(peer4), addr(peer6)} {
		run := func() {
			path, err := l.Path(netip.Addr{}, dst, 0, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, df := range []bool{false, true} {
				p := pool.Get()
				p.Push(packet.Transport, wire.UDPLen)
				if err := l.Send(0, p, &path, Header{Protocol: wire.ProtoUDP, DF: df}); err != nil {
					t.Fatal(err)
				}
			}
		}
		run()
		if n := testing.AllocsPerRun(200, run); n >= 1 {
			t.Errorf("%v: %v allocations", dst, n)
		}
	}
}

// TestConcurrent has packets of all kinds come in while configuration and path MTUs change, and the layer is closed under them.
func TestConcurrent(t *testing.T) {
	l, pool := quiet(t)
	data := datagramFor(false, 400)
	packets := [][]byte{
		udp4(peer4, own4, pattern(9)), udp6(peer6, own6, pattern(9)), icmp4Packet(peer4, own4, 8, 0, 7, nil),
		v4(peer4, own4, 99, nil), udp4(peer4, far4, pattern(9)),
		frag(false, 7, data, piece{0, 200, true}), frag(false, 7, data, piece{200, 400, false}), frag(false, 8, data, piece{0, 200, true}),
		icmp4Packet("8.8.8.8", own4, 3, 4, 600, quoted4(wire.ProtoTCP, tcp(own4, peer4, 1, pattern(1000)))),
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				l.Input(sched.Time(i), received(pool, packets[(i*7+g)%len(packets)]), nil)
				if i%10 == 0 {
					l.SetPathMTU(sched.Time(i), addr(peer4), 0, 1500-i%500)
					l.SetTable(l.Table())
					l.Path(netip.Addr{}, addr(peer4), 0, false)
					l.Stats()
				}
				if g == 0 && i == 1900 {
					l.Close()
				}
			}
		})
	}
	wg.Wait()
	l.Close()
	if n := pool.Outstanding(); n != 0 {
		t.Errorf("%d packets leaked", n)
	}
}

// FuzzInput hands in packets cut out of the input, each behind a byte that says how it is mended and marked, and looks for panics,
// leaks, wrong checksums and errors about errors.
func FuzzInput(f *testing.F) {
	add := func(how byte, b ...[]byte) {
		var in []byte
		for _, b := range b {
			in = append(in, how)
			in = binary.BigEndian.AppendUint16(in, uint16(len(b)))
			in = append(in, b...)
		}
		f.Add(in)
	}
	data := datagramFor(true, 200)
	add(0, udp4(peer4, own4, pattern(9)), udp6(peer6, own6, pattern(9)))
	add(1, udp4(peer4, own4, pattern(9)), icmp4Packet(peer4, own4, 8, 0, 7, pattern(9)))
	add(1, v6(peer6, own6, wire.ProtoHopByHop, ext(wire.ProtoDestOptions, []byte{0x9e, 0}, nil)))
	add(0, frag(true, 7, data, piece{0, 96, true}), frag(true, 7, data, piece{96, 200, false}))
	add(0, icmp4Packet("8.8.8.8", own4, 3, 4, 600, quoted4(wire.ProtoTCP, tcp(own4, peer4, 1, pattern(1000)))))
	add(8, v4(peer4, far4, wire.ProtoTCP, tcp(peer4, far4, 1, pattern(1000))))
	f.Fuzz(func(t *testing.T, in []byte) {
		w := newWorld(t, forwarding, func(c *Config) { c.Memory = 64 << 10 })
		w.check = false
		w.refuse = len(in)%2 == 0
		for len(in) >= 3 {
			how, n := in[0], min(int(binary.BigEndian.Uint16(in[1:])), len(in)-3)
			b := append([]byte(nil), in[3:3+n]...)
			in = in[3+n:]
			if how&1 != 0 && wire.IPVersion(b) == 4 && len(b) >= 20 { // so that the fuzzer gets past the header checksum
				if hl := int(b[0]&15) * 4; hl >= 20 && hl <= len(b) {
					binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
					wire.IPv4(b).SetChecksum(wire.IPv4(b).ComputeChecksum())
				}
			}
			before := len(w.sent)
			w.input(1+int(how>>4)%5, b, func(p *packet.Packet) {
				p.Checksum = packet.Checksum(how >> 1 & 3 % 3)
				if how&8 != 0 {
					p.GSO, p.GSOSize = packet.GSO(how>>5), uint16(n/3+1)
				}
			})
			if isError(b) && len(w.sent) > before && isError(w.sent[before].b) && !sameHeader(b, w.sent[before].b) {
				t.Fatalf("an ICMP error about an ICMP error: %x about %x", w.sent[before].b, b)
			}
			w.clock.Advance(time.Second)
		}
		w.clock.Advance(2 * time.Minute)
		if w.reasm.used != 0 || len(w.reasm.table) != 0 {
			t.Fatalf("%d bytes charged for %d datagrams after the timeout", w.reasm.used, len(w.reasm.table))
		}
	})
}

// isError reports whether b is a bare ICMP error.
func isError(b []byte) bool {
	switch {
	case len(b) > 20 && b[0] == 0x45 && b[9] == 1 && binary.BigEndian.Uint16(b[6:])&0x1fff == 0:
		return wire.ICMPv4Type(b[20]).IsError()
	case len(b) > 40 && b[0]>>4 == 6 && b[6] == 58:
		return wire.ICMPv6Type(b[40]).IsError()
	}
	return false
}

// sameHeader reports whether b is a itself, forwarded.
func sameHeader(a, b []byte) bool { return string(a[12:20]) == string(b[12:20]) }

func BenchmarkInput(b *testing.B) {
	for name, raw := range map[string][]byte{
		"TCP4": v4(peer4, own4, wire.ProtoTCP, tcp(peer4, own4, 1, pattern(1460))),
		"TCP6": v6(peer6, own6, wire.ProtoTCP, tcp(peer6, own6, 1, pattern(1440))),
	} {
		for state, c := range map[string]packet.Checksum{"verify": packet.ChecksumNone, "vouched": packet.ChecksumVerified} {
			b.Run(name+"/"+state, func(b *testing.B) {
				l, pool := quiet(b)
				for b.Loop() {
					p := received(pool, raw)
					p.Checksum = c
					l.Input(0, p, nil)
				}
			})
		}
	}
	b.Run("none", func(b *testing.B) { // what the benchmark itself costs
		_, pool := quiet(b)
		raw := v4(peer4, own4, wire.ProtoTCP, tcp(peer4, own4, 1, pattern(1460)))
		for b.Loop() {
			received(pool, raw).Release()
		}
	})
}

func BenchmarkPath(b *testing.B) {
	l, _ := quiet(b)
	dst := addr(peer4)
	for b.Loop() {
		if _, err := l.Path(netip.Addr{}, dst, 0, false); err != nil {
			b.Fatal(err)
		}
	}
}
