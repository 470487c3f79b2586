package tcp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/wire"
)

// RFC 6528 §3 and RFC 9293 §3.4.1: for one tuple the number grows by one every 4 µs, and tuples and keys are independent.
func TestISS(t *testing.T) {
	n := Numbers{Key: siphash.Key{K0: 1, K1: 2}}
	a, b := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:80")
	first := n.ISS(t0, a, b)
	for _, d := range []time.Duration{4 * time.Microsecond, time.Millisecond, time.Second, time.Hour} {
		if got, want := n.ISS(t0.Add(d), a, b)-first, Seq(d/(4*time.Microsecond)); got != want {
			t.Errorf("the number grows by %d in %v, want %d", got, d, want)
		}
	}
	other := Numbers{Key: siphash.Key{K0: 1, K1: 3}}
	seen := map[Seq]string{first: "the first"}
	for name, seq := range map[string]Seq{
		"another port":    n.ISS(t0, netip.AddrPortFrom(a.Addr(), 1001), b),
		"another address": n.ISS(t0, netip.MustParseAddrPort("192.0.2.3:1000"), b),
		"the other end":   n.ISS(t0, b, a),
		"another key":     other.ISS(t0, a, b),
		"TSOffset":        Seq(n.TSOffset(a, b)) + Seq(uint64(t0)/4000),
	} {
		if was := seen[seq]; was != "" {
			t.Errorf("%s and %s have the same number", name, was)
		}
		seen[seq] = name
	}
	if n.ISS(t0, netip.MustParseAddrPort("[::ffff:192.0.2.1]:1000"), b) != first {
		t.Error("a mapped address is another one")
	}
	if n.TSOffset(a, b) == n.TSOffset(b, a) {
		t.Error("timestamp offsets are not by tuple")
	}
}

// RFC 9293 §3.10.7.1.
func TestResetFor(t *testing.T) {
	data := &Segment{Seq: 100, Flags: wire.SYN | wire.FIN}
	data.Payload.Append([]byte("four"))
	for _, tt := range []struct {
		name string
		seg  *Segment
		ok   bool
		want Segment
	}{
		{"RST", &Segment{Seq: 100, Flags: wire.RST}, false, Segment{}},
		{"RST with ACK", &Segment{Seq: 100, Ack: 7, Flags: wire.RST | wire.ACK}, false, Segment{}},
		{"SYN", &Segment{Seq: 100, Flags: wire.SYN}, true, Segment{Ack: 101, Flags: wire.RST | wire.ACK}},
		{"SYN, FIN and data", data, true, Segment{Ack: 106, Flags: wire.RST | wire.ACK}},
		{"ACK", &Segment{Seq: 100, Ack: 7, Flags: wire.ACK}, true, Segment{Seq: 7, Flags: wire.RST}},
		{"SYN-ACK", &Segment{Seq: 100, Ack: 7, Flags: wire.SYN | wire.ACK}, true, Segment{Seq: 7, Flags: wire.RST}},
		{"nothing", &Segment{Seq: 100}, true, Segment{Ack: 100, Flags: wire.RST | wire.ACK}},
	} {
		var reply Segment
		if ok := ResetFor(tt.seg, &reply); ok != tt.ok {
			t.Errorf("%s: %v", tt.name, ok)
		}
		if reply.Seq != tt.want.Seq || reply.Ack != tt.want.Ack || reply.Flags != tt.want.Flags || reply.Window != 0 {
			t.Errorf("%s: reply %+v, want %+v", tt.name, reply, tt.want)
		}
	}
}
