package offload

import (
	"bytes"
	"slices"
	"testing"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// sentUDP is a datagram with a right checksum, or (sum false) none.
func sentUDP(v6 bool, data []byte, sum bool) []byte {
	b := udpBytes(v6, data, 0)
	n, src, dst := wire.IPv4MinLen, a4, b4
	if v6 {
		n, src, dst = wire.IPv6Len, a6, b6
	}
	if sum {
		u := wire.UDP(b[n:])
		u.SetChecksum(wire.UDPChecksum(naiveSum(src, dst, 17, u)))
	}
	return b
}

func udpBatch(pool *packet.Pool, all ...[]byte) (batch []*packet.Packet) {
	for _, b := range all {
		batch = append(batch, inbound(pool, b))
	}
	return batch
}

// cutUp cuts datagrams of size bytes out of data.
func cutUp(v6 bool, data []byte, size int) (all [][]byte) {
	for at := 0; at < len(data); at += size {
		all = append(all, sentUDP(v6, data[at:min(at+size, len(data))], true))
	}
	return all
}

// Datagrams of one flow and size become one packet, the shorter last one included, and are the same again when that is cut.
func TestJoinUDP(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, sizes := range [][2]int{{640, 64}, {650, 64}, {5000, 1400}, {10, 10}, {11, 10}} {
			pool := pools(t)
			all := cutUp(v6, pattern(sizes[0], 0), sizes[1])
			j := Joiner{UDP: true}
			out := j.Join(udpBatch(pool, all...))
			if len(out) != 1 {
				t.Fatalf("%v: %d packets", sizes, len(out))
			}
			p := out[0]
			if len(all) == 1 {
				if p.GSO != packet.GSONone || !bytes.Equal(flatten(p), all[0]) {
					t.Errorf("one datagram: %+v", p.Meta)
				}
				p.Release()
				continue
			}
			kind := packet.GSOUDP4
			if v6 {
				kind = packet.GSOUDP6
			}
			if p.GSO != kind || int(p.GSOSize) != sizes[1] || int(p.Segs) != len(all) || p.Checksum != packet.ChecksumVerified {
				t.Errorf("%v: %+v", sizes, p.Meta)
			}
			cut := Split(pool, p, nil)
			if len(cut) != len(all) {
				t.Fatalf("%v: cut into %d of %d", sizes, len(cut), len(all))
			}
			for i, q := range cut {
				want := all[i]
				if !v6 { // the identifications count up
					want = bytes.Clone(want)
					h := wire.IPv4(want[:20])
					h.SetID(h.ID() + uint16(i))
					h.SetChecksum(h.ComputeChecksum())
				}
				if got := flatten(q); !bytes.Equal(got, want) {
					t.Errorf("%v, datagram %d:\n%x\nwant\n%x", sizes, i, got, want)
				}
			}
			releaseAll(cut)
		}
	}
}

func TestJoinUDPRefuses(t *testing.T) {
	big := pattern(100, 0)
	change := func(at int, v byte, again bool) []byte {
		b := sentUDP(false, big, true)
		b[at] = v
		h := wire.IPv4(b[:20])
		h.SetChecksum(h.ComputeChecksum())
		if again {
			u := wire.UDP(b[20:])
			u.SetChecksum(0)
			u.SetChecksum(wire.UDPChecksum(naiveSum(h.Src(), h.Dst(), 17, u)))
		}
		return b
	}
	for name, second := range map[string][]byte{
		"larger":          sentUDP(false, pattern(101, 0), true),
		"empty":           sentUDP(false, nil, true),
		"no checksum":     sentUDP(false, big, false),
		"wrong checksum":  change(60, 0xee, false),
		"other port":      change(21, 0xee, true),
		"other address":   change(15, 0xee, true),
		"other TOS":       change(1, 0x08, false),
		"CE":              change(1, 3, false),
		"other TTL":       change(8, 3, false),
		"DF":              change(6, 0x40, false),
		"fragment":        change(7, 1, false),
		"length too long": change(25, 109, false),
		"IPv6":            sentUDP(true, big, true),
	} {
		pool := pools(t)
		j := Joiner{UDP: true}
		first := sentUDP(false, big, true)
		out := j.Join(udpBatch(pool, first, second))
		if len(out) != 2 || !bytes.Equal(flatten(out[0]), first) || !bytes.Equal(flatten(out[1]), second) {
			t.Errorf("%s: %d packets", name, len(out))
		}
		for _, p := range out {
			if p.GSO != packet.GSONone || p.HeaderSize() != 0 {
				t.Errorf("%s: %+v, headers of %d bytes consumed", name, p.Meta, p.HeaderSize())
			}
		}
		releaseAll(out)
	}
}

