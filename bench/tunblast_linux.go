package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/checksum"
)

// blaster is the least that a TCP of this kernel's talks to over TUN: headers with the right numbers, nothing kept, nothing copied. It is
// how fast a stream of packets of 1500 bytes can be if all that is not a system call costs nothing. It knows one connection, no options
// but window scale and MSS, and goes back to what was acknowledged when that stands still.
type blaster struct {
	fd            int
	out           [wirePacket]byte // a data segment; the payload is zeros
	ack           [segmentHead]byte
	in            [2048]byte
	local, remote netip.AddrPort
	next          uint32 // what we send next
	una           uint32 // what was acknowledged
	window        uint32 // what the kernel offers
	received      uint32 // what the kernel sends next
	total         int64
}

const (
	segmentHead  = 40
	blastPayload = wirePacket - segmentHead
	blastScale   = 14
	blastWindow  = 40 // 640 KiB: what the device has room for, 500 packets, for what is lost is not found again quickly
	flagSYN      = 0x02
	flagRST      = 0x04
	flagACK      = 0x10
)

func newBlaster(local, remote netip.AddrPort) (*blaster, error) {
	fd, err := openTUN(0)
	if err != nil {
		return nil, err
	}
	if err := configure(tunName, hostA); err != nil {
		return nil, err
	}
	return &blaster{fd: fd, local: local, remote: remote}, nil
}

// send writes one segment; b has room for it and nothing but zeros behind its headers and options.
func (b *blaster) send(buf []byte, seq uint32, flags byte, options []byte) error {
	clear(buf[:segmentHead])
	buf[0], buf[6], buf[8], buf[9] = 0x45, 0x40, 64, unix.IPPROTO_TCP
	binary.BigEndian.PutUint16(buf[2:], uint16(len(buf)))
	src, dst := b.local.Addr().As4(), b.remote.Addr().As4()
	copy(buf[12:], src[:])
	copy(buf[16:], dst[:])
	binary.BigEndian.PutUint16(buf[10:], ^checksum.Sum(buf[:20], 0))
	t := buf[20:]
	binary.BigEndian.PutUint16(t, b.local.Port())
	binary.BigEndian.PutUint16(t[2:], b.remote.Port())
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], b.received)
	t[12], t[13] = byte(20+len(options))<<2, flags
	binary.BigEndian.PutUint16(t[14:], blastWindow)
	copy(t[20:], options)
	pseudo := checksum.PseudoHeader(b.local.Addr(), b.remote.Addr(), unix.IPPROTO_TCP, len(t))
	binary.BigEndian.PutUint16(t[16:], ^checksum.Sum(t[:20+len(options)], pseudo))
	_, err := unix.Write(b.fd, buf)
	return err
}

// synOptions are MSS 1460 and the window scale.
var synOptions = []byte{2, 4, 5, 180, 1, 3, 3, blastScale}

func (b *blaster) sendSYN(flags byte) error {
	return b.send(make([]byte, segmentHead+len(synOptions)), 0, flags|flagSYN, synOptions)
}

// segment is what is needed of one that the kernel sent.
type segment struct {
	seq, ack, window uint32
	flags            byte
	port             uint16
	payload          int
}

// read gives the next segment of TCP; ok is false if there is none now.
func (b *blaster) read() (s segment, ok bool, err error) {
	for {
		n, err := unix.Read(b.fd, b.in[:])
		if err != nil {
			if errors.Is(err, unix.EAGAIN) {
				err = nil
			}
			return s, false, err
		}
		if n < segmentHead || b.in[0] != 0x45 || b.in[9] != unix.IPPROTO_TCP {
			continue
		}
		t := b.in[20:n]
		return segment{
			seq: binary.BigEndian.Uint32(t[4:]), ack: binary.BigEndian.Uint32(t[8:]), window: uint32(binary.BigEndian.Uint16(t[14:])),
			flags: t[13], port: binary.BigEndian.Uint16(t), payload: len(t) - int(t[12]>>4)*4,
		}, true, nil
	}
}

// await reads until a segment with all of the flags comes.
func (b *blaster) await(flags byte) (segment, error) {
	for start := time.Now(); time.Since(start) < 10*time.Second; {
		s, ok, err := b.read()
		switch {
		case err != nil:
			return s, err
		case ok && s.flags&flags == flags:
			return s, nil
		case !ok:
			b.poll(100)
		}
	}
	return segment{}, errors.New("the kernel does not answer")
}

