package wire

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// extensionPacket is an IPv6 packet with the bytes in hexadecimal behind its fixed header.
func extensionPacket(t testing.TB, first Protocol, hexBytes string) []byte {
	rest := unhex(t, hexBytes)
	b := make([]byte, IPv6Len+len(rest))
	PutIPv6(b, IPv6Fields{PayloadLen: len(rest), NextHeader: first, HopLimit: 64, Src: src6, Dst: dst6})
	copy(b[IPv6Len:], rest)
	return b
}

const (
	hbhToTCP   = "06 00 05 02 00 00 01 00" // hop-by-hop: router alert, PadN of 0
	dstToTCP   = "06 01 01 04 00 00 00 00 c9 04 de ad be ef 00 00"
	fragToUDP  = "11 ff 00 01 12 34 56 78" // first fragment
	laterToUDP = "11 00 05 a8 12 34 56 78" // offset 1448, last
	payload8   = "00 01 00 02 00 08 00 00"
)

// extensionCases are packets and the walk over them: the headers as type@offset, the upper layer with length and pointer, the error.
var extensionCases = []struct {
	name  string
	first Protocol
	bytes string
	walk  string
	err   error
}{
	{"none", ProtoTCP, payload8, "tcp 0 6", nil},
	{"no next header", ProtoNoNext, "", "no-next-header 0 6", nil},
	{"AH is an upper layer", ProtoAH, payload8, "ah 0 6", nil},
	{"hop-by-hop", ProtoHopByHop, hbhToTCP + payload8, "hop-by-hop@40 tcp 8 40", nil},
	{"destination options", ProtoDestOptions, dstToTCP + payload8, "destination-options@40 tcp 16 40", nil},
	{"first fragment", ProtoFragment, fragToUDP + payload8, "fragment@40 udp 8 40", nil},
	{"later fragment", ProtoFragment, laterToUDP + "ff", "fragment@40 udp 8 40 later", nil},
	{"later fragment, whose next header says options", ProtoFragment, "3c 00 05 a8 00000001 06", "fragment@40 destination-options 8 40 later",
		nil},
	{"the recommended order (RFC 8200 §4.1)", ProtoHopByHop,
		"3c 00 01 04 00000000  2b 00 01 04 00000000  2c 00 04 00 00000000  3c 00 00 00 00000001  06 00 01 04 00000000" + payload8,
		"hop-by-hop@40 destination-options@48 routing@56 fragment@64 destination-options@72 tcp 40 72", nil},
	{"any other order", ProtoDestOptions, "2b 00 01 04 00000000  3c 00 04 00 00000000" + dstToTCP + payload8,
		"destination-options@40 routing@48 destination-options@56 tcp 32 56", nil},
	{"hop-by-hop second", ProtoDestOptions, "00 00 01 04 00000000" + hbhToTCP, "destination-options@40 hop-by-hop 8 40", ErrExtensionOrder},
	{"hop-by-hop twice", ProtoHopByHop, "00 00 01 04 00000000" + hbhToTCP, "hop-by-hop@40 hop-by-hop 8 40", ErrExtensionOrder},
	{"8 headers", ProtoDestOptions, strings.Repeat("3c00010400000000", 7) + "0600010400000000" + payload8,
		"destination-options@40 destination-options@48 destination-options@56 destination-options@64 destination-options@72 " +
			"destination-options@80 destination-options@88 destination-options@96 tcp 64 96", nil},
	{"9 headers", ProtoDestOptions, strings.Repeat("3c00010400000000", 8) + "0600010400000000" + payload8,
		"destination-options@40 destination-options@48 destination-options@56 destination-options@64 destination-options@72 " +
			"destination-options@80 destination-options@88 destination-options@96 destination-options 64 96", ErrExtensionLimit},
	{"512 bytes", ProtoDestOptions, "06 3f" + strings.Repeat("00", 510) + payload8, "destination-options@40 tcp 512 40", nil},
	{"520 bytes", ProtoDestOptions, "06 40" + strings.Repeat("00", 518) + payload8, "destination-options 0 6", ErrExtensionLimit},
	{"ends before a header", ProtoHopByHop, "", "hop-by-hop 0 6", ErrShort},
	{"ends in the first 8 bytes", ProtoFragment, "11 00 00 00", "fragment 0 6", ErrShort},
	{"length past the end", ProtoHopByHop, "06 01 01 04 00000000 00000000", "hop-by-hop 0 6", ErrShort},
	{"second past the end", ProtoHopByHop, "2b 00 01 04 00000000 06 01 00 00 00000000", "hop-by-hop@40 routing 8 40", ErrShort},
}

