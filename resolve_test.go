package weir_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

// serveDNS answers from records, by UDP and TCP, until the stack closes.
func serveDNS(t *testing.T, s *weir.Stack, at netip.Addr, records map[string][]netip.Addr) {
	t.Helper()
	u, err := s.ListenUDP(netip.AddrPortFrom(netip.Addr{}, 53))
	if err != nil {
		t.Fatal(err)
	}
	_ = at
	go func() {
		b := make([]byte, 1500)
		for {
			n, src, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if reply := answerDNS(b[:n], records, false); reply != nil {
				u.WriteToUDPAddrPort(reply, src)
			}
		}
	}()
	l, err := s.ListenTCP(netip.AddrPortFrom(netip.Addr{}, 53))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveTCP(c, records)
		}
	}()
}

func serveTCP(c net.Conn, records map[string][]netip.Addr) {
	defer c.Close()
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	q := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, q); err != nil {
		return
	}
	reply := answerDNS(q, records, true)
	c.Write(binary.BigEndian.AppendUint16(nil, uint16(len(reply))))
	c.Write(reply)
}

// answerDNS makes the answer that the first label of the name asks for, by default the honest one.
func answerDNS(query []byte, records map[string][]netip.Addr, tcp bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil {
		return nil
	}
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	label, _, _ := strings.Cut(name, ".")
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}
	m.Additionals = nil
	owner := q.Name
	switch label {
	case "silent":
		return nil
	case "servfail":
		m.RCode = dnsmessage.RCodeServerFailure
	case "truncated":
		m.Truncated = !tcp
	case "alias": // and a second alias, the records in reverse
		end := dnsmessage.MustNewName("end.example.")
		middle := dnsmessage.MustNewName("Middle.example.")
		owner = end
		defer func() {}()
		m.Answers = append(m.Answers,
			cname(middle, end),
			cname(q.Name, dnsmessage.MustNewName("middle.EXAMPLE.")))
	case "circle":
		m.Answers = append(m.Answers, cname(q.Name, q.Name))
	}
	addrs, known := records[name]
	if !known && label != "servfail" && label != "circle" {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addrs {
		h := dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: 1}
		if a.Is4() && q.Type == dnsmessage.TypeA && !m.Truncated {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		}
		if a.Is6() && q.Type == dnsmessage.TypeAAAA && !m.Truncated {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	reply, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return reply
}

func cname(from, to dnsmessage.Name) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: from, Class: dnsmessage.ClassINET, TTL: 1},
		Body:   &dnsmessage.CNAMEResource{CNAME: to},
	}
}

func TestLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		four, six := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("2001:db8:1::1")
		long := strings.Repeat("a123456789.", 22) + "example"
		many := make([]netip.Addr, 200)
		for i := range many {
			many[i] = netip.AddrFrom4([4]byte{198, 18, 1, byte(i)})
		}
		b := newStack(t, weir.Config{})
		a := newStack(t, weir.Config{DNS: []netip.AddrPort{netip.AddrPortFrom(addrB4, 53)}})
		da, db := pipe.New(pipe.Options{})
		join(t, a, weir.InterfaceConfig{Device: da, Addrs: prefixes(addrA4)})
		join(t, b, weir.InterfaceConfig{Device: db, Addrs: prefixes(addrB4)})
		serveDNS(t, b, addrB4, map[string][]netip.Addr{
			"www.example": {four, six}, "four.example": {four}, "alias.example": {four}, "empty.example": nil,
			"truncated.example": many, long: {four},
		})
		lo4, lo6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
		for _, c := range []struct {
			network, host string
			want          []netip.Addr
			err           string
			takes         time.Duration
		}{
			{"ip", "www.example", []netip.Addr{six, four}, "", 0},
			{"ip", "WWW.Example.", []netip.Addr{six, four}, "", 0},
			{"ip4", "www.example", []netip.Addr{four}, "", 0},
			{"ip6", "www.example", []netip.Addr{six}, "", 0},
			{"ip", "four.example", []netip.Addr{four}, "", 0},
			{"ip6", "four.example", nil, "not found", 0},
			{"ip", "alias.example", []netip.Addr{four}, "", 0},
			{"ip", "truncated.example", many, "", 0},
			{"ip", "nothere.example", nil, "not found", 0},
			{"ip", "empty.example", nil, "not found", 0},
			{"ip", "circle.example", nil, "temporary", 0},
			{"ip", "servfail.example", nil, "temporary", 0},
			{"ip", "silent.example", nil, "timeout", 10 * time.Second},
			{"ip", long, []netip.Addr{four}, "", 0},
			{"ip", long + ".longer.longer.longer", nil, "not found", 0},
			{"ip", "", nil, "not found", 0},
			{"ip", "a..example", nil, "not found", 0},
			{"ip", "with space.example", nil, "not found", 0},
			{"ip", "localhost", []netip.Addr{lo4, lo6}, "", 0},
			{"ip6", "any.localhost.", []netip.Addr{lo6}, "", 0},
			{"ip", "192.0.2.7", []netip.Addr{netip.MustParseAddr("192.0.2.7")}, "", 0},
			{"ip", "fe80::1%eth0", []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}, "", 0},
			{"ip6", "192.0.2.7", nil, "not found", 0},
			{"tcp", "www.example", nil, "error", 0},
		} {
			var got []netip.Addr
			err := took(t, c.host, c.takes, c.takes, func() (err error) {
				got, err = a.LookupNetIP(context.Background(), c.network, c.host)
				return err
			})
			if !slices.Equal(got, c.want) || kind(err) != c.err {
				t.Errorf("%s %s: %v, %v; want %v, %q", c.network, c.host, got, err, c.want, c.err)
			}
		}
		if err := second(b.LookupNetIP(context.Background(), "ip", "www.example")); kind(err) != "not found" ||
			!strings.Contains(err.Error(), "Config.DNS") {
			t.Errorf("without servers: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := took(t, "look-up", time.Second, time.Second, func() error { return second(a.LookupNetIP(ctx, "ip", "silent.example")) })
		if kind(err) != "timeout" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
		if err := second(a.Dial("tcp", "nothere.example:80")); kind(err) != "not found" {
			t.Errorf("dial: %v", err)
		}
	})
}

