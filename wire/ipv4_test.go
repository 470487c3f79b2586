package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// ipv4Example has every field of RFC 791 §3.1 at a value of its own, and a record route option of RFC 791 §3.1 behind a NOP.
const ipv4Example = `48 b9 00 28  12 34 60 05  40 06 00 00  c0 00 02 01  c6 12 00 02
	01 07 07 04  0a 0b 0c 0d  83 03 04 00`

func TestIPv4Fields(t *testing.T) {
	b := unhex(t, ipv4Example)
	h, err := ParseIPv4(b, 40)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"HeaderLen", h.HeaderLen(), 32},
		{"TOS", h.TOS(), uint8(0xb9)},
		{"DSCP", h.DSCP(), uint8(46)},
		{"ECN", h.ECN(), ECT1},
		{"TotalLen", h.TotalLen(), 40},
		{"PayloadLen", h.PayloadLen(), 8},
		{"ID", h.ID(), uint16(0x1234)},
		{"Reserved", h.Reserved(), false},
		{"DontFragment", h.DontFragment(), true},
		{"MoreFragments", h.MoreFragments(), true},
		{"FragmentOffset", h.FragmentOffset(), 40},
		{"IsFragment", h.IsFragment(), true},
		{"TTL", h.TTL(), uint8(64)},
		{"Protocol", h.Protocol(), ProtoTCP},
		{"Checksum", h.Checksum(), uint16(0)},
		{"Src", h.Src(), src4},
		{"Dst", h.Dst(), dst4},
		{"Src4", h.Src4(), src4.As4()},
		{"Dst4", h.Dst4(), dst4.As4()},
		{"HasOptions", h.HasOptions(), true},
		{"VerifyChecksum", h.VerifyChecksum(), false},
	} {
		if c.got != c.want {
			t.Errorf("%s = %v, want %v", c.name, c.got, c.want)
		}
	}
	h.SetChecksum(h.ComputeChecksum())
	if !h.VerifyChecksum() {
		t.Error("checksum just computed does not verify")
	}
}

func TestIPv4Errors(t *testing.T) {
	whole := unhex(t, ipv4Example)
	change := func(at int, to byte) []byte {
		b := bytes.Clone(whole)
		b[at] = to
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		size int
		want error
	}{
		{"whole", whole, 40, nil},
		{"padded by the link", whole, 64, nil},
		{"no more bytes than the header", whole[:32], 40, nil},
		{"version 6", change(0, 0x68), 40, ErrVersion},
		{"IHL 4", change(0, 0x44), 40, ErrHeaderLen},
		{"IHL 0", change(0, 0x40), 40, ErrHeaderLen},
		{"IHL past the bytes", change(0, 0x4f), 40, ErrShort},
		{"total length past the packet", whole, 39, ErrTotalLen},
		{"total length within the header", change(3, 31), 40, ErrTotalLen},
		{"total length 0", change(3, 0), 40, ErrTotalLen},
		{"total length of a header alone", change(3, 32), 40, nil},
	} {
		if _, err := ParseIPv4(c.b, c.size); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	cut(whole, func(n int, b []byte) {
		if _, err := ParseIPv4(b, 40); err != ErrShort {
			t.Errorf("%d bytes: %v, want ErrShort", n, err)
		}
	})
	// A super-segment: all of 65535 bytes.
	big := bytes.Clone(whole)
	IPv4(big).SetTotalLen(65535)
	if h, err := ParseIPv4(big, 65535); err != nil || h.TotalLen() != 65535 {
		t.Errorf("total length 65535: %v", err)
	}
}

func TestIPv4HeaderLen(t *testing.T) {
	for first := range 256 {
		n, err := IPv4HeaderLen([]byte{byte(first)})
		switch {
		case first>>4 != 4:
			if err != ErrVersion {
				t.Errorf("%#x: %v, want ErrVersion", first, err)
			}
		case first&15 < 5:
			if err != ErrHeaderLen {
				t.Errorf("%#x: %v, want ErrHeaderLen", first, err)
			}
		case err != nil || n != first&15*4:
			t.Errorf("%#x: %d, %v", first, n, err)
		}
	}
}

func TestIPv4Setters(t *testing.T) {
	h := PutIPv4(dirty(20), IPv4Fields{Src: src4, Dst: dst4, TTL: 1})
	h.SetTOS(0xff)
	h.SetECN(CE &^ 1)
	h.SetTotalLen(65535)
	h.SetID(0xfffe)
	h.SetFragment(false, true, 65528)
	h.SetTTL(7)
	h.SetProtocol(ProtoUDP)
	h.SetSrc(dst4)
	h.SetDst(netip.AddrFrom16(src4.As16())) // v4-mapped
	if h.TOS() != 0xfe || h.TotalLen() != 65535 || h.ID() != 0xfffe || h.DontFragment() || !h.MoreFragments() ||
		h.FragmentOffset() != 65528 || h.TTL() != 7 || h.Protocol() != ProtoUDP || h.Src() != dst4 || h.Dst() != src4 {
		t.Errorf("setters: % x", []byte(h))
	}
	h.SetSrc(netip.Addr{})
	if h.Src() != netip.IPv4Unspecified() {
		t.Errorf("zero Addr is written as %v", h.Src())
	}
}

func TestIPv4DecrementTTL(t *testing.T) {
	for ttl := range 256 {
		h := PutIPv4(dirty(20), IPv4Fields{TotalLen: 20, ID: uint16(ttl * 259), TTL: uint8(ttl), Protocol: 17, Src: src4, Dst: dst4})
		ok := h.DecrementTTL()
		if want := ttl > 1; ok != want {
			t.Fatalf("TTL %d: %v, want %v", ttl, ok, want)
		}
		if ok && int(h.TTL()) != ttl-1 || !ok && int(h.TTL()) != ttl || !h.VerifyChecksum() {
			t.Fatalf("TTL %d: now %d, checksum right: %v", ttl, h.TTL(), h.VerifyChecksum())
		}
	}
}

func genIPv4Fields() *rapid.Generator[IPv4Fields] {
	return rapid.Custom(func(t *rapid.T) IPv4Fields {
		f := IPv4Fields{
			TOS:            rapid.Byte().Draw(t, "tos"),
			ID:             rapid.Uint16().Draw(t, "id"),
			DontFragment:   rapid.Bool().Draw(t, "df"),
			MoreFragments:  rapid.Bool().Draw(t, "mf"),
			FragmentOffset: rapid.IntRange(0, 8191).Draw(t, "offset") * 8,
			TTL:            rapid.Byte().Draw(t, "ttl"),
			Protocol:       Protocol(rapid.Byte().Draw(t, "protocol")),
			Src:            genAddr4().Draw(t, "src"),
			Dst:            genAddr4().Draw(t, "dst"),
			Options:        rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "options"),
		}
		f.TotalLen = rapid.IntRange(f.HeaderLen(), 65535).Draw(t, "total")
		return f
	})
}