// walkText is the walk over h's extension headers in the notation of extensionCases.
func walkText(e *Extensions) string {
	var s strings.Builder
	for e.Next() {
		fmt.Fprintf(&s, "%v@%d ", e.Extension().Type, e.Extension().Offset)
	}
	fmt.Fprintf(&s, "%v %d %d", e.Upper(), e.Len(), e.Pointer())
	if e.Later() {
		s.WriteString(" later")
	}
	return s.String()
}

func TestExtensions(t *testing.T) {
	for _, c := range extensionCases {
		b := extensionPacket(t, c.first, c.bytes)
		h, err := ParseIPv6(b, len(b))
		if err != nil {
			t.Fatal(err)
		}
		e := WalkExtensions(h, b[IPv6Len:], h.PayloadLen())
		if got := walkText(&e); got != c.walk || e.Err() != c.err {
			t.Errorf("%s:\n got %s (%v)\nwant %s (%v)", c.name, got, e.Err(), c.walk, c.err)
		}
		if e.Next() {
			t.Errorf("%s: goes on after the end", c.name)
		}
		checkExtensions(t, h, b[IPv6Len:])
	}
}

// checkExtensions checks the rules that hold of every walk, and that it takes the same way however many bytes it has to begin with.
func checkExtensions(t *testing.T, h IPv6, rest []byte) {
	t.Helper()
	size := h.PayloadLen()
	whole := WalkExtensions(h, rest, size)
	want := walkText(&whole)
	if whole.Len() > MaxExtensionBytes || whole.Len() > len(rest) || whole.Len()%8 != 0 {
		t.Fatalf("walked %d bytes of %d", whole.Len(), len(rest))
	}
	if whole.Err() == ErrNeedMore && (whole.Need() <= len(rest) || whole.Need() > min(size, MaxExtensionBytes)) {
		t.Fatalf("needs %d: has %d of %d", whole.Need(), len(rest), size)
	}
	chain, err := SkipExtensions(h, rest, size)
	if err != whole.Err() || chain.Len != whole.Len() || chain.Upper != whole.Upper() || chain.Pointer != whole.Pointer() ||
		chain.Later != whole.Later() {
		t.Fatalf("SkipExtensions: %+v, %v", chain, err)
	}
	// Byte by byte.
	var got strings.Builder
	e := WalkExtensions(h, nil, size)
	for {
		for e.Next() {
			x := e.Extension()
			fmt.Fprintf(&got, "%v@%d ", x.Type, x.Offset)
			checkExtension(t, x)
		}
		if e.Err() != ErrNeedMore || e.Need() > len(rest) {
			break
		}
		e.Refill(rest[:e.Need()])
	}
	got.WriteString(walkText(&e))
	if got.String() != want || e.Err() != whole.Err() {
		t.Fatalf("step by step: %s (%v)\nat once:      %s (%v)", got.String(), e.Err(), want, whole.Err())
	}
}

// checkExtension calls all that there is for one extension header.
func checkExtension(t *testing.T, x Extension) {
	t.Helper()
	if len(x.Data) < 8 || len(x.Data)%8 != 0 || Protocol(x.Data[0]) != x.Next {
		t.Fatalf("%+v", x)
	}
	it, n := x.Options(), 0
	for it.Next() {
		o := it.Option()
		at := o.Offset - x.Offset
		if x.Data[at] != byte(o.Type) || int(x.Data[at+1]) != len(o.Data) || o.Type == IPv6OptionPad1 || o.Type == IPv6OptionPadN {
			t.Fatalf("option %v is not at its offset", o)
		}
		_, _ = o.Type.Action(), o.Type.MayChange()
		n++
	}
	if n > len(x.Data)/2 || it.Err() != nil && it.Pointer() >= x.Offset+len(x.Data) {
		t.Fatalf("%d options, pointer %d", n, it.Pointer())
	}
	if f, ok := x.Fragment(); ok {
		again := PutIPv6Fragment(dirty(8), IPv6FragmentFields{f.NextHeader(), f.Offset(), f.More(), f.ID()})
		g, err := ParseIPv6Fragment(again)
		if err != nil || g.NextHeader() != f.NextHeader() || g.Offset() != f.Offset() || g.More() != f.More() || g.ID() != f.ID() ||
			g.Reserved() != 0 {
			t.Fatalf("fragment header % x became % x", f, again)
		}
	}
	if r, ok := x.Routing(); ok {
		_, _ = r.Type(), r.SegmentsLeft()
	}
}

