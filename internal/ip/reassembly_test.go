package ip

import (
	"bytes"
	"testing"
	"time"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// piece describes a fragment of the payload data: bytes begin to end, with MF if more.
type piece struct {
	begin, end int
	more       bool
}

// frag encodes one fragment of data, in either family.
func frag(is6 bool, id uint32, data []byte, f piece, change ...func(*wire.IPv4Fields)) []byte {
	body := data[f.begin:f.end]
	if is6 {
		h := make([]byte, wire.IPv6FragmentLen)
		wire.PutIPv6Fragment(h, wire.IPv6FragmentFields{NextHeader: wire.ProtoUDP, Offset: f.begin, More: f.more, ID: id})
		return v6(peer6, own6, wire.ProtoFragment, append(h, body...))
	}
	return v4(peer4, own4, wire.ProtoUDP, body, append(change, func(h *wire.IPv4Fields) {
		h.ID, h.FragmentOffset, h.MoreFragments = uint16(id), f.begin, f.more
	})...)
}

// datagramFor is a whole UDP datagram of n bytes between the usual hosts.
func datagramFor(is6 bool, n int) []byte {
	if is6 {
		return udp(peer6, own6, 1, 2, pattern(n-8))
	}
	return udp(peer4, own4, 1, 2, pattern(n-8))
}

func families(t *testing.T, test func(t *testing.T, is6 bool)) {
	t.Run("v4", func(t *testing.T) { test(t, false) })
	t.Run("v6", func(t *testing.T) { test(t, true) })
}

// TestReassembly has sequences of fragments of 400 bytes, and whether the datagram is delivered after the last.
func TestReassembly(t *testing.T) {
	a, b, c, d := piece{0, 104, true}, piece{104, 208, true}, piece{208, 312, true}, piece{312, 400, false}
	tests := []struct {
		name  string
		order []piece
		want  int // delivered
		fails uint64
	}{
		{"in order", []piece{a, b, c, d}, 1, 0},
		{"reverse", []piece{d, c, b, a}, 1, 0},
		{"mixed", []piece{c, a, d, b}, 1, 0},
		{"duplicates", []piece{a, a, b, d, d, b, c}, 1, 0},
		{"incomplete", []piece{a, b, d}, 0, 0},
		{"no end", []piece{a, b, c}, 0, 0},
		{"twice", []piece{a, b, c, d, a, b, c, d}, 2, 0},
		{"overlap at the front", []piece{a, b, {200, 312, true}, c, d}, 0, 1},
		{"overlap at the back", []piece{a, c, {104, 216, true}, b, d}, 0, 1},
		{"overlap inside", []piece{a, b, {112, 120, true}, c, d}, 0, 1},
		{"overlap around", []piece{b, {0, 312, true}, a, c, d}, 0, 1},
		{"longer from the same begin", []piece{a, b, {104, 216, true}, c, d}, 0, 1},
		{"shorter from the same begin", []piece{a, b, {104, 200, true}, c, d}, 0, 1},
		{"two ends", []piece{a, d, {104, 200, false}, b, c}, 0, 1},
		{"behind the end", []piece{{104, 200, false}, b, a, c, d}, 0, 1},
		{"end before what came", []piece{c, {104, 208, false}, a, b, d}, 0, 1},
		{"same range, other MF", []piece{a, d, {312, 400, false}, {104, 400, false}, b, c}, 0, 1},
		{"spoiled stays spoiled", []piece{a, {8, 112, true}, a, b, c, d, a, b, c, d}, 0, 1},
	}
	families(t, func(t *testing.T, is6 bool) {
		data := datagramFor(is6, 400)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w := newWorld(t)
				for _, f := range tt.order {
					w.input(ifOne, frag(is6, 7, data, f))
				}
				s := w.Stats()
				if len(w.delivered) != tt.want || s.ReasmFails != tt.fails || s.ReasmOKs != uint64(tt.want) || s.ReasmReqds != uint64(len(tt.order)) {
					t.Fatalf("%d delivered, want %d: %+v", len(w.delivered), tt.want, s)
				}
				for _, d := range w.delivered {
					if !bytes.Equal(d.data, data) || d.Protocol != wire.ProtoUDP || d.state != packet.ChecksumVerified {
						t.Errorf("delivered %+v", d)
					}
				}
			})
		}
	})
}

