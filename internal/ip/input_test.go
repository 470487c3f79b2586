package ip

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

const (
	peer4, own4 = "192.0.2.9", "192.0.2.1"
	peer6, own6 = "2001:db8:1::9", "2001:db8:1::1"
)

func TestDeliver(t *testing.T) {
	w := newWorld(t)
	four, six := []byte("four"), []byte("six")
	w.input(ifOne, v4(peer4, own4, wire.ProtoUDP, udp(peer4, own4, 1, 2, four), func(f *wire.IPv4Fields) { f.TOS, f.TTL = 0x12, 9 }))
	w.input(ifOne, v6(peer6, own6, wire.ProtoUDP, udp(peer6, own6, 1, 2, six), func(f *wire.IPv6Fields) {
		f.TrafficClass, f.HopLimit = 0x33, 8
	}))
	w.input(ifOne, v4(peer4, own4, wire.ProtoTCP, tcp(peer4, own4, 1, four)))
	w.input(ifOne, v6(peer6, own6, wire.ProtoTCP, tcp(peer6, own6, 1, six)))
	w.input(ifOne, v4(peer4, own4, 99, []byte("anything")))
	meta4 := func(protocol wire.Protocol, ttl, tos uint8) Meta {
		return Meta{Src: addr(peer4), Dst: addr(own4), Protocol: protocol, TTL: ttl, TOS: tos, Iface: ifOne}
	}
	meta6 := func(protocol wire.Protocol, ttl, tos uint8) Meta {
		return Meta{Src: addr(peer6), Dst: addr(own6), Protocol: protocol, TTL: ttl, TOS: tos, Iface: ifOne}
	}
	want := []delivered{
		{meta4(wire.ProtoUDP, 9, 0x12), udp(peer4, own4, 1, 2, four), packet.ChecksumVerified, 2},
		{meta6(wire.ProtoUDP, 8, 0x33), udp(peer6, own6, 1, 2, six), packet.ChecksumVerified, 3},
		{meta4(wire.ProtoTCP, 64, 0), tcp(peer4, own4, 1, four), packet.ChecksumVerified, 0},
		{meta6(wire.ProtoTCP, 64, 0), tcp(peer6, own6, 1, six), packet.ChecksumVerified, 0},
		{meta4(99, 64, 0), []byte("anything"), packet.ChecksumNone, 0},
	}
	if len(w.delivered) != len(want) {
		t.Fatalf("%d delivered, want %d: %+v", len(w.delivered), len(want), w.Stats())
	}
	for i, d := range w.delivered {
		if d.Meta != want[i].Meta || !bytes.Equal(d.data, want[i].data) || d.state != want[i].state || d.ecn != want[i].ecn {
			t.Errorf("packet %d:\n%+v, want\n%+v", i, d, want[i])
		}
	}
	if s := w.Stats(); s.InReceives != 5 || s.InDelivers != 5 {
		t.Errorf("stats %+v", s)
	}
}

// inputCase is one packet, and the one thing that becomes of it.
type inputCase struct {
	name  string
	iface int
	b     []byte
	want  func(Stats) bool
}

func receives(s Stats) bool { return s.InDelivers == 1 }
func header(s Stats) bool   { return s.InHdrErrors == 1 }
func address(s Stats) bool  { return s.InAddrErrors == 1 }
func sum(s Stats) bool      { return s.InChecksumErrors == 1 }
func discard(s Stats) bool  { return s.InDiscards == 1 }

func runInput(t *testing.T, cases []inputCase) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.input(tt.iface, tt.b)
			if s := w.Stats(); !tt.want(s) {
				t.Errorf("%+v", s)
			}
			if len(w.delivered) == 0 == tt.want(Stats{InDelivers: 1}) {
				t.Errorf("%d delivered", len(w.delivered))
			}
		})
	}
}

// edit returns b with one byte changed, fix4 with a right header checksum.
func edit(b []byte, at int, v byte) []byte {
	b = bytes.Clone(b)
	b[at] = v
	return b
}

func fix4(b []byte) []byte {
	wire.IPv4(b).SetChecksum(wire.IPv4(b).ComputeChecksum())
	return b
}

func from4(src, dst string) []byte { return udp4(src, dst, []byte("hello")) }
func from6(src, dst string) []byte { return udp6(src, dst, []byte("hello")) }

// options4 is a datagram with options in its IPv4 header.
func options4(o ...byte) []byte {
	return v4(peer4, own4, wire.ProtoUDP, udp(peer4, own4, 1, 2, nil), func(f *wire.IPv4Fields) { f.Options = o })
}

