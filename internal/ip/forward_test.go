package ip

import (
	"bytes"
	"testing"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

func forwarding(c *Config) { c.Forward = true }

const (
	far4, far6 = "198.18.5.5", "2001:db8:2::5" // behind ifTwo, MTU 1280
)

func TestForward(t *testing.T) {
	for _, tt := range []struct {
		name  string
		iface int
		b     []byte
		out   int // 0: not forwarded
		typ   uint8
		code  uint8
		rest  uint32 // of the ICMP error; all zero: none
	}{
		{"v4", ifOne, udp4(peer4, far4, pattern(100)), ifTwo, 0, 0, 0},
		{"v4 back where it came from", ifOne, udp4(peer4, "8.8.8.8", pattern(100)), ifOne, 0, 0, 0},
		{"v4 TTL 2", ifOne, v4(peer4, far4, 99, nil, func(f *wire.IPv4Fields) { f.TTL = 2 }), ifTwo, 0, 0, 0},
		{"v4 TTL 1", ifOne, v4(peer4, far4, 99, nil, func(f *wire.IPv4Fields) { f.TTL = 1 }), 0, 11, 0, 0},
		{"v4 from isolated", ifIso, udp4(peer4, far4, nil), 0, 0, 0, 0},
		{"v4 to loopback", ifOne, udp4(peer4, "127.0.0.9", nil), 0, 0, 0, 0},
		{"v4 to link local", ifOne, udp4(peer4, "169.254.9.9", nil), 0, 0, 0, 0},
		{"v4 from link local", ifOne, udp4("169.254.9.9", far4, nil), 0, 0, 0, 0},
		{"v4 to multicast", ifOne, udp4(peer4, "239.9.9.9", nil), 0, 0, 0, 0},
		{"v4 to class E", ifOne, udp4(peer4, "240.9.9.9", nil), 0, 0, 0, 0},
		{"v4 fits", ifOne, udp4(peer4, far4, pattern(1252)), ifTwo, 0, 0, 0},
		{"v4 DF too large", ifOne, v4(peer4, far4, 99, pattern(1261), func(f *wire.IPv4Fields) { f.DontFragment = true }), 0, 3, 4, 1280},
		{"v4 fragment", ifOne, v4(peer4, far4, wire.ProtoTCP, pattern(80), func(f *wire.IPv4Fields) { f.FragmentOffset = 80 }), ifTwo, 0, 0, 0},
		{"v4 source route", ifOne, v4(peer4, far4, 99, nil, func(f *wire.IPv4Fields) { f.Options = []byte{131, 3, 4} }), 0, 0, 0, 0},
		{"v4 TCP with a broken header", ifOne, v4(peer4, far4, wire.ProtoTCP, pattern(20)), ifTwo, 0, 0, 0},
		{"v4 TCP with a short header", ifOne, v4(peer4, far4, wire.ProtoTCP, pattern(19)), ifTwo, 0, 0, 0},
		{"v4 UDP with a short header", ifOne, v4(peer4, far4, wire.ProtoUDP, pattern(7)), ifTwo, 0, 0, 0},
		{"v6", ifOne, udp6(peer6, far6, pattern(100)), ifTwo, 0, 0, 0},
		{"v6 hop limit 1", ifOne, v6(peer6, far6, 99, nil, func(f *wire.IPv6Fields) { f.HopLimit = 1 }), 0, 3, 0, 0},
		{"v6 fits", ifOne, udp6(peer6, far6, pattern(1232)), ifTwo, 0, 0, 0},
		{"v6 too large", ifOne, udp6(peer6, far6, pattern(1233)), 0, 2, 0, 1280},
		{"v6 from link local", ifOne, udp6("fe80::9", far6, nil), 0, 0, 0, 0},
		{"v6 to link local", ifOne, udp6(peer6, "fe80::99", nil), 0, 0, 0, 0},
		{"v6 to multicast", ifOne, udp6(peer6, "ff0e::99", nil), 0, 0, 0, 0},
		{"v6 extension headers untouched", ifOne, v6(peer6, far6, wire.ProtoHopByHop, ext(99, []byte{0xde, 0}, nil)), ifTwo, 0, 0, 0},
	} {
		w := newWorld(t, forwarding)
		w.check = false // what is forwarded is the sender's business
		w.input(tt.iface, tt.b)
		switch {
		case tt.out != 0:
			if len(w.sent) != 1 || w.sent[0].iface != tt.out || w.Stats().Forwarded != 1 {
				t.Errorf("%s: %d sent: %+v", tt.name, len(w.sent), w.Stats())
				continue
			}
			want := bytes.Clone(tt.b)
			if wire.IPVersion(want) == 4 {
				want[8]--
				wire.IPv4(want).SetChecksum(wire.IPv4(want).ComputeChecksum())
			} else {
				want[7]--
			}
			if !bytes.Equal(w.sent[0].b, want) {
				t.Errorf("%s:\n%x, want\n%x", tt.name, w.sent[0].b, want)
			}
		case tt.typ == 0:
			if len(w.sent) != 0 {
				t.Errorf("%s: sent %x", tt.name, w.sent[0].b)
			}
		default:
			if len(w.sent) != 1 || w.sent[0].iface != tt.iface {
				t.Errorf("%s: %d sent: %+v", tt.name, len(w.sent), w.Stats())
				continue
			}
			src, _, typ, code, rest, body := errorOf(t, w.sent[0])
			if src != own4 && src != own6 || typ != tt.typ || code != tt.code || rest != tt.rest || !bytes.HasPrefix(tt.b, body) {
				t.Errorf("%s: from %s type %d code %d rest %d", tt.name, src, typ, code, rest)
			}
		}
		if len(w.delivered) != 0 {
			t.Errorf("%s: delivered", tt.name)
		}
	}
}

func TestForwardNoRoute(t *testing.T) {
	w := newWorld(t, forwarding)
	table, err := NewTable(interfaces(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.SetTable(table)
	w.input(ifOne, udp4(peer4, "8.8.8.8", nil))
	w.input(ifOne, udp6(peer6, "2001:db8:ffff::1", nil))
	if len(w.sent) != 2 || w.Stats().OutNoRoutes != 2 {
		t.Fatalf("%d sent: %+v", len(w.sent), w.Stats())
	}
	for i, want := range [][2]uint8{{3, 0}, {1, 0}} {
		if _, _, typ, code, _, _ := errorOf(t, w.sent[i]); [2]uint8{typ, code} != want {
			t.Errorf("type %d code %d, want %v", typ, code, want)
		}
	}
}

func TestForwardOff(t *testing.T) {
	w := newWorld(t)
	w.input(ifOne, udp4(peer4, far4, nil))
	if len(w.sent) != 0 || w.Stats().InAddrErrors != 1 {
		t.Errorf("%d sent: %+v", len(w.sent), w.Stats())
	}
}

// TestForwardFragments cuts datagrams and fragments, with options, and puts them together again.
func TestForwardFragments(t *testing.T) {
	data := datagramFor(false, 1400)
	options := []byte{1, 7, 3, 4, 148, 4, 0, 0} // NOP, record route (first fragment only), router alert (every fragment)
	fields := func(offset int, more bool) func(*wire.IPv4Fields) {
		return func(f *wire.IPv4Fields) {
			f.ID, f.FragmentOffset, f.MoreFragments, f.Options = 77, offset, more, options
		}
	}
	for _, tt := range []struct {
		name   string
		offset int
		more   bool
	}{{"datagram", 0, false}, {"first", 0, true}, {"middle", 800, true}, {"last", 800, false}} {
		w := newWorld(t, forwarding)
		w.input(ifOne, v4(peer4, far4, wire.ProtoUDP, data, fields(tt.offset, tt.more)))
		var whole []byte
		for i, s := range w.sent {
			h := wire.IPv4(s.b)
			last := i == len(w.sent)-1
			if h.ID() != 77 || h.FragmentOffset() != tt.offset+len(whole) || h.MoreFragments() != (tt.more || !last) || h.TTL() != 63 || len(s.b) > 1280 {
				t.Errorf("%s, fragment %d: %x", tt.name, i, s.b[:h.HeaderLen()])
			}
			want := []byte{148, 4, 0, 0}
			if i == 0 {
				want = options
			}
			if !bytes.Equal(s.b[20:h.HeaderLen()], want) {
				t.Errorf("%s, fragment %d: options %x, want %x", tt.name, i, s.b[20:h.HeaderLen()], want)
			}
			whole = append(whole, s.b[h.HeaderLen():]...)
		}
		if len(w.sent) != 2 || !bytes.Equal(whole, data) || w.Stats().FragOKs != 1 || w.Stats().FragCreates != 2 {
			t.Errorf("%s: %d fragments: %+v", tt.name, len(w.sent), w.Stats())
		}
	}
}

// TestForwardStates forwards plain packets and super-segments in every state of the checksum.
func TestForwardStates(t *testing.T) {
	segment := func(is6 bool, n int) []byte {
		if is6 {
			return v6(peer6, far6, wire.ProtoTCP, tcp(peer6, far6, 1, pattern(n)))
		}
		return v4(peer4, far4, wire.ProtoTCP, tcp(peer4, far4, 1, pattern(n)), func(f *wire.IPv4Fields) { f.DontFragment = true })
	}
	families(t, func(t *testing.T, is6 bool) {
		header := 20
		if is6 {
			header = 40
		}
		for _, state := range []packet.Checksum{packet.ChecksumNone, packet.ChecksumPartial, packet.ChecksumVerified} {
			for _, super := range []bool{false, true} {
				w := newWorld(t, forwarding)
				n := 1000
				if super {
					n = 5000
				}
				b := segment(is6, n)
				src, dst := addr(peer4), addr(far4)
				if is6 {
					src, dst = addr(peer6), addr(far6)
				}
				pseudo := naiveSum(append(append(src.AsSlice(), dst.AsSlice()...), 0, 6, byte((n+20)>>8), byte(n+20)))
				if state == packet.ChecksumPartial {
					wire.TCP(b[header:]).SetChecksum(pseudo)
				}
				w.input(ifOne, b, func(p *packet.Packet) {
					p.Checksum = state
					if state == packet.ChecksumPartial {
						p.CsumStart, p.CsumOffset = uint16(header), 16
					}
					if super {
						p.GSO, p.GSOSize, p.Segs = packet.GSOTCP4, 1000, 5
						if is6 {
							p.GSO = packet.GSOTCP6
						}
					}
				})
				if len(w.sent) != 1 {
					t.Fatalf("state %d, super %v: %d sent: %+v", state, super, len(w.sent), w.Stats())
				}
				s := w.sent[0]
				if s.meta.Checksum == packet.ChecksumVerified || s.meta.GSO != packet.GSONone != super {
					t.Errorf("state %d, super %v: %+v", state, super, s.meta)
				}
				if super && (s.meta.Checksum != packet.ChecksumPartial || int(s.meta.CsumStart) != header || s.meta.CsumOffset != 16) {
					t.Errorf("state %d: a super-segment leaves with %+v", state, s.meta)
				}
				if got := wire.TCP(s.b[header:]).Checksum(); super && got != pseudo {
					t.Errorf("state %d: partial sum %04x, want %04x", state, got, pseudo)
				}
			}
		}
		// Segments that do not fit the way out.
		w := newWorld(t, forwarding)
		kind := packet.GSOTCP4
		if is6 {
			kind = packet.GSOTCP6
		}
		w.input(ifOne, segment(is6, 5000), func(p *packet.Packet) {
			p.Checksum, p.GSO, p.GSOSize = packet.ChecksumVerified, kind, uint16(1281-header-20)
		})
		if len(w.sent) != 1 || w.sent[0].iface != ifOne || w.Stats().Forwarded != 0 {
			t.Errorf("%d sent: %+v", len(w.sent), w.Stats())
		}
		// What the device says wrongly to be a super-segment of the other family, or of UDP.
		for _, wrong := range []packet.GSO{packet.GSOTCP4, packet.GSOTCP6, packet.GSOUDP4, packet.GSOUDP6} {
			if wrong == kind {
				continue
			}
			w := newWorld(t, forwarding)
			w.input(ifOne, segment(is6, 5000), func(p *packet.Packet) {
				p.Checksum, p.GSO, p.GSOSize = packet.ChecksumVerified, wrong, 1000
			})
			if len(w.sent) != 0 || w.Stats().InHdrErrors != 1 {
				t.Errorf("kind %d: %d sent: %+v", wrong, len(w.sent), w.Stats())
			}
		}
	})
}

// TestForwardSuperFragments has a super-segment of UDP that may be fragmented, each of whose datagrams is too large.
func TestForwardSuperFragments(t *testing.T) {
	w := newWorld(t, forwarding)
	data := udp(peer4, far4, 1, 2, pattern(2800))
	w.input(ifOne, v4(peer4, far4, wire.ProtoUDP, data), func(p *packet.Packet) {
		p.Checksum, p.GSO, p.GSOSize, p.Segs = packet.ChecksumVerified, packet.GSOUDP4, 1400, 2
	})
	if len(w.sent) != 4 || w.Stats().Forwarded != 2 || w.Stats().FragOKs != 2 {
		t.Fatalf("%d sent: %+v", len(w.sent), w.Stats())
	}
	for i := range 2 {
		whole := append(bytes.Clone(w.sent[2*i].b[20:]), w.sent[2*i+1].b[20:]...)
		if transportSum(addr(peer4), addr(far4), wire.ProtoUDP, whole) != 0xffff || !bytes.Equal(whole[8:], pattern(2800)[1400*i:1400*i+1400]) {
			t.Errorf("datagram %d is wrong", i)
		}
	}
}