// TestReassemblyKeys has pairs of fragments that differ in one thing, and so belong together or not.
func TestReassemblyKeys(t *testing.T) {
	first, last := piece{0, 96, true}, piece{96, 200, false}
	families(t, func(t *testing.T, is6 bool) {
		data := datagramFor(is6, 200)
		tests := []struct {
			name   string
			iface  int
			second []byte
			want   int
		}{
			{"same", ifOne, frag(is6, 7, data, last), 1},
			{"other ID", ifOne, frag(is6, 8, data, last), 0},
			{"other interface", ifTwo, frag(is6, 7, data, last), 1},
			{"isolated interface", ifIso, frag(is6, 7, data, last), 0},
		}
		other := frag(is6, 7, data, last)
		if is6 {
			other[23]++
		} else {
			other[15]++
			other[10], other[11] = 0, 0
			wire.IPv4(other).SetChecksum(wire.IPv4(other).ComputeChecksum())
			tests = append(tests, struct {
				name   string
				iface  int
				second []byte
				want   int
			}{"other protocol", ifOne, frag(is6, 7, data, last, func(h *wire.IPv4Fields) { h.Protocol = 99 }), 0})
		}
		tests = append(tests, struct {
			name   string
			iface  int
			second []byte
			want   int
		}{"other source", ifOne, other, 0})
		for _, tt := range tests {
			w := newWorld(t)
			w.input(ifOne, frag(is6, 7, data, first))
			w.input(tt.iface, tt.second)
			if len(w.delivered) != tt.want {
				t.Errorf("%s: %d delivered, want %d: %+v", tt.name, len(w.delivered), tt.want, w.Stats())
			}
		}
	})
}

// TestBadFragments has single fragments that are refused, and the ICMPv6 code and pointer that answer them (code 255: none).
func TestBadFragments(t *testing.T) {
	data := pattern(65536)
	tests := []struct {
		name    string
		is6     bool
		f       piece
		partial bool
		code    uint8
		pointer uint32
	}{
		{"empty", false, piece{8, 8, true}, false, 255, 0},
		{"not a multiple of 8", false, piece{0, 100, true}, false, 255, 0},
		{"ping of death", false, piece{65528 - 8, 65536, false}, false, 255, 0},
		{"one byte too many", false, piece{65512, 65516, false}, false, 255, 0},
		{"partial checksum", false, piece{0, 96, true}, true, 255, 0},
		{"empty", true, piece{8, 8, true}, false, 255, 0},
		{"not a multiple of 8", true, piece{0, 100, true}, false, wire.ICMPv6ErroneousField, 4},
		{"not a multiple of 8, later", true, piece{8, 100, true}, false, 255, 0},
		{"beyond 65535", true, piece{65528, 65536, false}, false, 255, 0},
		{"partial checksum", true, piece{0, 96, true}, true, 255, 0},
		{"chain incomplete", true, piece{0, 0, true}, false, 255, 0},
		{"header incomplete", true, piece{0, 7, false}, false, 255, 0},
	}
	for _, tt := range tests {
		w := newWorld(t)
		b := frag(tt.is6, 7, data, tt.f)
		if tt.name == "header incomplete" { // of TCP, so that 8 bytes are not enough (RFC 7112)
			b = frag(true, 7, data, piece{0, 8, true})
			b[40] = uint8(wire.ProtoTCP)
			tt.code, tt.pointer = wire.ICMPv6IncompleteChain, 0
		}
		w.input(ifOne, b, func(p *packet.Packet) {
			if tt.partial {
				p.Checksum = packet.ChecksumPartial
			}
		})
		if s := w.Stats(); s.InHdrErrors != 1 || len(w.reasm.table) != 0 {
			t.Errorf("%s: %+v", tt.name, s)
		}
		if tt.code == 255 {
			if len(w.sent) != 0 {
				t.Errorf("%s: answered with %x", tt.name, w.sent[0].b)
			}
			continue
		}
		if len(w.sent) != 1 {
			t.Errorf("%s: %d answers", tt.name, len(w.sent))
			continue
		}
		m := wire.ICMPv6(w.sent[0].b[40:])
		if m.Type() != wire.ICMPv6ParamProblem || m.Code() != tt.code || m.Pointer() != tt.pointer || !bytes.HasPrefix(b, m.Body()[:len(m.Body())]) {
			t.Errorf("%s: answered type %v code %d pointer %d", tt.name, m.Type(), m.Code(), m.Pointer())
		}
	}
}

