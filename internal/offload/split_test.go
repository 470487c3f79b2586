package offload

import (
	"bytes"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
	"pgregory.net/rapid"
)

// outbound makes a super-segment as transport and ip push it, with a partial checksum, of a whole packet's bytes.
func outbound(pool *packet.Pool, b []byte, udp bool, gsoSize int) *packet.Packet {
	n, protocol, gso := wire.IPv4MinLen, uint8(wire.ProtoTCP), packet.GSOTCP4
	src, dst := a4, b4
	if wire.IPVersion(b) == 6 {
		n, gso, src, dst = wire.IPv6Len, packet.GSOTCP6, a6, b6
	}
	h := wire.UDPLen
	if udp {
		protocol, gso = uint8(wire.ProtoUDP), gso+2
	} else {
		h = wire.TCP(b[n:]).DataOffset()
	}
	p := pool.Get()
	p.Data().Append(b[n+h:])
	t := p.Push(packet.Transport, h)
	copy(t, b[n:n+h])
	if udp {
		wire.UDP(t).SetChecksum(naiveSum(src, dst, protocol, b[n:n]) + 0)
	} else {
		wire.TCP(t).SetChecksum(naiveSum(src, dst, protocol, b[n:n]))
	}
	copy(p.Push(packet.Network, n), b[:n])
	p.GSO, p.GSOSize, p.Checksum = gso, uint16(gsoSize), packet.ChecksumPartial
	p.CsumStart, p.CsumOffset = uint16(n), 16
	if udp {
		p.CsumOffset = 6
	}
	return p
}

func TestSplitTCP(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, noDF := range []bool{false, true} {
			pool := pools(t)
			whole := seg{
				v6: v6, noDF: noDF, id: 0xfffe, seq: 0xffff_ff00, ack: 3, window: 4, tos: 2, options: []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8},
				flags: wire.ACK | wire.PSH | wire.FIN | wire.CWR | wire.ECE, data: pattern(1001, 0xffff_ff00),
			}
			p := outbound(pool, whole.bytes(), false, 300)
			p.Iface, p.Depth, p.Segs, p.Queue = 3, 2, 4, 1
			out := Split(pool, p, nil)
			if len(out) != 4 {
				t.Fatalf("%d packets, want 4", len(out))
			}
			for i, q := range out {
				want := whole
				want.seq += uint32(i * 300)
				want.data = whole.data[i*300 : min(i*300+300, 1001)]
				if noDF {
					want.id += uint16(i)
				}
				if i < 3 {
					want.flags &^= wire.PSH | wire.FIN
				}
				if i > 0 {
					want.flags &^= wire.CWR
				}
				if got := flatten(q); !bytes.Equal(got, want.bytes()) {
					t.Errorf("v6 %v, no DF %v, packet %d:\n%x\nwant\n%x", v6, noDF, i, got, want.bytes())
				}
				if want := (packet.Meta{Iface: 3, Depth: 2, Queue: 1}); q.Meta != want {
					t.Errorf("packet %d: %+v, want %+v", i, q.Meta, want)
				}
				if q.Header(packet.Network) == nil || q.Header(packet.Transport) == nil {
					t.Errorf("packet %d: headers not known", i)
				}
			}
			releaseAll(out)
		}
	}
}

// udpBytes is a UDP datagram.
func udpBytes(v6 bool, data []byte, checksum uint16) []byte {
	n := wire.IPv4MinLen
	if v6 {
		n = wire.IPv6Len
	}
	b := make([]byte, n+wire.UDPLen+len(data))
	if v6 {
		wire.PutIPv6(b, wire.IPv6Fields{PayloadLen: len(b) - n, NextHeader: wire.ProtoUDP, HopLimit: 9, Src: a6, Dst: b6})
	} else {
		wire.PutIPv4(b, wire.IPv4Fields{TotalLen: len(b), ID: 5, TTL: 9, Protocol: wire.ProtoUDP, Src: a4, Dst: b4})
	}
	wire.PutUDP(b[n:], wire.UDPFields{SrcPort: 1, DstPort: 2, Length: len(b) - n, Checksum: checksum})
	copy(b[n+wire.UDPLen:], data)
	return b
}

