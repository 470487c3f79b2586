package wire

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// ipv6Example has every field of RFC 8200 §3 at a value of its own.
const ipv6Example = `6b 91 23 45  00 08 11 40
	20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01  20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 02`

func TestIPv6Fields(t *testing.T) {
	h, err := ParseIPv6(unhex(t, ipv6Example), 48)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"TrafficClass", h.TrafficClass(), uint8(0xb9)},
		{"DSCP", h.DSCP(), uint8(46)},
		{"ECN", h.ECN(), ECT1},
		{"FlowLabel", h.FlowLabel(), uint32(0x12345)},
		{"PayloadLen", h.PayloadLen(), 8},
		{"TotalLen", h.TotalLen(), 48},
		{"NextHeader", h.NextHeader(), ProtoUDP},
		{"HopLimit", h.HopLimit(), uint8(64)},
		{"Src", h.Src(), src6},
		{"Dst", h.Dst(), dst6},
		{"Src16", h.Src16(), src6.As16()},
		{"Dst16", h.Dst16(), dst6.As16()},
	} {
		if c.got != c.want {
			t.Errorf("%s = %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestIPv6Errors(t *testing.T) {
	whole := unhex(t, ipv6Example)
	for _, c := range []struct {
		name string
		at   int
		to   byte
		size int
		want error
	}{
		{"whole", 0, 0x6b, 48, nil},
		{"padded by the link", 0, 0x6b, 60, nil},
		{"version 4", 0, 0x4b, 48, ErrVersion},
		{"payload past the packet", 5, 9, 48, ErrTotalLen},
		{"payload far past the packet", 4, 0xff, 48, ErrTotalLen},
		{"no payload", 5, 0, 40, nil},
	} {
		b := bytes.Clone(whole)
		b[c.at] = c.to
		if _, err := ParseIPv6(b, c.size); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	cut(whole, func(n int, b []byte) {
		if _, err := ParseIPv6(b, 48); err != ErrShort {
			t.Errorf("%d bytes: %v, want ErrShort", n, err)
		}
	})
	big := bytes.Clone(whole)
	IPv6(big).SetPayloadLen(65535)
	if h, err := ParseIPv6(big, 65575); err != nil || h.TotalLen() != 65575 {
		t.Errorf("payload length 65535: %v", err)
	}
}

func TestIPv6Setters(t *testing.T) {
	h := PutIPv6(dirty(40), IPv6Fields{FlowLabel: 0xfffff})
	h.SetTrafficClass(0xff)
	h.SetECN(ECT0)
	h.SetFlowLabel(0xff54321)
	h.SetPayloadLen(65535)
	h.SetNextHeader(ProtoTCP)
	h.SetHopLimit(2)
	h.SetSrc(dst6.WithZone("eth0"))
	h.SetDst(src4)
	if h[0]>>4 != 6 || h.TrafficClass() != 0xfe || h.FlowLabel() != 0x54321 || h.PayloadLen() != 65535 ||
		h.NextHeader() != ProtoTCP || h.HopLimit() != 2 || h.Src() != dst6 || h.Dst().Unmap() != src4 || !h.Dst().Is4In6() {
		t.Errorf("setters: % x", []byte(h))
	}
	if !h.DecrementHopLimit() || h.DecrementHopLimit() || h.HopLimit() != 1 {
		t.Errorf("hop limit %d after one hop of 2", h.HopLimit())
	}
}

func ipv6FieldsOf(h IPv6) IPv6Fields {
	return IPv6Fields{h.TrafficClass(), h.FlowLabel(), h.PayloadLen(), h.NextHeader(), h.HopLimit(), h.Src(), h.Dst()}
}

func TestIPv6RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := IPv6Fields{
			TrafficClass: rapid.Byte().Draw(t, "class"),
			FlowLabel:    rapid.Uint32Range(0, 0xfffff).Draw(t, "label"),
			PayloadLen:   rapid.IntRange(0, 65535).Draw(t, "payload"),
			NextHeader:   Protocol(rapid.Byte().Draw(t, "next")),
			HopLimit:     rapid.Byte().Draw(t, "hops"),
			Src:          genAddr6().Draw(t, "src"),
			Dst:          genAddr6().Draw(t, "dst"),
		}
		b := dirty(41)
		PutIPv6(b, f)
		h, err := ParseIPv6(b, IPv6Len+IPv6MaxPayload)
		if err != nil || b[40] != 0xa5 {
			t.Fatal(err, b[40])
		}
		if got := ipv6FieldsOf(h); got != f {
			t.Fatalf("got %+v, want %+v", got, f)
		}
	})
}

func TestIPv6Allocs(t *testing.T) {
	b := unhex(t, ipv6Example)
	out := make([]byte, 40)
	noAllocs(t, func() {
		h, err := ParseIPv6(b, 48)
		if err != nil {
			t.Fatal(err)
		}
		PutIPv6(out, ipv6FieldsOf(h)).DecrementHopLimit()
	})
}

func FuzzIPv6(f *testing.F) {
	f.Add(unhex(f, ipv6Example+"00 01 00 02 00 08 00 00"), 48)
	for _, c := range extensionCases {
		b := extensionPacket(f, c.first, c.bytes)
		f.Add(b, len(b))
	}
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		h, err := ParseIPv6(b, size)
		if err != nil {
			return
		}
		if h.TotalLen() > size {
			t.Fatalf("total length %d of %d", h.TotalLen(), size)
		}
		again := PutIPv6(dirty(40), ipv6FieldsOf(h))
		if !bytes.Equal(h, again) {
			t.Fatalf("% x became % x", h, again)
		}
		checkExtensions(t, h, b[IPv6Len:])
	})
}
