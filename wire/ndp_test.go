package wire

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

const (
	nsExample = "87 00 1234 00000000  20010db8 00000000 00000000 00000002  01 01 020000000001"
	naExample = "88 00 1234 e0000000  20010db8 00000000 00000000 00000002  02 01 020000000002"
	rsExample = "85 00 1234 00000000  01 01 020000000001"
	raExample = `86 00 1234 40 c8 0708  00007530 000003e8
		01 01 020000000002
		05 01 0000 00000514
		03 04 40 c0 00015180 00003840 00000000 20010db8 00010002 00000000 00000000
		18 02 30 08 00000e10 20010db8 00030000
		19 05 0000 00000258 20010db8 00000000 00000000 00000053 20010db8 00000000 00000000 00000054`
	redirectExample = "89 00 1234 00000000 fe800000 00000000 00000000 00000001 20010db8 00000000 00000000 00000009 02 01 020000000002"
)

// ndpParsers are the Parse functions by what they parse.
var ndpParsers = []struct {
	name    string
	example string
	min     int // without options
	parse   func(ICMPv6) error
}{
	{"NS", nsExample, NeighborLen, func(m ICMPv6) error { _, err := ParseNeighborSolicit(m); return err }},
	{"NA", naExample, NeighborLen, func(m ICMPv6) error { _, err := ParseNeighborAdvert(m); return err }},
	{"RS", rsExample, RouterSolicitLen, func(m ICMPv6) error { _, err := ParseRouterSolicit(m); return err }},
	{"RA", raExample, RouterAdvertLen, func(m ICMPv6) error { _, err := ParseRouterAdvert(m); return err }},
	{"redirect", redirectExample, RedirectLen, func(m ICMPv6) error { _, err := ParseRedirect(m); return err }},
}

func TestNDPErrors(t *testing.T) {
	for _, p := range ndpParsers {
		whole := unhex(t, p.example)
		change := func(at int, to byte) ICMPv6 {
			b := bytes.Clone(whole)
			b[at] = to
			return b
		}
		for _, c := range []struct {
			name string
			m    ICMPv6
			want error
		}{
			{"whole", whole, nil},
			{"no options", whole[:p.min], nil},
			{"another type", change(0, 128), ErrFormat},
			{"code 1", change(1, 1), ErrFormat},
			{"option of length 0", change(p.min+1, 0), ErrOption},
			{"option past the end", change(p.min+1, 255), ErrOption},
			{"one byte behind", append(bytes.Clone(whole), 1), ErrOption},
			{"empty option behind", append(bytes.Clone(whole), make([]byte, 8)...), ErrOption},
		} {
			if err := p.parse(c.m); err != c.want {
				t.Errorf("%s, %s: %v, want %v", p.name, c.name, err, c.want)
			}
		}
		ends := map[int]bool{}
		for it := (NDPOptions{rest: whole[p.min:]}); ; {
			ends[len(whole)-len(it.rest)] = true
			if !it.Next() {
				break
			}
		}
		cut(whole, func(n int, b []byte) {
			want := ErrOption
			if n < p.min {
				want = ErrShort
			} else if ends[n] {
				want = nil
			}
			if err := p.parse(b); err != want {
				t.Errorf("%s, %d bytes: %v, want %v", p.name, n, err, want)
			}
		})
	}
	for _, c := range []struct {
		name, example string
		at            int
		parse         func(ICMPv6) error
	}{{"NS", nsExample, 8, ndpParsers[0].parse}, {"NA", naExample, 8, ndpParsers[1].parse}, {"redirect", redirectExample, 24, ndpParsers[4].parse}} {
		b := unhex(t, c.example)
		b[c.at] = 0xff
		if err := c.parse(b); err != ErrFormat {
			t.Errorf("%s about a multicast address: %v, want ErrFormat", c.name, err)
		}
	}
}

