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

func ourTCP(segment []byte, change ...func(*wire.IPv4Fields)) []byte {
	return quoted4(wire.ProtoTCP, segment, change...)
}

func ourTCP6(segment []byte, change ...func(*wire.IPv6Fields)) []byte {
	return quoted6(wire.ProtoTCP, segment, change...)
}

// unreachable and from6Router are messages of a router on the way.
func unreachable(code uint8, rest uint32, quote []byte) []byte {
	return icmp4Packet("8.8.8.8", own4, 3, code, rest, quote)
}

func from6Router(typ, code uint8, rest uint32, quote []byte) []byte {
	return icmp6Packet("2001:db8::9", own6, typ, code, rest, quote)
}

// errorCase is one ICMP error, and what it says to a socket (errno 0: it is implausible).
type errorCase struct {
	name  string
	b     []byte
	errno syscall.Errno
	hard  bool
	mtu   int
}

func TestErrorsIn4(t *testing.T) {
	segment := tcp(own4, peer4, 0x01020304, pattern(1000))
	small := tcp(own4, peer4, 5, nil)[:8]
	options := func(f *wire.IPv4Fields) { f.Options = []byte{148, 4, 0, 0} }
	length := func(n int) func(*wire.IPv4Fields) { return func(f *wire.IPv4Fields) { f.TotalLen = n } }
	runErrors(t, []errorCase{
		{"net", unreachable(0, 0, ourTCP(segment)), syscall.ENETUNREACH, false, 0},
		{"host", unreachable(1, 0, ourTCP(segment)), syscall.EHOSTUNREACH, false, 0},
		{"protocol", icmp4Packet(peer4, own4, 3, 2, 0, ourTCP(segment)), syscall.ENOPROTOOPT, true, 0},
		{"port", icmp4Packet(peer4, own4, 3, 3, 0, quoted4(wire.ProtoUDP, udp(own4, peer4, 7, 8, nil))), syscall.ECONNREFUSED, true, 0},
		{"source route", icmp4Packet(peer4, own4, 3, 5, 0, ourTCP(segment)), syscall.EOPNOTSUPP, false, 0},
		{"prohibited", icmp4Packet(peer4, own4, 3, 13, 0, ourTCP(segment)), syscall.EHOSTUNREACH, true, 0},
		{"unknown code", icmp4Packet(peer4, own4, 3, 16, 0, ourTCP(segment)), 0, false, 0},
		{"time exceeded", icmp4Packet("8.8.8.8", own4, 11, 0, 0, ourTCP(segment)), syscall.EHOSTUNREACH, false, 0},
		{"parameter problem", icmp4Packet("8.8.8.8", own4, 12, 0, 0, ourTCP(segment)), syscall.EPROTO, true, 0},
		{"with extensions", icmp4Packet("8.8.8.8", own4, 11, 0, 7<<16, append(ourTCP(small), pattern(99)...)), syscall.EHOSTUNREACH, false, 0},
		{"echo", unreachable(1, 0, quoted4(wire.ProtoICMP, icmp(own4, peer4, 8, 0, 7<<16|8, nil))), syscall.EHOSTUNREACH, false, 0},
		{"with options", unreachable(1, 0, ourTCP(segment, options)), syscall.EHOSTUNREACH, false, 0},
		{"fragmentation needed", unreachable(4, 1000, ourTCP(segment)), syscall.EMSGSIZE, false, 1000},
		{"fragmentation needed, below the floor", unreachable(4, 100, ourTCP(segment)), syscall.EMSGSIZE, false, 552},
		{"fragmentation needed, old router", unreachable(4, 0, ourTCP(segment, length(1500))), syscall.EMSGSIZE, false, 1492},
		{"fragmentation needed, old router, 1492", unreachable(4, 0, ourTCP(segment, length(1492))), syscall.EMSGSIZE, false, 1280},
		{"fragmentation needed, but it fits", unreachable(4, 1040, ourTCP(segment)), 0, false, 0},
		{"fragmentation needed, impossible", unreachable(4, 67, ourTCP(segment)), 0, false, 0},
		{"fragmentation needed, old router, small", unreachable(4, 0, quoted4(wire.ProtoTCP, small, length(552))), 0, false, 0},
		{"from somebody else", unreachable(1, 0, v4(peer4, own4, wire.ProtoTCP, segment)), 0, false, 0},
		{"another address of ours", unreachable(1, 0, v4("198.18.0.1", peer4, wire.ProtoTCP, segment)), 0, false, 0},
		{"to broadcast", icmp4Packet(peer4, "192.0.2.255", 3, 1, 0, ourTCP(segment)), 0, false, 0},
		{"other protocol", unreachable(1, 0, quoted4(99, segment)), 0, false, 0},
		{"echo reply", unreachable(1, 0, quoted4(wire.ProtoICMP, icmp(own4, peer4, 0, 0, 7, nil))), 0, false, 0},
		{"7 bytes", unreachable(1, 0, ourTCP(segment)[:27]), 0, false, 0},
		{"quote ends by its length", unreachable(1, 0, ourTCP(segment, length(27))), 0, false, 0},
		{"half a header", unreachable(1, 0, ourTCP(segment)[:19]), 0, false, 0},
		{"no quote", unreachable(1, 0, nil), 0, false, 0},
		{"later fragment", unreachable(1, 0, ourTCP(segment, func(f *wire.IPv4Fields) { f.FragmentOffset = 8 })), 0, false, 0},
		{"IPv6 in it", unreachable(1, 0, quoted6(wire.ProtoTCP, segment)), 0, false, 0},
	})
}

