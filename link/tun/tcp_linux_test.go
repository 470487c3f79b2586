package tun

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/packet"
)

const (
	flagFIN, flagSYN, flagPSH, flagACK = 1, 2, 8, 16

	tcpPort = 80
	mss     = 1000 // ours
	ourISN  = 1 << 20
)

// segment makes a TCP segment of ours, with MSS and window scale if it is a SYN, its checksum partial.
func (f *far) segment(src, dst netip.AddrPort, flags byte, seq, ack uint32, payload []byte) *packet.Packet {
	header := make([]byte, tcpMinHeader)
	if flags&flagSYN != 0 {
		header = append(header, 2, 4, mss>>8, mss&0xff, 1, 3, 3, 7) // MSS; NOP; window scale 7
	}
	binary.BigEndian.PutUint16(header[0:], src.Port())
	binary.BigEndian.PutUint16(header[2:], dst.Port())
	binary.BigEndian.PutUint32(header[4:], seq)
	binary.BigEndian.PutUint32(header[8:], ack)
	header[tcpDataOffset], header[tcpFlags] = byte(len(header)/4)<<4, flags
	binary.BigEndian.PutUint16(header[14:], 60000) // window
	seal(header, tcpChecksum, protoTCP, src.Addr(), dst.Addr(), len(payload), true)
	ip := ipHeader(src.Addr(), dst.Addr(), protoTCP, len(header)+len(payload))
	p := f.packet(append(append(ip, header...), payload...))
	p.Checksum, p.CsumStart, p.CsumOffset = packet.ChecksumPartial, uint16(len(ip)), tcpChecksum
	if len(payload) > mss {
		p.GSO, p.GSOSize = packet.GSOTCP4, mss
		if src.Addr().Is6() {
			p.GSO = packet.GSOTCP6
		}
	}
	return p
}

// tcp waits for a segment of the kernel's with one of the flags, and returns it and its header and payload.
func (f *far) tcp(src, dst netip.Addr, flags byte) (p *packet.Packet, header, payload []byte) {
	f.t.Helper()
	p, b := f.await("TCP segment", func(b []byte) bool {
		h, ok := transport(b, protoTCP, src, dst)
		return ok && h[tcpFlags]&flags != 0
	})
	h, _ := transport(b, protoTCP, src, dst)
	n := int(h[tcpDataOffset]>>4) * 4
	return p, h[:n], h[n:]
}

// answer completes the handshake of the connection that the kernel opens to us, and returns where both are: the port it has, and its
// next sequence number.
func (f *far) answer(kernel, ours netip.Addr) (from netip.AddrPort, seq uint32) {
	f.t.Helper()
	p, syn, _ := f.tcp(kernel, ours, flagSYN)
	p.Release()
	from = netip.AddrPortFrom(kernel, binary.BigEndian.Uint16(syn))
	seq = binary.BigEndian.Uint32(syn[4:]) + 1
	f.send(f.segment(netip.AddrPortFrom(ours, tcpPort), from, flagSYN|flagACK, ourISN, seq, nil))
	p, ack, _ := f.tcp(kernel, ours, flagACK)
	p.Release()
	if got := binary.BigEndian.Uint32(ack[8:]); got != ourISN+1 {
		f.t.Fatalf("the kernel acknowledges %d, want %d", got, ourISN+1)
	}
	return from, seq
}

// A connection of the kernel's to us: its data comes as super-segments whose checksum can be finished, and what we send as one
// super-segment it reads whole. (Plain devices carry the handshake and one segment each way.)
func TestTCP(t *testing.T) {
	for mode, o := range modes {
		t.Run(mode, func(t *testing.T) {
			nstest.Run(t, func(t *testing.T) {
				f := openFar(t, o)
				f.connection(kernel4, ours4)
				f.connection(kernel6, ours6)
			})
		})
	}
}

func (f *far) connection(kernel, ours netip.Addr) {
	t, size := f.t, 8*mss
	gso := packet.GSOTCP4
	if kernel.Is6() {
		gso = packet.GSOTCP6
	}
	if f.Info().Offloads == 0 {
		size, gso = mss, packet.GSONone
	}
	dialed := make(chan net.Conn, 1)
	go func() {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(ours, tcpPort).String(), patience)
		if err != nil {
			t.Error(err)
		}
		dialed <- c
	}()
	from, seq := f.answer(kernel, ours)
	c := <-dialed
	if c == nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))

	// From the kernel: eight segments fit its initial window, and it sends them as one.
	if _, err := c.Write(pattern(size)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	most := uint16(0)
	for len(got) < size {
		p, header, payload := f.tcp(kernel, ours, flagACK)
		if at := binary.BigEndian.Uint32(header[4:]) - seq; int(at) != len(got) {
			t.Fatalf("segment at %d, want at %d", at, len(got))
		}
		got = append(got, payload...)
		f.checkSegment(p, kernel, ours, gso, len(payload))
		most = max(most, p.Segs)
		p.Release()
	}
	if !bytes.Equal(got, pattern(size)) {
		t.Error("the kernel sent other bytes")
	}
	if gso != packet.GSONone && most < 2 {
		t.Error("the kernel sent no super-segment")
	}

	// To the kernel.
	f.send(f.segment(netip.AddrPortFrom(ours, tcpPort), from, flagACK|flagPSH, ourISN+1, seq+uint32(size), pattern(size)))
	read := make([]byte, size)
	if _, err := io.ReadFull(c, read); err != nil || !bytes.Equal(read, pattern(size)) {
		t.Errorf("the kernel read other bytes, %v; device %+v", err, f.Stats())
	}
}

// checkSegment checks the metadata of a segment of the kernel's with n bytes of payload, and that its checksum is right, or can be made so.
func (f *far) checkSegment(p *packet.Packet, src, dst netip.Addr, gso packet.GSO, n int) {
	f.t.Helper()
	if n > mss {
		if p.GSO != gso || p.GSOSize != mss || int(p.Segs) != (n+mss-1)/mss || p.Checksum != packet.ChecksumPartial {
			f.t.Errorf("a segment of %d bytes: %+v", n, p.Meta)
		}
	} else if p.GSO != packet.GSONone {
		f.t.Errorf("a segment of %d bytes: %+v", n, p.Meta)
	}
	if p.GSO != packet.GSONone { // FinishChecksum is not for these, but the sum of the whole must be finishable
		p.GSO = packet.GSONone
	}
	if p.Checksum == packet.ChecksumPartial {
		p.FinishChecksum()
	}
	h, _ := transport(bytes.Join(p.Vec(nil), nil), protoTCP, src, dst)
	if sum := checksum.Sum(h, checksum.PseudoHeader(src, dst, protoTCP, len(h))); sum != 0xffff {
		f.t.Errorf("a segment of %d bytes sums to %#x", n, sum)
	}
}
