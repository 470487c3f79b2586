package stack

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/weirnet/weir/internal/siphash"
)

type nobody struct{ flow flow }

func (*nobody) shut() {}

func numbered(i int) *nobody {
	n := &nobody{}
	remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), uint16(i>>16)+1)
	n.flow = flow{key: makeKey(protoTCP, netip.MustParseAddrPort("192.0.2.1:80"), remote, 0), owner: n}
	return n
}

func TestFlowTableFindsWhatIsIn(t *testing.T) {
	var table flowTable
	table.init(siphash.Key{K0: 1, K1: 2})
	const count = 10_000
	all := make([]*nobody, count)
	for i := range all {
		all[i] = numbered(i)
		if !table.insert(&all[i].flow) {
			t.Fatalf("flow %d: not inserted", i)
		}
	}
	if table.insert(&numbered(7).flow) {
		t.Error("a second flow of the same key was inserted")
	}
	for i, n := range all {
		if i%2 == 0 && !table.remove(&n.flow) {
			t.Fatalf("flow %d: not removed", i)
		}
	}
	if table.remove(&all[0].flow) {
		t.Error("a flow was removed twice")
	}
	for i, n := range all {
		want := flowOwner(n)
		if i%2 == 0 {
			want = nil
		}
		if got, _ := table.find(&n.flow.key); got != want {
			t.Fatalf("flow %d: found %v, want %v", i, got, want)
		}
	}
	if n := table.len(); n != count/2 {
		t.Errorf("len = %d, want %d", n, count/2)
	}
	seen := 0
	table.each(func(*flow) { seen++ })
	if seen != count/2 {
		t.Errorf("each saw %d flows, want %d", seen, count/2)
	}
}

func TestFlowTableReplaces(t *testing.T) {
	var table flowTable
	a, b := numbered(1), numbered(1)
	table.insert(&a.flow)
	if !table.replace(&a.flow, &b.flow) {
		t.Fatal("not replaced")
	}
	if got, _ := table.find(&a.flow.key); got != flowOwner(b) {
		t.Errorf("found %v, want the replacement", got)
	}
	if table.replace(&a.flow, &a.flow) {
		t.Error("what is not in was replaced")
	}
}

func TestFlowKeyTellsFamiliesAndScopesApart(t *testing.T) {
	v4 := makeKey(protoTCP, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"), 0)
	mapped := makeKey(protoTCP, netip.MustParseAddrPort("[::ffff:192.0.2.1]:1"), netip.MustParseAddrPort("[::ffff:192.0.2.2]:2"), 0)
	if v4 != mapped {
		t.Error("a v4-mapped flow is another than the IPv4 one")
	}
	if got := mapped.localAddr().String(); got != "192.0.2.1:1" {
		t.Errorf("local address %s, want it unmapped", got)
	}
	scoped := v4
	scoped.scope = 3
	if scoped == v4 || scoped.hash(siphash.Key{}) == v4.hash(siphash.Key{}) {
		t.Error("the scope does not count")
	}
	if !v4.is4() || makeKeyOf("[2001:db8::1]:1", "[2001:db8::2]:2").is4() {
		t.Error("is4 is wrong")
	}
}

func makeKeyOf(local, remote string) *flowKey {
	k := makeKey(protoTCP, netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote), 0)
	return &k
}

func TestNoAllocationPerLookup(t *testing.T) {
	var table flowTable
	n := numbered(1)
	table.insert(&n.flow)
	if a := testing.AllocsPerRun(100, func() { table.find(&n.flow.key) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

// The design's limit for a connection object with mutex, waiters, timer node and addresses.
func TestSocketSize(t *testing.T) {
	if n := unsafe.Sizeof(TCP{}); n > 640 {
		t.Errorf("a TCP socket has %d bytes, at most 640 are allowed", n)
	}
}

func TestBindings(t *testing.T) {
	addr := netip.MustParseAddrPort
	type socket struct {
		addr        string
		family      Family
		iface       int
		transparent bool
	}
	make := func(s socket) *bind {
		return &bind{proto: protoUDP, addr: addr(s.addr), family: s.family, iface: s.iface, transparent: s.transparent, owner: &nobody{}}
	}
	t.Run("conflicts", func(t *testing.T) {
		for _, c := range []struct {
			a, b socket
			want bool
		}{
			{socket{addr: "192.0.2.1:53"}, socket{addr: "192.0.2.1:53"}, true},
			{socket{addr: "192.0.2.1:53"}, socket{addr: "192.0.2.2:53"}, false},
			{socket{addr: "[::]:53"}, socket{addr: "192.0.2.1:53"}, true},
			{socket{addr: "[::]:53", family: IPv6}, socket{addr: "192.0.2.1:53"}, false},
			{socket{addr: "0.0.0.0:53", family: IPv4}, socket{addr: "[::]:53", family: IPv6}, false},
			{socket{addr: "0.0.0.0:53", family: IPv4}, socket{addr: "[::]:53"}, true},
			{socket{addr: "[::]:53", iface: 1}, socket{addr: "[::]:53", iface: 2}, false},
		} {
			var table bindTable
			if err := table.insert(make(c.a), false); err != nil {
				t.Fatal(err)
			}
			if err := table.insert(make(c.b), false); (err != nil) != c.want {
				t.Errorf("%v beside %v: %v, want a conflict: %v", c.b, c.a, err, c.want)
			}
		}
	})
	t.Run("best fit", func(t *testing.T) {
		var table bindTable
		any4, any6 := make(socket{addr: "0.0.0.0:53", family: IPv4}), make(socket{addr: "[::]:53", family: IPv6, transparent: true})
		for _, b := range []*bind{any4, any6} {
			if err := table.insert(b, false); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			dst     string
			foreign bool
			want    flowOwner
		}{
			{"192.0.2.1:53", false, any4.owner},
			{"192.0.2.1:53", true, nil}, // a wildcard takes assigned addresses only …
			{"[2001:db8::1]:53", false, any6.owner},
			{"[2001:db8::1]:53", true, any6.owner}, // … unless it is transparent
			{"192.0.2.1:54", false, nil},
		} {
			if got := table.find(protoUDP, addr(c.dst), addr("198.18.0.1:9"), 1, c.foreign); got != c.want {
				t.Errorf("to %s (foreign: %v): wrong socket", c.dst, c.foreign)
			}
		}
		table.remove(any4)
		if table.find(protoUDP, addr("192.0.2.1:53"), addr("198.18.0.1:9"), 1, false) != nil || !table.used(protoUDP, 53) {
			t.Error("remove took the wrong binding")
		}
	})
}
