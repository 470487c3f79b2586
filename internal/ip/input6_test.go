package ip

import (
	"bytes"
	"testing"

	"github.com/weirnet/weir/wire"
)

// ext is an extension header with what follows it; body fills it up to a multiple of 8 with padding.
func ext(next wire.Protocol, body, rest []byte) []byte {
	b := append([]byte{uint8(next), 0}, body...)
	if n := -len(b) & 7; n == 1 {
		b = append(b, 0)
	} else if n > 1 {
		b = append(b, 1, byte(n-2))
		b = append(b, make([]byte, n-2)...)
	}
	b[1] = byte(len(b)/8 - 1)
	return append(b, rest...)
}

// TestExtensions has chains of extension headers in front of a UDP datagram, and what becomes of them.
func TestExtensions(t *testing.T) {
	const (
		hop, dst, route, fragment = wire.ProtoHopByHop, wire.ProtoDestOptions, wire.ProtoRouting, wire.ProtoFragment
		none                      = 255 // no answer
	)
	data := udp(peer6, own6, 1, 2, pattern(20))
	pad := func(next wire.Protocol, rest []byte) []byte { return ext(next, nil, rest) }
	many := func(n int, option ...byte) []byte { return bytes.Repeat(option, n) }
	chain := data
	for i := range wire.MaxExtensions {
		chain = pad(map[bool]wire.Protocol{true: wire.ProtoUDP, false: dst}[i == 0], chain)
	}
	long := data
	for i := range 3 {
		long = ext(map[bool]wire.Protocol{true: wire.ProtoUDP, false: dst}[i == 0], append([]byte{1, 200}, make([]byte, 200)...), long)
	}
	atomic := make([]byte, wire.IPv6FragmentLen)
	wire.PutIPv6Fragment(atomic, wire.IPv6FragmentFields{NextHeader: wire.ProtoUDP, ID: 5})
	for _, tt := range []struct {
		name    string
		first   wire.Protocol
		data    []byte
		deliver bool
		code    uint8
		pointer uint32
	}{
		{"none", wire.ProtoUDP, data, true, none, 0},
		{"hop-by-hop", hop, pad(wire.ProtoUDP, data), true, none, 0},
		{"destination options", dst, pad(wire.ProtoUDP, data), true, none, 0},
		{"all", hop, pad(route, ext(dst, []byte{0, 0}, pad(wire.ProtoUDP, data))), true, none, 0},
		{"hop-by-hop second", dst, pad(hop, pad(wire.ProtoUDP, data)), false, wire.ICMPv6UnknownNextHeader, 40},
		{"hop-by-hop twice", hop, pad(hop, pad(wire.ProtoUDP, data)), false, wire.ICMPv6UnknownNextHeader, 40},
		{"as many as may be", dst, chain, true, none, 0},
		{"one more", dst, pad(dst, chain), false, wire.ICMPv6TooManyExtensions, 40 + 8*wire.MaxExtensions},
		{"too long", dst, long, false, wire.ICMPv6TooManyExtensions, 40 + 2*208},
		{"atomic fragment", fragment, append(bytes.Clone(atomic), data...), true, none, 0},
		{"atomic fragment behind options", dst, pad(fragment, append(bytes.Clone(atomic), data...)), true, none, 0},
		{"routing type 0, nothing left", route, ext(wire.ProtoUDP, []byte{0, 0}, data), true, none, 0},
		{"routing type 0, one left", route, ext(wire.ProtoUDP, []byte{0, 1, 0, 0, 0, 0}, data), false, wire.ICMPv6ErroneousField, 42},
		{"routing type 99, one left", route, ext(wire.ProtoUDP, []byte{99, 1, 0, 0, 0, 0}, data), false, wire.ICMPv6ErroneousField, 42},
		{"option to skip", dst, ext(wire.ProtoUDP, []byte{0x1e, 0}, data), true, none, 0},
		{"router alert", hop, ext(wire.ProtoUDP, []byte{5, 2, 0, 0}, data), true, none, 0},
		{"option to discard", dst, ext(wire.ProtoUDP, []byte{0x5e, 0}, data), false, none, 0},
		{"option to report", dst, ext(wire.ProtoUDP, []byte{1, 0, 0x9e, 0}, data), false, wire.ICMPv6UnknownOption, 44},
		{"option to report, second header", hop, pad(dst, ext(wire.ProtoUDP, []byte{0xde, 0}, data)), false, wire.ICMPv6UnknownOption, 50},
		{"jumbo", hop, ext(wire.ProtoUDP, []byte{0xc2, 4, 0, 1, 0, 0}, data), false, wire.ICMPv6UnknownOption, 42},
		{"option past the end", dst, []byte{17, 0, 0x1e, 5, 0, 0, 0, 0}, false, wire.ICMPv6ErroneousField, 42},
		{"eight options", dst, ext(wire.ProtoUDP, many(8, 0x1e, 0), data), true, none, 0},
		{"nine options", dst, ext(wire.ProtoUDP, many(9, 0x1e, 0), data), false, wire.ICMPv6TooManyOptions, 42 + 16},
		{"cut off", dst, pad(wire.ProtoUDP, nil)[:7], false, none, 0},
		{"header longer than the packet", dst, []byte{17, 9, 1, 4, 0, 0, 0, 0}, false, none, 0},
		{"no next header", dst, pad(wire.ProtoNoNext, data), false, none, 0},
	} {
		w := newWorld(t)
		b := v6(peer6, own6, tt.first, tt.data)
		w.input(ifOne, b)
		if tt.deliver != (len(w.delivered) == 1) || tt.deliver && !bytes.Equal(w.delivered[0].data, data) {
			t.Errorf("%s: %d delivered: %+v", tt.name, len(w.delivered), w.Stats())
		}
		if tt.code == none {
			if len(w.sent) != 0 {
				t.Errorf("%s: answered with %x", tt.name, w.sent[0].b)
			}
			continue
		}
		if len(w.sent) != 1 {
			t.Errorf("%s: %d answers", tt.name, len(w.sent))
			continue
		}
		_, _, typ, code, rest, body := errorOf(t, w.sent[0])
		if typ != uint8(wire.ICMPv6ParamProblem) || code != tt.code || rest != tt.pointer || !bytes.Equal(body, b[:min(len(b), 1232)]) {
			t.Errorf("%s: type %d code %d pointer %d about %x", tt.name, typ, code, rest, body)
		}
	}
}

