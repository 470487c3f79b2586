package wire

import (
	"bytes"
	"testing"

	"github.com/weirnet/weir/checksum"
	"pgregory.net/rapid"
)

func TestICMPv4Fields(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes string
		check func(m ICMPv4) bool
	}{
		{"echo (RFC 792)", "08 00 12 34 ab cd 00 07 68 69", func(m ICMPv4) bool {
			return m.Type() == ICMPv4Echo && m.Code() == 0 && m.Checksum() == 0x1234 && m.ID() == 0xabcd && m.Seq() == 7 &&
				m.Rest() == ICMPEcho(0xabcd, 7) && string(m.Body()) == "hi" && m.Quoted() == nil && !m.Type().IsError()
		}},
		{"fragmentation needed (RFC 1191)", "03 04 00 00 00 00 05 dc 45 00", func(m ICMPv4) bool {
			return m.Type() == ICMPv4DstUnreachable && m.Code() == ICMPv4FragNeeded && m.MTU() == 1500 && len(m.Quoted()) == 2 && m.Type().IsError()
		}},
		{"parameter problem", "0c 00 00 00 14 00 00 00 45", func(m ICMPv4) bool {
			return m.Type() == ICMPv4ParamProblem && m.Pointer() == 20 && len(m.Quoted()) == 1
		}},
		{"redirect: its gateway is no length", "05 01 00 00 c0 01 02 01 45 00 00 00 00 00 00 00", func(m ICMPv4) bool {
			return m.Type().IsError() && len(m.Quoted()) == 8
		}},
		{"with extensions (RFC 4884): 1 word quoted", "0b 00 00 00 00 01 00 00 45 00 00 00 20 00 00 00", func(m ICMPv4) bool {
			return m.Type() == ICMPv4TimeExceeded && len(m.Quoted()) == 4
		}},
		{"extensions' length past the end", "0b 00 00 00 00 ff 00 00 45 00 00 00", func(m ICMPv4) bool { return len(m.Quoted()) == 4 }},
	} {
		b := unhex(t, c.bytes)
		m, err := ParseICMPv4(b, len(b))
		if err != nil || !c.check(m) {
			t.Errorf("%s: %v: % x", c.name, err, b)
		}
	}
}

func TestICMPv6Fields(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes string
		check func(m ICMPv6) bool
	}{
		{"echo (RFC 4443 §4.1)", "80 00 12 34 ab cd 00 07 68 69", func(m ICMPv6) bool {
			return m.Type() == ICMPv6Echo && m.Code() == 0 && m.Checksum() == 0x1234 && m.ID() == 0xabcd && m.Seq() == 7 &&
				m.Rest() == ICMPEcho(0xabcd, 7) && string(m.Body()) == "hi" && m.Quoted() == nil && !m.Type().IsError()
		}},
		{"packet too big: its MTU is no length", "02 00 00 00 01 00 05 00 60 00 00 00 00 00 00 00 00", func(m ICMPv6) bool {
			return m.Type() == ICMPv6PacketTooBig && m.MTU() == 0x1000500 && len(m.Quoted()) == 9 && m.Type().IsError()
		}},
		{"parameter problem", "04 01 00 00 00 00 00 28 60", func(m ICMPv6) bool {
			return m.Type() == ICMPv6ParamProblem && m.Code() == ICMPv6UnknownNextHeader && m.Pointer() == 40 && len(m.Quoted()) == 1
		}},
		{"with extensions (RFC 4884): 1 word quoted", "01 04 00 00 01 00 00 00 60 00 00 00 00 00 00 00 20 00 00 00", func(m ICMPv6) bool {
			return m.Type() == ICMPv6DstUnreachable && m.Code() == ICMPv6PortUnreachable && len(m.Quoted()) == 8
		}},
		{"unknown error", "64 00 00 00 ff ff ff ff 60", func(m ICMPv6) bool { return m.Type().IsError() && len(m.Quoted()) == 1 }},
	} {
		b := unhex(t, c.bytes)
		m, err := ParseICMPv6(b, len(b))
		if err != nil || !c.check(m) {
			t.Errorf("%s: %v: % x", c.name, err, b)
		}
	}
}

func TestICMPTruncated(t *testing.T) {
	cut(make([]byte, 8), func(n int, b []byte) {
		if _, err := ParseICMPv4(b, 8); err != ErrShort {
			t.Errorf("ICMPv4, %d bytes: %v", n, err)
		}
		if _, err := ParseICMPv6(b, 8); err != ErrShort {
			t.Errorf("ICMPv6, %d bytes: %v", n, err)
		}
		// The bytes are there, but belong to the link's padding.
		if _, err := ParseICMPv4(make([]byte, 8), n); err != ErrShort {
			t.Errorf("ICMPv4 of %d bytes: %v", n, err)
		}
		if _, err := ParseICMPv6(make([]byte, 8), n); err != ErrShort {
			t.Errorf("ICMPv6 of %d bytes: %v", n, err)
		}
	})
	if m, err := ParseICMPv4(make([]byte, 20), 12); err != nil || len(m.Body()) != 4 {
		t.Errorf("padding is taken for data: %d", len(m.Body()))
	}
}

