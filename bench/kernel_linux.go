package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// tunName is the interface's name in the namespace of the process's own.
const tunName = "bench0"

// kernelWorld is the loopback interface (far not open), or a veth pair whose other end lies in a second network namespace.
type kernelWorld struct {
	addr    netip.Addr
	far     netns.NsHandle
	control string // congestion control of both ends; empty: CUBIC, as gVisor and weir have it, whatever this machine's default
}

func openKernelLo(options) (world, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	return &kernelWorld{addr: netip.MustParseAddr("127.0.0.1"), far: netns.None()}, netlink.LinkSetUp(lo)
}

func openKernelVeth(o options) (world, error) {
	w := &kernelWorld{addr: hostB, far: netns.None()}
	return w, w.addVeth(1500, false)
}

func openKernelVethPlain(o options) (world, error) {
	w := &kernelWorld{addr: hostB, far: netns.None()}
	return w, w.addVeth(cmp.Or(o.MTU, 1500), true)
}

// addVeth makes the second namespace and the pair.
func (w *kernelWorld) addVeth(mtu int, plain bool) error {
	if err := w.newFar(); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "bench0", mtu
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "bench1", PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(int(w.far))}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("add the veth pair: %w", err)
	}
	up := func(name string, addr netip.Addr) error {
		if plain {
			if err := offloadsOff(name); err != nil {
				return err
			}
		}
		return configure(name, addr)
	}
	if err := up("bench0", hostA); err != nil {
		return err
	}
	return w.inFar(func() error { return up("bench1", hostB) })
}

// newFar makes the second namespace.
func (w *kernelWorld) newFar() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return err
	}
	defer here.Close()
	if w.far, err = netns.New(); err != nil {
		return err
	}
	return netns.Set(here)
}

// configure gives an interface of the current namespace its address, and brings it up.
func configure(name string, addr netip.Addr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	ip := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(24, 32)}
	if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: ip}); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// offloadsOff turns checksum offload (and with it TSO), GSO and GRO off by the ethtool ioctls.
func offloadsOff(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, cmd := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_SRXCSUM, unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO} {
		if err := ethtoolSet(fd, name, cmd, 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("turn offload %#x of %s off: %w", cmd, name, err)
		}
	}
	return nil
}

// inFar runs fn with the calling thread in the far host's namespace: sockets stay in the one that they were made in.
func (w *kernelWorld) inFar(fn func() error) error {
	if !w.far.IsOpen() {
		return fn()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return err
	}
	defer here.Close()
	if err := netns.Set(w.far); err != nil {
		return err
	}
	defer netns.Set(here)
	return fn()
}

// listen makes a listener of TCP alone: Go's listeners speak MPTCP where the kernel does. What it accepts has its congestion control.
func (w *kernelWorld) listen(port uint16) (l net.Listener, err error) {
	lc := net.ListenConfig{Control: w.setControl}
	lc.SetMultipathTCP(false)
	err = w.inFar(func() error {
		l, err = lc.Listen(context.Background(), "tcp", netip.AddrPortFrom(w.addr, port).String())
		return err
	})
	return l, err
}

func (w *kernelWorld) dial(port uint16) (net.Conn, error) {
	d := net.Dialer{Control: w.setControl}
	return d.DialTCP(context.Background(), "tcp", netip.AddrPort{}, netip.AddrPortFrom(w.addr, port))
}

// setControl is a net.Dialer's or net.ListenConfig's Control: it sets a socket's congestion control before it is used.
func (w *kernelWorld) setControl(_, _ string, c syscall.RawConn) (err error) {
	name := cmp.Or(w.control, "cubic")
	failed := c.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) })
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: this kernel has no congestion control %s", errSkip, name)
	}
	return errors.Join(failed, os.NewSyscallError("TCP_CONGESTION", err))
}

func (w *kernelWorld) packets() (client, server net.Conn, err error) {
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(w.addr, udpPort))
	err = w.inFar(func() error {
		server, err = net.ListenUDP("udp", to)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	client, err = net.DialUDP("udp", nil, to)
	return client, server, err
}

// segments is OutSegs of this namespace: for the loopback interface those of both ends.
func (w *kernelWorld) segments() (n int64) {
	text, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		return 0
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		switch f := strings.Fields(line); {
		case f[0] != "Tcp:":
		case names == nil:
			names = f
		default:
			if i := slices.Index(names, "OutSegs"); i >= 0 && i < len(f) {
				n, _ = strconv.ParseInt(f[i], 10, 64)
			}
		}
	}
	return n
}
