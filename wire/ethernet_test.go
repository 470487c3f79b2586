package wire

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

const (
	ethPlain = "02 00 00 00 00 02  02 00 00 00 00 01  08 00"
	ethTag   = "02 00 00 00 00 02  02 00 00 00 00 01  81 00 b0 64  86 dd"
	ethQinQ  = "02 00 00 00 00 02  02 00 00 00 00 01  88 a8 00 01  81 00 ff ff  08 06"
)

func TestEthernetFields(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes string
		etype EtherType
		tags  int
		len   int
	}{
		{"plain", ethPlain + "45", EtherTypeIPv4, 0, 14},
		{"one tag", ethTag + "60", EtherTypeIPv6, 1, 18},
		{"two tags", ethQinQ + "00", EtherTypeARP, 2, 22},
		{"a third tag is payload", ethQinQ[:len(ethQinQ)-5] + "81 00 00 01 08 00", EtherTypeVLAN, 2, 22},
		{"802.3 length", ethPlain[:len(ethPlain)-5] + "05 dc", 1500, 0, 14},
	} {
		b := unhex(t, c.bytes)
		h, err := ParseEthernet(b)
		if err != nil || h.EtherType() != c.etype || h.Tags() != c.tags || len(h) != c.len || h.Dst() != mac2 || h.Src() != mac1 {
			t.Errorf("%s: %v: % x", c.name, err, []byte(h))
		}
	}
	h, _ := ParseEthernet(unhex(t, ethTag))
	if tag, by := h.Tag(0); tag.ID() != 100 || tag.Priority() != 5 || !tag.DropEligible() || by != EtherTypeVLAN {
		t.Errorf("tag %#x by %v", tag, by)
	}
	h, _ = ParseEthernet(unhex(t, ethQinQ))
	if tag, by := h.Tag(0); tag.ID() != 1 || tag.Priority() != 0 || tag.DropEligible() || by != EtherTypeQinQ {
		t.Errorf("outer tag %#x by %v", tag, by)
	}
	if tag, by := h.Tag(1); tag != 0xffff || tag.ID() != 4095 || by != EtherTypeVLAN {
		t.Errorf("inner tag %#x by %v", tag, by)
	}
}

func TestEthernetTruncated(t *testing.T) {
	for _, s := range []string{ethPlain, ethTag, ethQinQ} {
		cut(unhex(t, s), func(n int, b []byte) {
			if _, err := ParseEthernet(b); err != ErrShort {
				t.Errorf("%d bytes of %s: %v", n, s, err)
			}
		})
	}
}

func TestEthernetRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := EthernetFields{genMAC().Draw(t, "dst"), genMAC().Draw(t, "src"), EtherType(rapid.Uint16().Draw(t, "type"))}
		b := dirty(15)
		PutEthernet(b, f)
		if f.EtherType == EtherTypeVLAN || f.EtherType == EtherTypeQinQ {
			return
		}
		h, err := ParseEthernet(b)
		if err != nil || (EthernetFields{h.Dst(), h.Src(), h.EtherType()}) != f || b[14] != 0xa5 {
			t.Fatalf("%+v became % x (%v)", f, b, err)
		}
	})
}

func TestHardwareAddresses(t *testing.T) {
	for _, c := range []struct{ got, want [6]byte }{
		{MulticastAddr4([4]byte{224, 0, 0, 251}), [6]byte{1, 0, 0x5e, 0, 0, 251}},
		{MulticastAddr4([4]byte{239, 255, 1, 2}), [6]byte{1, 0, 0x5e, 0x7f, 1, 2}}, // RFC 1112 §6.4: 23 bits
		{MulticastAddr6(SolicitedNode(src6).As16()), [6]byte{0x33, 0x33, 0xff, 0, 0, 1}},
		{BroadcastAddr(), [6]byte{255, 255, 255, 255, 255, 255}},
	} {
		if c.got != c.want || !IsMulticast(c.got) {
			t.Errorf("got %x, want %x", c.got, c.want)
		}
	}
	if IsMulticast(mac1) {
		t.Error("a unicast address is taken for a group's")
	}
}

func FuzzEthernet(f *testing.F) {
	for _, s := range []string{ethPlain, ethTag, ethQinQ} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseEthernet(b)
		if err != nil {
			if len(b) >= EthernetMaxLen {
				t.Fatalf("%v with %d bytes", err, len(b))
			}
			return
		}
		for i := range h.Tags() {
			if tag, by := h.Tag(i); by != EtherTypeVLAN && by != EtherTypeQinQ || tag.ID() > 4095 || tag.Priority() > 7 {
				t.Fatalf("tag %d: %#x by %v", i, tag, by)
			}
		}
		again := PutEthernet(dirty(14), EthernetFields{h.Dst(), h.Src(), h.EtherType()})
		if !bytes.Equal(again[:12], h[:12]) || !bytes.Equal(again[12:], h[len(h)-2:]) {
			t.Fatalf("% x became % x", h, again)
		}
	})
}

func TestEthernetAllocs(t *testing.T) {
	b := unhex(t, ethQinQ)
	out := make([]byte, 14)
	noAllocs(t, func() {
		h, err := ParseEthernet(b)
		if err != nil {
			t.Fatal(err)
		}
		h.Tag(1)
		PutEthernet(out, EthernetFields{h.Src(), h.Dst(), h.EtherType()})
	})
}