func TestICMPIsError(t *testing.T) {
	errors4 := map[int]bool{3: true, 4: true, 5: true, 11: true, 12: true}
	for n := range 256 {
		if got := ICMPv4Type(n).IsError(); got != errors4[n] {
			t.Errorf("ICMPv4 type %d: %v", n, got)
		}
		if got := ICMPv6Type(n).IsError(); got != (n < 128) {
			t.Errorf("ICMPv6 type %d: %v", n, got)
		}
	}
}

func TestICMPRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ, code := rapid.Byte().Draw(t, "type"), rapid.Byte().Draw(t, "code")
		sum, rest := rapid.Uint16().Draw(t, "checksum"), rapid.Uint32().Draw(t, "rest")
		body := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "body")
		bodySum := checksum.Sum(body, 0)

		b := append(dirty(8), body...)
		f4 := ICMPv4Fields{ICMPv4Type(typ), code, sum, rest}
		PutICMPv4(b, f4)
		m4, err := ParseICMPv4(b, len(b))
		if err != nil || (ICMPv4Fields{m4.Type(), m4.Code(), m4.Checksum(), m4.Rest()}) != f4 || !bytes.Equal(m4.Body(), body) {
			t.Fatalf("%+v became % x (%v)", f4, b, err)
		}
		m4.SetChecksum(m4.ComputeChecksum(0))
		if !m4.VerifyChecksum(0) || !m4[:8].VerifyChecksum(bodySum) || m4[:8].ComputeChecksum(bodySum) != m4.Checksum() {
			t.Fatal("ICMPv4 checksum, whole or in two parts")
		}
		m4.SetID(1)
		m4.SetSeq(2)
		if m4.Rest() != ICMPEcho(1, 2) {
			t.Fatal("ICMPEcho")
		}

		b = append(dirty(8), body...)
		src, dst := genAddr6().Draw(t, "src"), genAddr6().Draw(t, "dst")
		f6 := ICMPv6Fields{ICMPv6Type(typ), code, sum, rest}
		PutICMPv6(b, f6)
		m6, err := ParseICMPv6(b, len(b))
		if err != nil || (ICMPv6Fields{m6.Type(), m6.Code(), m6.Checksum(), m6.Rest()}) != f6 || !bytes.Equal(m6.Body(), body) {
			t.Fatalf("%+v became % x (%v)", f6, b, err)
		}
		m6.SetChecksum(m6.ComputeChecksum(src, dst, 0, 0))
		if !m6.VerifyChecksum(src, dst, 0, 0) || !m6[:8].VerifyChecksum(src, dst, len(body), bodySum) ||
			m6[:8].ComputeChecksum(src, dst, len(body), bodySum) != m6.Checksum() {
			t.Fatal("ICMPv6 checksum, whole or in two parts")
		}
		m6.SetID(1)
		m6.SetSeq(2)
		if m6.Rest() != ICMPEcho(1, 2) {
			t.Fatal("ICMPEcho")
		}
	})
}

// quote4 and quote6 are the beginnings of packets as an error quotes them: headers and rest, total length as given.
func quote4(f IPv4Fields, rest []byte) []byte {
	b := make([]byte, f.HeaderLen())
	f.Src, f.Dst = src4, dst4
	PutIPv4(b, f)
	return append(b, rest...)
}

