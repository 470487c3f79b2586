package main

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/checksum"
)

// wirePacket is the packet of the limits: 1500 bytes of IPv4 and UDP.
const wirePacket = 1500

// limitRead is a loop of plain reads while another thread keeps the device full: large UDP sends, which the kernel cuts into packets.
func limitRead(_ setup, o options) (sample, error) {
	fd, err := openTUN(0)
	if err != nil {
		return sample{}, err
	}
	if err := configure(tunName, hostA); err != nil {
		return sample{}, err
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(hostB, udpPort)))
	if err != nil {
		return sample{}, err
	}
	if err := cutBy(c, wirePacket-28); err != nil {
		return sample{}, err
	}
	go func() {
		buf := make([]byte, 44*(wirePacket-28))
		for {
			_, _ = c.Write(buf) // what the device has no room for is lost
		}
	}()
	buf := make([]byte, 2048)
	return timeCalls(o, func() (int64, error) {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			runtime.Gosched()
			return 0, nil
		}
		return int64(n), err
	})
}

// cutBy has the kernel cut what is sent into datagrams of so many bytes (UDP_SEGMENT).
func cutBy(c *net.UDPConn, size int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) })
	return errors.Join(failed, os.NewSyscallError("UDP_SEGMENT", err))
}

// limitWrite is a loop of plain writes for a socket whose buffer is full.
func limitWrite(_ setup, o options) (sample, error) {
	fd, err := openTUN(0)
	if err != nil {
		return sample{}, err
	}
	if err := configure(tunName, hostA); err != nil {
		return sample{}, err
	}
	if _, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(hostA, udpPort))); err != nil {
		return sample{}, err
	}
	p := udpPacket(netip.AddrPortFrom(hostB, udpPort), netip.AddrPortFrom(hostA, udpPort), wirePacket)
	return timeCalls(o, func() (int64, error) {
		n, err := unix.Write(fd, p)
		return int64(n), err
	})
}

// udpPacket is a packet of the given length, without UDP checksum.
func udpPacket(src, dst netip.AddrPort, length int) []byte {
	p := make([]byte, length)
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(length))
	copy(p[12:], src.Addr().AsSlice())
	copy(p[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20], 0))
	binary.BigEndian.PutUint16(p[20:], src.Port())
	binary.BigEndian.PutUint16(p[22:], dst.Port())
	binary.BigEndian.PutUint16(p[24:], uint16(length-20))
	return p
}

// timeCalls makes system calls for o.Time, and counts the bytes as a stream's payload would be counted.
func timeCalls(o options, call func() (int64, error)) (sample, error) {
	runtime.LockOSThread()
	loop := func(d time.Duration) (n int64, err error) {
		for start := time.Now(); time.Since(start) < d; {
			for range 64 {
				b, err := call()
				if err != nil {
					return n, err
				}
				n += b
			}
		}
		return n, nil
	}
	if _, err := loop(warmUp(o)); err != nil {
		return sample{}, err
	}
	m, err := startMeter(o)
	if err != nil {
		return sample{}, err
	}
	n, err := loop(o.Time)
	return bulkSample(n*(wirePacket-headers)/wirePacket, m.stop(), options{MTU: wirePacket}), err
}