// TestReassembledTooLong makes a first fragment with more header than the others, so that the whole is longer than each fragment shows.
func TestReassembledTooLong(t *testing.T) {
	w := newWorld(t)
	data := make([]byte, 65515)
	for at := 0; at < len(data); at += 8 * 1024 {
		end := min(at+8*1024, len(data))
		w.input(ifOne, frag(false, 7, data, piece{at, end, end < len(data)}, func(f *wire.IPv4Fields) {
			if at == 0 {
				f.Options = []byte{148, 4, 0, 0}
			}
		}))
	}
	if s := w.Stats(); s.ReasmOKs != 1 || s.InHdrErrors != 1 || len(w.delivered) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestReassemblyLargest(t *testing.T) {
	families(t, func(t *testing.T, is6 bool) {
		w := newWorld(t)
		n := 65515
		if is6 {
			n = 65535
		}
		data := datagramFor(is6, n)
		for at := 0; at < n; at += 1024 {
			end := min(at+1024, n)
			w.input(ifOne, frag(is6, 7, data, piece{at, end, end < n}))
		}
		if len(w.delivered) != 1 || !bytes.Equal(w.delivered[0].data, data) {
			t.Errorf("%d delivered: %+v", len(w.delivered), w.Stats())
		}
	})
}

// TestReassemblyTimeout waits for the ICMP time exceeded: sent if and only if the first fragment came.
func TestReassemblyTimeout(t *testing.T) {
	families(t, func(t *testing.T, is6 bool) {
		data := datagramFor(is6, 200)
		first, last := piece{0, 96, true}, piece{96, 200, false}
		timeout := 30 * time.Second
		if is6 {
			timeout = 60 * time.Second
		}
		w := newWorld(t)
		b := frag(is6, 7, data, first)
		w.input(ifOne, b)
		w.input(ifOne, frag(is6, 8, data, last))
		w.clock.Advance(timeout - 1)
		if s := w.Stats(); len(w.sent) != 0 || s.ReasmFails != 0 {
			t.Fatalf("before its time: %+v", s)
		}
		w.clock.Advance(1)
		if s := w.Stats(); len(w.sent) != 1 || s.ReasmFails != 2 || s.ICMPOut != 1 {
			t.Fatalf("%d packets sent: %+v", len(w.sent), s)
		}
		body, typ, code := w.sent[0].b[28:], w.sent[0].b[20], w.sent[0].b[21]
		want := uint8(wire.ICMPv4TimeExceeded)
		if is6 {
			body, typ, code, want = w.sent[0].b[48:], w.sent[0].b[40], w.sent[0].b[41], uint8(wire.ICMPv6TimeExceeded)
		}
		if typ != want || code != 1 || !bytes.Equal(body, b) {
			t.Errorf("sent %x about %x", w.sent[0].b, b)
		}
		if w.clock.Next() != 1<<63-1 {
			t.Error("a timer is left")
		}
		w.input(ifOne, frag(is6, 7, data, last))
		if len(w.delivered) != 0 {
			t.Error("delivered what had timed out")
		}
	})
}

// TestSpoiledTimeout asks that a spoiled datagram is forgotten in the end, without a word.
func TestSpoiledTimeout(t *testing.T) {
	w := newWorld(t)
	data := datagramFor(false, 200)
	for _, f := range []piece{{0, 96, true}, {8, 104, true}} {
		w.input(ifOne, frag(false, 7, data, f))
	}
	w.clock.Advance(31 * time.Second)
	for _, f := range []piece{{0, 96, true}, {96, 200, false}} {
		w.input(ifOne, frag(false, 7, data, f))
	}
	if len(w.sent) != 0 || len(w.delivered) != 1 || w.Stats().ReasmFails != 1 {
		t.Errorf("%d sent, %d delivered", len(w.sent), len(w.delivered))
	}
}

// TestReassemblyBounds floods the reassembler by bytes, datagrams and fragments.
func TestReassemblyBounds(t *testing.T) {
	families(t, func(t *testing.T, is6 bool) {
		const memory = 64 << 10
		w := newWorld(t, func(c *Config) { c.Memory = memory })
		data := datagramFor(is6, 1600)
		for id := range uint32(500) {
			w.input(ifOne, frag(is6, id, data, piece{0, 1400, true}))
			if _, held := w.buffers.Outstanding(); held > memory || w.reasm.used > memory {
				t.Fatalf("%d bytes held, %d charged, of %d", held, w.reasm.used, memory)
			}
		}
		w.input(ifOne, frag(is6, 499, data, piece{1400, 1600, false}))
		w.input(ifOne, frag(is6, 0, data, piece{1400, 1600, false}))
		if len(w.delivered) != 1 {
			t.Errorf("%d delivered, want the youngest", len(w.delivered))
		}
		if s := w.Stats(); s.ReasmFails == 0 || s.ReasmFails > 500 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("datagrams", func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Memory = 64 << 20 })
		data := datagramFor(false, 16)
		for id := range uint32(3 * maxDatagrams) {
			w.input(ifOne, frag(false, id, data, piece{8, 16, false}))
		}
		if n := len(w.reasm.table); n != maxDatagrams {
			t.Errorf("%d datagrams in the table", n)
		}
	})
	t.Run("fragments", func(t *testing.T) {
		w := newWorld(t)
		data := datagramFor(false, 4000)
		for at := 0; at < 8*(maxFragments+1); at += 8 {
			w.input(ifOne, frag(false, 7, data, piece{at, at + 8, true}))
		}
		if s := w.Stats(); s.ReasmFails != 1 || w.reasm.used != datagramCharge {
			t.Errorf("%d charged: %+v", w.reasm.used, s)
		}
	})
	t.Run("one datagram", func(t *testing.T) { // larger than all the memory
		w := newWorld(t, func(c *Config) { c.Memory = 16 << 10 })
		data := datagramFor(false, 40000)
		for at := 0; at < len(data); at += 1400 {
			w.input(ifOne, frag(false, 7, data, piece{at, min(at+1400, len(data)), at+1400 < len(data)}))
		}
		if s := w.Stats(); len(w.delivered) != 0 || s.ReasmFails != 1 || w.reasm.used > 16<<10 {
			t.Errorf("%d charged: %+v", w.reasm.used, s)
		}
	})
}

