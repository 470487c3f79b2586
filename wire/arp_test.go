package wire

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

const arpExample = "00 01 08 00 06 04 00 01  02 00 00 00 00 01 c0 00 02 01  00 00 00 00 00 00 c6 12 00 02"

func TestARPFields(t *testing.T) {
	p, err := ParseARP(unhex(t, arpExample+"00 00"))
	if err != nil {
		t.Fatal(err)
	}
	if len(p) != ARPLen || p.Op() != ARPRequest || p.SenderHardware() != mac1 || p.SenderAddr() != src4 || p.TargetHardware() != [6]byte{} ||
		p.TargetAddr() != dst4 {
		t.Errorf("% x", []byte(p))
	}
}

func TestARPErrors(t *testing.T) {
	for at, what := range []string{"hardware type", "hardware type", "protocol type", "protocol type", "hardware length", "protocol length"} {
		b := unhex(t, arpExample)
		b[at]++
		if _, err := ParseARP(b); err != ErrFormat {
			t.Errorf("other %s: %v, want ErrFormat", what, err)
		}
	}
	cut(unhex(t, arpExample), func(n int, b []byte) {
		if _, err := ParseARP(b); err != ErrShort {
			t.Errorf("%d bytes: %v, want ErrShort", n, err)
		}
	})
}

func arpFieldsOf(p ARP) ARPFields {
	return ARPFields{p.Op(), p.SenderHardware(), p.TargetHardware(), p.SenderAddr(), p.TargetAddr()}
}

func TestARPRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := ARPFields{ARPOp(rapid.Uint16().Draw(t, "op")), genMAC().Draw(t, "sha"), genMAC().Draw(t, "tha"),
			genAddr4().Draw(t, "spa"), genAddr4().Draw(t, "tpa")}
		b := dirty(29)
		PutARP(b, f)
		p, err := ParseARP(b)
		if err != nil || arpFieldsOf(p) != f || b[28] != 0xa5 {
			t.Fatalf("%+v became % x (%v)", f, b, err)
		}
	})
	// A probe (RFC 5227) has no sender address.
	if p := PutARP(dirty(28), ARPFields{Op: ARPRequest, TargetAddr: src4}); p.SenderAddr() != netip.IPv4Unspecified() {
		t.Errorf("zero Addr is written as %v", p.SenderAddr())
	}
}

func FuzzARP(f *testing.F) {
	f.Add(unhex(f, arpExample))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseARP(b)
		if err != nil {
			return
		}
		if again := PutARP(dirty(28), arpFieldsOf(p)); !bytes.Equal(again, p) {
			t.Fatalf("% x became % x", p, again)
		}
	})
}

func TestARPAllocs(t *testing.T) {
	b := unhex(t, arpExample)
	out := make([]byte, 28)
	noAllocs(t, func() {
		p, err := ParseARP(b)
		if err != nil {
			t.Fatal(err)
		}
		PutARP(out, arpFieldsOf(p))
	})
}