func TestParseQuote(t *testing.T) {
	tcp8 := unhex(t, "c0000050 01020304")
	echo4, echo6 := unhex(t, "08000000 abcd0007"), unhex(t, "80000000 abcd0007")
	for _, c := range []struct {
		name    string
		b       []byte
		v6      bool
		err     error
		proto   Protocol
		total   int
		quoted  int
		later   bool
		ports   bool
		seq, id bool
	}{
		{name: "TCP over IPv4", b: quote4(IPv4Fields{TotalLen: 1500, Protocol: ProtoTCP}, tcp8), proto: ProtoTCP, total: 1500, quoted: 8, ports: true, seq: true},
		{name: "behind options", b: quote4(IPv4Fields{TotalLen: 1500, Protocol: ProtoTCP, Options: []byte{148, 4, 0, 0}}, tcp8), proto: ProtoTCP,
			total: 1500, quoted: 8, ports: true, seq: true},
		{name: "UDP over IPv4", b: quote4(IPv4Fields{TotalLen: 28, Protocol: ProtoUDP}, tcp8), proto: ProtoUDP, total: 28, quoted: 8, ports: true},
		{name: "only the ports", b: quote4(IPv4Fields{TotalLen: 1500, Protocol: ProtoTCP}, tcp8[:4]), proto: ProtoTCP, total: 1500, quoted: 4, ports: true},
		{name: "less than the ports", b: quote4(IPv4Fields{TotalLen: 1500, Protocol: ProtoTCP}, tcp8[:3]), proto: ProtoTCP, total: 1500, quoted: 3},
		{name: "echo over IPv4", b: quote4(IPv4Fields{TotalLen: 84, Protocol: ProtoICMP}, echo4), proto: ProtoICMP, total: 84, quoted: 8, id: true},
		{name: "an echo of the other family", b: quote4(IPv4Fields{TotalLen: 84, Protocol: ProtoICMPv6}, echo6), proto: ProtoICMPv6, total: 84, quoted: 8},
		{name: "an echo reply", b: quote4(IPv4Fields{TotalLen: 84, Protocol: ProtoICMP}, make([]byte, 8)), proto: ProtoICMP, total: 84, quoted: 8},
		{name: "later fragment", b: quote4(IPv4Fields{TotalLen: 1500, Protocol: ProtoTCP, FragmentOffset: 8}, tcp8), proto: ProtoTCP, total: 1500, later: true},
		{name: "what is behind the packet is not of it", b: quote4(IPv4Fields{TotalLen: 24, Protocol: ProtoTCP}, tcp8), proto: ProtoTCP, total: 24, quoted: 4,
			ports: true},
		{name: "total length within the header", b: quote4(IPv4Fields{TotalLen: 19}, tcp8), err: ErrTotalLen},
		{name: "IPv6 for IPv4", b: extensionPacket(t, ProtoTCP, ""), err: ErrVersion},

		{name: "TCP over IPv6", b: extensionPacket(t, ProtoTCP, "c0000050 01020304"), v6: true, proto: ProtoTCP, total: 48, quoted: 8, ports: true, seq: true},
		{name: "behind extension headers", b: extensionPacket(t, ProtoHopByHop, hbhToTCP+"c0000050 01020304"), v6: true, proto: ProtoTCP, total: 56, quoted: 8,
			ports: true, seq: true},
		{name: "echo over IPv6", b: extensionPacket(t, ProtoICMPv6, "80000000 abcd0007"), v6: true, proto: ProtoICMPv6, total: 48, quoted: 8, id: true},
		{name: "later IPv6 fragment", b: extensionPacket(t, ProtoFragment, laterToUDP+payload8), v6: true, proto: ProtoUDP, total: 56, later: true},
		{name: "cut among extension headers", b: extensionPacket(t, ProtoHopByHop, hbhToTCP)[:44], v6: true, err: ErrShort},
		{name: "IPv4 for IPv6", b: quote4(IPv4Fields{TotalLen: 20}, nil), v6: true, err: ErrVersion},
		{name: "hop-by-hop not first", b: extensionPacket(t, ProtoDestOptions, "0000010400000000"+hbhToTCP), v6: true, err: ErrExtensionOrder},
	} {
		parse := ParseQuote4
		if c.v6 {
			parse = ParseQuote6
		}
		q, err := parse(c.b)
		if err != c.err {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if c.err != nil {
			continue
		}
		if q.Protocol != c.proto || q.TotalLen != c.total || len(q.Transport) != c.quoted || q.Later != c.later {
			t.Errorf("%s: %+v", c.name, q)
		}
		if wantSrc := map[bool]any{false: src4, true: src6}[c.v6]; any(q.Src) != wantSrc {
			t.Errorf("%s: source %v", c.name, q.Src)
		}
		s, d, ok := q.Ports()
		if ok != c.ports || ok && (s != 49152 || d != 80) {
			t.Errorf("%s: ports %d %d %v", c.name, s, d, ok)
		}
		if seq, ok := q.TCPSeq(); ok != c.seq || ok && seq != 0x01020304 {
			t.Errorf("%s: sequence number %#x %v", c.name, seq, ok)
		}
		if id, n, ok := q.EchoID(); ok != c.id || ok && (id != 0xabcd || n != 7) {
			t.Errorf("%s: echo %#x %d %v", c.name, id, n, ok)
		}
	}
	cut(quote4(IPv4Fields{TotalLen: 1500}, nil), func(n int, b []byte) {
		if _, err := ParseQuote4(b); err != ErrShort {
			t.Errorf("IPv4, %d bytes: %v", n, err)
		}
	})
	cut(extensionPacket(t, ProtoTCP, ""), func(n int, b []byte) {
		if _, err := ParseQuote6(b); err != ErrShort {
			t.Errorf("IPv6, %d bytes: %v", n, err)
		}
	})
}

func TestICMPAllocs(t *testing.T) {
	b4 := append(unhex(t, "03 03 0000 00000000"), quote4(IPv4Fields{TotalLen: 1500, Protocol: ProtoTCP}, make([]byte, 8))...)
	b6 := append(unhex(t, "01 04 0000 00000000"), extensionPacket(t, ProtoHopByHop, hbhToTCP+payload8)...)
	noAllocs(t, func() {
		m, _ := ParseICMPv4(b4, len(b4))
		q, err := ParseQuote4(m.Quoted())
		q.Ports()
		m.SetChecksum(m.ComputeChecksum(0))
		n, _ := ParseICMPv6(b6, len(b6))
		r, err6 := ParseQuote6(n.Quoted())
		r.Ports()
		n.SetChecksum(n.ComputeChecksum(src6, dst6, 0, 0))
		if err != nil || err6 != nil {
			t.Fatal(err, err6)
		}
	})
}

// checkQuote calls all that there is for a quoted packet.
func checkQuote(t *testing.T, q Quote, err error, quoted []byte) {
	t.Helper()
	if err != nil {
		return
	}
	if q.Later && q.Transport != nil || len(q.Transport) > len(quoted) || !q.Src.IsValid() || !q.Dst.IsValid() {
		t.Fatalf("%+v", q)
	}
	_, _, ports := q.Ports()
	_, seq := q.TCPSeq()
	_, _, echo := q.EchoID()
	if seq && !ports || echo && ports || q.Later && (ports || echo) {
		t.Fatalf("%+v: ports %v, sequence number %v, echo %v", q, ports, seq, echo)
	}
}

func FuzzICMPv4(f *testing.F) {
	f.Add(unhex(f, "08 00 12 34 ab cd 00 07 68 69"), 10)
	for _, fields := range []IPv4Fields{{TotalLen: 1500, Protocol: ProtoTCP}, {TotalLen: 84, Protocol: ProtoICMP, FragmentOffset: 8}} {
		b := append(unhex(f, "03 04 0000 0008 05dc"), quote4(fields, make([]byte, 12))...)
		f.Add(b, len(b))
	}
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		m, err := ParseICMPv4(b, size)
		if err != nil {
			return
		}
		if len(m) > size || len(m.Body()) != len(m)-8 || len(m.Quoted()) > len(m.Body()) || m.Type().IsError() != (m.Quoted() != nil) {
			t.Fatalf("%d bytes of %d, %d quoted", len(m), size, len(m.Quoted()))
		}
		_, _, _, _, _ = m.ID(), m.Seq(), m.MTU(), m.Pointer(), m.Type().String()
		q, err := ParseQuote4(m.Quoted())
		checkQuote(t, q, err, m.Quoted())
		again := PutICMPv4(dirty(8), ICMPv4Fields{m.Type(), m.Code(), m.Checksum(), m.Rest()})
		if !bytes.Equal(again, m[:8]) {
			t.Fatalf("% x became % x", m[:8], again)
		}
		m.SetChecksum(m.ComputeChecksum(0))
		if !m.VerifyChecksum(0) {
			t.Fatal("checksum just computed does not verify")
		}
	})
}

