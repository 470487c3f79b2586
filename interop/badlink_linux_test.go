package interop

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/link/tun"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"golang.org/x/sys/unix"
)

// badLink is 100 Mbit/s and 20 ms there and back; it loses and reorders both ways.
var badLink = emul.Config{Rate: 100e6, Delay: 10 * time.Millisecond, Loss: 0.01, Reorder: 0.02}

// BenchmarkBadLink is transfers of 8 MiB, each by a connection of its own, over a link that loses 1 % and reorders 2 % of the packets in both
// directions: from the kernel to weir, from weir to the kernel and, for comparison, from the kernel to the kernel of another namespace,
// with the same congestion control on both sides.
func BenchmarkBadLink(b *testing.B) {
	ownNamespace(b)
	const op = 8 << 20
	sum(op)
	for _, control := range []string{"cubic", "bbr"} {
		b.Run(control+" kernel to kernel", func(b *testing.B) {
			k := newKernels(b, badLink)
			b.SetBytes(op)
			for b.Loop() {
				k.transfer(op, control)
			}
		})
		for _, toWeir := range []bool{true, false} {
			name := " kernel to weir"
			if !toWeir {
				name = " weir to kernel"
			}
			b.Run(control+name, func(b *testing.B) {
				w := newWorld(b, options{plain: true, noPool: true, wrap: overBadLink(b, badLink), stack: weir.Config{Congestion: control}})
				b.SetBytes(op)
				for b.Loop() {
					p := w.weirDials(v4)
					from, to := halfCloser(p.kernel), halfCloser(p.weir)
					if !toWeir {
						from, to = to, from
					}
					w.together(func() error { return setControl(p.kernel, control) })
					w.transfer(from, to, op)
					p.kernel.Close()
					p.weir.Close()
				}
			})
		}
	}
}

// kernels are two namespaces of the kernel's, joined by a bad link.
type kernels struct {
	*world
	far namespace
}

// newKernels joins this namespace to another: TUN - bad link - TUN.
func newKernels(t testing.TB, c emul.Config) *kernels {
	nstest.TUN(t)
	k := &kernels{world: newClock(t), far: newNamespace(t)}
	open := func(addr netip.Addr) link.Device {
		dev, err := tun.Open(device, tun.Options{NoOffload: true})
		if err != nil {
			t.Error(err)
			return nil
		}
		nstest.Addr(t, device, netip.PrefixFrom(addr, 24).String())
		return dev
	}
	near := open(v4.kernel)
	var far link.Device
	k.far.do(t, func() { far = open(v4.weir) })
	if t.Failed() {
		t.FailNow()
	}
	back := c
	back.Seed++
	there, here := emul.Wrap(far, c), emul.Wrap(near, back)
	pool, clock := packet.NewPool(buffer.NewPool(buffer.Options{})), sched.Real()
	err := errors.Join(
		there.Attach(link.Sink{Deliver: into(here), Packets: pool, Clock: clock}),
		here.Attach(link.Sink{Deliver: into(there), Packets: pool, Clock: clock}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(near.Close(), far.Close()); err != nil {
			t.Error(err)
		}
	})
	return k
}

// setControl sets the congestion control of a kernel's connection.
func setControl(c *net.TCPConn, name string) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
	})
	return errors.Join(failed, err)
}

// transfer sends a stream from this namespace to the other by a new connection with the congestion control.
func (k *kernels) transfer(size int64, control string) {
	k.t.Helper()
	var l *net.TCPListener
	k.far.do(k.t, func() {
		var err error
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(v4.weir, 0)))
		if err != nil {
			k.t.Error(err)
		}
	})
	defer l.Close()
	l.SetDeadline(k.deadline())
	k.together(func() error {
		c, err := l.AcceptTCP()
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(k.deadline())
		return receive(c, size)
	}, func() error {
		c, err := kernelDial(k.ctx, addrPort(l.Addr()))
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(k.deadline())
		if err := setControl(c, control); err != nil {
			return err
		}
		return send(c, size)
	})
}
