package weir

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzAnswer feeds parseAnswer what a server, or somebody in its place, may send.
func FuzzAnswer(f *testing.F) {
	name := dnsmessage.MustNewName("www.example.")
	q := dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}
	for _, m := range []dnsmessage.Message{
		{Questions: []dnsmessage.Question{q}, Answers: []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}}}},
		{Questions: []dnsmessage.Question{q}, Answers: []dnsmessage.Resource{{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: name}}}},
		{Header: dnsmessage.Header{Truncated: true}, Questions: []dnsmessage.Question{q}},
		{Header: dnsmessage.Header{RCode: dnsmessage.RCodeNameError}, Questions: []dnsmessage.Question{q}},
		{},
	} {
		m.ID, m.Response = 7, true
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		addrs, truncated, err := parseAnswer(b, 7, &q)
		if len(addrs) > 0 && (truncated || err != nil) {
			t.Errorf("addresses %v with truncated %v, error %v", addrs, truncated, err)
		}
		for _, a := range addrs {
			if !a.Is4() && !a.Is6() {
				t.Errorf("address %v", a)
			}
		}
		if _, _, err := parseAnswer(b, 8, &q); len(b) >= 2 && b[1] == 7 && err != errForeign {
			t.Errorf("an answer with another ID was taken: %v", err)
		}
	})
}

// FuzzAddress parses what a program passes to Dial and Listen.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"192.0.2.1:80", "[::1]:http", "[fe80::1%eth0]:0", ":", "x:y", "localhost:1", "[::1", "1:2:3"} {
		for _, network := range []string{"tcp", "udp6", "ip4:icmp"} {
			f.Add(network, s)
		}
	}
	s, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, name, address string) {
		n, err := parseNetwork(name)
		if err != nil {
			return
		}
		addrs, err := s.resolve(t.Context(), n, address)
		if (err == nil) != (len(addrs) > 0) {
			t.Fatalf("%v, %v", addrs, err)
		}
		for _, a := range addrs {
			if a.Addr().IsValid() && (!n.suits(a.Addr()) || a.Addr().Is4In6()) {
				t.Errorf("%s of %s %s", a, name, address)
			}
		}
	})
}

func TestServerPortDefaults(t *testing.T) {
	s, err := New(Config{DNS: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:0"), netip.MustParseAddrPort("192.0.2.1:5353")}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.dns[0].Port() != 53 || s.dns[1].Port() != 5353 {
		t.Error(s.dns)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for want, c := range map[string]Config{
		"negative":   {Memory: -1},
		"is negat":   {Backlog: -1},
		"named":      {Congestion: "vegas"},
		"Config.DNS": {DNS: make([]netip.AddrPort, 1)},
	} {
		if s, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, %v", c, s, err)
		}
	}
}

// TestTurn hands a turn on while new ones try to take it.
func TestTurn(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var h half
	const goroutines, rounds = 8, 2000
	inside, total := 0, 0
	done := make(chan struct{})
	for range goroutines {
		go func() {
			for range rounds {
				h.acquire(s)
				if inside++; inside != 1 {
					t.Error("two have the turn")
				}
				total++
				inside--
				h.release()
			}
			done <- struct{}{}
		}()
	}
	for range goroutines {
		<-done
	}
	if total != goroutines*rounds || h.turn.Load() != turnFree {
		t.Errorf("%d rounds, turn %d", total, h.turn.Load())
	}
}