// TestHeader4 has IPv4 headers good and bad.
func TestHeader4(t *testing.T) {
	good4 := udp4(peer4, own4, []byte("hello"))
	runInput(t, []inputCase{
		{"v4", ifOne, good4, receives},
		{"no such interface", 77, good4, discard},
		{"interface down", ifDown, good4, discard},
		{"empty", ifOne, nil, header},
		{"version 5", ifOne, edit(good4, 0, 0x55), header},
		{"short", ifOne, good4[:19], header},
		{"cut off", ifOne, good4[:30], header},
		{"header length 4", ifOne, fix4(edit(good4, 0, 0x44)), header},
		{"header longer than packet", ifOne, edit(good4[:24], 0, 0x4f), header},
		{"total length below header", ifOne, fix4(edit(good4, 3, 19)), header},
		{"header checksum", ifOne, edit(good4, 10, good4[10]^1), header},
		{"padded", ifOne, append(bytes.Clone(good4), 0, 0, 0), receives},
		{"reserved flag", ifOne, fix4(edit(good4, 6, 0x80)), receives},
		{"TTL 0", ifOne, fix4(edit(good4, 8, 0)), receives}, // RFC 1122 §3.2.1.7: not a reason to discard what is for us
		{"record route", ifOne, options4(7, 7, 4, 0, 0, 0, 0), receives},
		{"router alert", ifOne, options4(148, 4, 0, 0), receives},
		{"option past the end", ifOne, options4(7, 9, 4, 0), header},
	})
}

// TestSourceRouteRefused: RFC 7126 §4.3, §4.4, where RFC 9293 §3.9.2.1 (MUST-51 to MUST-53) still has TCP answer by the route: a packet
// with a source route, used up or not, goes no further.
func TestSourceRouteRefused(t *testing.T) {
	runInput(t, []inputCase{
		{"loose", ifOne, options4(131, 7, 4, 1, 2, 3, 4), header},
		{"loose, completed", ifOne, options4(131, 7, 8, 1, 2, 3, 4), header},
		{"strict", ifOne, options4(1, 137, 7, 4, 1, 2, 3, 4), header},
		{"strict, completed", ifOne, options4(1, 137, 7, 8, 1, 2, 3, 4), header},
	})
}

// TestAddresses4 has pairs of addresses that may and may not be.
func TestAddresses4(t *testing.T) {
	runInput(t, []inputCase{
		{"to another host", ifOne, from4(peer4, "192.0.2.77"), address},
		{"to our other address", ifOne, from4(peer4, "198.18.0.1"), receives},
		{"to an isolated address", ifIso, from4(peer4, "198.18.0.1"), address},
		{"isolated", ifIso, from4(peer4, own4), receives},
		{"to a down interface", ifOne, from4(peer4, "203.0.113.1"), address},
		{"to 0.0.0.0", ifOne, from4(peer4, "0.0.0.0"), address},
		{"to loopback", ifOne, from4(peer4, "127.0.0.1"), address},
		{"over loopback", ifLoop, from4("127.0.0.1", "127.0.0.9"), receives},
		{"own over loopback", ifLoop, from4(own4, "198.18.0.1"), receives},
		{"other over loopback", ifLoop, from4("127.0.0.1", "192.0.2.77"), address},
		{"from other over loopback", ifLoop, from4(peer4, own4), address},
		{"from loopback", ifOne, from4("127.0.0.1", own4), address},
		{"from ourselves", ifOne, from4(own4, own4), address},
		{"from 0.0.0.0", ifOne, from4("0.0.0.0", own4), address},
		{"from 0.0.0.0 to all", ifOne, from4("0.0.0.0", "255.255.255.255"), receives},
		{"from multicast", ifOne, from4("224.0.0.9", own4), address},
		{"from broadcast", ifOne, from4("255.255.255.255", own4), address},
		{"from directed broadcast", ifOne, from4("192.0.2.255", own4), address},
		{"from class E", ifOne, from4("240.0.0.1", own4), address},
		{"limited broadcast", ifOne, from4(peer4, "255.255.255.255"), receives},
		{"directed broadcast", ifOne, from4(peer4, "192.0.2.255"), receives},
		{"all hosts", ifOne, from4(peer4, "224.0.0.1"), receives},
		{"joined group", ifOne, from4(peer4, "239.1.2.3"), receives},
		{"group of another interface", ifTwo, from4("198.18.3.4", "239.1.2.3"), address},
		{"other group", ifOne, from4(peer4, "239.1.2.4"), address},
		{"any", ifAny, from4("198.51.100.2", "8.8.8.8"), receives},
		{"any to class E", ifAny, from4("198.51.100.2", "240.0.0.1"), address},
		{"any to link local", ifAny, from4("198.51.100.2", "169.254.1.1"), address},
		{"any to loopback", ifAny, from4("198.51.100.2", "127.0.0.1"), address},
		{"any to multicast", ifAny, from4("198.51.100.2", "239.1.2.3"), address},
		{"any to 0.0.0.0", ifAny, from4("198.51.100.2", "0.0.0.0"), address},
	})
}

