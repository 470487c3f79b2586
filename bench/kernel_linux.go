package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// reexecInNamespace runs this command again in a user and network namespace of its own, so that the kernel's worlds disturb nobody.
func reexecInNamespace() int {
	cmd := exec.Command("/proc/self/exe", append([]string{"-in-namespace"}, os.Args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fail(fmt.Errorf("the kernel as a peer needs a user and network namespace: %w", err))
	}
	return 0
}

// kernelWorld is the loopback interface (far not open), or a veth pair whose other end lies in a second network namespace.
type kernelWorld struct {
	addr netip.Addr
	far  netns.NsHandle
}

func openKernel(mtu int) (world, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return nil, err
	}
	w := &kernelWorld{addr: netip.MustParseAddr("127.0.0.1"), far: netns.None()}
	if mtu == 0 {
		return w, nil
	}
	w.addr = hostB
	return w, w.addVeth(mtu)
}

// addVeth makes the second namespace and the pair, offloads off.
func (w *kernelWorld) addVeth(mtu int) error {
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
	defer netns.Set(here)
	if err := netns.Set(here); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "bench0", mtu
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "bench1", PeerNamespace: netlink.NsFd(int(w.far))}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("add the veth pair: %w", err)
	}
	if err := configure("bench0", hostA); err != nil {
		return err
	}
	if err := netns.Set(w.far); err != nil {
		return err
	}
	return configure("bench1", hostB)
}

// configure gives an interface of the current namespace its address and takes its offloads away.
func configure(name string, addr netip.Addr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	ip := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(24, 32)}
	if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: ip}); err != nil {
		return err
	}
	if err := offloadsOff(name); err != nil {
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

func (w *kernelWorld) listen() (l net.Listener, err error) {
	err = w.inFar(func() error {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.addr, tcpPort)))
		return err
	})
	return l, err
}

func (w *kernelWorld) dial() (net.Conn, error) {
	return net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.addr, tcpPort)))
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

func (w *kernelWorld) close() {
	if !w.far.IsOpen() {
		return
	}
	if l, err := netlink.LinkByName("bench0"); err == nil {
		_ = netlink.LinkDel(l)
	}
	w.far.Close()
}
