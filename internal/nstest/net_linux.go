package nstest

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience is how long the kernel may take for what it does in the background.
const patience = 10 * time.Second

// Up brings an interface up.
func Up(t testing.TB, name string) {
	t.Helper()
	if err := netlink.LinkSetUp(linkByName(t, name)); err != nil {
		t.Fatalf("bringing up %s: %v", name, err)
	}
}

// Addr gives an interface an address with prefix length, usable at once (no duplicate address detection).
func Addr(t testing.TB, name, prefix string) {
	t.Helper()
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if a.IP.To4() == nil {
		a.Flags |= unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(linkByName(t, name), a); err != nil {
		t.Fatalf("adding %s to %s: %v", prefix, name, err)
	}
	awaitLocal(t, a.IP)
}

// awaitLocal waits until ip is this host's. The kernel makes an IPv6 address so in a worker of its own, a moment after it was added.
func awaitLocal(t testing.TB, ip net.IP) {
	t.Helper()
	var err error
	for start := time.Now(); time.Since(start) < patience; runtime.Gosched() {
		var routes []netlink.Route
		if routes, err = netlink.RouteGet(ip); err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return
		}
	}
	t.Fatalf("%v has not become an address of this host in %v: %v", ip, patience, err)
}

// Route sends what is for dst out of the interface of the given name; via is the gateway, "" for none. dst "default" or "" is
// everything of via's family.
func Route(t testing.TB, dst, via, name string) {
	t.Helper()
	r := &netlink.Route{LinkIndex: linkByName(t, name).Attrs().Index}
	if via != "" {
		r.Gw = net.ParseIP(via)
	}
	if dst != "" && dst != "default" {
		p, err := netip.ParsePrefix(dst)
		if err != nil {
			t.Fatal(err)
		}
		r.Dst = &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	}
	if err := netlink.RouteAdd(r); err != nil {
		t.Fatalf("adding a route to %q via %q out of %s: %v", dst, via, name, err)
	}
}

// Delete removes an interface.
func Delete(t testing.TB, name string) {
	t.Helper()
	if err := netlink.LinkDel(linkByName(t, name)); err != nil {
		t.Fatalf("deleting %s: %v", name, err)
	}
}

// Down takes an interface down.
func Down(t testing.TB, name string) {
	t.Helper()
	if err := netlink.LinkSetDown(linkByName(t, name)); err != nil {
		t.Fatalf("taking down %s: %v", name, err)
	}
}

func linkByName(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("interface %s: %v", name, err)
	}
	return l
}
