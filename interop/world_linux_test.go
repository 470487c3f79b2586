package interop

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/tun"
)

// patience bounds everything that must come to an end.
const patience = 60 * time.Second

const device = "weir0"

// family is the addresses of both sides in one of the families.
type family struct {
	name         string
	kernel, weir netip.Addr
}

var (
	v4 = family{"IPv4", netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")}
	v6 = family{"IPv6", netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}

	families = []family{v4, v6}
)

// modes are the two ways in which packets cross.
var modes = []struct {
	name  string
	plain bool
}{{"offload", false}, {"plain", true}}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inNamespace runs fn in a user and network namespace of its own.
func inNamespace(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	nstest.RunUser(t, fn)
}

// inBothModes runs fn once with and once without offloads, each in a namespace of its own.
func inBothModes(t *testing.T, fn func(t *testing.T, plain bool)) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			inNamespace(t, func(t *testing.T) { fn(t, mode.plain) })
		})
	}
}

// options of a world.
type options struct {
	mtu    int  // of the device; 0: 1500
	plain  bool // no offloads
	queues int  // of the device; 0: 1
	noPool bool // no checking of memory: it costs too much where throughput counts
	stack  weir.Config
	iface  weir.InterfaceConfig          // but for Device and Addrs
	wrap   func(link.Device) link.Device // what goes between stack and TUN; nil: nothing
}

// world is a stack that is joined to the kernel of this namespace by a TUN device.
type world struct {
	t        testing.TB
	ctx      context.Context // ends when patience does
	cancel   func()          // ends it earlier
	stack    *weir.Stack
	tun      *tun.Device
	families []family // that the MTU allows
}

// newClock makes a world that has patience, and nothing else.
func newClock(t testing.TB) *world {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &world{t: t, ctx: ctx, cancel: cancel}
}

// newWorld makes a world that ends with the test, and whose memory must all have come back then.
func newWorld(t testing.TB, o options) *world {
	t.Helper()
	nstest.TUN(t)
	w := newClock(t)
	dev, err := tun.Open(device, tun.Options{MTU: o.mtu, NoOffload: o.plain, Queues: o.queues})
	if err != nil {
		t.Fatal(err)
	}
	pool := buffer.NewPool(buffer.Options{Check: !o.noPool})
	o.stack.Buffers = pool
	s, err := weir.New(o.stack)
	if err != nil {
		t.Fatal(err)
	}
	w.stack, w.tun, w.families = s, dev, families
	if o.mtu != 0 && o.mtu < 1280 { // the least that IPv6 works with
		w.families = families[:1]
	}
	o.iface.Device, o.iface.Addrs = dev, nil
	if o.wrap != nil {
		o.iface.Device = o.wrap(dev)
	}
	for _, f := range w.families {
		bits := 24
		if f.kernel.Is6() {
			bits = 64
		}
		nstest.Addr(t, device, netip.PrefixFrom(f.kernel, bits).String())
		o.iface.Addrs = append(o.iface.Addrs, netip.PrefixFrom(f.weir, bits))
	}
	if _, err := s.AddInterface(o.iface); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("stack %+v\ndevice %+v", s.Stats(), dev.Stats())
			for c := range s.Conns() {
				t.Logf("%+v", c)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if used := s.Stats().MemoryUsed; used != 0 {
			t.Errorf("%d bytes are charged to sockets after Close", used)
		}
		if err := pool.Leaked(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// halfCloser is what the connections of both sides are.
type halfCloser interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
	SetLinger(int) error
	SetKeepAliveConfig(net.KeepAliveConfig) error
}

// pair is the two ends of a connection.
type pair struct {
	kernel *net.TCPConn
	weir   *weir.TCPConn
}

// dials are the two sides from which a connection can be opened.
var dials = []struct {
	name string
	open func(*world, family) pair
}{{"kernel dials", (*world).kernelDials}, {"weir dials", (*world).weirDials}}

// kernelDials opens a connection from the kernel to weir.
func (w *world) kernelDials(f family) pair {
	w.t.Helper()
	l, err := w.stack.ListenTCP(netip.AddrPortFrom(f.weir, 0))
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	l.SetDeadline(w.deadline())
	var p pair
	w.together(func() (err error) {
		p.weir, err = l.AcceptTCP()
		return err
	}, func() (err error) {
		p.kernel, err = kernelDial(w.ctx, addrPort(l.Addr()))
		return err
	})
	return w.opened(p)
}

// weirDials opens a connection from weir to the kernel.
func (w *world) weirDials(f family) pair {
	w.t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.kernel, 0)))
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	l.SetDeadline(w.deadline())
	var p pair
	w.together(func() (err error) {
		p.kernel, err = l.AcceptTCP()
		return err
	}, func() (err error) {
		p.weir, err = w.stack.DialTCP(w.ctx, netip.AddrPort{}, addrPort(l.Addr()))
		return err
	})
	return w.opened(p)
}

// opened bounds the time that p may take, and closes it with the test.
func (w *world) opened(p pair) pair {
	for _, c := range []net.Conn{p.kernel, p.weir} {
		c.SetDeadline(w.deadline())
		w.t.Cleanup(func() { c.Close() })
	}
	return p
}

// kernelDial is a connection by package net to addr.
func kernelDial(ctx context.Context, addr netip.AddrPort) (*net.TCPConn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// deadline is when patience ends.
func (w *world) deadline() time.Time {
	d, _ := w.ctx.Deadline()
	return d
}

// together runs all of fns at once, waits for them, and ends the test if one of them failed.
func (w *world) together(fns ...func() error) {
	w.t.Helper()
	results := make(chan error, len(fns))
	for _, fn := range fns {
		go func() { results <- fn() }()
	}
	for range fns {
		if err := <-results; err != nil {
			w.t.Error(err)
		}
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

func addrPort(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

// sysctl sets a parameter of the kernel in this namespace, "net/ipv4/ip_forward".
func sysctl(t testing.TB, name, value string) {
	t.Helper()
	err := os.WriteFile("/proc/sys/"+name, []byte(value), 0)
	switch {
	case err == nil:
	case os.IsNotExist(err):
		t.Skipf("this kernel has no %s", strings.ReplaceAll(name, "/", "."))
	case errors.Is(err, unix.EINVAL):
		t.Skipf("this kernel does not know %s=%s", strings.ReplaceAll(name, "/", "."), value)
	default: // in containers /proc/sys may be read-only
		nstest.Missing(t, "tun", err.Error())
	}
}