// TestTransport4 has transport headers and checksums good and bad.
func TestTransport4(t *testing.T) {
	good4 := udp4(peer4, own4, []byte("hello"))
	runInput(t, []inputCase{
		{"UDP checksum", ifOne, edit(good4, 30, 1), sum},
		{"UDP no checksum", ifOne, v4(peer4, own4, wire.ProtoUDP, []byte{0, 1, 0, 2, 0, 9, 0, 0, 5}), receives},
		{"UDP length too small", ifOne, v4(peer4, own4, wire.ProtoUDP, []byte{0, 1, 0, 2, 0, 7, 0, 0, 5}), header},
		{"UDP length too large", ifOne, v4(peer4, own4, wire.ProtoUDP, []byte{0, 1, 0, 2, 0, 10, 0, 0, 5}), header},
		{"UDP short", ifOne, v4(peer4, own4, wire.ProtoUDP, []byte{0, 1, 0, 2}), header},
		{"TCP checksum", ifOne, v4(peer4, own4, wire.ProtoTCP, edit(tcp(peer4, own4, 1, nil), 4, 1)), sum},
		{"TCP empty", ifOne, v4(peer4, own4, wire.ProtoTCP, nil), sum},
		{"ICMP checksum", ifOne, v4(peer4, own4, wire.ProtoICMP, []byte{0, 0, 0, 0, 0, 0, 0, 0}), sum},
		{"ICMP short", ifOne, v4(peer4, own4, wire.ProtoICMP, []byte{0, 0, 0xff, 0xff}), header},
	})
}

// TestHeader6 has IPv6 headers good and bad.
func TestHeader6(t *testing.T) {
	good6 := udp6(peer6, own6, []byte("hello"))
	runInput(t, []inputCase{
		{"v6", ifOne, good6, receives},
		{"short", ifOne, good6[:39], header},
		{"cut off", ifOne, good6[:50], header},
		{"padded", ifOne, append(bytes.Clone(good6), 0, 0, 0), receives},
	})
}

// TestAddresses6 has pairs of addresses that may and may not be.
func TestAddresses6(t *testing.T) {
	runInput(t, []inputCase{
		{"to another host", ifOne, from6(peer6, "2001:db8:1::77"), address},
		{"to our other address", ifOne, from6(peer6, "2001:db8:2::1"), receives},
		{"link local", ifOne, from6("fe80::9", "fe80::1"), receives},
		{"link local of another interface", ifOne, from6("fe80::9", "fe80::2"), address},
		{"to ::", ifOne, from6(peer6, "::"), address},
		{"to loopback", ifOne, from6(peer6, "::1"), address},
		{"over loopback", ifLoop, from6("::1", "::1"), receives},
		{"link local over loopback", ifLoop, from6("fe80::1", "fe80::1"), receives},
		{"from loopback", ifOne, from6("::1", own6), address},
		{"from ::", ifOne, from6("::", own6), address},
		{"from :: to all nodes", ifOne, from6("::", "ff02::1"), receives},
		{"from multicast", ifOne, from6("ff02::1", own6), address},
		{"from ourselves", ifOne, from6(own6, own6), address},
		{"mapped source", ifOne, from6("::ffff:192.0.2.9", own6), address},
		{"mapped destination", ifOne, from6(peer6, "::ffff:192.0.2.1"), address},
		{"all nodes", ifOne, from6(peer6, "ff02::1"), receives},
		{"interface-local all nodes", ifOne, from6(peer6, "ff01::1"), address},
		{"all routers", ifOne, from6(peer6, "ff02::2"), address},
		{"solicited node", ifOne, from6(peer6, "ff02::1:ff00:1"), receives},
		{"other solicited node", ifOne, from6(peer6, "ff02::1:ff00:9"), address},
		{"joined group", ifOne, from6(peer6, "ff02::99"), receives},
		{"any", ifAny, from6("2001:db8:5::2", "2001:db8:ffff::1"), receives},
		{"any to link local", ifAny, from6("2001:db8:5::2", "fe80::77"), address},
		{"any to multicast", ifAny, from6("2001:db8:5::2", "ff0e::77"), address},
	})
}

// TestTransport6 has transport headers and checksums good and bad.
func TestTransport6(t *testing.T) {
	short := make([]byte, 4)
	binary.BigEndian.PutUint16(short[2:], ^transportSum(addr(peer6), addr(own6), wire.ProtoICMPv6, short))
	good6 := udp6(peer6, own6, []byte("hello"))
	runInput(t, []inputCase{
		{"UDP checksum", ifOne, edit(good6, 50, 1), sum},
		{"UDP no checksum", ifOne, v6(peer6, own6, wire.ProtoUDP, []byte{0, 1, 0, 2, 0, 9, 0, 0, 5}), header},
		{"TCP checksum", ifOne, v6(peer6, own6, wire.ProtoTCP, edit(tcp(peer6, own6, 1, nil), 4, 1)), sum},
		{"ICMP checksum", ifOne, v6(peer6, own6, wire.ProtoICMPv6, []byte{129, 0, 0, 0, 0, 0, 0, 0}), sum},
		{"ICMP short", ifOne, v6(peer6, own6, wire.ProtoICMPv6, short), header},
		{"no next header", ifOne, v6(peer6, own6, wire.ProtoNoNext, []byte("x")), discard},
	})
}