func TestNDPFields(t *testing.T) {
	ns, _ := ParseNeighborSolicit(unhex(t, nsExample))
	it := ns.Options()
	if ns.Target() != dst6 || !it.Next() {
		t.Fatal("NS")
	}
	if hw, ok := it.Option().Hardware(); !ok || hw != mac1 || it.Option().Type != NDPSourceLinkAddr || it.Next() || it.Err() != nil {
		t.Errorf("NS option %v", it.Option())
	}

	for _, c := range []struct {
		flags   byte
		r, s, o bool
	}{{0x80, true, false, false}, {0x40, false, true, false}, {0x20, false, false, true}, {0x1f, false, false, false}} {
		b := unhex(t, naExample)
		b[4] = c.flags
		na, err := ParseNeighborAdvert(b)
		if err != nil || na.Router() != c.r || na.Solicited() != c.s || na.Override() != c.o || na.Target() != dst6 {
			t.Errorf("NA with flags %#x: %v %v %v", c.flags, na.Router(), na.Solicited(), na.Override())
		}
		it := na.Options()
		it.Next()
		if hw, ok := it.Option().Hardware(); !ok || hw != mac2 || it.Option().Type != NDPTargetLinkAddr {
			t.Errorf("NA option %v", it.Option())
		}
	}

	rs, _ := ParseRouterSolicit(unhex(t, rsExample))
	it = rs.Options()
	it.Next()
	if hw, ok := it.Option().Hardware(); !ok || hw != mac1 {
		t.Errorf("RS option %v", it.Option())
	}

	rd, _ := ParseRedirect(unhex(t, redirectExample))
	it = rd.Options()
	if rd.Target() != netip.MustParseAddr("fe80::1") || rd.Destination() != netip.MustParseAddr("2001:db8::9") || !it.Next() {
		t.Errorf("redirect of %v to %v", rd.Destination(), rd.Target())
	}
}

func TestRouterAdvert(t *testing.T) {
	ra, err := ParseRouterAdvert(unhex(t, raExample))
	if err != nil {
		t.Fatal(err)
	}
	if ra.HopLimit() != 64 || !ra.Managed() || !ra.Other() || ra.Preference() != 1 || ra.Lifetime() != 1800 ||
		ra.ReachableTime() != 30000 || ra.RetransTimer() != 1000 {
		t.Errorf("% x", []byte(ra))
	}
	// Every option answers to its own getter only.
	var types []NDPOptionType
	for it := ra.Options(); it.Next(); {
		o := it.Option()
		types = append(types, o.Type)
		_, hw := o.Hardware()
		mtu, isMTU := o.MTU()
		prefix, isPrefix := o.Prefix()
		route, isRoute := o.Route()
		servers, lifetime, isDNS := o.DNSServers()
		is := []bool{hw, isMTU, isPrefix, isRoute, isDNS}
		if is[len(types)-1] = !is[len(types)-1]; is[0] || is[1] || is[2] || is[3] || is[4] {
			t.Errorf("option %d answers wrong: %v", o.Type, is)
		}
		if isMTU && mtu != 1300 {
			t.Errorf("MTU %d", mtu)
		}
		if want := (PrefixInfo{netip.MustParsePrefix("2001:db8:1:2::/64"), true, true, 86400, 14400}); isPrefix && prefix != want {
			t.Errorf("prefix %+v", prefix)
		}
		if want := (RouteInfo{netip.MustParsePrefix("2001:db8:3::/48"), 1, 3600}); isRoute && route != want {
			t.Errorf("route %+v", route)
		}
		if isDNS && (lifetime != 600 || servers.Len() != 2 || servers.At(1) != netip.MustParseAddr("2001:db8::54")) {
			t.Errorf("DNS servers %v for %d s", servers, lifetime)
		}
	}
	if len(types) != 5 {
		t.Errorf("options %v", types)
	}
	for flags, want := range map[byte]int{0x08: 1, 0x00: 0, 0x18: -1, 0x10: 0} {
		if got := preference(flags); got != want {
			t.Errorf("preference of %#x: %d, want %d", flags, got, want)
		}
	}
}

func TestNDPOptionLimits(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes string
		want  bool
	}{
		{"prefix of 128 bits", "03 04 80 00" + "00000000 00000000 00000000 20010db8 00000000 00000000 00000000", true},
		{"prefix of 129 bits", "03 04 81 00" + "00000000 00000000 00000000 20010db8 00000000 00000000 00000000", false},
		{"prefix of 24 bytes", "03 03 40 00" + "00000000 00000000 00000000 20010db8 00000000", false},
		{"default route", "18 01 00 00 00000000", true},
		{"route of 1 bit without bytes", "18 01 01 00 00000000", false},
		{"route of 64 bits in 8 bytes", "18 02 40 00 00000000 20010db8 00000000", true},
		{"route of 65 bits in 8 bytes", "18 02 41 00 00000000 20010db8 00000000", false},
		{"route of 129 bits", "18 04 81 00 00000000 20010db8 00000000 00000000 00000000 00000000 00000000", false},
		{"route of reserved preference", "18 01 00 10 00000000", false},
		{"DNS servers, none", "19 01 0000 00000000", false},
		{"DNS servers, one and a half", "19 04 0000 00000000 20010db8 00000000 00000000 00000001 20010db8 00000000", true},
	} {
		it := NDPOptions{rest: unhex(t, c.bytes)}
		if !it.Next() {
			t.Fatal(c.name, it.Err())
		}
		_, prefix := it.Option().Prefix()
		_, route := it.Option().Route()
		servers, _, dns := it.Option().DNSServers()
		if got := prefix || route || dns; got != c.want || dns && servers.Len() != 1 {
			t.Errorf("%s: %v, want %v (%d servers)", c.name, got, c.want, servers.Len())
		}
	}
}

