package interop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
)

// namespace is another network namespace. It lives as long as its file is open.
type namespace struct{ file *os.File }

// newNamespace makes a network namespace with loopback up.
func newNamespace(t testing.TB) namespace {
	t.Helper()
	made := make(chan *os.File, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		var f *os.File
		if err == nil {
			f, err = os.Open("/proc/thread-self/ns/net")
		}
		if err != nil {
			t.Errorf("making a network namespace: %v", err)
		}
		made <- f
	}()
	n := namespace{<-made}
	if n.file == nil {
		t.FailNow()
	}
	t.Cleanup(func() { n.file.Close() })
	n.do(t, func() { nstest.Up(t, "lo") })
	return n
}

// do runs fn inside.
func (n namespace) do(t testing.TB, fn func()) {
	t.Helper()
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Errorf("entering a network namespace: %v", err)
			return
		}
		fn()
	}()
	<-done
	if t.Failed() {
		t.FailNow()
	}
}

// veth joins two namespaces (the zero namespace is this one) by a pair of interfaces.
func veth(t testing.TB, a namespace, nameA string, b namespace, nameB string, mtu int) {
	t.Helper()
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameA, MTU: mtu}, PeerName: nameB, PeerMTU: uint32(mtu)}
	if a.file != nil {
		v.Namespace = netlink.NsFd(a.file.Fd())
	}
	if b.file != nil {
		v.PeerNamespace = netlink.NsFd(b.file.Fd())
	}
	if err := netlink.LinkAdd(v); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skipf("this kernel has no veth: %v", err)
		}
		t.Fatal(err)
	}
}

// forward makes a router of this thread's namespace.
func forward(t testing.TB) {
	sysctl(t, "net/ipv4/ip_forward", "1")
	sysctl(t, "net/ipv6/conf/all/forwarding", "1")
}

// chain is weir - router - (narrow link) - router - server: both ends have links of MTU 1500 and must learn what is in between.
//
//	weir 198.18.0.2 - 198.18.0.1 kernel 198.18.1.1 - 198.18.1.2 middle 198.18.2.1 - 198.18.2.2 far
type chain struct {
	*world
	far namespace
}

var farAddrs = map[string]netip.Addr{"IPv4": netip.MustParseAddr("198.18.2.2"), "IPv6": netip.MustParseAddr("2001:db8:2::2")}

func newChain(t *testing.T, mtu int, plain bool, wrap func(link.Device) link.Device) *chain {
	forward(t)
	w := newWorld(t, options{plain: plain, wrap: wrap, iface: weir.InterfaceConfig{Gateway4: v4.kernel, Gateway6: v6.kernel}})
	middle, far := newNamespace(t), newNamespace(t)
	veth(t, namespace{}, "narrow0", middle, "narrow1", mtu)
	veth(t, middle, "wide0", far, "wide1", 1500)
	setup := func(name string, n int, host int) {
		nstest.Up(t, name)
		nstest.Addr(t, name, fmt.Sprintf("198.18.%d.%d/24", n, host))
		nstest.Addr(t, name, fmt.Sprintf("2001:db8:%d::%d/64", n, host))
	}
	middle.do(t, func() {
		forward(t)
		setup("narrow1", 1, 2)
		setup("wide0", 2, 1)
		nstest.Route(t, "", "198.18.1.1", "narrow1")
		nstest.Route(t, "", "2001:db8:1::1", "narrow1")
	})
	far.do(t, func() {
		setup("wide1", 2, 2)
		nstest.Route(t, "", "198.18.2.1", "wide1")
		nstest.Route(t, "", "2001:db8:2::1", "wide1")
	})
	setup("narrow0", 1, 1)
	nstest.Route(t, "198.18.2.0/24", "198.18.1.2", "narrow0")
	nstest.Route(t, "2001:db8:2::/64", "2001:db8:1::2", "narrow0")
	return &chain{w, far}
}

// Routers whose next link is narrower say so, and both ends send less from then on: weir, and the kernel that talks with it.
func TestPathMTU(t *testing.T) {
	const narrow = 1300
	inBothModes(t, func(t *testing.T, plain bool) {
		c := newChain(t, narrow, plain, nil)
		for _, f := range c.families {
			far := farAddrs[f.name]
			headers := 20 + 20 + 12 // IPv4, TCP, timestamps
			if far.Is6() {
				headers += 20
			}
			for _, weirDials := range []bool{false, true} {
				p := c.openFar(f, weirDials)
				if mss := p.weir.Info().SendMSS; !weirDials && mss != 1500-headers { // the first connection: nothing is known yet
					t.Errorf("%s: MSS %d at first, want %d", f.name, mss, 1500-headers)
				}
				start := time.Now()
				c.together(exchange(p, size(4<<20))...)
				c.t.Logf("%s, weir dials %v: %v, %+v", f.name, weirDials, time.Since(start), p.weir.Info())
				if mss := p.weir.Info().SendMSS; mss != narrow-headers {
					t.Errorf("%s: MSS %d in the end, want %d", f.name, mss, narrow-headers)
				}
			}
		}
		c.datagrams(narrow)
	})
}

// openFar opens a connection between weir and the far namespace.
func (c *chain) openFar(f family, weirDials bool) pair {
	c.t.Helper()
	var p pair
	var err error
	if weirDials {
		var l *net.TCPListener
		c.far.do(c.t, func() {
			l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(farAddrs[f.name], 0)))
		})
		if err != nil {
			c.t.Fatal(err)
		}
		defer l.Close()
		if p.weir, err = c.stack.DialTCP(c.ctx, netip.AddrPort{}, addrPort(l.Addr())); err != nil {
			c.t.Fatal(err)
		}
		l.SetDeadline(c.deadline())
		if p.kernel, err = l.AcceptTCP(); err != nil {
			c.t.Fatal(err)
		}
		return c.opened(p)
	}
	l, err := c.stack.ListenTCP(netip.AddrPortFrom(f.weir, 0))
	if err != nil {
		c.t.Fatal(err)
	}
	defer l.Close()
	c.far.do(c.t, func() { p.kernel, err = kernelDial(c.ctx, addrPort(l.Addr())) })
	if err != nil {
		c.t.Fatal(err)
	}
	l.SetDeadline(c.deadline())
	if p.weir, err = l.AcceptTCP(); err != nil {
		c.t.Fatal(err)
	}
	return c.opened(p)
}

// datagrams of weir's that are larger than the path's MTU, which is known by now, arrive in fragments that fit, and so do answers.
func (c *chain) datagrams(mtu int) {
	for _, f := range c.families {
		var server packetConn
		c.far.do(c.t, func() { server = c.open(udpSides[0].listen(c.world, netip.AddrPortFrom(farAddrs[f.name], 0))) })
		client := c.open(udpSides[1].dial(c.world, addrPort(server.LocalAddr())))
		for _, n := range []int{100, mtu - 48, mtu, 1472, 1473, 8000, 65507} {
			if err := datagram(client, server, n); err != nil {
				c.t.Errorf("%s, over a path of MTU %d, %d bytes: %v", f.name, mtu, n, err)
			}
		}
	}
}