// What follows a short datagram, or comes when a packet is full, begins a new one; a Joiner that is not told to joins none.
func TestJoinUDPBounds(t *testing.T) {
	pool := pools(t)
	j := Joiner{UDP: true}
	out := j.Join(udpBatch(pool, cutUp(false, pattern(350, 0), 100)...))
	out = append(out, j.Join(udpBatch(pool, append(cutUp(false, pattern(150, 0), 100), cutUp(false, pattern(250, 0), 100)...)...))...)
	if len(out) != 3 || out[0].Segs != 4 || out[1].Segs != 2 || out[2].Segs != 3 {
		t.Errorf("%d packets", len(out))
	}
	releaseAll(out)
	if out = j.Join(udpBatch(pool, cutUp(false, pattern(100, 0), 1)...)); len(out) != 2 || out[0].Segs != packet.SentUDPSegs || out[1].Segs != 36 {
		t.Errorf("%d packets of 100 datagrams", len(out))
	}
	releaseAll(out)
	if out = j.Join(udpBatch(pool, cutUp(true, pattern(70_000, 0), 1400)...)); len(out) != 2 || out[0].Size() > maxSize {
		t.Errorf("%d packets of 70000 bytes", len(out))
	}
	releaseAll(out)
	j.UDP = false
	if out = j.Join(udpBatch(pool, cutUp(false, pattern(300, 0), 100)...)); len(out) != 3 {
		t.Errorf("%d packets where none should be joined", len(out))
	}
	releaseAll(out)
}

// Flows that take turns are joined each for itself, up to as many as are open at a time.
func TestJoinUDPFlows(t *testing.T) {
	for _, flows := range []int{2, maxUDPFlows, maxUDPFlows + 2} {
		pool := pools(t)
		var all [][]byte
		for i := range 20 * flows {
			b := sentUDP(false, []byte{byte(i), byte(i >> 8)}, true)
			u := wire.UDP(b[20:])
			u.SetSrcPort(uint16(100 + i%flows))
			u.SetChecksum(0)
			u.SetChecksum(wire.UDPChecksum(naiveSum(a4, b4, 17, u)))
			all = append(all, b)
		}
		j := Joiner{UDP: true}
		out := j.Join(udpBatch(pool, all...))
		if flows <= maxUDPFlows && len(out) != flows {
			t.Errorf("%d flows became %d packets", flows, len(out))
		}
		next := map[uint16]int{}
		for _, p := range out {
			for _, q := range Split(pool, p, nil) {
				b := flatten(q)
				port := wire.UDP(b[20:]).SrcPort()
				i := next[port]*flows + int(port-100)
				if next[port]++; b[28] != byte(i) || b[29] != byte(i>>8) {
					t.Errorf("flow %d is out of order", port)
				}
				q.Release()
			}
		}
	}
}

// A clone of a super-segment is cut as the original is, in every state of the checksum.
func TestSplitUDPClones(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, state := range []packet.Checksum{packet.ChecksumNone, packet.ChecksumPartial, packet.ChecksumVerified} {
			pool := pools(t)
			p := outbound(pool, udpBytes(v6, pattern(1000, 0), 1), true, 300)
			if p.Checksum = state; state == packet.ChecksumNone { // which for a super-segment means that it has none
				wire.UDP(p.Header(packet.Transport)).SetChecksum(0)
			}
			q := p.Clone()
			a := Split(pool, p, nil)
			q.Deliverable() // as it crosses a pipe
			b := Split(pool, q, nil)
			if len(a) != 4 || len(b) != 4 {
				t.Fatalf("%d and %d datagrams", len(a), len(b))
			}
			for i := range a {
				x, y := flatten(a[i]), flatten(b[i])
				if !bytes.Equal(x, y) {
					t.Errorf("v6 %v, state %d, datagram %d:\n%x\n%x", v6, state, i, x, y)
				}
				if state != packet.ChecksumNone {
					verifyWire(t, x)
				} else if n := len(x) - len(pattern(300, 0)); i < 3 && (x[n-1] != 0 || x[n-2] != 0) {
					t.Error("a checksum where there was none")
				}
			}
			releaseAll(a)
			releaseAll(b)
		}
	}
}