func TestSolicitedNode(t *testing.T) {
	got := SolicitedNode(netip.MustParseAddr("2001:db8::1:800:200e:8c6c"))
	if want := netip.MustParseAddr("ff02::1:ff0e:8c6c"); got != want { // RFC 4291 §2.7.1
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNDPRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := NeighborFields{
			Router: rapid.Bool().Draw(t, "r"), Solicited: rapid.Bool().Draw(t, "s"), Override: rapid.Bool().Draw(t, "o"),
			Target: genAddr6().Draw(t, "target"), HasHardware: rapid.Bool().Draw(t, "has"),
		}
		if f.HasHardware {
			f.Hardware = genMAC().Draw(t, "hardware")
		}
		b := dirty(33)
		m := PutNeighborAdvert(b, f)
		if len(m) != f.Len() || b[len(m)] != 0xa5 || m.Checksum() != 0 {
			t.Fatalf("% x", b)
		}
		multicast := f.Target.IsMulticast()
		na, err := ParseNeighborAdvert(m)
		if (err != nil) != multicast {
			t.Fatal(err)
		}
		ns, err := ParseNeighborSolicit(PutNeighborSolicit(dirty(33), f))
		if (err != nil) != multicast {
			t.Fatal(err)
		}
		if multicast {
			return
		}
		got := NeighborFields{Router: na.Router(), Solicited: na.Solicited(), Override: na.Override(), Target: na.Target()}
		it := na.Options()
		if it.Next() {
			got.Hardware, got.HasHardware = it.Option().Hardware()
		}
		if got != f {
			t.Fatalf("advertisement: got %+v, want %+v", got, f)
		}
		got = NeighborFields{Router: f.Router, Solicited: f.Solicited, Override: f.Override, Target: ns.Target()}
		it = ns.Options()
		if it.Next() {
			got.Hardware, got.HasHardware = it.Option().Hardware()
		}
		if got != f || get32(ns[4:]) != 0 {
			t.Fatalf("solicitation: got %+v, want %+v", got, f)
		}
	})
}

func TestRouterAdvertRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := RouterAdvertFields{rapid.Byte().Draw(t, "hops"), rapid.Bool().Draw(t, "m"), rapid.Bool().Draw(t, "o"),
			rapid.Uint16().Draw(t, "lifetime"), rapid.Uint32().Draw(t, "reachable"), rapid.Uint32().Draw(t, "retrans")}
		bits := rapid.IntRange(0, 128).Draw(t, "bits")
		prefix := PrefixInfo{netip.PrefixFrom(genAddr6().Draw(t, "prefix"), bits), rapid.Bool().Draw(t, "l"), rapid.Bool().Draw(t, "a"),
			rapid.Uint32().Draw(t, "valid"), rapid.Uint32().Draw(t, "preferred")}
		mtu, hw := rapid.Uint32().Draw(t, "mtu"), genMAC().Draw(t, "hardware")
		b := dirty(RouterAdvertLen + 8 + 8 + 32)
		n := RouterAdvertLen
		n += PutNDPLinkAddr(b[n:], NDPSourceLinkAddr, hw)
		n += PutNDPMTU(b[n:], mtu)
		n += PutNDPPrefix(b[n:], prefix)
		ra, err := ParseRouterAdvert(PutRouterAdvert(b[:n], f))
		if err != nil || n != len(b) {
			t.Fatal(err, n)
		}
		if got := (RouterAdvertFields{ra.HopLimit(), ra.Managed(), ra.Other(), ra.Lifetime(), ra.ReachableTime(), ra.RetransTimer()}); got != f {
			t.Fatalf("got %+v, want %+v", got, f)
		}
		it := ra.Options()
		it.Next()
		gotHW, _ := it.Option().Hardware()
		it.Next()
		gotMTU, _ := it.Option().MTU()
		it.Next()
		gotPrefix, _ := it.Option().Prefix()
		prefix.Prefix = prefix.Prefix.Masked()
		if gotHW != hw || gotMTU != mtu || gotPrefix != prefix {
			t.Fatalf("got %x %d %+v, want %x %d %+v", gotHW, gotMTU, gotPrefix, hw, mtu, prefix)
		}
	})
	b := append(dirty(8), unhex(t, rsExample)[8:]...)
	if rs, err := ParseRouterSolicit(PutRouterSolicit(b)); err != nil || !bytes.Equal(rs[:8], []byte{133, 0, 0, 0, 0, 0, 0, 0}) || len(rs) != 16 {
		t.Errorf("router solicitation % x, %v", []byte(rs), err)
	}
}