// TestExtensionsInFragments has extension headers behind the fragment header, which count when the packet is whole.
func TestExtensionsInFragments(t *testing.T) {
	data := udp(peer6, own6, 1, 2, pattern(200))
	for _, tt := range []struct {
		name    string
		next    wire.Protocol
		payload []byte
		deliver bool
		code    uint8
		pointer uint32
	}{
		{"destination options", wire.ProtoDestOptions, ext(wire.ProtoUDP, nil, data), true, 0, 0},
		{"two", wire.ProtoDestOptions, ext(wire.ProtoDestOptions, nil, ext(wire.ProtoUDP, nil, data)), true, 0, 0},
		{"unknown option", wire.ProtoDestOptions, ext(wire.ProtoUDP, []byte{0x9e, 0}, data), false, wire.ICMPv6UnknownOption, 42},
		{"unknown protocol", 99, data, false, wire.ICMPv6UnknownNextHeader, 6},
		{"unknown protocol behind options", wire.ProtoDestOptions, ext(99, nil, data), false, wire.ICMPv6UnknownNextHeader, 6},
		{"hop-by-hop", wire.ProtoHopByHop, ext(wire.ProtoUDP, nil, data), false, wire.ICMPv6UnknownNextHeader, 40},
		{"fragment", wire.ProtoFragment, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, data...), false, 0, 0},
	} {
		w := newWorld(t)
		w.refuse = !tt.deliver
		for at := 0; at < len(tt.payload); at += 96 {
			end := min(at+96, len(tt.payload))
			b := frag(true, 7, tt.payload, piece{at, end, end < len(tt.payload)})
			b[40] = uint8(tt.next)
			w.input(ifOne, b)
		}
		if tt.deliver != (len(w.delivered) == 1) || tt.deliver && !bytes.Equal(w.delivered[0].data, data) {
			t.Errorf("%s: %d delivered: %+v", tt.name, len(w.delivered), w.Stats())
		}
		if tt.code == 0 {
			if len(w.sent) != 0 {
				t.Errorf("%s: answered with %x", tt.name, w.sent[0].b)
			}
			continue
		}
		if len(w.sent) != 1 {
			t.Errorf("%s: %d answers: %+v", tt.name, len(w.sent), w.Stats())
			continue
		}
		if _, _, _, code, rest, _ := errorOf(t, w.sent[0]); code != tt.code || rest != tt.pointer {
			t.Errorf("%s: code %d pointer %d", tt.name, code, rest)
		}
	}
}

// TestUnfragmentablePart has hop-by-hop options in front of the fragment header, as every fragment does then.
func TestUnfragmentablePart(t *testing.T) {
	w := newWorld(t)
	w.refuse = true
	data := datagramFor(true, 200)
	for _, f := range []piece{{96, 200, false}, {0, 96, true}} {
		b := frag(true, 7, data, f)
		w.input(ifOne, v6(peer6, own6, wire.ProtoHopByHop, ext(wire.ProtoFragment, nil, b[40:])))
	}
	want := v6(peer6, own6, wire.ProtoHopByHop, ext(wire.ProtoUDP, nil, data))
	if len(w.sent) != 1 {
		t.Fatalf("%d sent: %+v", len(w.sent), w.Stats())
	}
	if _, _, typ, code, _, body := errorOf(t, w.sent[0]); typ != 1 || code != 4 || !bytes.Equal(body, want) {
		t.Errorf("type %d code %d about\n%x, want\n%x", typ, code, body, want)
	}
}