// A super-segment that would be more datagrams than there may be, or says nothing of their size, goes nowhere.
func TestSplitUDPHostile(t *testing.T) {
	pool := pools(t)
	for _, c := range []struct{ size, segment, want int }{
		{1000, 0, 0}, {1000, 1, 0}, {packet.MaxUDPSegs + 1, 1, 0}, {packet.MaxUDPSegs, 1, packet.MaxUDPSegs}, {1000, 65535, 1}, {0, 1, 1},
	} {
		out := Split(pool, outbound(pool, udpBytes(false, pattern(c.size, 0), 1), true, c.segment), nil)
		if len(out) != c.want {
			t.Errorf("%+v: %d datagrams", c, len(out))
		}
		for _, p := range out {
			verifyWire(t, flatten(p))
		}
		releaseAll(out)
	}
}

// FuzzUDP joins what may be datagrams, and cuts it again: nothing is lost or changed but identifications, and nothing panics.
func FuzzUDP(f *testing.F) {
	f.Add([]byte("some datagrams of eight bytes"), uint8(8), uint8(0), uint16(30), byte(1))
	f.Add(pattern(3000, 0), uint8(200), uint8(3), uint16(27), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, size, flags uint8, at uint16, v byte) {
		pool := pools(t)
		all := cutUp(flags&1 != 0, data[:min(len(data), 4000)], max(int(size), 8))
		if len(all) > 0 && flags&2 != 0 { // one of them is damaged
			b := all[int(at)%len(all)]
			b[int(at)%len(b)] ^= v
		}
		var want [][]byte
		for _, b := range all {
			want = append(want, bytes.Clone(b))
		}
		j := Joiner{UDP: true}
		batch := udpBatch(pool, all...)
		for _, p := range batch {
			if flags&4 != 0 {
				p.Checksum = packet.ChecksumVerified
			}
		}
		var got [][]byte
		for _, p := range j.Join(batch) {
			if p.GSO == packet.GSONone {
				got = append(got, bytes.Clone(flatten(p)))
				p.Release()
				continue
			}
			p.GSOSize ^= uint16(flags >> 4) // the size of another device's making
			for _, q := range Split(pool, p, nil) {
				got = append(got, bytes.Clone(flatten(q)))
				q.Release()
			}
		}
		if flags>>4 != 0 || flags&4 != 0 { // cut to other sizes; or a wrong checksum, which was vouched for, is a right one again
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%d datagrams became %d", len(want), len(got))
		}
		if len(all) > 0 && flags&2 != 0 { // the damaged one may be of another flow now, and so come later than others
			odd := string(plain(want[int(at)%len(want)]))
			isOdd := func(b []byte) bool { return string(plain(b)) == odd }
			got, want = slices.DeleteFunc(got, isOdd), slices.DeleteFunc(want, isOdd)
			if len(got) != len(want) {
				t.Fatal("the damaged datagram is not there as it was")
			}
		}
		for i := range got {
			if !bytes.Equal(plain(got[i]), plain(want[i])) {
				t.Errorf("datagram %d:\n%x\nwant\n%x", i, got[i], want[i])
			}
		}
	})
}

// plain is an IPv4 packet without identification and header checksum.
func plain(b []byte) []byte {
	if len(b) > 0 && b[0]>>4 == 4 {
		clear(b[4:6])
		clear(b[10:12])
	}
	return b
}

// What is not to be joined does not fall behind later datagrams of its flow.
func TestJoinUDPKeepsOrder(t *testing.T) {
	fragment := sentUDP(false, pattern(100, 0), true)
	fragment[6] = 0x20 // more fragments
	h := wire.IPv4(fragment[:20])
	h.SetChecksum(h.ComputeChecksum())
	for name, middle := range map[string][]byte{"fragment": fragment, "no checksum": sentUDP(false, pattern(100, 0), false)} {
		t.Run(name, func(t *testing.T) {
			pool := pools(t)
			j := Joiner{UDP: true}
			one := sentUDP(false, pattern(100, 0), true)
			out := j.Join(udpBatch(pool, one, middle, one))
			if len(out) != 3 {
				t.Errorf("%d packets, want 3: the last was joined to the first", len(out))
			}
			releaseAll(out)
		})
	}
}
