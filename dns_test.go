package weir

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// The query is what package dnsmessage makes of the same question.
func TestQuery(t *testing.T) {
	for _, host := range []string{"a", "www.example", "WWW.Example", strings.Repeat("a.", 126) + "b", strings.Repeat("x", 63) + ".example"} {
		for _, kind := range []uint16{dnsA, dnsAAAA} {
			name, ok := newDNSName(host)
			if !ok {
				t.Fatalf("%s is no name", host)
			}
			q := dnsQuestion{name, kind}
			var m dnsmessage.Message
			b := q.query(7)
			if n := int(b[0])<<8 | int(b[1]); n != len(b)-2 {
				t.Errorf("%s: length %d of %d", host, n, len(b)-2)
			}
			if err := m.Unpack(b[2:]); err != nil {
				t.Fatal(host, err)
			}
			want := dnsmessage.Question{Name: dnsmessage.MustNewName(strings.ToLower(host) + "."), Type: dnsmessage.Type(kind), Class: dnsmessage.ClassINET}
			if m.ID != 7 || m.Response || !m.RecursionDesired || len(m.Questions) != 1 || m.Questions[0] != want || len(m.Additionals) != 1 {
				t.Errorf("%s: %v", host, m.GoString())
			}
			if h := m.Additionals[0].Header; h.Type != dnsmessage.TypeOPT || h.Class != lookupPayload || h.TTL != 0 {
				t.Errorf("%s: %v", host, h.GoString())
			}
		}
	}
	for _, host := range []string{"", ".", "a..b", ".a", "a.", "a b", "ä", "a\x00", strings.Repeat("x", 64), strings.Repeat("a.", 127) + "b"} {
		if name, ok := newDNSName(host); ok {
			t.Errorf("%q is the name %q", host, name)
		}
	}
}

// Names that lead in circles, or astray, end.
func TestDNSNames(t *testing.T) {
	long := append([]byte{63}, strings.Repeat("x", 63)...)
	for what, b := range map[string]string{
		"to itself": "\xc0\x00", "forward": "\xc0\x02\x01a\x00", "in a circle": "\x01a\xc0\x00", "out of the message": "\xc0\xff", "half a pointer": "\xc0",
		"no end": "\x01a", "a label that is cut": "\x05a", "a length of no kind": "\x40a\x00", "too long": strings.Repeat(string(long), 4) + "\x00", "nothing": "",
		"jump upon jump": "\x00" + strings.Repeat("\xc0\x00", dnsJumps),
	} {
		r := dnsReader{msg: []byte(b)}
		switch what {
		case "jump upon jump":
			for i := range dnsJumps - 1 {
				r.msg[3+2*i+1] = byte(1 + 2*i)
			}
			r.off = len(b) - 2
			if name := r.name(); name != "\x00" || r.bad || r.off != len(b) {
				t.Errorf("%d jumps: %q, %v", dnsJumps, name, r.bad)
			}
			r.msg, r.off = append(r.msg, 0xc0, byte(len(b)-2)), len(b)
		}
		if name := r.name(); !r.bad || name != "" {
			t.Errorf("%s: %q", what, name)
		}
	}
	r := dnsReader{msg: []byte("\x03Www\x07eXample\x00\x04mail\xc0\x04x"), off: 13}
	if name := r.name(); name != "\x04mail\x07example\x00" || r.bad || r.off != 20 {
		t.Errorf("%q, %v, at %d", name, r.bad, r.off)
	}
}

// FuzzAnswer feeds parse what a server, or somebody in its place, may send; what it finds is what package dnsmessage finds.
func FuzzAnswer(f *testing.F) {
	name := dnsmessage.MustNewName("www.example.")
	end := dnsmessage.MustNewName("End.example.")
	q := dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}
	a := dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}}
	text := dnsmessage.Resource{Header: h, Body: &dnsmessage.TXTResource{TXT: []string{"text"}}}
	for _, m := range []dnsmessage.Message{
		{Questions: []dnsmessage.Question{q}, Answers: []dnsmessage.Resource{a, text, a}},
		{Questions: []dnsmessage.Question{q}, Answers: []dnsmessage.Resource{
			{Header: dnsmessage.ResourceHeader{Name: end, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 2}}},
			{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: end}},
		}},
		{Questions: []dnsmessage.Question{q, q}, Answers: []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AAAAResource{AAAA: [16]byte{15: 1}}}}},
		{Header: dnsmessage.Header{Truncated: true}, Questions: []dnsmessage.Question{q}},
		{Header: dnsmessage.Header{RCode: dnsmessage.RCodeNameError}, Questions: []dnsmessage.Question{q}},
		{Header: dnsmessage.Header{RCode: dnsmessage.RCodeServerFailure}, Questions: []dnsmessage.Question{q}},
		{},
	} {
		m.ID, m.Response = 7, true
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	own, _ := newDNSName("www.example")
	f.Fuzz(func(t *testing.T, b []byte) {
		our := dnsQuestion{own, dnsA}
		addrs, truncated, err := our.parse(b, 7)
		if len(addrs) > 0 && (truncated || err != nil) {
			t.Errorf("addresses %v with truncated %v, error %v", addrs, truncated, err)
		}
		for _, a := range addrs {
			if !a.Is4() && !a.Is6() {
				t.Errorf("address %v", a)
			}
		}
		if _, _, err := our.parse(b, 8); len(b) >= 2 && b[1] == 7 && err != errForeign {
			t.Errorf("an answer with another ID was taken: %v", err)
		}
		var m dnsmessage.Message
		if m.Unpack(b) != nil || !m.Response || m.ID != 7 || m.Truncated || m.RCode != 0 || len(m.Questions) == 0 || !same(m.Questions[0].Name, name) ||
			m.Questions[0].Type != q.Type || m.Questions[0].Class != q.Class {
			return
		}
		if want, ok := follow(m.Answers, name); err == errForeign || ok && err == nil && !slices.Equal(addrs, want) {
			t.Errorf("%v, error %v; dnsmessage has %v", addrs, err, want)
		}
	})
}

// same compares names as DNS does (RFC 4343 §3).
func same(a, b dnsmessage.Name) bool {
	small := func(n dnsmessage.Name) string {
		s := n.Data[:n.Length]
		for i := range s {
			s[i] = lower(s[i])
		}
		return string(s)
	}
	return small(a) == small(b)
}

// follow finds the addresses of a name in an answer.
func follow(all []dnsmessage.Resource, name dnsmessage.Name) (addrs []netip.Addr, ok bool) {
	for range lookupChain {
		var alias dnsmessage.Name
		for _, r := range all {
			if !same(r.Header.Name, name) || r.Header.Class != dnsmessage.ClassINET {
				continue
			}
			switch body := r.Body.(type) {
			case *dnsmessage.AResource:
				addrs = append(addrs, netip.AddrFrom4(body.A))
			case *dnsmessage.AAAAResource:
				addrs = append(addrs, netip.AddrFrom16(body.AAAA))
			case *dnsmessage.CNAMEResource:
				alias = body.CNAME
			}
		}
		if len(addrs) > 0 || alias.Length == 0 {
			return addrs, true
		}
		name = alias
	}
	return nil, false
}
