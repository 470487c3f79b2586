package ip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

func TestPath(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		src, dst    string
		iface       int
		transparent bool
		want        string // iface src next hop mtu, or the error
	}{
		{"", "192.0.2.9", 0, false, "1 192.0.2.1 192.0.2.9 1500"},
		{"", "::ffff:192.0.2.9", 0, false, "1 192.0.2.1 192.0.2.9 1500"},
		{"", "198.18.255.1", 0, false, "2 198.18.0.1 198.18.255.1 1280"},
		{"", "8.8.8.8", 0, false, "1 192.0.2.1 192.0.2.254 1500"},
		{"0.0.0.0", "8.8.8.8", 0, false, "1 192.0.2.1 192.0.2.254 1500"},
		{"198.18.0.1", "8.8.8.8", 0, false, "1 198.18.0.1 192.0.2.254 1500"}, // weak model
		{"", "8.8.8.8", 1, false, "1 192.0.2.1 192.0.2.254 1500"},
		{"", "8.8.8.8", 2, false, "network is unreachable"},
		{"", "8.8.8.8", ifIso, false, "4 192.0.2.1 192.0.2.254 1500"},
		{"", "192.0.2.9", ifIso, false, "4 192.0.2.1 192.0.2.9 1500"},
		{"198.18.0.1", "192.0.2.9", ifIso, false, "cannot assign requested address"},
		{"", "198.18.0.1", ifIso, false, "4 192.0.2.1 192.0.2.254 1500"}, // somebody else's there
		{"", "192.0.2.1", ifIso, false, "network is unreachable"},        // its own, and no loopback of its own
		{"", "203.0.113.9", 0, false, "1 192.0.2.1 192.0.2.254 1500"},    // the interface with this prefix is down
		{"", "203.0.113.9", ifDown, false, "network is down"},
		{"", "203.0.113.9", 77, false, "network is down"},
		{"203.0.113.1", "192.0.2.9", 0, false, "cannot assign requested address"},
		{"192.0.2.9", "192.0.2.1", 0, false, "cannot assign requested address"},
		{"8.8.8.8", "192.0.2.9", 0, false, "cannot assign requested address"},
		{"8.8.8.8", "192.0.2.9", 0, true, "1 8.8.8.8 192.0.2.9 1500"},
		{"8.8.8.8", "198.51.100.2", 0, false, "5 8.8.8.8 198.51.100.2 1500"}, // AnyDestination
		{"127.0.0.1", "192.0.2.9", 0, true, "cannot assign requested address"},
		{"224.0.0.1", "192.0.2.9", 0, true, "cannot assign requested address"},
		{"2001:db8:1::1", "192.0.2.9", 0, false, "cannot assign requested address"},
		{"", "", 0, false, "network is unreachable"},
		{"", "0.0.0.0", 0, false, "network is unreachable"},
		{"", "::", 0, false, "network is unreachable"},

		{"", "192.0.2.1", 0, false, "3 192.0.2.1 192.0.2.1 65535"}, // own
		{"198.18.0.1", "192.0.2.1", 0, false, "3 198.18.0.1 192.0.2.1 65535"},
		{"", "192.0.2.1", 2, false, "3 192.0.2.1 192.0.2.1 65535"},
		{"", "127.0.0.1", 0, false, "3 127.0.0.1 127.0.0.1 65535"},
		{"", "127.9.9.9", 0, false, "3 127.0.0.1 127.9.9.9 65535"},
		{"", "::1", 0, false, "3 ::1 ::1 65535"},
		{"", "fe80::1", 1, false, "3 fe80::1 fe80::1 65535"},
		{"", "2001:db8:2::1", 0, false, "3 2001:db8:2::1 2001:db8:2::1 65535"},

		{"", "2001:db8:1::9", 0, false, "1 2001:db8:1::1 2001:db8:1::9 1500"},
		{"", "2001:db8:9::9", 0, false, "1 2001:db8:1::1 fe80::fe 1500"},
		{"", "fe80::9", 1, false, "1 fe80::1 fe80::9 1500"},
		{"", "fe80::9", 2, false, "2 fe80::2 fe80::9 1280"},
		{"", "fe80::9%two", 2, false, "2 fe80::2 fe80::9 1280"},
		{"fe80::2", "fe80::9", 0, false, "2 fe80::2 fe80::9 1280"},
		{"fe80::2", "fe80::9", 1, false, "cannot assign requested address"},

		{"", "255.255.255.255", 0, false, "1 192.0.2.1 255.255.255.255 1500"},
		{"", "255.255.255.255", 2, false, "2 198.18.0.1 255.255.255.255 1280"},
		{"198.18.0.1", "255.255.255.255", 0, false, "2 198.18.0.1 255.255.255.255 1280"},
		{"", "198.18.255.255", 0, false, "2 198.18.0.1 198.18.255.255 1280"},
		{"", "224.0.0.251", 0, false, "1 192.0.2.1 224.0.0.251 1500"},
		{"", "224.0.0.251", 2, false, "2 198.18.0.1 224.0.0.251 1280"},
		{"", "ff02::1", 2, false, "2 fe80::2 ff02::1 1280"},
		{"", "ff0e::1", 2, false, "2 2001:db8:2::1 ff0e::1 1280"},
		{"fe80::2", "ff02::1", 0, false, "2 fe80::2 ff02::1 1280"},
	}
	for _, tt := range tests {
		src, _ := netip.ParseAddr(tt.src)
		dst, _ := netip.ParseAddr(tt.dst)
		p, err := w.Path(src, dst, tt.iface, tt.transparent)
		got := fmt.Sprintf("%d %v %v %d", p.Iface, p.Src, p.NextHop, p.MTU)
		var errno syscall.Errno
		if errors.As(err, &errno) {
			got = errno.Error()
		} else if p.Dst != dst.Unmap().WithZone("") {
			t.Errorf("%v: Dst %v", tt, p.Dst)
		}
		if got != tt.want {
			t.Errorf("from %q to %q by %d: %s, want %s", tt.src, tt.dst, tt.iface, got, tt.want)
		}
	}
}

