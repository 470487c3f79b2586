package ip

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/weirnet/weir/wire"
)

// quoted is a packet of ours as an ICMP error quotes it.
func quoted4(protocol wire.Protocol, data []byte, change ...func(*wire.IPv4Fields)) []byte {
	return v4(own4, peer4, protocol, data, change...)
}

func quoted6(next wire.Protocol, data []byte, change ...func(*wire.IPv6Fields)) []byte {
	return v6(own6, peer6, next, data, change...)
}

func TestErrorsIn(t *testing.T) {
	segment := tcp(own4, peer4, 0x01020304, pattern(1000))
	segment6 := tcp(own6, peer6, 0x01020304, pattern(1400))
	small := tcp(own4, peer4, 5, nil)[:8]
	length := func(n int) func(*wire.IPv4Fields) { return func(f *wire.IPv4Fields) { f.TotalLen = n } }
	length6 := func(n int) func(*wire.IPv6Fields) { return func(f *wire.IPv6Fields) { f.PayloadLen = n - 40 } }
	for _, tt := range []struct {
		name  string
		b     []byte
		errno syscall.Errno // 0: implausible
		hard  bool
		mtu   int
	}{
		{"net", icmp4Packet("8.8.8.8", own4, 3, 0, 0, quoted4(wire.ProtoTCP, segment)), syscall.ENETUNREACH, false, 0},
		{"host", icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted4(wire.ProtoTCP, segment)), syscall.EHOSTUNREACH, false, 0},
		{"protocol", icmp4Packet(peer4, own4, 3, 2, 0, quoted4(wire.ProtoTCP, segment)), syscall.ENOPROTOOPT, true, 0},
		{"port", icmp4Packet(peer4, own4, 3, 3, 0, quoted4(wire.ProtoUDP, udp(own4, peer4, 7, 8, nil))), syscall.ECONNREFUSED, true, 0},
		{"source route", icmp4Packet(peer4, own4, 3, 5, 0, quoted4(wire.ProtoTCP, segment)), syscall.EOPNOTSUPP, false, 0},
		{"prohibited", icmp4Packet(peer4, own4, 3, 13, 0, quoted4(wire.ProtoTCP, segment)), syscall.EHOSTUNREACH, true, 0},
		{"unknown code", icmp4Packet(peer4, own4, 3, 16, 0, quoted4(wire.ProtoTCP, segment)), 0, false, 0},
		{"time exceeded", icmp4Packet("8.8.8.8", own4, 11, 0, 0, quoted4(wire.ProtoTCP, segment)), syscall.EHOSTUNREACH, false, 0},
		{"parameter problem", icmp4Packet("8.8.8.8", own4, 12, 0, 0, quoted4(wire.ProtoTCP, segment)), syscall.EPROTO, true, 0},
		{"with extensions", icmp4Packet("8.8.8.8", own4, 11, 0, 7<<16, append(quoted4(wire.ProtoTCP, small), pattern(99)...)), syscall.EHOSTUNREACH, false, 0},
		{"echo", icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted4(wire.ProtoICMP, icmp(own4, peer4, 8, 0, 7<<16|8, nil))), syscall.EHOSTUNREACH, false, 0},
		{"with options", icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted4(wire.ProtoTCP, segment, func(f *wire.IPv4Fields) { f.Options = []byte{148, 4, 0, 0} })), syscall.EHOSTUNREACH, false, 0},
		{"fragmentation needed", icmp4Packet("8.8.8.8", own4, 3, 4, 1000, quoted4(wire.ProtoTCP, segment)), syscall.EMSGSIZE, false, 1000},
		{"fragmentation needed, below the floor", icmp4Packet("8.8.8.8", own4, 3, 4, 100, quoted4(wire.ProtoTCP, segment)), syscall.EMSGSIZE, false, 552},
		{"fragmentation needed, old router", icmp4Packet("8.8.8.8", own4, 3, 4, 0, quoted4(wire.ProtoTCP, segment, length(1500))), syscall.EMSGSIZE, false, 1492},
		{"fragmentation needed, old router, 1492", icmp4Packet("8.8.8.8", own4, 3, 4, 0, quoted4(wire.ProtoTCP, segment, length(1492))), syscall.EMSGSIZE, false, 1280},
		{"fragmentation needed, but it fits", icmp4Packet("8.8.8.8", own4, 3, 4, 1040, quoted4(wire.ProtoTCP, segment)), 0, false, 0},
		{"fragmentation needed, impossible", icmp4Packet("8.8.8.8", own4, 3, 4, 67, quoted4(wire.ProtoTCP, segment)), 0, false, 0},
		{"fragmentation needed, old router, small", icmp4Packet("8.8.8.8", own4, 3, 4, 0, quoted4(wire.ProtoTCP, small, length(552))), 0, false, 0},
		{"from somebody else", icmp4Packet("8.8.8.8", own4, 3, 1, 0, v4(peer4, own4, wire.ProtoTCP, segment)), 0, false, 0},
		{"another address of ours", icmp4Packet("8.8.8.8", own4, 3, 1, 0, v4("198.18.0.1", peer4, wire.ProtoTCP, segment)), 0, false, 0},
		{"to broadcast", icmp4Packet(peer4, "192.0.2.255", 3, 1, 0, quoted4(wire.ProtoTCP, segment)), 0, false, 0},
		{"other protocol", icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted4(99, segment)), 0, false, 0},
		{"echo reply", icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted4(wire.ProtoICMP, icmp(own4, peer4, 0, 0, 7, nil))), 0, false, 0},
		{"7 bytes", icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted4(wire.ProtoTCP, segment)[:27]), 0, false, 0},
		{"quote ends by its length", icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted4(wire.ProtoTCP, segment, length(27))), 0, false, 0},
		{"half a header", icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted4(wire.ProtoTCP, segment)[:19]), 0, false, 0},
		{"no quote", icmp4Packet("8.8.8.8", own4, 3, 1, 0, nil), 0, false, 0},
		{"later fragment", icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted4(wire.ProtoTCP, segment, func(f *wire.IPv4Fields) { f.FragmentOffset = 8 })), 0, false, 0},
		{"IPv6 in it", icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted6(wire.ProtoTCP, segment)), 0, false, 0},
		{"no route", icmp6Packet("2001:db8::9", own6, 1, 0, 0, quoted6(wire.ProtoTCP, segment6)), syscall.ENETUNREACH, false, 0},
		{"prohibited 6", icmp6Packet("2001:db8::9", own6, 1, 1, 0, quoted6(wire.ProtoTCP, segment6)), syscall.EACCES, true, 0},
		{"address", icmp6Packet("2001:db8::9", own6, 1, 3, 0, quoted6(wire.ProtoTCP, segment6)), syscall.EHOSTUNREACH, false, 0},
		{"port 6", icmp6Packet(peer6, own6, 1, 4, 0, quoted6(wire.ProtoUDP, udp(own6, peer6, 7, 8, nil))), syscall.ECONNREFUSED, true, 0},
		{"unknown code 6", icmp6Packet(peer6, own6, 1, 7, 0, quoted6(wire.ProtoTCP, segment6)), 0, false, 0},
		{"too big", icmp6Packet("2001:db8::9", own6, 2, 0, 1300, quoted6(wire.ProtoTCP, segment6)), syscall.EMSGSIZE, false, 1300},
		{"too big, 1280", icmp6Packet("2001:db8::9", own6, 2, 0, 1280, quoted6(wire.ProtoTCP, segment6)), syscall.EMSGSIZE, false, 1280},
		{"too big, below the minimum", icmp6Packet("2001:db8::9", own6, 2, 0, 1279, quoted6(wire.ProtoTCP, segment6)), 0, false, 0},
		{"too big, but it fits", icmp6Packet("2001:db8::9", own6, 2, 0, 1460, quoted6(wire.ProtoTCP, segment6)), 0, false, 0},
		{"too big, huge", icmp6Packet("2001:db8::9", own6, 2, 0, 1<<31, quoted6(wire.ProtoTCP, segment6)), 0, false, 0},
		{"time exceeded 6", icmp6Packet("2001:db8::9", own6, 3, 0, 0, quoted6(wire.ProtoTCP, segment6)), syscall.EHOSTUNREACH, false, 0},
		{"parameter problem 6", icmp6Packet("2001:db8::9", own6, 4, 0, 6, quoted6(wire.ProtoTCP, segment6)), syscall.EPROTO, true, 0},
		{"echo 6", icmp6Packet("2001:db8::9", own6, 1, 0, 0, quoted6(wire.ProtoICMPv6, icmp(own6, peer6, 128, 0, 7<<16|8, nil))), syscall.ENETUNREACH, false, 0},
		{"behind options", icmp6Packet("2001:db8::9", own6, 1, 3, 0, quoted6(wire.ProtoDestOptions, append([]byte{6, 0, 1, 4, 0, 0, 0, 0}, segment6...))), syscall.EHOSTUNREACH, false, 0},
		{"from somebody else 6", icmp6Packet("2001:db8::9", own6, 1, 3, 0, v6(peer6, own6, wire.ProtoTCP, segment6)), 0, false, 0},
		{"short 6", icmp6Packet("2001:db8::9", own6, 1, 3, 0, quoted6(wire.ProtoTCP, segment6)[:47]), 0, false, 0},
		{"quote ends by its length 6", icmp6Packet("2001:db8::9", own6, 1, 3, 0, quoted6(wire.ProtoTCP, segment6, length6(47))), 0, false, 0},
		{"no quote 6", icmp6Packet("2001:db8::9", own6, 1, 3, 0, nil), 0, false, 0},
	} {
		w := newWorld(t)
		w.input(ifOne, tt.b)
		s := w.Stats()
		if len(w.sent) != 0 {
			t.Errorf("%s: answered an ICMP error", tt.name)
		}
		if tt.errno == 0 {
			if len(w.errors) != 0 || s.ICMPImplausible != 1 {
				t.Errorf("%s: %+v", tt.name, w.errors)
			}
			continue
		}
		if len(w.errors) != 1 {
			t.Errorf("%s: %d errors: %+v", tt.name, len(w.errors), s)
			continue
		}
		e := w.errors[0]
		if e.Errno != tt.errno || e.Hard != tt.hard || e.MTU != tt.mtu || e.Scope != 0 {
			t.Errorf("%s: %+v", tt.name, e)
		}
		if e.Src != addr(own4) && e.Src != addr(own6) || e.Dst != addr(peer4) && e.Dst != addr(peer6) {
			t.Errorf("%s: %v to %v", tt.name, e.Src, e.Dst)
		}
		switch {
		case e.Protocol == wire.ProtoTCP && (e.SrcPort != 7 || e.DstPort != 8 || !e.HasSeq || e.Seq != 0x01020304 && e.Seq != 5):
			t.Errorf("%s: %+v", tt.name, e)
		case e.Protocol != wire.ProtoTCP && (e.SrcPort != 7 || e.DstPort != 8 || e.HasSeq):
			t.Errorf("%s: %+v", tt.name, e)
		}
	}
}