// TestAtomicFragments handles them in isolation from others with their ID (RFC 6946 §4).
func TestAtomicFragments(t *testing.T) {
	w := newWorld(t)
	data := datagramFor(true, 200)
	w.input(ifOne, frag(true, 7, data, piece{0, 96, true}))
	w.input(ifOne, frag(true, 7, data, piece{0, 200, false}))
	if len(w.delivered) != 1 || !bytes.Equal(w.delivered[0].data, data) {
		t.Fatalf("%d delivered: %+v", len(w.delivered), w.Stats())
	}
	w.input(ifOne, frag(true, 7, data, piece{96, 200, false}))
	if len(w.delivered) != 2 {
		t.Errorf("%d delivered: the atomic fragment disturbed the others", len(w.delivered))
	}
}

// TestReassemblyECN has the codepoints of two fragments, and what the whole has (RFC 3168 §5.3; 255: dropped).
func TestReassemblyECN(t *testing.T) {
	for _, tt := range [][3]uint8{
		{wire.NotECT, wire.NotECT, wire.NotECT},
		{wire.ECT0, wire.ECT0, wire.ECT0},
		{wire.ECT0, wire.CE, wire.CE},
		{wire.CE, wire.ECT1, wire.CE},
		{wire.CE, wire.NotECT, 255},
		{wire.NotECT, wire.CE, 255},
		{wire.NotECT, wire.ECT0, 255},
		{wire.ECT1, wire.NotECT, 255},
		{wire.ECT0, wire.ECT1, wire.ECT0},
	} {
		families(t, func(t *testing.T, is6 bool) {
			w := newWorld(t)
			data := datagramFor(is6, 200)
			for i, f := range []piece{{0, 96, true}, {96, 200, false}} {
				b := frag(is6, 7, data, f, func(h *wire.IPv4Fields) { h.TOS = tt[i] })
				if is6 {
					wire.IPv6(b).SetECN(tt[i])
				}
				w.input(ifOne, b)
			}
			switch {
			case tt[2] == 255:
				if len(w.delivered) != 0 || w.Stats().ReasmFails != 1 {
					t.Errorf("%v: delivered", tt)
				}
			case len(w.delivered) != 1 || w.delivered[0].ecn != tt[2] || w.delivered[0].TOS&3 != tt[2]:
				t.Errorf("%v: %+v", tt, w.delivered)
			}
		})
	}
}