// TestManyWithoutRoute sends to broadcast and multicast addresses where there is no route, not even a default one.
func TestManyWithoutRoute(t *testing.T) {
	given := interfaces()
	table, err := NewTable([]Interface{given[2], given[3], given[1], given[0]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		src, dst string
		iface    int
		want     int // 0: ENETUNREACH
	}{
		{"", "255.255.255.255", 0, ifOne}, // the first that leads anywhere
		{"", "224.0.0.1", 0, ifOne},
		{"", "ff02::1", 0, ifOne},
		{"198.18.0.1", "224.0.0.1", 0, ifTwo},
		{"", "224.0.0.1", ifIso, ifIso},
		{"", "8.8.8.8", 0, 0},
		{"198.18.0.1", "8.8.8.8", 0, 0},
	} {
		src, _ := netip.ParseAddr(tt.src)
		if p, err := table.path(src, addr(tt.dst), tt.iface, false); p.Iface != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("from %q to %s by %d: interface %d, %v, want %d", tt.src, tt.dst, tt.iface, p.Iface, err, tt.want)
		}
	}
	if table, err = NewTable(given[2:4], nil); err != nil {
		t.Fatal(err)
	}
	if _, err := table.path(netip.Addr{}, addr("224.0.0.1"), 0, false); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("multicast without an interface that leads anywhere: %v", err)
	}
}

// TestNoLoopback has no loopback interface, without which own addresses are unreachable.
func TestNoLoopback(t *testing.T) {
	table, err := NewTable(interfaces()[:2], nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, dst := range []string{"192.0.2.1", "127.0.0.1", "::1", "8.8.8.8"} {
		if _, err := table.path(netip.Addr{}, addr(dst), 0, false); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("to %s: %v, want ENETUNREACH", dst, err)
		}
	}
	if table.IsLocal(addr("127.0.0.1"), 0) {
		t.Error("127.0.0.1 is local without a loopback interface")
	}
}

