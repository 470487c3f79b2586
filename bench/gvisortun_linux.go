package main

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/rawfile"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// gvisorTUN is this kernel near, and a gVisor stack far.
type gvisorTUN struct {
	kernelWorld
	b *stack.Stack
}

func (w *gvisorTUN) listen(port uint16) (net.Listener, error) {
	return gonet.ListenTCP(w.b, gvisorAddr(hostB, port), ipv4.ProtocolNumber)
}

func openGvisorFdbased(options) (world, error) { return gvisorFdbased(false) }

func openGvisorFdbasedGRO(options) (world, error) { return gvisorFdbased(true) }

// gvisorFdbased has GRO verify the checksums if there is GRO: the headers of what it has joined are no longer right.
func gvisorFdbased(gro bool) (world, error) {
	fd, err := openTUN(0)
	if err != nil {
		return nil, err
	}
	ep, err := fdbased.New(&fdbased.Options{FDs: []int{fd}, MTU: 1500, GRO: gro, RXChecksumOffload: gro})
	if err != nil {
		return nil, err
	}
	return gvisorOverTUN(ep)
}

func openGvisorVnet(o options) (world, error) {
	fd, err := openTUN(unix.IFF_VNET_HDR)
	if err != nil {
		return nil, err
	}
	o.MTU = 1500
	e := &vnetEnd{gvisorEnd: newGvisorEnd(o, macB), fd: fd}
	e.SupportedGSOKind, e.gsoMax = stack.HostGSOSupported, stack.GVisorGSOMaxSize
	// Not for what leaves: segments without data have no GSO options, and the header in front of them could not say what to sum.
	e.LinkEPCapabilities |= stack.CapabilityRXChecksumOffload
	w, err := gvisorOverTUN(e)
	if err != nil {
		return nil, err
	}
	c, err := os.NewFile(uintptr(fd), tunName).SyscallConn()
	if err != nil {
		return nil, err
	}
	go e.read(c)
	return w, nil
}

func gvisorOverTUN(ep stack.LinkEndpoint) (world, error) {
	if err := configure(tunName, hostA); err != nil {
		return nil, err
	}
	b, err := gvisorHost(ep, hostB)
	return &gvisorTUN{kernelWorld{addr: hostB}, b}, err
}

// openTUN creates the interface, and returns a non-blocking descriptor of it.
func openTUN(flags uint16) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, os.NewSyscallError("open /dev/net/tun", err)
	}
	req, err := unix.NewIfreq(tunName)
	if err != nil {
		return 0, err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return 0, os.NewSyscallError("TUNSETIFF", err)
	}
	if flags&unix.IFF_VNET_HDR != 0 {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6); err != nil {
			return 0, os.NewSyscallError("TUNSETOFFLOAD", err)
		}
	}
	return fd, nil
}

const (
	vnetHdrLen    = 10
	vnetNeedsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	vnetTCPv4     = 1 // VIRTIO_NET_HDR_GSO_TCPV4
)

// vnetEnd is a link over a TUN descriptor with the virtio-net header. Of link/channel it has only what describes a link.
type vnetEnd struct {
	*gvisorEnd
	fd int
}

// WritePackets implements stack.LinkEndpoint: one writev a packet, from whoever sends.
func (e *vnetEnd) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for i, p := range pkts.AsSlice() {
		var room [16]unix.Iovec
		hdr := vnetHeader(p)
		slices := p.AsSlices()
		iov := rawfile.AppendIovecFromBytes(room[:0], hdr[:], len(slices)+1)
		for _, s := range slices {
			iov = rawfile.AppendIovecFromBytes(iov, s, len(slices)+1)
		}
		if errno := rawfile.NonBlockingWriteIovec(e.fd, iov); errno != 0 {
			return i, tcpip.TranslateErrno(errno)
		}
	}
	return pkts.Len(), nil
}

// vnetHeader says what is left to the kernel.
func vnetHeader(p *stack.PacketBuffer) (h [vnetHdrLen]byte) {
	o := p.GSOOptions
	if o.Type == stack.GSONone || !o.NeedsCsum {
		return h
	}
	h[0] = vnetNeedsCsum
	binary.NativeEndian.PutUint16(h[2:], uint16(p.HeaderSize()))
	binary.NativeEndian.PutUint16(h[6:], o.L3HdrLen)
	binary.NativeEndian.PutUint16(h[8:], o.CsumOffset)
	if p.Data().Size() > int(o.MSS) {
		h[1] = vnetTCPv4
		binary.NativeEndian.PutUint16(h[4:], o.MSS)
	}
	return h
}

// Small packets fill the first view only, so that they do not pin a large one.
const (
	firstView  = 2048
	secondView = 65536
)

// read delivers what comes until the process ends.
func (e *vnetEnd) read(c syscall.RawConn) {
	var hdr [vnetHdrLen]byte
	first, second := buffer.NewViewSize(firstView), buffer.NewViewSize(secondView)
	for {
		iov := [3]unix.Iovec{{Base: &hdr[0]}, {Base: first.BasePtr()}, {Base: second.BasePtr()}}
		iov[0].SetLen(vnetHdrLen)
		iov[1].SetLen(firstView)
		iov[2].SetLen(secondView)
		n, err := readPacket(c, iov[:])
		if n -= vnetHdrLen; err != nil || n <= 0 {
			return
		}
		first.CapLength(min(n, firstView))
		payload := buffer.MakeWithView(first)
		if first = buffer.NewViewSize(firstView); n > firstView {
			second.CapLength(n - firstView)
			payload.Append(second)
			second = buffer.NewViewSize(secondView)
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
		(*e.dispatcher.Load()).DeliverNetworkPacket(ipv4.ProtocolNumber, p)
		p.DecRef()
	}
}

// readPacket waits in the runtime's poller: a thread in a poll of its own would keep a processor from the stack's goroutines for a while.
func readPacket(c syscall.RawConn, iov []unix.Iovec) (n int, err error) {
	failed := c.Read(func(fd uintptr) bool {
		for {
			r, _, errno := unix.Syscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
			switch errno {
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				return false
			case 0:
				n = int(r)
			default:
				err = errno
			}
			return true
		}
	})
	return n, errors.Join(failed, err)
}