func TestErrorsIn6(t *testing.T) {
	segment6 := tcp(own6, peer6, 0x01020304, pattern(1400))
	length6 := func(n int) func(*wire.IPv6Fields) { return func(f *wire.IPv6Fields) { f.PayloadLen = n - 40 } }
	runErrors(t, []errorCase{
		{"no route", from6Router(1, 0, 0, ourTCP6(segment6)), syscall.ENETUNREACH, false, 0},
		{"prohibited 6", from6Router(1, 1, 0, ourTCP6(segment6)), syscall.EACCES, true, 0},
		{"address", from6Router(1, 3, 0, ourTCP6(segment6)), syscall.EHOSTUNREACH, false, 0},
		{"port 6", icmp6Packet(peer6, own6, 1, 4, 0, quoted6(wire.ProtoUDP, udp(own6, peer6, 7, 8, nil))), syscall.ECONNREFUSED, true, 0},
		{"unknown code 6", icmp6Packet(peer6, own6, 1, 7, 0, ourTCP6(segment6)), 0, false, 0},
		{"too big", from6Router(2, 0, 1300, ourTCP6(segment6)), syscall.EMSGSIZE, false, 1300},
		{"too big, 1280", from6Router(2, 0, 1280, ourTCP6(segment6)), syscall.EMSGSIZE, false, 1280},
		{"too big, below the minimum", from6Router(2, 0, 1279, ourTCP6(segment6)), 0, false, 0},
		{"too big, but it fits", from6Router(2, 0, 1460, ourTCP6(segment6)), 0, false, 0},
		{"too big, huge", from6Router(2, 0, 1<<31, ourTCP6(segment6)), 0, false, 0},
		{"time exceeded 6", from6Router(3, 0, 0, ourTCP6(segment6)), syscall.EHOSTUNREACH, false, 0},
		{"parameter problem 6", from6Router(4, 0, 6, ourTCP6(segment6)), syscall.EPROTO, true, 0},
		{"echo 6", from6Router(1, 0, 0, quoted6(wire.ProtoICMPv6, icmp(own6, peer6, 128, 0, 7<<16|8, nil))), syscall.ENETUNREACH, false, 0},
		{"behind options", from6Router(1, 3, 0, quoted6(wire.ProtoDestOptions, ext(wire.ProtoTCP, nil, segment6))), syscall.EHOSTUNREACH, false, 0},
		{"from somebody else 6", from6Router(1, 3, 0, v6(peer6, own6, wire.ProtoTCP, segment6)), 0, false, 0},
		{"short 6", from6Router(1, 3, 0, ourTCP6(segment6)[:47]), 0, false, 0},
		{"quote ends by its length 6", from6Router(1, 3, 0, ourTCP6(segment6, length6(47))), 0, false, 0},
		{"no quote 6", from6Router(1, 3, 0, nil), 0, false, 0},
	})
}

func runErrors(t *testing.T, cases []errorCase) {
	for _, tt := range cases {
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
		if e.Errno != tt.errno || e.Hard != tt.hard || e.MTU != tt.mtu || e.Scope != 0 || e.MTU == 0 && e.Unreachable != isUnreachable(tt.b) {
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
	w.input(ifIso, unreachable(1, 0, quoted4(wire.ProtoTCP, tcp(own4, peer4, 1, nil))))
	w.input(ifOne, icmp6Packet("fe80::9", "fe80::1", 1, 4, 0, v6("fe80::1", "fe80::9", wire.ProtoUDP, udp("fe80::1", "fe80::9", 7, 8, nil))))
	w.input(ifAny, icmp4Packet("198.51.100.2", "8.8.8.8", 3, 3, 0, udp4("8.8.8.8", "198.51.100.2", nil)))
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

// isUnreachable: an ICMP packet without options is destination unreachable.
func isUnreachable(b []byte) bool {
	if wire.IPVersion(b) == 4 {
		return wire.ICMPv4(b[wire.IPv4MinLen:]).Type() == wire.ICMPv4DstUnreachable
	}
	return wire.ICMPv6(b[wire.IPv6Len:]).Type() == wire.ICMPv6DstUnreachable
}