func TestSourceChoice(t *testing.T) {
	ifs := []Interface{
		{Index: 1, MTU: 1500, Up: true, Addrs: prefixes("fe80::1/64", "2001:db8:a::1/64", "fd00::1/64", "2001:db8:b::1/64",
			"10.0.0.1/24", "10.0.1.1/24", "169.254.1.1/16")},
		{Index: 2, MTU: 1500, Up: true}, // unnumbered
		{Index: 3, MTU: 1500, Up: true, Isolated: true},
	}
	given := []Route{
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Gateway: addr("10.0.1.254")}, // the interface follows from the gateway
		{Prefix: netip.MustParsePrefix("198.18.0.0/16"), Iface: 2},
		{Prefix: netip.MustParsePrefix("2001:db8:c::/48"), Iface: 2},
		{Prefix: netip.MustParsePrefix("198.19.0.0/16"), Iface: 2, Source: addr("10.0.1.1")},
		{Prefix: netip.MustParsePrefix("198.20.0.0/16"), Iface: 2, Source: addr("10.9.9.9")}, // not ours (any more)
		{Prefix: netip.MustParsePrefix("198.21.0.0/16"), Iface: 3},
		{Prefix: netip.MustParsePrefix("::/0"), Gateway: addr("fe80::fe"), Iface: 1},
	}
	table, err := NewTable(ifs, given)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dst   string
		iface int
		src   string
	}{
		{"10.0.0.9", 0, "10.0.0.1"},
		{"10.0.1.9", 0, "10.0.1.1"},
		{"8.8.8.8", 0, "10.0.1.1"}, // in the gateway's network
		{"169.254.9.9", 0, "169.254.1.1"},
		{"198.18.1.1", 0, "10.0.0.1"}, // borrowed
		{"198.19.1.1", 0, "10.0.1.1"},
		{"198.20.1.1", 0, "10.0.0.1"},
		{"198.21.1.1", 3, ""},
		{"2001:db8:c::1", 0, "2001:db8:a::1"},
		{"fe80::9", 1, "fe80::1"},
		{"2001:db8:a::9", 0, "2001:db8:a::1"},
		{"2001:db8:b::9", 0, "2001:db8:b::1"},
		{"2001:db8:b:1::9", 0, "2001:db8:b::1"}, // the longer common prefix
		{"fd00::9", 0, "fd00::1"},
		{"fd12::9", 0, "fd00::1"},
		{"2600::9", 0, "2001:db8:a::1"},
	} {
		p, err := table.path(netip.Addr{}, addr(tt.dst), tt.iface, false)
		if tt.src == "" {
			if !errors.Is(err, syscall.EADDRNOTAVAIL) {
				t.Errorf("to %s: %v, %v, want EADDRNOTAVAIL", tt.dst, p.Src, err)
			}
		} else if err != nil || p.Src != addr(tt.src) {
			t.Errorf("to %s: %v, %v, want %s", tt.dst, p.Src, err, tt.src)
		}
	}
}

