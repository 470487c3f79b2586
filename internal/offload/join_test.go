package offload

import (
	"bytes"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

func batchOf(pool *packet.Pool, segs []seg) []*packet.Packet {
	var batch []*packet.Packet
	for _, s := range segs {
		batch = append(batch, inbound(pool, s.bytes()))
	}
	return batch
}

func releaseAll(batch []*packet.Packet) {
	for _, p := range batch {
		p.Release()
	}
}

func TestJoinStream(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		pool := pools(t)
		segs := stream(seg{v6: v6, seq: 0xffff_f000, options: []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}}, 10*1448+100, 1448)
		segs[len(segs)-1].flags = wire.ACK | wire.PSH
		batch := batchOf(pool, segs)
		var j Joiner
		out := j.Join(batch)
		if len(out) != 1 {
			t.Fatalf("v6 %v: %d packets, want 1", v6, len(out))
		}
		p := out[0]
		want, gso := segs[0], packet.GSOTCP4
		if v6 {
			gso = packet.GSOTCP6
		}
		if p.GSO != gso || p.GSOSize != 1448 || p.Segs != 11 || p.Checksum != packet.ChecksumVerified || p.HeaderSize() != 0 {
			t.Errorf("v6 %v: %+v, header size %d", v6, p.Meta, p.HeaderSize())
		}
		want.data, want.flags = nil, wire.ACK|wire.PSH
		for _, s := range segs {
			want.data = append(want.data, s.data...)
		}
		got, wanted := flatten(p), want.bytes()
		clearTCPChecksum(got)
		clearTCPChecksum(wanted)
		if !bytes.Equal(got, wanted) {
			t.Errorf("v6 %v: joined packet\n%x\nwant\n%x", v6, got[:72], wanted[:72])
		}
		for i, q := range batch[1:] {
			if q != nil {
				t.Errorf("batch[%d] still refers to a packet", i+1)
			}
		}
		releaseAll(out)
	}
}

func clearTCPChecksum(b []byte) {
	n := wire.IPv4MinLen
	if wire.IPVersion(b) == 6 {
		n = wire.IPv6Len
	}
	wire.TCP(b[n:]).SetChecksum(0)
}