// checkNDPOptions calls all that there is for the options of a message.
func checkNDPOptions(t *testing.T, it NDPOptions) {
	t.Helper()
	for it.Next() {
		o := it.Option()
		if (len(o.Data)+2)%8 != 0 || len(o.Data) == 0 {
			t.Fatalf("option %+v", o)
		}
		o.Hardware()
		o.MTU()
		if p, ok := o.Prefix(); ok {
			again := NDPOptions{rest: make([]byte, ndpPrefixLen)}
			PutNDPPrefix(again.rest, p)
			again.Next()
			if q, ok := again.Option().Prefix(); !ok || q != p {
				t.Fatalf("prefix %+v became %+v", p, q)
			}
		}
		if r, ok := o.Route(); ok && (!r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked()) {
			t.Fatalf("route %+v", r)
		}
		if servers, _, ok := o.DNSServers(); ok {
			for i := range servers.Len() {
				servers.At(i)
			}
		}
	}
	if it.Err() != nil {
		t.Fatal("a message with bad options was let pass")
	}
}

func FuzzNDP(f *testing.F) {
	for _, p := range ndpParsers {
		f.Add(unhex(f, p.example))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseICMPv6(b, len(b))
		if err != nil {
			return
		}
		if ns, err := ParseNeighborSolicit(m); err == nil {
			checkNDPOptions(t, ns.Options())
			if again := PutNeighborSolicit(dirty(24), NeighborFields{Target: ns.Target()}); !bytes.Equal(again[8:], ns[8:24]) {
				t.Fatalf("% x became % x", ns, again)
			}
		}
		if na, err := ParseNeighborAdvert(m); err == nil {
			checkNDPOptions(t, na.Options())
			again := PutNeighborAdvert(dirty(24), NeighborFields{Router: na.Router(), Solicited: na.Solicited(), Override: na.Override(), Target: na.Target()})
			if !bytes.Equal(again[8:], na[8:24]) || again[4] != na[4]&0xe0 {
				t.Fatalf("% x became % x", na, again)
			}
		}
		if rs, err := ParseRouterSolicit(m); err == nil {
			checkNDPOptions(t, rs.Options())
		}
		if ra, err := ParseRouterAdvert(m); err == nil {
			checkNDPOptions(t, ra.Options())
			_ = ra.Preference()
			again := PutRouterAdvert(dirty(16), RouterAdvertFields{ra.HopLimit(), ra.Managed(), ra.Other(), ra.Lifetime(), ra.ReachableTime(), ra.RetransTimer()})
			if again[4] != ra[4] || again[5] != ra[5]&0xc0 || !bytes.Equal(again[6:16], ra[6:16]) {
				t.Fatalf("% x became % x", ra, again)
			}
		}
		if rd, err := ParseRedirect(m); err == nil {
			checkNDPOptions(t, rd.Options())
			_, _ = rd.Target(), rd.Destination()
		}
	})
}

func TestNDPAllocs(t *testing.T) {
	ra, ns := unhex(t, raExample), unhex(t, nsExample)
	out := make([]byte, 32)
	noAllocs(t, func() {
		m, err := ParseRouterAdvert(ra)
		if err != nil {
			t.Fatal(err)
		}
		for it := m.Options(); it.Next(); {
			it.Option().Prefix()
			it.Option().Route()
			it.Option().DNSServers()
		}
		n, err := ParseNeighborSolicit(ns)
		if err != nil {
			t.Fatal(err)
		}
		PutNeighborAdvert(out, NeighborFields{Target: n.Target(), HasHardware: true})
		SolicitedNode(n.Target())
	})
}