func FuzzICMPv6(f *testing.F) {
	f.Add(unhex(f, "80 00 12 34 ab cd 00 07 68 69"), 10)
	for _, c := range extensionCases {
		b := append(unhex(f, "01 04 0000 00000000"), extensionPacket(f, c.first, c.bytes)...)
		f.Add(b, len(b))
	}
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		m, err := ParseICMPv6(b, size)
		if err != nil {
			return
		}
		if len(m) > size || len(m.Body()) != len(m)-8 || len(m.Quoted()) > len(m.Body()) || m.Type().IsError() != (m.Quoted() != nil) {
			t.Fatalf("%d bytes of %d, %d quoted", len(m), size, len(m.Quoted()))
		}
		_, _, _, _, _ = m.ID(), m.Seq(), m.MTU(), m.Pointer(), m.Type().String()
		q, err := ParseQuote6(m.Quoted())
		checkQuote(t, q, err, m.Quoted())
		again := PutICMPv6(dirty(8), ICMPv6Fields{m.Type(), m.Code(), m.Checksum(), m.Rest()})
		if !bytes.Equal(again, m[:8]) {
			t.Fatalf("% x became % x", m[:8], again)
		}
		m.SetChecksum(m.ComputeChecksum(src6, dst6, 0, 0))
		if !m.VerifyChecksum(src6, dst6, 0, 0) {
			t.Fatal("checksum just computed does not verify")
		}
	})
}