// kind is what a DNSError says.
func kind(err error) string {
	var e *net.DNSError
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &e):
		return "no DNSError"
	case e.IsNotFound:
		return "not found"
	case e.IsTimeout:
		return "timeout"
	case e.IsTemporary:
		return "temporary"
	}
	return "error"
}

// TestLookupTriesServers has a first server that is not there, and a second that knows.
func TestLookupTriesServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStack(t, weir.Config{})
		a := newStack(t, weir.Config{DNS: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53"), netip.AddrPortFrom(addrB4, 53)}})
		da, db := pipe.New(pipe.Options{})
		join(t, a, weir.InterfaceConfig{Device: da, Addrs: prefixes(addrA4)})
		join(t, b, weir.InterfaceConfig{Device: db, Addrs: prefixes(addrB4)})
		serveDNS(t, b, addrB4, map[string][]netip.Addr{"www.example": {addrB4}})
		var got []netip.Addr
		err := took(t, "look-up", 5*time.Second, 5*time.Second, func() (err error) {
			got, err = a.LookupNetIP(context.Background(), "ip", "www.example")
			return err
		})
		if err != nil || !slices.Equal(got, []netip.Addr{addrB4}) {
			t.Error(got, err)
		}
	})
}

// TestLookupIgnoresForgeries answers each query with wrong ID, wrong question, as a query and as garbage before the true answer.
func TestLookupIgnoresForgeries(t *testing.T) {
	a, b := newPair(t, weir.Config{DNS: []netip.AddrPort{netip.AddrPortFrom(addrB4, 53)}}, pipe.Options{})
	u, err := b.ListenUDP(netip.AddrPortFrom(addrB4, 53))
	if err != nil {
		t.Fatal(err)
	}
	evil := map[string][]netip.Addr{"www.example": {netip.MustParseAddr("198.18.6.6")}}
	good := map[string][]netip.Addr{"www.example": {addrB4}}
	ports := map[uint16]bool{}
	go func() {
		q := make([]byte, 1500)
		for {
			n, src, err := u.ReadFromUDPAddrPort(q)
			if err != nil {
				return
			}
			ports[src.Port()] = true
			id := slices.Clone(q[:n])
			id[1]++
			question := slices.Replace(slices.Clone(q[:n]), 13, 16, []byte("wwx")...)
			forged := [][]byte{answerDNS(id, evil, false), answerDNS(question, map[string][]netip.Addr{"wwx.example": evil["www.example"]}, false), q[:n], {1, 2, 3}, nil}
			for _, f := range forged {
				u.WriteToUDPAddrPort(f, src)
			}
			u.WriteToUDPAddrPort(answerDNS(q[:n], good, false), src)
		}
	}()
	for range 20 {
		got, err := a.LookupNetIP(context.Background(), "ip4", "www.example")
		if err != nil || fmt.Sprint(got) != "[192.0.2.2]" {
			t.Fatal(got, err)
		}
	}
	if len(ports) < 15 {
		t.Errorf("only %d ports for 20 look-ups", len(ports))
	}
}
