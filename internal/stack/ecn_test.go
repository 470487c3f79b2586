package stack

import (
	"testing"

	"github.com/weirnet/weir/wire"
)

// RFC 3168 §5: whoever speaks UDP with ECT hears of CE, packet by packet.
func TestDatagramECN(t *testing.T) {
	for _, family := range []struct{ own, prefix, remote string }{
		{"192.0.2.1", "192.0.2.1/24", "192.0.2.9:53"}, {"[2001:db8::1]", "2001:db8::1/64", "[2001:db8::9]:53"},
	} {
		h := newHost(t, Config{})
		_, d := h.attach(InterfaceConfig{}, family.prefix)
		u, _ := h.connectUDP(family.remote, Bound{})
		src, dst := port(family.remote), u.LocalAddr()
		for _, want := range []uint8{wire.NotECT, wire.CE, wire.ECT0, wire.ECT1} {
			b := udpPacket(src, dst, "x")
			if dst.Addr().Is4() {
				ip := wire.IPv4(b[:wire.IPv4MinLen])
				ip.SetECN(want)
				ip.SetChecksum(0)
				ip.SetChecksum(ip.ComputeChecksum())
			} else {
				wire.IPv6(b).SetECN(want)
			}
			d.inject(b)
		}
		for _, want := range []uint8{wire.NotECT, wire.CE, wire.ECT0, wire.ECT1} {
			n, from, ecn, _, err := u.ReadFromECN(make([]byte, 10))
			if n != 1 || from != src || ecn != want || err != nil {
				t.Errorf("%s: %d bytes from %v with codepoint %d, want %d; %v", family.own, n, from, ecn, want, err)
			}
		}
	}
}