// TestVouched has wrong checksums that a device vouches for.
func TestVouched(t *testing.T) {
	for _, state := range []packet.Checksum{packet.ChecksumPartial, packet.ChecksumVerified} {
		w := newWorld(t)
		for _, b := range [][]byte{udp4(peer4, own4, pattern(9)), udp6(peer6, own6, pattern(9))} {
			b[len(b)-1] ^= 1
			w.input(ifOne, b, func(p *packet.Packet) { p.Checksum = state })
		}
		if len(w.delivered) != 2 || w.delivered[0].state != state {
			t.Errorf("state %d: %+v", state, w.delivered)
		}
	}
}

func TestMeta(t *testing.T) {
	tests := []struct {
		iface          int
		src, dst       string
		scope          int
		foreign, multi bool
	}{
		{ifOne, peer4, own4, 0, false, false},
		{ifOne, peer4, "192.0.2.255", 0, false, true},
		{ifOne, peer4, "239.1.2.3", 0, false, true},
		{ifIso, peer4, own4, ifIso, false, false},
		{ifAny, "198.51.100.2", "8.8.8.8", 0, true, false},
		{ifAny, "198.51.100.2", "198.51.100.1", 0, false, false},
		{ifAny, "198.51.100.2", own4, 0, false, false},
		{ifOne, peer6, own6, 0, false, false},
		{ifOne, "fe80::9", own6, ifOne, false, false},
		{ifOne, "fe80::9", "fe80::1", ifOne, false, false},
		{ifOne, peer6, "ff02::1", ifOne, false, true},
		{ifAny, "2001:db8:5::2", "2001:db8::77", 0, true, false},
	}
	for _, tt := range tests {
		w := newWorld(t)
		b := udp4
		if addr(tt.src).Is6() {
			b = udp6
		}
		w.input(tt.iface, b(tt.src, tt.dst, nil))
		if len(w.delivered) != 1 {
			t.Errorf("%v to %v: not delivered: %+v", tt.src, tt.dst, w.Stats())
			continue
		}
		m := w.delivered[0].Meta
		if m.Scope != tt.scope || m.Foreign != tt.foreign || m.Multi != tt.multi || m.Iface != tt.iface {
			t.Errorf("%v to %v: %+v", tt.src, tt.dst, m)
		}
	}
}

// TestTrim has bytes behind the datagram, by IP's length and by UDP's.
func TestTrim(t *testing.T) {
	w := newWorld(t)
	w.input(ifOne, append(udp4(peer4, own4, []byte("four")), "padding"...))
	w.input(ifOne, append(udp6(peer6, own6, []byte("six")), "padding"...))
	surplus := append(udp(peer4, own4, 1, 2, []byte("four")), "surplus"...)
	w.input(ifOne, v4(peer4, own4, wire.ProtoUDP, surplus))
	want := [][]byte{
		udp(peer4, own4, 1000, 2000, []byte("four")), udp(peer6, own6, 1000, 2000, []byte("six")), udp(peer4, own4, 1, 2, []byte("four")),
	}
	for i, d := range w.delivered {
		if !bytes.Equal(d.data, want[i]) {
			t.Errorf("packet %d: %q, want %q", i, d.data, want[i])
		}
	}
	if len(w.delivered) != 3 {
		t.Errorf("%d delivered", len(w.delivered))
	}
}

// TestBatch hands through what the caller of Input gave.
func TestBatch(t *testing.T) {
	var got []any
	w := newWorld(t, func(c *Config) {
		c.Deliver = func(_ sched.Time, p *packet.Packet, m *Meta) bool {
			got = append(got, m.Batch)
			p.Release()
			return true
		}
		c.Error = func(_ sched.Time, e *Error) { got = append(got, e.Batch) }
	})
	for i, b := range [][]byte{
		udp4(peer4, own4, nil), udp6(peer6, own6, nil),
		icmp4Packet(peer4, own4, 3, 3, 0, quoted4(wire.ProtoUDP, udp(own4, peer4, 7, 8, nil))),
	} {
		p := w.pool.Get()
		p.Iface = ifOne
		p.Data().Append(b)
		w.Input(0, p, i)
	}
	if len(got) != 3 || got[0] != 0 || got[1] != 1 || got[2] != 2 {
		t.Errorf("got %v", got)
	}
}