func TestSplitUDP(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		pool := pools(t)
		out := Split(pool, outbound(pool, udpBytes(v6, pattern(250, 0), 1), true, 100), nil)
		if len(out) != 3 {
			t.Fatalf("%d packets, want 3", len(out))
		}
		for i, q := range out {
			b := flatten(q)
			verifyWire(t, b)
			n := len(b) - len(q.Data().Flatten()) - wire.UDPLen
			if u, err := wire.ParseUDP(b[n:], len(b)-n); err != nil || u.Length() != len(b)-n {
				t.Errorf("packet %d: UDP header %x: %v", i, b[n:n+8], err)
			}
			if !bytes.Equal(b[n+8:], pattern(250, 0)[i*100:min(i*100+100, 250)]) {
				t.Errorf("packet %d: wrong data", i)
			}
			if !v6 && wire.IPv4(b).ID() != uint16(5+i) {
				t.Errorf("packet %d: ID %d", i, wire.IPv4(b).ID())
			}
		}
		releaseAll(out)
	}
}

// TestSplitUDPZeroSum has a datagram whose sum is zero, which is sent as 0xffff, and a sender that makes no checksums.
func TestSplitUDPZeroSum(t *testing.T) {
	pool := pools(t)
	data := make([]byte, 6)
	b := udpBytes(false, data[:2], 0)
	sum := naiveSum(a4, b4, 17, b[20:])
	data[0], data[1] = byte(^sum>>8), byte(^sum)
	out := Split(pool, outbound(pool, udpBytes(false, data[:4], 1), true, 2), nil)
	if got := wire.UDP(out[0].Header(packet.Transport)).Checksum(); got != 0xffff {
		t.Errorf("checksum %04x, want ffff", got)
	}
	releaseAll(out)
	p := outbound(pool, udpBytes(false, data, 0), true, 2)
	p.Checksum = packet.ChecksumNone
	wire.UDP(p.Header(packet.Transport)).SetChecksum(0)
	out = Split(pool, p, nil)
	for _, q := range out {
		if got := wire.UDP(q.Header(packet.Transport)).Checksum(); got != 0 {
			t.Errorf("checksum %04x where there was none", got)
		}
	}
	releaseAll(out)
}

func TestSplitOther(t *testing.T) {
	pool := pools(t)
	plain := seg{data: pattern(10, 0)}.bytes()
	p := outbound(pool, plain, false, 0)
	p.GSO = packet.GSONone
	n := naiveSum(a4, b4, 6, nil) + 30 // the pseudo-header's sum with the length
	wire.TCP(p.Header(packet.Transport)).SetChecksum(n)
	out := Split(pool, p, nil)
	if len(out) != 1 || out[0] != p || p.Checksum != packet.ChecksumNone {
		t.Fatalf("a plain packet: %d packets, %+v", len(out), p.Meta)
	}
	verifyWire(t, flatten(p))
	releaseAll(out)

	for _, size := range []int{10, 11, 1000} { // one segment only
		out = Split(pool, outbound(pool, plain, false, size), nil)
		if len(out) != 1 || !bytes.Equal(flatten(out[0]), plain) || out[0].GSO != packet.GSONone {
			t.Errorf("GSO size %d: %d packets", size, len(out))
		}
		releaseAll(out)
	}
	bad := []func() *packet.Packet{
		func() *packet.Packet { return outbound(pool, plain, false, 0) },
		func() *packet.Packet { p := inbound(pool, plain[:30]); p.GSO, p.GSOSize = packet.GSOTCP4, 5; return p },
		func() *packet.Packet { p := inbound(pool, plain[:4]); p.GSO, p.GSOSize = packet.GSOTCP4, 5; return p },
		func() *packet.Packet {
			p := inbound(pool, make([]byte, 99))
			p.GSO, p.GSOSize = packet.GSOTCP4, 5
			return p
		},
		func() *packet.Packet { p := inbound(pool, nil); p.GSO, p.GSOSize = packet.GSOUDP6, 5; return p },
		func() *packet.Packet {
			p := inbound(pool, plain)
			p.Checksum, p.CsumStart = packet.ChecksumPartial, 2000
			return p
		},
	}
	for i, make := range bad {
		if out := Split(pool, make(), nil); len(out) != 0 {
			t.Errorf("bad packet %d: %d packets came out", i, len(out))
			releaseAll(out)
		}
	}
}