// ipv4FieldsOf reads back all that PutIPv4 writes.
func ipv4FieldsOf(h IPv4) IPv4Fields {
	return IPv4Fields{
		TOS: h.TOS(), TotalLen: h.TotalLen(), ID: h.ID(), DontFragment: h.DontFragment(), MoreFragments: h.MoreFragments(),
		FragmentOffset: h.FragmentOffset(), TTL: h.TTL(), Protocol: h.Protocol(), Src: h.Src(), Dst: h.Dst(), Options: h[IPv4MinLen:],
	}
}

func TestIPv4RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genIPv4Fields().Draw(t, "fields")
		b := dirty(70)
		put := PutIPv4(b, f)
		h, err := ParseIPv4(b, 65535)
		if err != nil {
			t.Fatal(err)
		}
		if len(h) != f.HeaderLen() || len(put) != len(h) || b[len(h)] != 0xa5 {
			t.Fatalf("%d bytes written, %d parsed, want %d", len(put), len(h), f.HeaderLen())
		}
		if !h.VerifyChecksum() || h.Reserved() {
			t.Fatal("checksum or reserved flag")
		}
		again := PutIPv4(dirty(70), ipv4FieldsOf(h))
		if !bytes.Equal(again, h) {
			t.Fatalf("again % x, first % x", again, h)
		}
		if !bytes.HasPrefix(h[IPv4MinLen:], f.Options) {
			t.Fatal("options differ")
		}
		if got := ipv4FieldsOf(h); got.Src != f.Src || got.Dst != f.Dst || got.TotalLen != f.TotalLen || got.TTL != f.TTL ||
			got.FragmentOffset != f.FragmentOffset || got.DontFragment != f.DontFragment || got.MoreFragments != f.MoreFragments ||
			got.TOS != f.TOS || got.ID != f.ID || got.Protocol != f.Protocol {
			t.Fatalf("got %+v, want %+v", got, f)
		}
	})
}