func TestRoutes(t *testing.T) {
	ifs := []Interface{
		{Index: 1, MTU: 1500, Up: true, Addrs: prefixes("10.0.0.1/24")},
		{Index: 2, MTU: 1500, Up: true, Addrs: prefixes("10.0.1.1/24")},
		{Index: 9, MTU: 1500, Addrs: prefixes("10.0.9.1/24")},
	}
	route := func(prefix, gateway string, iface, metric int) Route {
		r := Route{Prefix: netip.MustParsePrefix(prefix), Iface: iface, Metric: metric}
		if gateway != "" {
			r.Gateway = addr(gateway)
		}
		return r
	}
	table, err := NewTable(ifs, []Route{
		route("0.0.0.0/0", "10.0.0.254", 1, 20),
		route("0.0.0.0/0", "10.0.1.254", 2, 10),
		route("172.16.0.0/12", "10.0.0.253", 1, 0),
		route("172.16.5.0/24", "10.0.1.253", 2, 0),
		route("172.16.5.7/32", "10.0.0.252", 1, 0),
		route("172.17.0.0/16", "10.0.9.252", 9, 0), // down
		route("10.0.0.0/24", "10.0.1.252", 2, 0),   // instead of the on-link route
		route("10.0.1.0/24", "10.0.0.252", 1, 5),   // only if the on-link route is gone
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dst   string
		iface int
		hop   string
	}{
		{"8.8.8.8", 0, "10.0.1.254"},
		{"8.8.8.8", 1, "10.0.0.254"},
		{"172.16.1.1", 0, "10.0.0.253"},
		{"172.16.5.1", 0, "10.0.1.253"},
		{"172.16.5.7", 0, "10.0.0.252"},
		{"172.16.5.7", 2, "10.0.1.253"},
		{"172.17.0.1", 0, "10.0.0.253"},
		{"172.31.255.255", 0, "10.0.0.253"},
		{"172.32.0.0", 0, "10.0.1.254"},
		{"10.0.0.9", 0, "10.0.1.252"},
		{"10.0.1.9", 0, "10.0.1.9"},
	} {
		if p, err := table.path(netip.Addr{}, addr(tt.dst), tt.iface, false); err != nil || p.NextHop != addr(tt.hop) {
			t.Errorf("to %s by %d: %v, %v, want %s", tt.dst, tt.iface, p.NextHop, err, tt.hop)
		}
	}
}

// TestLongestPrefix compares look-ups with a walk over all routes.
func TestLongestPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 200).Draw(t, "routes")
		var given []Route
		ifs := []Interface{{Index: 1, MTU: 1500, Up: true}}
		drawAddr := func() netip.Addr { // few distinct bits, so that prefixes nest
			b := [16]byte{15: rapid.Byte().Draw(t, "low")}
			b[0], b[1] = 0x20, rapid.Byte().Draw(t, "high")&3
			if rapid.Bool().Draw(t, "v4") {
				return netip.AddrFrom4([4]byte{10, b[1], 0, b[15]})
			}
			return netip.AddrFrom16(b)
		}
		for i := range n {
			a := drawAddr()
			r := Route{
				Prefix: netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")), Iface: 1,
				Metric: rapid.IntRange(0, 2).Draw(t, "metric"), Gateway: netip.AddrFrom16([16]byte{0: 0x3f, 15: byte(i)}),
			}
			if a.Is4() {
				r.Gateway = netip.AddrFrom4([4]byte{10, 99, 0, byte(i)})
			}
			given = append(given, r)
		}
		table, err := NewTable(ifs, given)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			dst := drawAddr()
			var best *Route
			for i := range given {
				r := &given[i]
				if r.Prefix.Contains(dst) && (best == nil || r.Prefix.Bits() > best.Prefix.Bits() ||
					r.Prefix.Bits() == best.Prefix.Bits() && r.Metric < best.Metric) {
					best = r
				}
			}
			got := table.routeSet(dst.Is4()).find(keyOf(dst), -1)
			if (got == nil) != (best == nil) || got != nil && got.gateway != best.Gateway {
				t.Fatalf("to %v: %+v, want %+v", dst, got, best)
			}
		}
	})
}