// TestReassembledHeader asks that the header of the whole is what the sender would have sent unfragmented, for an ICMP error to quote.
func TestReassembledHeader(t *testing.T) {
	families(t, func(t *testing.T, is6 bool) {
		w := newWorld(t)
		w.refuse = true
		data := datagramFor(is6, 200)
		w.input(ifOne, frag(is6, 7, data, piece{96, 200, false}))
		w.input(ifOne, frag(is6, 7, data, piece{0, 96, true}))
		if len(w.sent) != 1 {
			t.Fatalf("%d packets sent: %+v", len(w.sent), w.Stats())
		}
		want := v4(peer4, own4, wire.ProtoUDP, data, func(f *wire.IPv4Fields) { f.ID = 7 })
		got := w.sent[0].b[28:]
		if is6 {
			want, got = v6(peer6, own6, wire.ProtoUDP, data), w.sent[0].b[48:]
		}
		if !bytes.Equal(got, want) {
			t.Errorf("quoted %x, want %x", got, want)
		}
	})
}

// TestCloseDropsFragments keeps nothing after Close, neither old nor new.
func TestCloseDropsFragments(t *testing.T) {
	w := newWorld(t)
	data := datagramFor(false, 200)
	w.input(ifOne, frag(false, 7, data, piece{0, 96, true}))
	w.Close()
	w.input(ifOne, frag(false, 7, data, piece{0, 96, true}))
	w.clock.Advance(time.Minute)
	if w.pool.Outstanding() != 0 || len(w.sent) != 0 {
		t.Errorf("%d packets held, %d sent", w.pool.Outstanding(), len(w.sent))
	}
}

// modelDatagram is a datagram as the reassembler should see it: ranges by name.
type modelDatagram struct {
	have    map[piece]bool
	spoiled bool
}

// add enters a fragment, and reports whether that makes the datagram whole.
func (m *modelDatagram) add(f piece) (whole bool) {
	if m.spoiled || m.have[f] {
		return false
	}
	for o := range m.have {
		if f.begin < o.end && o.begin < f.end || !o.more && f.end > o.end || !f.more && o.end > f.end || !o.more && !f.more {
			m.spoiled = true
		}
	}
	m.have[f] = true
	m.spoiled = m.spoiled || len(m.have) > maxFragments
	sum, end := 0, -1
	for o := range m.have {
		if sum += o.end - o.begin; !o.more {
			end = o.end
		}
	}
	return !m.spoiled && sum == end
}

// FuzzReassembly compares the reassembler with a model. Each 4 bytes of input are one fragment of one of four datagrams.
func FuzzReassembly(f *testing.F) {
	f.Add([]byte{0, 0, 4, 1, 0, 5, 4, 1, 0, 10, 4, 0}, false)
	f.Add([]byte{0, 10, 4, 0, 0, 0, 4, 1, 0, 5, 4, 1, 0, 2, 4, 1}, true)
	f.Add([]byte{0, 0, 4, 1, 0, 2, 4, 1, 1, 0, 1, 1, 1, 2, 1, 0}, true)
	f.Fuzz(func(t *testing.T, script []byte, is6 bool) {
		w := newWorld(t)
		models := map[uint32]*modelDatagram{}
		data := datagramFor(is6, 2048)
		whole := uint64(0)
		for ; len(script) >= 4; script = script[4:] {
			id := uint32(script[0] % 4)
			f := piece{begin: int(script[1]%64) * 8, more: script[3]&1 != 0}
			f.end = f.begin + (int(script[2]%16)+1)*8
			if !f.more && f.begin == 0 {
				continue // not a fragment
			}
			if models[id] == nil {
				models[id] = &modelDatagram{have: map[piece]bool{}}
			}
			if models[id].add(f) {
				delete(models, id)
				whole++
			}
			w.input(ifOne, frag(is6, id, data, f))
			if s := w.Stats(); s.ReasmOKs != whole {
				t.Fatalf("after %+v of %d: %d whole datagrams, the model has %d", f, id, s.ReasmOKs, whole)
			}
		}
	})
}