func TestExtensionsNeedMore(t *testing.T) {
	b := extensionPacket(t, ProtoHopByHop, "3c 00 01 04 00000000"+dstToTCP+payload8)
	h, rest := IPv6(b[:IPv6Len]), b[IPv6Len:]
	for _, c := range []struct{ have, need, walked int }{
		{0, 8, 0}, {7, 8, 0}, {8, 16, 8}, {15, 16, 8}, {16, 24, 8}, {23, 24, 8}, {24, 0, 24},
	} {
		e := WalkExtensions(h, rest[:c.have], len(rest))
		for e.Next() {
		}
		if e.Need() != c.need || e.Len() != c.walked || (e.Err() == ErrNeedMore) != (c.need > 0) {
			t.Errorf("with %d bytes: needs %d, walked %d, %v; want %d, %d", c.have, e.Need(), e.Len(), e.Err(), c.need, c.walked)
		}
	}
	// What cannot come is not waited for.
	e := WalkExtensions(h, rest[:4], 6)
	if e.Next() || e.Err() != ErrShort {
		t.Errorf("a packet of 6 bytes: %v, want ErrShort", e.Err())
	}
	e.Refill(rest)
	if e.Next() || e.Err() != ErrShort {
		t.Errorf("Refill mends %v", ErrShort)
	}
}

func TestContinueExtensions(t *testing.T) {
	rest := unhex(t, dstToTCP+payload8)
	e := ContinueExtensions(ProtoDestOptions, rest, len(rest), 48, 40)
	if e.Pointer() != 40 {
		t.Errorf("pointer %d, want 40", e.Pointer())
	}
	if got, want := walkText(&e), "destination-options@48 tcp 16 48"; got != want || e.Err() != nil {
		t.Errorf("got %s (%v), want %s", got, e.Err(), want)
	}
	e = ContinueExtensions(ProtoHopByHop, unhex(t, hbhToTCP), 8, 48, 40)
	if e.Next() || e.Err() != ErrExtensionOrder || e.Pointer() != 40 {
		t.Errorf("hop-by-hop behind a fragment header: %v at %d", e.Err(), e.Pointer())
	}
}