// TestSplitInbound cuts what has been received, as a device wrapper or a forwarder may have to.
func TestSplitInbound(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		pool := pools(t)
		segs := stream(seg{v6: v6, seq: 9}, 950, 100)
		var j Joiner
		out := j.Join(batchOf(pool, segs))
		out = Split(pool, out[0], nil)
		if len(out) != len(segs) {
			t.Fatalf("%d packets, want %d", len(out), len(segs))
		}
		for i, p := range out {
			if !bytes.Equal(flatten(p), segs[i].bytes()) {
				t.Errorf("packet %d differs", i)
			}
		}
		releaseAll(out)
	}
}

// TestRoundTrip joins what Split made, and gets the super-segment back.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pool := packet.NewPool(buffer.NewPool(buffer.Options{Check: true}))
		s := seg{
			v6: rapid.Bool().Draw(rt, "v6"), noDF: rapid.Bool().Draw(rt, "no DF"), id: rapid.Uint16().Draw(rt, "id"),
			seq: rapid.Uint32().Draw(rt, "seq"), ack: rapid.Uint32().Draw(rt, "ack"), window: rapid.Uint16().Draw(rt, "window"),
			tos: rapid.Uint8().Draw(rt, "tos"), options: bytes.Repeat([]byte{1}, 4*rapid.IntRange(0, 10).Draw(rt, "options")),
			flags: wire.ACK | wire.TCPFlags(rapid.SampledFrom([]int{0, int(wire.PSH)}).Draw(rt, "psh")),
		}
		n := rapid.IntRange(1, 3000).Draw(rt, "bytes")
		size := rapid.IntRange(1, 1500).Draw(rt, "GSO size")
		s.data = pattern(n, s.seq)
		raw := s.bytes()
		parts := Split(pool, outbound(pool, raw, false, size), nil)
		var in []*packet.Packet
		for _, p := range parts {
			verifyWire(t, flatten(p))
			in = append(in, inbound(pool, flatten(p)))
		}
		releaseAll(parts)
		var j Joiner
		out := j.Join(in)
		if len(out) != 1 {
			rt.Fatalf("%d packets, want 1", len(out))
		}
		got := flatten(out[0])
		clearTCPChecksum(got)
		clearTCPChecksum(raw)
		if !bytes.Equal(got, raw) {
			rt.Fatalf("got %x, want %x", got[:60], raw[:60])
		}
		releaseAll(out)
		if pool.Outstanding() != 0 {
			rt.Fatalf("%d packets leaked", pool.Outstanding())
		}
	})
}

func TestSplitSharesPayload(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	pool := packet.NewPool(buffer.NewPool(buffer.Options{}))
	raw := seg{data: pattern(60000, 0)}.bytes()
	var out []*packet.Packet
	run := func() {
		out = Split(pool, outbound(pool, raw, false, 1448), out[:0])
		releaseAll(out)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n >= 5 { // what the test itself makes, none of them per segment
		t.Errorf("%v allocations for a super-segment", n)
	}
}

func BenchmarkSplit(b *testing.B) {
	pool := packet.NewPool(buffer.NewPool(buffer.Options{}))
	raw := seg{data: pattern(40*1448, 0)}.bytes()
	var out []*packet.Packet
	for b.Loop() {
		b.StopTimer()
		p := outbound(pool, raw, false, 1448)
		b.StartTimer()
		out = Split(pool, p, out[:0])
		b.StopTimer()
		releaseAll(out)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/40, "ns/seg")
}