func TestIPv4Options(t *testing.T) {
	for _, c := range []struct {
		name    string
		options string
		want    []IPv4Option
		err     error
		pointer int
	}{
		{"none", "", nil, nil, 0},
		{"record route", "01 07 07 04 0a 0b 0c 0d", []IPv4Option{{7, 21, []byte{4, 10, 11, 12, 13}}}, nil, 0},
		{"two", "94 04 00 00 07 03 04 00", []IPv4Option{{148, 20, []byte{0, 0}}, {7, 24, []byte{4}}}, nil, 0},
		{"nothing behind the end counts", "94 04 00 00 00 07 00 ff", []IPv4Option{{148, 20, []byte{0, 0}}}, nil, 0},
		{"empty option", "88 02 01 01", []IPv4Option{{0x88, 20, nil}}, nil, 0},
		{"only NOPs", "01 01 01 01", nil, nil, 0},
		{"length 0", "94 04 00 00 01 07 00 00", []IPv4Option{{148, 20, []byte{0, 0}}}, ErrOption, 25},
		{"length 1", "07 01 00 00", nil, ErrOption, 20},
		{"past the end", "07 05 00 00", nil, ErrOption, 20},
		{"no length", "01 01 01 07", nil, ErrOption, 23},
	} {
		o := unhex(t, c.options)
		h := PutIPv4(make([]byte, 60), IPv4Fields{Options: o, TotalLen: 20 + len(o), Src: src4, Dst: dst4})
		it := h.Options()
		var got []IPv4Option
		for it.Next() {
			got = append(got, it.Option())
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
			continue
		}
		for i, w := range c.want {
			if g := got[i]; g.Type != w.Type || g.Offset != w.Offset || !bytes.Equal(g.Data, w.Data) {
				t.Errorf("%s: option %d is %v, want %v", c.name, i, g, w)
			}
		}
		if it.Err() != c.err || c.err != nil && it.Pointer() != c.pointer {
			t.Errorf("%s: %v at %d, want %v at %d", c.name, it.Err(), it.Pointer(), c.err, c.pointer)
		}
		if it.Next() {
			t.Errorf("%s: goes on after the end", c.name)
		}
	}
	if !IPv4OptionLSRR.Copied() || IPv4OptionRecordRoute.Copied() {
		t.Error("copied flag")
	}
}

func TestIPv4Allocs(t *testing.T) {
	b := unhex(t, ipv4Example)
	out := make([]byte, 60)
	f := IPv4Fields{TotalLen: 40, TTL: 64, Src: src4, Dst: dst4, Options: b[20:32]}
	noAllocs(t, func() {
		h, err := ParseIPv4(b, len(b)+8)
		if err != nil {
			t.Fatal(err)
		}
		for it := h.Options(); it.Next(); {
			_ = it.Option()
		}
		f.Src, f.Dst = h.Src(), h.Dst()
		PutIPv4(out, f).DecrementTTL()
	})
}

func FuzzIPv4(f *testing.F) {
	f.Add(unhex(f, ipv4Example), 40)
	f.Add(unhex(f, "4f 00 ff ff 00 00 00 00 40 11 00 00 c0 00 02 01 c6 12 00 02")[:20], 65535)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		h, err := ParseIPv4(b, size)
		if err != nil {
			return
		}
		if h.TotalLen() > size || h.PayloadLen() < 0 || h.HeaderLen() != len(h) || len(h) > len(b) {
			t.Fatalf("lengths: total %d of %d, header %d of %d", h.TotalLen(), size, len(h), len(b))
		}
		n := 0
		it := h.Options()
		for it.Next() {
			o := it.Option()
			if h[o.Offset] != byte(o.Type) || int(h[o.Offset+1]) != len(o.Data)+2 {
				t.Fatalf("option %v is not at its offset", o)
			}
			n++
		}
		if n > 20 || it.Err() != nil && it.Pointer() >= len(h) {
			t.Fatalf("%d options, pointer %d", n, it.Pointer())
		}
		fields := ipv4FieldsOf(h)
		again := PutIPv4(dirty(60), fields)
		if got := ipv4FieldsOf(again); got.Src != fields.Src || got.Dst != fields.Dst || !bytes.Equal(got.Options, fields.Options) {
			t.Fatalf("%+v became %+v", fields, got)
		}
		want := bytes.Clone(h)
		want[6] &^= 0x80 // the reserved flag is not kept
		IPv4(want).SetChecksum(IPv4(want).ComputeChecksum())
		if !bytes.Equal(want, again) || !again.VerifyChecksum() {
			t.Fatalf("% x became % x", want, again)
		}
	})
}