// TestJoinRefuses has pairs of segments that follow upon one another, of which one thing keeps them apart.
func TestJoinRefuses(t *testing.T) {
	ts := func(v byte) []byte { return []byte{1, 1, 8, 10, 1, 2, 3, v, 5, 6, 7, 8} }
	tests := []struct {
		name   string
		change func(a, b *seg)
		want   int // packets
	}{
		{"nothing", func(a, b *seg) {}, 1},
		{"gap", func(a, b *seg) { b.seq++ }, 2},
		{"overlap", func(a, b *seg) { b.seq-- }, 2},
		{"duplicate", func(a, b *seg) { b.seq = a.seq }, 2},
		{"other flow", func(a, b *seg) { b.port = 2 }, 2},
		{"other ACK", func(a, b *seg) { b.ack++ }, 2},
		{"other window", func(a, b *seg) { b.window++ }, 2},
		{"other options", func(a, b *seg) { a.options, b.options = ts(1), ts(2) }, 2},
		{"more options", func(a, b *seg) { b.options = ts(1) }, 2},
		{"other TTL", func(a, b *seg) { b.ttl = 63 }, 2},
		{"other TOS", func(a, b *seg) { b.tos = 0x10 }, 2},
		{"other ECN", func(a, b *seg) { b.tos = 3 }, 2},
		{"CE both", func(a, b *seg) { a.tos, b.tos = 3, 3 }, 1},
		{"larger", func(a, b *seg) { b.data = pattern(101, 0) }, 2},
		{"smaller", func(a, b *seg) { b.data = pattern(99, 0) }, 1},
		{"empty first", func(a, b *seg) { a.data, b.seq = nil, a.seq }, 2},
		{"pure ACK", func(a, b *seg) { b.data = nil }, 2},
		{"SYN", func(a, b *seg) { a.flags = wire.SYN | wire.ACK }, 2},
		{"FIN", func(a, b *seg) { b.flags = wire.FIN | wire.ACK }, 2},
		{"RST", func(a, b *seg) { b.flags = wire.RST | wire.ACK }, 2},
		{"URG", func(a, b *seg) { b.flags = wire.URG | wire.ACK }, 2},
		{"no ACK flag", func(a, b *seg) { b.flags = wire.PSH }, 2},
		{"CWR both", func(a, b *seg) { a.flags, b.flags = wire.ACK|wire.CWR, wire.ACK|wire.CWR }, 1},
		{"CWR in the first", func(a, b *seg) { a.flags = wire.ACK | wire.CWR }, 1},
		{"CWR in the second", func(a, b *seg) { b.flags = wire.ACK | wire.CWR }, 2},
		{"AE one", func(a, b *seg) { a.flags = wire.ACK | wire.AE }, 2},
		{"ACE both", func(a, b *seg) { a.flags = wire.ACK | wire.AE | wire.CWR | wire.ECE; b.flags = a.flags }, 1},
		{"CE one", func(a, b *seg) { a.tos, b.tos = 2, 3 }, 2},
		{"CE both", func(a, b *seg) { a.tos, b.tos = 3, 3 }, 1},
		{"AE both", func(a, b *seg) { a.flags, b.flags = wire.ACK|wire.AE, wire.ACK|wire.AE }, 1},
		{"ECE one", func(a, b *seg) { b.flags = wire.ACK | wire.ECE }, 2},
		{"ECE both", func(a, b *seg) { a.flags, b.flags = wire.ACK|wire.ECE, wire.ACK|wire.ECE }, 1},
		{"PSH second", func(a, b *seg) { b.flags = wire.ACK | wire.PSH }, 1},
		{"PSH first", func(a, b *seg) { a.flags = wire.ACK | wire.PSH }, 2},
	}
	for _, v6 := range []bool{false, true} {
		cases := tests
		if v6 {
			cases = append(cases, struct {
				name   string
				change func(a, b *seg)
				want   int
			}{"other flow label", func(a, b *seg) { b.label = 1 }, 2})
		} else {
			cases = append(cases, []struct {
				name   string
				change func(a, b *seg)
				want   int
			}{
				{"other DF", func(a, b *seg) { b.noDF = true }, 2},
				{"no DF, ID counts", func(a, b *seg) { a.noDF, b.noDF, b.id = true, true, 1 }, 1},
				{"no DF, same ID", func(a, b *seg) { a.noDF, b.noDF = true, true }, 2},
				{"DF, any ID", func(a, b *seg) { b.id = 77 }, 1},
			}...)
		}
		for _, tt := range cases {
			pool := pools(t)
			a := seg{v6: v6, seq: 1000, ack: 5, window: 9, data: pattern(100, 0)}
			b := a
			b.seq = 1100
			tt.change(&a, &b)
			in := [][]byte{a.bytes(), b.bytes()}
			var j Joiner
			out := j.Join([]*packet.Packet{inbound(pool, in[0]), inbound(pool, in[1])})
			if len(out) != tt.want {
				t.Errorf("v6 %v, %s: %d packets, want %d", v6, tt.name, len(out), tt.want)
			}
			if len(out) == 2 {
				for i, p := range out {
					if p.GSO != packet.GSONone || !bytes.Equal(flatten(p), in[i]) {
						t.Errorf("v6 %v, %s: packet %d changed", v6, tt.name, i)
					}
				}
			}
			releaseAll(out)
		}
	}
}

// TestJoinLeavesAlone has bytes that are not, or not quite, a TCP segment.
func TestJoinLeavesAlone(t *testing.T) {
	base := seg{seq: 1, data: pattern(50, 0)}
	change := func(at int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= v; return b }
	}
	tests := []struct {
		name   string
		change func([]byte) []byte
	}{
		{"bad TCP checksum", change(60, 1)},
		{"bad header checksum", change(10, 1)},
		{"bad data offset", func(b []byte) []byte { return refit(b, 32, 0x40) }},
		{"data offset past the end", func(b []byte) []byte { return refit(b[:60], 32, 0xf0) }},
		{"padding behind", func(b []byte) []byte { return append(b, 0) }},
		{"cut off", func(b []byte) []byte { return b[:70] }},
		{"short", func(b []byte) []byte { return b[:30] }},
		{"fragment", func(b []byte) []byte { return refit(b, 6, 0x20) }},
		{"UDP", func(b []byte) []byte { return refit(b, 9, 17) }},
		{"options in the IPv4 header", change(0, 3)},
	}
	for _, tt := range tests {
		pool := pools(t)
		second := base
		second.seq += 50
		in := [][]byte{base.bytes(), tt.change(second.bytes())}
		var j Joiner
		out := j.Join([]*packet.Packet{inbound(pool, in[0]), inbound(pool, in[1])})
		if len(out) != 2 {
			t.Fatalf("%s: %d packets, want 2", tt.name, len(out))
		}
		for i, p := range out {
			if !bytes.Equal(flatten(p), in[i]) || p.HeaderSize() != 0 {
				t.Errorf("%s: packet %d changed", tt.name, i)
			}
		}
		if out[1].Checksum != packet.ChecksumNone {
			t.Errorf("%s: vouched for", tt.name)
		}
		releaseAll(out)
	}
}