// TestErrorsInIgnored has messages that mean nothing to sockets.
func TestErrorsInIgnored(t *testing.T) {
	for _, b := range [][]byte{
		icmp4Packet(peer4, own4, 4, 0, 0, quoted4(wire.ProtoTCP, tcp(own4, peer4, 1, nil))), // source quench
		icmp4Packet(peer4, own4, 5, 0, 0, quoted4(wire.ProtoTCP, tcp(own4, peer4, 1, nil))), // redirect
		icmp6Packet(peer6, own6, 100, 0, 0, quoted6(wire.ProtoTCP, tcp(own6, peer6, 1, nil))),
	} {
		w := newWorld(t)
		w.input(ifOne, b)
		if s := w.Stats(); len(w.errors)+len(w.sent)+len(w.delivered) != 0 || s.InDiscards != 1 {
			t.Errorf("%+v", s)
		}
	}
}

func TestErrorScope(t *testing.T) {
	w := newWorld(t)
	w.input(ifIso, icmp4Packet("8.8.8.8", own4, 3, 1, 0, quoted4(wire.ProtoTCP, tcp(own4, peer4, 1, nil))))
	w.input(ifOne, icmp6Packet("fe80::9", "fe80::1", 1, 4, 0, v6("fe80::1", "fe80::9", wire.ProtoUDP, udp("fe80::1", "fe80::9", 7, 8, nil))))
	w.input(ifAny, icmp4Packet("198.51.100.2", "8.8.8.8", 3, 3, 0, v4("8.8.8.8", "198.51.100.2", wire.ProtoUDP, udp("8.8.8.8", "198.51.100.2", 7, 8, nil))))
	want := []string{fmt.Sprint(ifIso), fmt.Sprint(ifOne), "0"}
	if len(w.errors) != 3 {
		t.Fatalf("%d errors: %+v", len(w.errors), w.Stats())
	}
	for i, e := range w.errors {
		if fmt.Sprint(e.Scope) != want[i] {
			t.Errorf("%+v, want scope %s", e, want[i])
		}
	}
}
