package ip

import (
	"bytes"
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
	w.input(ifOne, v4(peer4, own4, wire.ProtoUDP, udp(peer4, own4, 1, 2, []byte("four")), func(f *wire.IPv4Fields) { f.TOS, f.TTL = 0x12, 9 }))
	w.input(ifOne, v6(peer6, own6, wire.ProtoUDP, udp(peer6, own6, 1, 2, []byte("six")), func(f *wire.IPv6Fields) { f.TrafficClass, f.HopLimit = 0x33, 8 }))
	w.input(ifOne, v4(peer4, own4, wire.ProtoTCP, tcp(peer4, own4, 1, []byte("four"))))
	w.input(ifOne, v6(peer6, own6, wire.ProtoTCP, tcp(peer6, own6, 1, []byte("six"))))
	w.input(ifOne, v4(peer4, own4, 99, []byte("anything")))
	want := []delivered{
		{Meta{Src: addr(peer4), Dst: addr(own4), Protocol: wire.ProtoUDP, TTL: 9, TOS: 0x12, Iface: 1}, udp(peer4, own4, 1, 2, []byte("four")), packet.ChecksumVerified, 2},
		{Meta{Src: addr(peer6), Dst: addr(own6), Protocol: wire.ProtoUDP, TTL: 8, TOS: 0x33, Iface: 1}, udp(peer6, own6, 1, 2, []byte("six")), packet.ChecksumVerified, 3},
		{Meta{Src: addr(peer4), Dst: addr(own4), Protocol: wire.ProtoTCP, TTL: 64, Iface: 1}, tcp(peer4, own4, 1, []byte("four")), packet.ChecksumVerified, 0},
		{Meta{Src: addr(peer6), Dst: addr(own6), Protocol: wire.ProtoTCP, TTL: 64, Iface: 1}, tcp(peer6, own6, 1, []byte("six")), packet.ChecksumVerified, 0},
		{Meta{Src: addr(peer4), Dst: addr(own4), Protocol: 99, TTL: 64, Iface: 1}, []byte("anything"), packet.ChecksumNone, 0},
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

// TestInput has one packet a row, and what becomes of it.
func TestInput(t *testing.T) {
	good4, good6 := udp4(peer4, own4, []byte("hello")), udp6(peer6, own6, []byte("hello"))
	edit := func(b []byte, at int, v byte) []byte { b = bytes.Clone(b); b[at] = v; return b }
	fix4 := func(b []byte) []byte { wire.IPv4(b).SetChecksum(wire.IPv4(b).ComputeChecksum()); return b }
	from4 := func(src, dst string) []byte { return udp4(src, dst, []byte("hello")) }
	from6 := func(src, dst string) []byte { return udp6(src, dst, []byte("hello")) }
	options := func(o ...byte) []byte {
		return v4(peer4, own4, wire.ProtoUDP, udp(peer4, own4, 1, 2, nil), func(f *wire.IPv4Fields) { f.Options = o })
	}
	receives := func(s Stats) bool { return s.InDelivers == 1 }
	header := func(s Stats) bool { return s.InHdrErrors == 1 }
	address := func(s Stats) bool { return s.InAddrErrors == 1 }
	sum := func(s Stats) bool { return s.InChecksumErrors == 1 }
	discard := func(s Stats) bool { return s.InDiscards == 1 }
	tests := []struct {
		name  string
		iface int
		b     []byte
		want  func(Stats) bool
	}{
		{"v4", ifOne, good4, receives},
		{"v6", ifOne, good6, receives},
		{"no such interface", 77, good4, discard},
		{"interface down", ifDown, good4, discard},
		{"empty", ifOne, nil, header},
		{"version 5", ifOne, edit(good4, 0, 0x55), header},
		{"v4 short", ifOne, good4[:19], header},
		{"v4 cut off", ifOne, good4[:30], header},
		{"v4 header length 4", ifOne, fix4(edit(good4, 0, 0x44)), header},
		{"v4 header longer than packet", ifOne, edit(good4[:24], 0, 0x4f), header},
		{"v4 total length below header", ifOne, fix4(edit(good4, 3, 19)), header},
		{"v4 header checksum", ifOne, edit(good4, 10, good4[10]^1), header},
		{"v4 padded", ifOne, append(bytes.Clone(good4), 0, 0, 0), receives},
		{"v4 reserved flag", ifOne, fix4(edit(good4, 6, 0x80)), receives},
		{"v4 TTL 0", ifOne, fix4(edit(good4, 8, 0)), receives}, // RFC 1122 §3.2.1.7: not a reason to discard what is for us
		{"v4 record route", ifOne, options(7, 7, 4, 0, 0, 0, 0), receives},
		{"v4 router alert", ifOne, options(148, 4, 0, 0), receives},
		{"v4 loose source route", ifOne, options(131, 7, 4, 1, 2, 3, 4), header},
		{"v4 strict source route", ifOne, options(1, 137, 7, 4, 1, 2, 3, 4), header},
		{"v4 option past the end", ifOne, options(7, 9, 4, 0), header},
		{"v4 to another host", ifOne, from4(peer4, "192.0.2.77"), address},
		{"v4 to our other address", ifOne, from4(peer4, "198.18.0.1"), receives},
		{"v4 to an isolated address", ifIso, from4(peer4, "198.18.0.1"), address},
		{"v4 isolated", ifIso, from4(peer4, own4), receives},
		{"v4 to a down interface", ifOne, from4(peer4, "203.0.113.1"), address},
		{"v4 to 0.0.0.0", ifOne, from4(peer4, "0.0.0.0"), address},
		{"v4 to loopback", ifOne, from4(peer4, "127.0.0.1"), address},
		{"v4 over loopback", ifLoop, from4("127.0.0.1", "127.0.0.9"), receives},
		{"v4 own over loopback", ifLoop, from4(own4, "198.18.0.1"), receives},
		{"v4 other over loopback", ifLoop, from4("127.0.0.1", "192.0.2.77"), address},
		{"v4 from other over loopback", ifLoop, from4(peer4, own4), address},
		{"v4 from loopback", ifOne, from4("127.0.0.1", own4), address},
		{"v4 from ourselves", ifOne, from4(own4, own4), address},
		{"v4 from 0.0.0.0", ifOne, from4("0.0.0.0", own4), address},
		{"v4 from 0.0.0.0 to all", ifOne, from4("0.0.0.0", "255.255.255.255"), receives},
		{"v4 from multicast", ifOne, from4("224.0.0.9", own4), address},
		{"v4 from broadcast", ifOne, from4("255.255.255.255", own4), address},
		{"v4 from directed broadcast", ifOne, from4("192.0.2.255", own4), address},
		{"v4 from class E", ifOne, from4("240.0.0.1", own4), address},
		{"v4 limited broadcast", ifOne, from4(peer4, "255.255.255.255"), receives},
		{"v4 directed broadcast", ifOne, from4(peer4, "192.0.2.255"), receives},
		{"v4 all hosts", ifOne, from4(peer4, "224.0.0.1"), receives},
		{"v4 joined group", ifOne, from4(peer4, "239.1.2.3"), receives},
		{"v4 group of another interface", ifTwo, from4("198.18.3.4", "239.1.2.3"), address},
		{"v4 other group", ifOne, from4(peer4, "239.1.2.4"), address},
		{"v4 any", ifAny, from4("198.51.100.2", "8.8.8.8"), receives},
		{"v4 any to class E", ifAny, from4("198.51.100.2", "240.0.0.1"), address},
		{"v4 any to link local", ifAny, from4("198.51.100.2", "169.254.1.1"), address},
		{"v4 any to loopback", ifAny, from4("198.51.100.2", "127.0.0.1"), address},
		{"v4 any to multicast", ifAny, from4("198.51.100.2", "239.1.2.3"), address},
		{"v4 any to 0.0.0.0", ifAny, from4("198.51.100.2", "0.0.0.0"), address},
		{"v4 UDP checksum", ifOne, edit(good4, 30, 1), sum},
		{"v4 UDP no checksum", ifOne, v4(peer4, own4, wire.ProtoUDP, []byte{0, 1, 0, 2, 0, 9, 0, 0, 5}), receives},
		{"v4 UDP length too small", ifOne, v4(peer4, own4, wire.ProtoUDP, []byte{0, 1, 0, 2, 0, 7, 0, 0, 5}), header},
		{"v4 UDP length too large", ifOne, v4(peer4, own4, wire.ProtoUDP, []byte{0, 1, 0, 2, 0, 10, 0, 0, 5}), header},
		{"v4 UDP short", ifOne, v4(peer4, own4, wire.ProtoUDP, []byte{0, 1, 0, 2}), header},
		{"v4 TCP checksum", ifOne, v4(peer4, own4, wire.ProtoTCP, edit(tcp(peer4, own4, 1, nil), 4, 1)), sum},
		{"v4 TCP empty", ifOne, v4(peer4, own4, wire.ProtoTCP, nil), sum},
		{"v4 ICMP checksum", ifOne, v4(peer4, own4, wire.ProtoICMP, []byte{0, 0, 0, 0, 0, 0, 0, 0}), sum},
		{"v4 ICMP short", ifOne, v4(peer4, own4, wire.ProtoICMP, []byte{0, 0, 0xff, 0xff}), header},
		{"v6 short", ifOne, good6[:39], header},
		{"v6 cut off", ifOne, good6[:50], header},
		{"v6 padded", ifOne, append(bytes.Clone(good6), 0, 0, 0), receives},
		{"v6 to another host", ifOne, from6(peer6, "2001:db8:1::77"), address},
		{"v6 to our other address", ifOne, from6(peer6, "2001:db8:2::1"), receives},
		{"v6 link local", ifOne, from6("fe80::9", "fe80::1"), receives},
		{"v6 link local of another interface", ifOne, from6("fe80::9", "fe80::2"), address},
		{"v6 to ::", ifOne, from6(peer6, "::"), address},
		{"v6 to loopback", ifOne, from6(peer6, "::1"), address},
		{"v6 over loopback", ifLoop, from6("::1", "::1"), receives},
		{"v6 link local over loopback", ifLoop, from6("fe80::1", "fe80::1"), receives},
		{"v6 from loopback", ifOne, from6("::1", own6), address},
		{"v6 from ::", ifOne, from6("::", own6), address},
		{"v6 from :: to all nodes", ifOne, from6("::", "ff02::1"), receives},
		{"v6 from multicast", ifOne, from6("ff02::1", own6), address},
		{"v6 from ourselves", ifOne, from6(own6, own6), address},
		{"v6 mapped source", ifOne, from6("::ffff:192.0.2.9", own6), address},
		{"v6 mapped destination", ifOne, from6(peer6, "::ffff:192.0.2.1"), address},
		{"v6 all nodes", ifOne, from6(peer6, "ff02::1"), receives},
		{"v6 interface-local all nodes", ifOne, from6(peer6, "ff01::1"), address},
		{"v6 all routers", ifOne, from6(peer6, "ff02::2"), address},
		{"v6 solicited node", ifOne, from6(peer6, "ff02::1:ff00:1"), receives},
		{"v6 other solicited node", ifOne, from6(peer6, "ff02::1:ff00:9"), address},
		{"v6 joined group", ifOne, from6(peer6, "ff02::99"), receives},
		{"v6 any", ifAny, from6("2001:db8:5::2", "2001:db8:ffff::1"), receives},
		{"v6 any to link local", ifAny, from6("2001:db8:5::2", "fe80::77"), address},
		{"v6 any to multicast", ifAny, from6("2001:db8:5::2", "ff0e::77"), address},
		{"v6 UDP checksum", ifOne, edit(good6, 50, 1), sum},
		{"v6 UDP no checksum", ifOne, v6(peer6, own6, wire.ProtoUDP, []byte{0, 1, 0, 2, 0, 9, 0, 0, 5}), header},
		{"v6 TCP checksum", ifOne, v6(peer6, own6, wire.ProtoTCP, edit(tcp(peer6, own6, 1, nil), 4, 1)), sum},
		{"v6 ICMP checksum", ifOne, v6(peer6, own6, wire.ProtoICMPv6, []byte{129, 0, 0, 0, 0, 0, 0, 0}), sum},
		{"v6 ICMP short", ifOne, v6(peer6, own6, wire.ProtoICMPv6, icmp(peer6, own6, 129, 0, 0, nil)[:4]), sum},
		{"v6 no next header", ifOne, v6(peer6, own6, wire.ProtoNoNext, []byte("x")), discard},
	}
	for _, tt := range tests {
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
	want := [][]byte{udp(peer4, own4, 1000, 2000, []byte("four")), udp(peer6, own6, 1000, 2000, []byte("six")), udp(peer4, own4, 1, 2, []byte("four"))}
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