func TestNewTableRefuses(t *testing.T) {
	good := Interface{Index: 1, Name: "eth", MTU: 1500, Up: true, Addrs: prefixes("10.0.0.1/24", "2001:db8::1/64")}
	iface := func(change func(*Interface)) []Interface {
		i := good
		change(&i)
		return []Interface{i}
	}
	route := func(change func(*Route)) []Route {
		r := Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Gateway: addr("10.0.0.2"), Iface: 1}
		change(&r)
		return []Route{r}
	}
	for _, tt := range []struct {
		ifs    []Interface
		routes []Route
		want   string // in the error; empty: none
	}{
		{[]Interface{good}, route(func(*Route) {}), ""},
		{[]Interface{good, good}, nil, "same index"},
		{iface(func(i *Interface) { i.Index = 0 }), nil, "index 0"},
		{iface(func(i *Interface) { i.MTU = 67 }), nil, "MTU 67"},
		{iface(func(i *Interface) { i.MTU = 65536 }), nil, "MTU 65536"},
		{iface(func(i *Interface) { i.Addrs = []netip.Prefix{{}} }), nil, "address"},
		{iface(func(i *Interface) { i.Addrs = prefixes("0.0.0.0/0") }), nil, "0.0.0.0/0"},
		{iface(func(i *Interface) { i.Addrs = prefixes("224.0.0.1/24") }), nil, "224.0.0.1/24"},
		{iface(func(i *Interface) { i.Addrs = prefixes("ff02::1/64") }), nil, "ff02::1/64"},
		{iface(func(i *Interface) { i.Addrs = prefixes("255.255.255.255/32") }), nil, "255.255.255.255"},
		{iface(func(i *Interface) { i.Addrs = prefixes("127.0.0.1/8") }), nil, "loopback"},
		{iface(func(i *Interface) { i.Addrs = prefixes("::ffff:10.0.0.1/64") }), nil, "IPv4 prefix"},
		{iface(func(i *Interface) { i.Addrs = prefixes("::ffff:10.0.0.1/120") }), nil, ""},
		{iface(func(i *Interface) { i.Groups = []netip.Addr{addr("10.0.0.1")} }), nil, "not a multicast group"},
		{[]Interface{good}, route(func(r *Route) { r.Prefix = netip.Prefix{} }), "not valid"},
		{[]Interface{good}, route(func(r *Route) { r.Iface = 2 }), "no interface 2"},
		{[]Interface{good}, route(func(r *Route) { r.Iface = 0 }), ""},
		{[]Interface{good}, route(func(r *Route) { r.Iface, r.Gateway = 0, addr("10.1.0.1") }), "no interface 0"},
		{[]Interface{good}, route(func(r *Route) { r.Gateway = addr("2001:db8::2") }), "other family"},
		{[]Interface{good}, route(func(r *Route) { r.Source = addr("2001:db8::2") }), "other family"},
		{[]Interface{good}, route(func(r *Route) { r.Gateway = addr("10.0.0.1") }), "another host"},
		{[]Interface{good}, route(func(r *Route) { r.Gateway = addr("224.0.0.1") }), "another host"},
	} {
		_, err := NewTable(tt.ifs, tt.routes)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

func TestTableLookups(t *testing.T) {
	var ifs []Interface
	for i := range 40 { // beyond what is searched one by one, and with gaps
		ifs = append(ifs, Interface{Index: 100 - 2*i, MTU: 1500, Up: true, Addrs: []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i * 7), 0, 1}), 24)}})
	}
	table, err := NewTable(ifs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		a := netip.AddrFrom4([4]byte{10, byte(i * 7), 0, 1})
		if got := table.Interface(100 - 2*i); got == nil || got.Addrs[0].Addr() != a {
			t.Errorf("interface %d: %+v", 100-2*i, got)
		}
		if table.Interface(101-2*i) != nil {
			t.Errorf("interface %d exists", 101-2*i)
		}
		if !table.IsLocal(a, 0) || !table.IsLocal(a, 22) || table.IsLocal(a.Next(), 0) || table.IsLocal(a, 23) {
			t.Errorf("IsLocal(%v) wrong", a)
		}
	}
	if got := table.Interfaces(); len(got) != 40 || got[0].Index != 22 {
		t.Errorf("Interfaces: %d", len(got))
	}
	if table.IsLocal(netip.Addr{}, 0) {
		t.Error("the zero Addr is local")
	}
}

func TestGeneration(t *testing.T) {
	w := newWorld(t)
	g := w.Generation()
	w.SetTable(w.Table())
	if w.Generation() == g {
		t.Error("Generation did not change with SetTable")
	}
}