func (b *blaster) poll(ms int) {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(b.fd), Events: unix.POLLIN}}, ms)
}

// blastIn takes what the kernel sends, and acknowledges it when nothing more is there, or after 32 packets.
func blastIn(_ setup, o options) (sample, error) {
	b, err := newBlaster(netip.AddrPortFrom(hostB, tcpPort), netip.AddrPort{})
	if err != nil {
		return sample{}, err
	}
	go func() {
		if c, err := (&kernelWorld{addr: hostB}).dial(tcpPort); err == nil {
			pour(c)
		}
	}()
	runtime.LockOSThread()
	s, err := b.await(flagSYN)
	if err != nil {
		return sample{}, err
	}
	b.remote, b.received = netip.AddrPortFrom(hostA, s.port), s.seq+1
	if err := b.sendSYN(flagACK); err != nil {
		return sample{}, err
	}
	b.next = 1
	return b.measure(o, b.takeSome)
}

func (b *blaster) takeSome() error {
	taken := 0
	for range 32 {
		s, ok, err := b.read()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if s.flags&flagRST != 0 {
			return io.ErrUnexpectedEOF
		}
		if taken++; s.seq == b.received {
			b.received += uint32(s.payload)
			b.total += int64(s.payload)
		}
	}
	if taken == 0 {
		b.poll(100)
		return nil
	}
	return b.send(b.ack[:], b.next, flagACK, nil)
}

// blastOut sends as much as the kernel's window takes, and reads acknowledgments when it is full, or every 32 packets.
func blastOut(_ setup, o options) (sample, error) {
	b, err := newBlaster(netip.AddrPortFrom(hostB, 10_000), netip.AddrPortFrom(hostA, tcpPort))
	if err != nil {
		return sample{}, err
	}
	l, err := (&kernelWorld{addr: hostA, far: netns.None()}).listen(tcpPort)
	if err != nil {
		return sample{}, err
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			buf := make([]byte, piece)
			for err == nil {
				_, err = c.Read(buf)
			}
		}
	}()
	runtime.LockOSThread()
	if err := b.sendSYN(0); err != nil {
		return sample{}, os.NewSyscallError("write the SYN", err)
	}
	s, err := b.await(flagSYN | flagACK)
	if err != nil {
		return sample{}, err
	}
	scale := scaleOf(b.in[segmentHead:])
	b.received, b.next, b.una, b.window = s.seq+1, 1, 1, s.window
	if err := b.send(b.ack[:], b.next, flagACK, nil); err != nil {
		return sample{}, err
	}
	return b.measure(o, func() error { return b.giveSome(scale) })
}

func (b *blaster) giveSome(scale uint8) error {
	for sent := 0; sent < 32 && b.una+b.window-b.next >= blastPayload && b.una+b.window-b.next < 1<<31; sent++ {
		if err := b.send(b.out[:], b.next, flagACK, nil); err != nil {
			return err
		}
		b.next += blastPayload
	}
	full := b.una+b.window-b.next < blastPayload
	if full {
		b.poll(5)
	}
	heard := false
	for {
		s, ok, err := b.read()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if s.flags&flagRST != 0 {
			return io.ErrUnexpectedEOF
		}
		b.total += int64(s.ack - b.una)
		heard, b.una, b.window = true, s.ack, s.window<<scale
	}
	if full && !heard {
		b.next = b.una // something was lost
	}
	return nil
}

// scaleOf finds the window scale among a SYN's options.
func scaleOf(options []byte) uint8 {
	for i := 0; i+2 < len(options); {
		switch kind := options[i]; {
		case kind == 0:
			return 0
		case kind == 1:
			i++
		case kind == 3:
			return options[i+2]
		default:
			i += max(2, int(options[i+1]))
		}
	}
	return 0
}

// measure repeats one step.
func (b *blaster) measure(o options, step func() error) (sample, error) {
	loop := func(d time.Duration) error {
		for start := time.Now(); time.Since(start) < d; {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := loop(warmUp(o)); err != nil {
		return sample{}, err
	}
	from := b.total
	m, err := startMeter(o)
	if err != nil {
		return sample{}, err
	}
	err = loop(o.Time)
	return bulkSample(b.total-from, m.stop(), options{MTU: wirePacket}), err
}