// refit sets a byte of an IPv4 packet and mends length and header checksum.
func refit(b []byte, at int, v byte) []byte {
	b[at] = v
	h := wire.IPv4(b)
	h.SetTotalLen(len(b))
	h.SetChecksum(h.ComputeChecksum())
	return b
}

// TestJoinOrder interleaves flows, with a packet in the middle that nothing may overtake within its flow.
func TestJoinOrder(t *testing.T) {
	pool := pools(t)
	one := stream(seg{port: 1, seq: 1}, 400, 100)
	two := stream(seg{port: 2, seq: 1}, 400, 100)
	ack := seg{port: 1, seq: 201, ack: 7}
	segs := []seg{one[0], two[0], one[1], two[1], ack, one[2], two[2], one[3], two[3]}
	var j Joiner
	out := j.Join(batchOf(pool, segs))
	var got []string
	for _, p := range out {
		b := flatten(p)
		got = append(got, string([]byte{'0' + b[21], ':', '0' + byte(p.Segs)}))
	}
	want := []string{"1:2", "2:4", "1:0", "1:2"}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	releaseAll(out)
}

func TestJoinManyFlows(t *testing.T) {
	pool := pools(t)
	var segs []seg
	for round := range 2 {
		for port := range uint16(maxFlows + 1) {
			segs = append(segs, seg{port: port + 1, seq: 1 + uint32(round*10), data: pattern(10, 0)})
		}
	}
	var j Joiner
	out := j.Join(batchOf(pool, segs))
	if len(out) < maxFlows+1 || len(out) > 2*(maxFlows+1) {
		t.Errorf("%d packets of %d flows", len(out), maxFlows+1)
	}
	n := 0
	for _, p := range out {
		n += max(int(p.Segs), 1)
	}
	if n != len(segs) {
		t.Errorf("%d segments came out, %d went in", n, len(segs))
	}
	releaseAll(out)
}

func TestJoinMaxSize(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		pool := pools(t)
		var j Joiner
		out := j.Join(batchOf(pool, stream(seg{v6: v6}, 70*1000, 1000)))
		if len(out) != 2 {
			t.Fatalf("%d packets, want 2", len(out))
		}
		for _, p := range out {
			if p.Size() > maxSize {
				t.Errorf("packet of %d bytes", p.Size())
			}
		}
		releaseAll(out)
	}
}

// TestJoinStates joins whatever is vouched for, without a look at the checksum field, and nothing that is a super-segment already.
func TestJoinStates(t *testing.T) {
	for _, state := range []packet.Checksum{packet.ChecksumPartial, packet.ChecksumVerified} {
		pool := pools(t)
		segs := stream(seg{}, 300, 100)
		batch := batchOf(pool, segs)
		for _, p := range batch {
			p.Checksum = state
		}
		b := flatten(batch[1])
		batch[1].Release()
		b[36] ^= 0xff // the checksum field
		batch[1] = inbound(pool, b)
		batch[1].Checksum = state
		var j Joiner
		out := j.Join(batch)
		if len(out) != 1 || out[0].Checksum != packet.ChecksumVerified {
			t.Errorf("state %d: %d packets", state, len(out))
		}
		releaseAll(out)
	}
	pool := pools(t)
	batch := batchOf(pool, stream(seg{}, 300, 100))
	batch[1].GSO, batch[1].GSOSize, batch[1].Segs = packet.GSOTCP4, 50, 2
	var j Joiner
	out := j.Join(batch)
	if len(out) != 3 {
		t.Errorf("joined a super-segment: %d packets", len(out))
	}
	releaseAll(out)
}

