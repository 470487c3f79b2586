package ip

import (
	"bytes"
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// datagram makes an outbound UDP datagram, its checksum partial, as transport hands it down.
func (w *world) datagram(path *Path, n int) *packet.Packet {
	p := w.pool.Get()
	p.Data().Append(pattern(n))
	h := wire.PutUDP(p.Push(packet.Transport, wire.UDPLen), wire.UDPFields{SrcPort: 1, DstPort: 2, Length: wire.UDPLen + n})
	pseudo := append(path.Src.AsSlice(), path.Dst.AsSlice()...)
	h.SetChecksum(naiveSum(append(pseudo, 0, uint8(wire.ProtoUDP), byte(h.Length()>>8), byte(h.Length()))))
	p.Checksum, p.CsumStart, p.CsumOffset = packet.ChecksumPartial, wire.IPv4MinLen, 6
	if !path.Dst.Is4() {
		p.CsumStart = wire.IPv6Len
	}
	return p
}

func (w *world) pathTo(dst string) *Path {
	p, err := w.Path(netip.Addr{}, addr(dst), 0, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return &p
}

func TestSend(t *testing.T) {
	for _, dst := range []string{peer4, peer6} {
		w := newWorld(t)
		path := w.pathTo(dst)
		if err := w.Send(0, w.datagram(path, 100), path, Header{Protocol: wire.ProtoUDP, TTL: 9, TOS: 0x2e, DF: true}); err != nil {
			t.Fatal(err)
		}
		if err := w.Send(0, w.datagram(path, 100), path, Header{Protocol: wire.ProtoUDP}); err != nil {
			t.Fatal(err)
		}
		for i, s := range w.take() {
			ttl, tos, df := uint8(9), uint8(0x2e), true
			if i == 1 {
				ttl, tos, df = 64, 0, false
			}
			if s.iface != ifOne {
				t.Errorf("sent on %d", s.iface)
			}
			if path.Dst.Is4() {
				h := wire.IPv4(s.b)
				if h.TTL() != ttl || h.TOS() != tos || h.DontFragment() != df || h.Src() != addr(own4) || h.Dst() != addr(dst) ||
					h.Protocol() != wire.ProtoUDP {
					t.Errorf("header %x", s.b[:20])
				}
				if h.DontFragment() && h.ID() != 0 {
					t.Errorf("atomic datagram with ID %d", h.ID()) // RFC 6864 §4.1
				}
			} else if h := wire.IPv6(s.b); h.HopLimit() != ttl || h.TrafficClass() != tos || h.Src() != addr(own6) ||
				h.Dst() != addr(dst) || h.NextHeader() != wire.ProtoUDP {
				t.Errorf("header %x", s.b[:40])
			}
		}
		if s := w.Stats(); s.OutRequests != 2 {
			t.Errorf("%+v", s)
		}
	}
}

// TestSendTooLarge asks for EMSGSIZE at the very byte.
func TestSendTooLarge(t *testing.T) {
	for _, tt := range []struct {
		dst  string
		n    int
		df   bool
		gso  int
		fail bool
		sent int
	}{
		{peer4, 1472, true, 0, false, 1},
		{peer4, 1473, true, 0, true, 0},
		{peer4, 1473, false, 0, false, 2},
		{peer4, 65507, false, 0, false, 45},
		{peer4, 65508, false, 0, true, 0},
		{peer4, 6000, true, 1472, false, 1},
		{peer4, 6000, false, 1473, true, 0},
		{peer6, 1452, true, 0, false, 1},
		{peer6, 1453, true, 0, true, 0},
		{peer6, 1453, false, 0, false, 2},
		{peer6, 65527, false, 0, false, 46},
		{peer6, 65528, false, 0, true, 0},
		{peer6, 6000, true, 1453, true, 0},
	} {
		w := newWorld(t)
		path := w.pathTo(tt.dst)
		p := w.datagram(path, tt.n)
		if tt.gso > 0 {
			p.GSO, p.GSOSize = packet.GSOUDP4, uint16(tt.gso)
		}
		err := w.Send(0, p, path, Header{Protocol: wire.ProtoUDP, DF: tt.df})
		if tt.fail != errors.Is(err, syscall.EMSGSIZE) || len(w.sent) != tt.sent {
			t.Errorf("%+v: %v, %d packets", tt, err, len(w.sent))
		}
		if s := w.Stats(); tt.fail != (s.FragFails == 1) || tt.sent > 1 != (s.FragOKs == 1) || tt.sent > 1 && s.FragCreates != uint64(tt.sent) {
			t.Errorf("%+v: %+v", tt, s)
		}
	}
}

// TestFragmentsOut looks at every field of fragments, and puts them together by hand.
func TestFragmentsOut(t *testing.T) {
	for _, dst := range []string{peer4, peer6} {
		w := newWorld(t)
		path := w.pathTo(dst)
		if err := w.Send(0, w.datagram(path, 4000), path, Header{Protocol: wire.ProtoUDP, TTL: 5, TOS: 8}); err != nil {
			t.Fatal(err)
		}
		var whole []byte
		var id uint32
		for i, s := range w.sent {
			last := i == len(w.sent)-1
			var at int
			var more bool
			var data []byte
			var gotID uint32
			if path.Dst.Is4() {
				h := wire.IPv4(s.b)
				at, more, data, gotID = h.FragmentOffset(), h.MoreFragments(), s.b[20:], uint32(h.ID())
				if h.TTL() != 5 || h.TOS() != 8 || h.DontFragment() || h.Protocol() != wire.ProtoUDP {
					t.Errorf("header %x", s.b[:20])
				}
			} else {
				h, f := wire.IPv6(s.b), wire.IPv6Fragment(s.b[40:])
				at, more, data, gotID = f.Offset(), f.More(), s.b[48:], f.ID()
				if h.HopLimit() != 5 || h.TrafficClass() != 8 || h.NextHeader() != wire.ProtoFragment || f.NextHeader() != wire.ProtoUDP {
					t.Errorf("header %x", s.b[:48])
				}
			}
			if i == 0 {
				id = gotID
			}
			if at != len(whole) || more == last || len(s.b) > path.MTU || gotID != id || !last && len(s.b) < path.MTU-7 {
				t.Errorf("fragment %d: %d bytes at %d, more %v, ID %d", i, len(s.b), at, more, gotID)
			}
			whole = append(whole, data...)
		}
		if transportSum(path.Src, path.Dst, wire.ProtoUDP, whole) != 0xffff || !bytes.Equal(whole[8:], pattern(4000)) {
			t.Errorf("fragments make %d bytes with a wrong checksum or content", len(whole))
		}
	}
}

// TestFragmentData fragments a packet of which no transport header is known, as a raw socket sends it.
func TestFragmentData(t *testing.T) {
	w := newWorld(t)
	w.check = false
	p := w.pool.Get()
	p.Data().Append(pattern(2000))
	path := w.pathTo(peer4)
	if err := w.Send(0, p, path, Header{Protocol: 99}); err != nil {
		t.Fatal(err)
	}
	if len(w.sent) != 2 || !bytes.Equal(append(w.sent[0].b[20:], w.sent[1].b[20:]...), pattern(2000)) {
		t.Errorf("%d fragments", len(w.sent))
	}
}

// TestIdentification asks that IDs do not repeat for a destination, nor run in step for different ones.
func TestIdentification(t *testing.T) {
	w := newWorld(t)
	a, b := w.pathTo(peer4), w.pathTo("192.0.2.10")
	seen := map[uint16]bool{}
	steps := map[uint16]int{}
	var last uint16
	for i := range 65536 {
		id := w.ids.next(a, wire.ProtoUDP, 1)
		if seen[id] {
			t.Fatalf("ID %d after %d packets again", id, i)
		}
		seen[id] = true
		steps[id-last]++
		last = id
		if i%7 == 0 {
			w.ids.next(b, wire.ProtoUDP, 1)
		}
	}
	for step, n := range steps {
		if n > 2000 {
			t.Errorf("the next ID is %d further in %d cases of 65536", step, n)
		}
	}
	same := 0
	for range 10 {
		if w.ids.next(a, wire.ProtoUDP, 1) == w.ids.next(b, wire.ProtoUDP, 1) {
			same++
		}
	}
	if same > 1 {
		t.Errorf("two destinations have the same ID %d times of 10", same)
	}
}

func TestPush(t *testing.T) {
	w := newWorld(t)
	for _, dst := range []string{peer4, peer6} {
		path := w.pathTo(dst)
		p := w.datagram(path, 60000)
		p.Segs = 41
		w.Push(p, path, Header{Protocol: wire.ProtoTCP, DF: true, TOS: 1})
		if p.Iface != ifOne || p.Header(packet.Network) == nil {
			t.Errorf("to %s: iface %d", dst, p.Iface)
		}
		p.Release()
	}
	if s := w.Stats(); s.OutRequests != 82 {
		t.Errorf("%d requests, want 82", s.OutRequests)
	}
}