func TestIPv6Fragment(t *testing.T) {
	f, err := ParseIPv6Fragment(unhex(t, "06 81 05 af 12 34 56 78"))
	if err != nil {
		t.Fatal(err)
	}
	if f.NextHeader() != ProtoTCP || f.Offset() != 1448 || !f.More() || f.ID() != 0x12345678 || f.Reserved() != 0x81<<2|3 || f.Atomic() {
		t.Errorf("%v %d %v %#x %#x", f.NextHeader(), f.Offset(), f.More(), f.ID(), f.Reserved())
	}
	for _, c := range []struct {
		offset int
		more   bool
		want   bool
	}{{0, false, true}, {0, true, false}, {8, false, false}, {65528, true, false}} {
		f := PutIPv6Fragment(dirty(8), IPv6FragmentFields{NextHeader: 17, Offset: c.offset, More: c.more})
		if f.Atomic() != c.want || f.Offset() != c.offset {
			t.Errorf("%+v: atomic %v, offset %d", c, f.Atomic(), f.Offset())
		}
	}
	cut(f, func(n int, b []byte) {
		if _, err := ParseIPv6Fragment(b); err != ErrShort {
			t.Errorf("%d bytes: %v", n, err)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		f := IPv6FragmentFields{Protocol(rapid.Byte().Draw(t, "next")), rapid.IntRange(0, 8191).Draw(t, "offset") * 8,
			rapid.Bool().Draw(t, "more"), rapid.Uint32().Draw(t, "id")}
		h := PutIPv6Fragment(dirty(8), f)
		if got := (IPv6FragmentFields{h.NextHeader(), h.Offset(), h.More(), h.ID()}); got != f || h.Reserved() != 0 {
			t.Fatalf("got %+v, want %+v", got, f)
		}
	})
}

func TestIPv6Routing(t *testing.T) {
	b := extensionPacket(t, ProtoRouting, "06 00 04 02 00000000")
	e := WalkExtensions(IPv6(b), b[IPv6Len:], 8)
	if !e.Next() {
		t.Fatal(e.Err())
	}
	if r, ok := e.Extension().Routing(); !ok || r.Type() != 4 || r.SegmentsLeft() != 2 {
		t.Errorf("%v %v", r, ok)
	}
	if it := e.Extension().Options(); it.Next() {
		t.Error("a routing header has no options")
	}
	if _, ok := e.Extension().Fragment(); ok {
		t.Error("a routing header is no fragment header")
	}
}

func TestIPv6Options(t *testing.T) {
	for _, c := range []struct {
		name    string
		bytes   string
		want    []IPv6Option
		err     error
		pointer int
	}{
		{"router alert", "06 00 05 02 00 01 01 00", []IPv6Option{{5, 42, []byte{0, 1}}}, nil, 0},
		{"padding of one byte", "06 00 00 00 00 00 00 00", nil, nil, 0},
		{"padding, an option, padding", "06 01 00 01 02 00 00 c2 04 00 01 00 00 00 00 00", []IPv6Option{{0xc2, 47, []byte{0, 1, 0, 0}}}, nil, 0},
		{"past the end", "06 00 05 02 00 00 3e 01", []IPv6Option{{5, 42, []byte{0, 0}}}, ErrOption, 46},
		{"no length", "06 00 01 03 00 00 00 3e", nil, ErrOption, 47},
		{"padding past the end", "06 00 01 05 00 00 00 00", nil, ErrOption, 42},
	} {
		b := extensionPacket(t, ProtoHopByHop, c.bytes)
		e := WalkExtensions(IPv6(b), b[IPv6Len:], len(b)-IPv6Len)
		if !e.Next() {
			t.Fatal(e.Err())
		}
		it := e.Extension().Options()
		var got []IPv6Option
		for it.Next() {
			got = append(got, it.Option())
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) || it.Err() != c.err || c.err != nil && it.Pointer() != c.pointer {
			t.Errorf("%s: %v, %v at %d; want %v, %v at %d", c.name, got, it.Err(), it.Pointer(), c.want, c.err, c.pointer)
		}
		for _, o := range got {
			if b[o.Offset] != byte(o.Type) || !bytes.Equal(b[o.Offset+2:][:len(o.Data)], o.Data) {
				t.Errorf("%s: option %v is not at its offset", c.name, o)
			}
		}
	}
}

// RFC 8200 §4.2: the two highest bits say what to do, the third whether data may change on the way.
func TestIPv6OptionAction(t *testing.T) {
	for _, c := range []struct {
		t      IPv6OptionType
		action IPv6OptionAction
		change bool
	}{
		{0x05, OptionSkip, false}, {0x3e, OptionSkip, true}, {0x7e, OptionDiscard, true}, {0x8a, OptionDiscardReport, false},
		{0xc2, OptionDiscardReportToUnicast, false}, {0xff, OptionDiscardReportToUnicast, true},
	} {
		if c.t.Action() != c.action || c.t.MayChange() != c.change {
			t.Errorf("%#x: %d, %v", c.t, c.t.Action(), c.t.MayChange())
		}
	}
}

func TestExtensionsAllocs(t *testing.T) {
	b := extensionPacket(t, ProtoHopByHop, "2c 00 05 02 00 00 01 00"+"3c 00 00 01 12345678"+dstToTCP+payload8)
	noAllocs(t, func() {
		e := WalkExtensions(IPv6(b[:IPv6Len]), b[IPv6Len:], len(b)-IPv6Len)
		for e.Next() {
			x := e.Extension()
			for it := x.Options(); it.Next(); {
				_ = it.Option()
			}
		}
		if e.Err() != nil || e.Upper() != ProtoTCP {
			t.Fatal(e.Err())
		}
		if c, err := SkipExtensions(IPv6(b[:IPv6Len]), b[IPv6Len:], len(b)-IPv6Len); err != nil || c.Fragment == nil {
			t.Fatal(err)
		}
	})
}