// TestJoinLinkHeader leaves packets alone of which something has been consumed.
func TestJoinLinkHeader(t *testing.T) {
	pool := pools(t)
	var batch []*packet.Packet
	for _, s := range stream(seg{}, 200, 100) {
		p := inbound(pool, append(make([]byte, 14), s.bytes()...))
		p.Consume(packet.Link, 14)
		batch = append(batch, p)
	}
	var j Joiner
	out := j.Join(batch)
	if len(out) != 2 || out[0].HeaderSize() != 14 {
		t.Errorf("%d packets, header size %d", len(out), out[0].HeaderSize())
	}
	releaseAll(out)
}

func TestJoinAllocs(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	pool := packet.NewPool(buffer.NewPool(buffer.Options{}))
	var raw [][]byte
	for _, s := range stream(seg{}, 20*1448, 1448) {
		raw = append(raw, s.bytes())
	}
	j := new(Joiner)
	var batch []*packet.Packet
	run := func() {
		batch = batch[:0]
		for _, b := range raw {
			batch = append(batch, inbound(pool, b))
		}
		releaseAll(j.Join(batch))
	}
	run()
	if n := testing.AllocsPerRun(200, run); n >= 1 {
		t.Errorf("%v allocations for a batch of %d", n, len(raw))
	}
}

func FuzzJoin(f *testing.F) {
	s := stream(seg{}, 250, 100)
	f.Add(append(append(s[0].bytes(), s[1].bytes()...), s[2].bytes()...), uint16(140), true)
	s = stream(seg{v6: true, options: []byte{1, 1, 1, 0}}, 250, 100)
	f.Add(append(append(s[0].bytes(), s[1].bytes()...), s[2].bytes()...), uint16(164), false)
	f.Fuzz(func(t *testing.T, data []byte, size uint16, vouched bool) {
		pool := pools(t)
		var in [][]byte
		var batch []*packet.Packet
		for n := int(size)%300 + 1; len(data) > 0 && len(batch) < 64; {
			n = min(n, len(data))
			in = append(in, bytes.Clone(data[:n]))
			p := inbound(pool, data[:n])
			if vouched {
				p.Checksum = packet.ChecksumVerified
			}
			batch = append(batch, p)
			data = data[n:]
		}
		var j Joiner
		total := 0
		for _, b := range in {
			total += len(b)
		}
		out := j.Join(batch)
		segs, headers := 0, 0
		for _, p := range out {
			n := max(int(p.Segs), 1)
			segs += n
			if p.GSO == packet.GSONone {
				if b := flatten(p); !contains(in, b) {
					t.Fatalf("packet %x is none of those that came", b)
				}
			} else {
				b := flatten(p)
				h := wire.IPv4MinLen
				if wire.IPVersion(b) == 6 {
					h = wire.IPv6Len
				}
				h += wire.TCP(b[h:]).DataOffset()
				headers += (n - 1) * h
			}
			total -= p.Size()
		}
		if segs != len(in) || total != headers {
			t.Fatalf("%d packets came out of %d; %d bytes are missing, %d of them headers", segs, len(in), total, headers)
		}
		releaseAll(out)
	})
}

func contains(in [][]byte, b []byte) bool {
	for _, x := range in {
		if bytes.Equal(x, b) {
			return true
		}
	}
	return false
}

func BenchmarkJoin(b *testing.B) {
	for _, state := range []struct {
		name string
		c    packet.Checksum
	}{{"verify", packet.ChecksumNone}, {"vouched", packet.ChecksumVerified}} {
		b.Run(state.name, func(b *testing.B) {
			pool := packet.NewPool(buffer.NewPool(buffer.Options{}))
			var raw [][]byte
			for _, s := range stream(seg{}, 40*1448, 1448) {
				raw = append(raw, s.bytes())
			}
			j := new(Joiner)
			batch := make([]*packet.Packet, 0, len(raw))
			for b.Loop() {
				b.StopTimer()
				batch = batch[:0]
				for _, r := range raw {
					p := inbound(pool, r)
					p.Checksum = state.c
					batch = append(batch, p)
				}
				b.StartTimer()
				out := j.Join(batch)
				b.StopTimer()
				releaseAll(out)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(raw)), "ns/seg")
		})
	}
}
