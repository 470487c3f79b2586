package ip

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// echoPacket is an echo request or reply.
func echoPacket(src, dst string, reply bool) []byte {
	switch is6 := addr(src).Is6(); {
	case is6 && reply:
		return icmp6Packet(src, dst, 129, 0, 0x1234_0001, pattern(100))
	case is6:
		return icmp6Packet(src, dst, 128, 0, 0x1234_0001, pattern(100))
	case reply:
		return icmp4Packet(src, dst, 0, 0, 0x1234_0001, pattern(100))
	}
	return icmp4Packet(src, dst, 8, 0, 0x1234_0001, pattern(100))
}

// TestEcho has echo requests and whether they are answered, from which address.
func TestEcho(t *testing.T) {
	for _, tt := range []struct {
		iface    int
		src, dst string
		from     string // empty: no answer
		out      int
	}{
		{ifOne, peer4, own4, own4, ifOne},
		{ifOne, peer4, "198.18.0.1", "198.18.0.1", ifOne},
		{ifOne, "8.8.8.8", own4, own4, ifOne},
		{ifOne, "198.18.7.7", own4, own4, ifTwo}, // by the route
		{ifIso, peer4, own4, own4, ifIso},
		{ifLoop, "127.0.0.1", "127.0.0.1", "127.0.0.1", ifLoop},
		{ifOne, peer4, "192.0.2.255", "", 0},
		{ifOne, peer4, "255.255.255.255", "", 0},
		{ifOne, peer4, "224.0.0.1", "", 0},
		{ifOne, "0.0.0.0", "255.255.255.255", "", 0},
		{ifOne, peer6, own6, own6, ifOne},
		{ifOne, "fe80::9", "fe80::1", "fe80::1", ifOne},
		{ifTwo, "fe80::9", "fe80::2", "fe80::2", ifTwo},
		{ifOne, "fe80::9", "ff02::1", "fe80::1", ifOne},
		{ifOne, peer6, "ff02::1", own6, ifOne},
		{ifOne, "::", "ff02::1", "", 0},
		{ifLoop, "::1", "::1", "::1", ifLoop},
	} {
		w := newWorld(t)
		is6 := addr(tt.src).Is6()
		b := echoPacket(tt.src, tt.dst, false)
		w.input(tt.iface, b)
		if tt.from == "" {
			if len(w.sent) != 0 {
				t.Errorf("%s to %s was answered", tt.src, tt.dst)
			}
			continue
		}
		if len(w.sent) != 1 || w.sent[0].iface != tt.out {
			t.Errorf("%s to %s: %d answers", tt.src, tt.dst, len(w.sent))
			continue
		}
		want := echoPacket(tt.from, tt.src, true)
		got := w.sent[0].b
		if !is6 { // the identification is nobody's to know
			copy(want[4:6], got[4:6])
			copy(want[10:12], got[10:12])
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s to %s:\n%x, want\n%x", tt.src, tt.dst, got, want)
		}
		if s := w.Stats(); s.EchoRequests != 1 || s.ICMPIn != 1 || s.ICMPOut != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// TestEchoNoWay has requests that come by a way on which there is none back.
func TestEchoNoWay(t *testing.T) {
	w := newWorld(t)
	table, err := NewTable(interfaces(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.SetTable(table)
	w.input(ifOne, echoPacket("8.8.8.8", own4, false))
	w.input(ifOne, echoPacket("2001:db8:ffff::1", own6, false))
	if s := w.Stats(); len(w.sent) != 0 || s.OutNoRoutes != 2 {
		t.Errorf("%d answers: %+v", len(w.sent), s)
	}
}

// TestEchoLarge has a request in fragments and a reply in fragments.
func TestEchoLarge(t *testing.T) {
	for _, is6 := range []bool{false, true} {
		w := newWorld(t)
		request := icmp(peer4, own4, 8, 0, 7, pattern(3000))
		if is6 {
			request = icmp(peer6, own6, 128, 0, 7, pattern(3000))
		}
		for at := 0; at < len(request); at += 1400 {
			end := min(at+1400, len(request))
			b := frag(is6, 7, request, piece{at, end, end < len(request)}, func(f *wire.IPv4Fields) { f.Protocol = wire.ProtoICMP })
			if is6 {
				b[40] = uint8(wire.ProtoICMPv6)
			}
			w.input(ifOne, b)
		}
		var reply []byte
		for _, s := range w.sent {
			n := 20
			if is6 {
				n = 48
			}
			reply = append(reply, s.b[n:]...)
		}
		want := icmp(own4, peer4, 0, 0, 7, pattern(3000))
		if is6 {
			want = icmp(own6, peer6, 129, 0, 7, pattern(3000))
		}
		if len(w.sent) != 3 || !bytes.Equal(reply, want) {
			t.Errorf("v6 %v: %d packets", is6, len(w.sent))
		}
	}
}

// TestEchoPartial has a request whose checksum was never computed, as one from another stack by pipe may be.
func TestEchoPartial(t *testing.T) {
	w := newWorld(t)
	b := icmp4Packet(peer4, own4, 8, 0, 7, pattern(50))
	b[22], b[23] = 0, 0
	w.input(ifOne, b, func(p *packet.Packet) { p.Checksum, p.CsumStart, p.CsumOffset = packet.ChecksumPartial, 20, 2 })
	if len(w.sent) != 1 { // its checksum is looked at by transmit
		t.Errorf("%d answers", len(w.sent))
	}
}

func TestEchoForeign(t *testing.T) {
	for _, is6 := range []bool{false, true} {
		b := icmp4Packet("198.51.100.2", "8.8.8.8", 8, 0, 7, nil)
		if is6 {
			b = icmp6Packet("2001:db8:5::2", "2001:db8:ffff::1", 128, 0, 7, nil)
		}
		w := newWorld(t)
		w.input(ifAny, b)
		if len(w.echoes) != 1 || !w.echoes[0].Foreign || len(w.sent) != 0 || w.Stats().EchoRequests != 1 {
			t.Errorf("handed to Echo: %+v; %d sent", w.echoes, len(w.sent))
		}
		for _, echo := range []func(sched.Time, *packet.Packet, *Meta) bool{nil, func(sched.Time, *packet.Packet, *Meta) bool { return false }} {
			w = newWorld(t, func(c *Config) { c.Echo = echo })
			w.input(ifAny, b)
			if len(w.sent) != 0 || w.Stats().InDiscards != 1 {
				t.Errorf("answered for somebody else: %d", len(w.sent))
			}
		}
	}
}

// TestICMPToTransport hands up what ping sockets want, and tells nobody if there is none.
func TestICMPToTransport(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		w := newWorld(t)
		w.refuse = refuse
		w.input(ifOne, icmp4Packet(peer4, own4, 0, 0, 7, nil))
		w.input(ifOne, icmp6Packet(peer6, own6, 129, 0, 7, nil))
		w.input(ifOne, icmp6Packet(peer6, own6, 135, 0, 7, nil))
		w.input(ifOne, icmp4Packet(peer4, own4, 77, 0, 7, nil))
		if refuse != (len(w.delivered) == 0) || !refuse && len(w.delivered) != 4 || len(w.sent) != 0 {
			t.Errorf("refuse %v: %d delivered, %d sent", refuse, len(w.delivered), len(w.sent))
		}
	}
}

// errorOf takes apart an ICMP error that was sent.
func errorOf(t *testing.T, s sent) (src, dst string, typ, code uint8, rest uint32, body []byte) {
	t.Helper()
	n := 20
	if wire.IPVersion(s.b) == 6 {
		n = 40
		src, dst = wire.IPv6(s.b).Src().String(), wire.IPv6(s.b).Dst().String()
	} else {
		src, dst = wire.IPv4(s.b).Src().String(), wire.IPv4(s.b).Dst().String()
		if wire.IPv4(s.b).TOS() != 0xc0 {
			t.Errorf("TOS %02x", wire.IPv4(s.b).TOS())
		}
	}
	m := wire.ICMPv4(s.b[n:])
	return src, dst, m[0], m[1], m.Rest(), m.Body()
}

// TestUnreachable sends what transport asks for.
func TestUnreachable(t *testing.T) {
	codes4 := []uint8{3, 1, 0, 13, 2}
	codes6 := [][2]uint8{{1, 4}, {1, 3}, {1, 0}, {1, 1}, {4, 1}}
	for code := PortUnreachable; code <= ProtocolUnreachable; code++ {
		for _, b := range [][]byte{udp4(peer4, own4, pattern(99)), udp6(peer6, own6, pattern(99))} {
			var w *world
			w = newWorld(t, func(c *Config) {
				c.Deliver = func(now sched.Time, p *packet.Packet, m *Meta) bool {
					if code != HostUnreachable {
						p.Consume(packet.Transport, wire.UDPLen) // as transport may have done
					}
					w.Unreachable(now, p, code)
					p.Release()
					return true
				}
			})
			w.input(ifOne, b)
			if len(w.sent) != 1 {
				t.Fatalf("code %d: %d sent", code, len(w.sent))
			}
			src, dst, typ, c, rest, body := errorOf(t, w.sent[0])
			want, wantRest := [2]uint8{3, codes4[code]}, uint32(0)
			from, to := own4, peer4
			if wire.IPVersion(b) == 6 {
				want, from, to = codes6[code], own6, peer6
				if code == ProtocolUnreachable {
					wantRest = 6 // the Next Header field
				}
			}
			if src != from || dst != to || [2]uint8{typ, c} != want || rest != wantRest || !bytes.Equal(body, b) {
				t.Errorf("code %d: from %s to %s type %d code %d rest %d about %x", code, src, dst, typ, c, rest, body)
			}
		}
	}
}

// TestUnwanted is what happens to packets that transport refuses.
func TestUnwanted(t *testing.T) {
	hopByHop := func(next wire.Protocol, data []byte) []byte {
		return append([]byte{uint8(next), 0, 1, 4, 0, 0, 0, 0}, data...)
	}
	for _, tt := range []struct {
		name  string
		iface int
		b     []byte
		from  string // empty: silence
		typ   uint8
		code  uint8
		rest  uint32
	}{
		{"UDP", ifOne, udp4(peer4, own4, nil), own4, 3, 3, 0},
		{"UDP to our other address", ifOne, udp4(peer4, "198.18.0.1", nil), "198.18.0.1", 3, 3, 0},
		{"UDP isolated", ifIso, udp4(peer4, own4, nil), own4, 3, 3, 0},
		{"UDP foreign", ifAny, udp4("198.51.100.2", "8.8.8.8", nil), "8.8.8.8", 3, 3, 0},
		{"UDP loopback", ifLoop, udp4("127.0.0.1", "127.0.0.1", nil), "127.0.0.1", 3, 3, 0},
		{"UDP broadcast", ifOne, udp4(peer4, "192.0.2.255", nil), "", 0, 0, 0},
		{"UDP limited broadcast", ifOne, udp4(peer4, "255.255.255.255", nil), "", 0, 0, 0},
		{"UDP multicast", ifOne, udp4(peer4, "224.0.0.1", nil), "", 0, 0, 0},
		{"TCP", ifOne, v4(peer4, own4, wire.ProtoTCP, tcp(peer4, own4, 1, nil)), "", 0, 0, 0},
		{"protocol", ifOne, v4(peer4, own4, 99, nil), own4, 3, 2, 0},
		{"UDP6", ifOne, udp6(peer6, own6, nil), own6, 1, 4, 0},
		{"UDP6 link local", ifTwo, udp6("fe80::9", "fe80::2", nil), "fe80::2", 1, 4, 0},
		{"UDP6 foreign", ifAny, udp6("2001:db8:5::2", "2001:db8:ffff::1", nil), "2001:db8:ffff::1", 1, 4, 0},
		{"UDP6 multicast", ifOne, udp6(peer6, "ff02::1", nil), "", 0, 0, 0},
		{"TCP6", ifOne, v6(peer6, own6, wire.ProtoTCP, tcp(peer6, own6, 1, nil)), "", 0, 0, 0},
		{"protocol6", ifOne, v6(peer6, own6, 99, nil), own6, 4, 1, 6},
		{"protocol6 behind options", ifOne, v6(peer6, own6, wire.ProtoHopByHop, hopByHop(99, nil)), own6, 4, 1, 40},
		{"protocol6 multicast", ifOne, v6(peer6, "ff02::1", 99, nil), "", 0, 0, 0},
	} {
		w := newWorld(t)
		w.refuse = true
		w.input(tt.iface, tt.b)
		if tt.from == "" {
			if len(w.sent) != 0 {
				t.Errorf("%s: answered with %x", tt.name, w.sent[0].b)
			}
			continue
		}
		if len(w.sent) != 1 {
			t.Errorf("%s: %d answers", tt.name, len(w.sent))
			continue
		}
		src, _, typ, code, rest, body := errorOf(t, w.sent[0])
		if src != tt.from || typ != tt.typ || code != tt.code || rest != tt.rest || !bytes.Equal(body, tt.b) || w.sent[0].iface != tt.iface {
			t.Errorf("%s: on %d from %s type %d code %d rest %d about %x", tt.name, w.sent[0].iface, src, typ, code, rest, body)
		}
	}
}

// TestQuoteLength asks for as much as fits into 576 and 1280 bytes.
func TestQuoteLength(t *testing.T) {
	w := newWorld(t)
	w.refuse = true
	b4, b6 := udp4(peer4, own4, pattern(1400)), udp6(peer6, own6, pattern(1400))
	w.input(ifOne, b4)
	w.input(ifOne, b6)
	if len(w.sent) != 2 || len(w.sent[0].b) != 576 || len(w.sent[1].b) != 1280 {
		t.Fatalf("%d sent", len(w.sent))
	}
	if !bytes.Equal(w.sent[0].b[28:], b4[:548]) || !bytes.Equal(w.sent[1].b[48:], b6[:1232]) {
		t.Error("the quote is not the beginning of the packet")
	}
}

// TestNoErrorAbout calls for an error about packets that must not cause one (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)).
func TestNoErrorAbout(t *testing.T) {
	later := func(f *wire.IPv4Fields) { f.FragmentOffset = 8 }
	badOption := func(f *wire.IPv4Fields) { f.Options = []byte{7, 99, 0, 0} }
	first := func(f *wire.IPv4Fields) { f.MoreFragments = true }
	ext := func(next wire.Protocol, option byte) []byte { return []byte{uint8(next), 0, option, 4, 0, 0, 0, 0} }
	for _, tt := range []struct {
		name string
		b    []byte
		want int
	}{
		{"bad option", v4(peer4, own4, 99, nil, badOption), 1},
		{"bad option in first fragment", v4(peer4, own4, 99, make([]byte, 8), badOption, first), 1},
		{"bad option in later fragment", v4(peer4, own4, 99, make([]byte, 8), badOption, later), 0},
		{"bad option to broadcast", v4(peer4, "192.0.2.255", 99, nil, badOption), 0},
		{"bad option from 0.0.0.0", v4("0.0.0.0", "255.255.255.255", 99, nil, badOption), 0},
		{"bad option in echo request", v4(peer4, own4, wire.ProtoICMP, icmp(peer4, own4, 8, 0, 0, nil), badOption), 1},
		{"bad option in ICMP error", v4(peer4, own4, wire.ProtoICMP, icmp(peer4, own4, 3, 3, 0, nil), badOption), 0},
		{"bad option in redirect", v4(peer4, own4, wire.ProtoICMP, icmp(peer4, own4, 5, 0, 0, nil), badOption), 0},
		{"bad option in nothing", v4(peer4, own4, wire.ProtoICMP, nil, badOption), 0},
		{"unknown option 6", v6(peer6, own6, wire.ProtoDestOptions, ext(wire.ProtoNoNext, 0x82)), 1},
		{"unknown option 6 to multicast", v6(peer6, "ff02::1", wire.ProtoDestOptions, ext(wire.ProtoNoNext, 0x82)), 1},
		{"unknown option 6, unicast only", v6(peer6, own6, wire.ProtoDestOptions, ext(wire.ProtoNoNext, 0xc2)), 1},
		{"unknown option 6, unicast only, to multicast", v6(peer6, "ff02::1", wire.ProtoDestOptions, ext(wire.ProtoNoNext, 0xc2)), 0},
		{"unknown option 6 from ::", v6("::", "ff02::1", wire.ProtoDestOptions, ext(wire.ProtoNoNext, 0x82)), 0},
		{"unknown option 6 in echo request", v6(peer6, own6, wire.ProtoDestOptions, append(ext(wire.ProtoICMPv6, 0x82), 128, 0, 0, 0)), 1},
		{"unknown option 6 in ICMP error", v6(peer6, own6, wire.ProtoDestOptions, append(ext(wire.ProtoICMPv6, 0x82), 1, 0, 0, 0)), 0},
		{"unknown option 6 in redirect", v6(peer6, own6, wire.ProtoDestOptions, append(ext(wire.ProtoICMPv6, 0x82), 137, 0, 0, 0)), 0},
		{"unknown option 6 in nothing", v6(peer6, own6, wire.ProtoDestOptions, ext(wire.ProtoICMPv6, 0x82)), 0},
		{"unknown option 6 in front of a later fragment", v6(peer6, own6, wire.ProtoDestOptions,
			append(ext(wire.ProtoFragment, 0x82), 58, 0, 0, 8, 0, 0, 0, 0, 128)), 0},
		{"unknown option 6 in front of an ICMP error's first fragment", v6(peer6, own6, wire.ProtoDestOptions,
			append(ext(wire.ProtoFragment, 0x82), 58, 0, 0, 1, 0, 0, 0, 0, 1)), 0},
	} {
		w := newWorld(t)
		w.input(ifOne, tt.b)
		if len(w.sent) != tt.want {
			t.Errorf("%s: %d errors, want %d: %+v", tt.name, len(w.sent), tt.want, w.Stats())
		}
	}
}

// TestErrorLimits floods one destination, then many.
func TestErrorLimits(t *testing.T) {
	w := newWorld(t)
	w.refuse = true
	for range 1000 {
		w.input(ifOne, udp4(peer4, own4, nil))
	}
	if n := len(w.take()); n != errorBurst {
		t.Errorf("%d errors to one destination at once, want %d", n, errorBurst)
	}
	w.clock.Advance(100 * time.Millisecond)
	for range 1000 {
		w.input(ifOne, udp4(peer4, own4, nil))
	}
	if n := len(w.take()); n != errorsPerDst/10 {
		t.Errorf("%d errors in 100 ms, want %d", n, errorsPerDst/10)
	}
	if s := w.Stats(); s.ICMPLimited != 2000-errorBurst-errorsPerDst/10 {
		t.Errorf("%+v", s)
	}
	w.input(ifOne, udp4("192.0.2.200", own4, nil))
	if len(w.take()) != 1 {
		t.Error("another destination is limited too")
	}
	for range 1000 {
		w.input(ifLoop, udp4("127.0.0.1", "127.0.0.1", nil))
	}
	if n := len(w.take()); n != 1000 {
		t.Errorf("%d errors over loopback, want all", n)
	}

	count := func(seed uint64) int {
		w := newWorld(t)
		w.seed, w.refuse = seed, true
		a := addr("10.0.0.0")
		for range 2000 {
			a = a.Next()
			w.input(ifOne, udp4(a.String(), own4, nil))
		}
		return len(w.sent)
	}
	counts := map[int]bool{}
	for seed := range uint64(5) {
		n := count(seed * 1_000_003)
		counts[n] = true
		if n < layerBurst*8/10 || n > layerBurst*12/10 {
			t.Errorf("%d errors to many destinations, want about %d", n, layerBurst)
		}
	}
	if len(counts) == 1 {
		t.Error("the limit of all is the same every time")
	}
}

// TestErrorWithoutAddress answers from an interface that has no address.
func TestErrorWithoutAddress(t *testing.T) {
	w := newWorld(t)
	bare := Interface{Index: 1, MTU: 1500, Up: true, AnyDestination: true}
	table, err := NewTable([]Interface{bare}, []Route{{Prefix: prefixes("10.0.0.0/8")[0], Iface: 1}})
	if err != nil {
		t.Fatal(err)
	}
	w.SetTable(table)
	w.refuse = true
	w.input(1, udp4("10.0.0.9", "8.8.8.8", nil))
	w.input(1, v4("10.0.0.9", "8.8.4.4", 99, nil, func(f *wire.IPv4Fields) { f.Options = []byte{7, 99, 0, 0} }))
	w.input(1, udp4("11.0.0.9", "8.8.8.8", nil)) // no way back
	if len(w.sent) != 2 {
		t.Fatalf("%d sent: %+v", len(w.sent), w.Stats())
	}
	for i, from := range []string{"8.8.8.8", "8.8.4.4"} {
		if src, _, _, _, _, _ := errorOf(t, w.sent[i]); src != from {
			t.Errorf("from %s, want %s", src, from)
		}
	}
	if w.Stats().OutNoRoutes != 1 {
		t.Errorf("%+v", w.Stats())
	}
}

// TestQuotePartial: a quoted packet whose checksum was never computed, as one from TUN or a pipe, is quoted with the right one.
func TestQuotePartial(t *testing.T) {
	for _, b := range [][]byte{udp4(peer4, own4, pattern(99)), udp6(peer6, own6, pattern(99))} {
		w := newWorld(t)
		w.refuse = true
		partial := bytes.Clone(b)
		start := len(b) - wire.UDPLen - 99
		from, to := addr(peer4), addr(own4)
		if start == wire.IPv6Len {
			from, to = addr(peer6), addr(own6)
		}
		binary.BigEndian.PutUint16(partial[start+6:], checksum.PseudoHeader(from, to, uint8(wire.ProtoUDP), wire.UDPLen+99))
		w.input(ifOne, partial, func(p *packet.Packet) {
			p.Checksum, p.CsumStart, p.CsumOffset = packet.ChecksumPartial, uint16(start), 6
		})
		if len(w.sent) != 1 {
			t.Fatalf("%d sent", len(w.sent))
		}
		if _, _, _, _, _, body := errorOf(t, w.sent[0]); !bytes.Equal(body, b) {
			t.Errorf("quoted %x, want %x", body, b)
		}
	}
}
