package offload

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

var (
	a4 = netip.MustParseAddr("192.0.2.1")
	b4 = netip.MustParseAddr("192.0.2.2")
	a6 = netip.MustParseAddr("2001:db8::1")
	b6 = netip.MustParseAddr("2001:db8::2")
)

// pools returns a checking pool whose leaks fail the test.
func pools(t testing.TB) *packet.Pool {
	bufs := buffer.NewPool(buffer.Options{Check: true})
	pool := packet.NewPool(bufs)
	t.Cleanup(func() {
		if n := pool.Outstanding(); n != 0 {
			t.Errorf("%d packets leaked", n)
		}
		if err := bufs.Leaked(); err != nil {
			t.Error(err)
		}
	})
	return pool
}

// seg describes a TCP segment; zero values are those of the segment before all changes.
type seg struct {
	v6       bool
	port     uint16 // source; 0: 1000
	seq, ack uint32
	flags    wire.TCPFlags // 0: ACK
	window   uint16
	options  []byte
	data     []byte
	id       uint16
	noDF     bool
	ttl, tos uint8
	label    uint32
}

// bytes encodes the segment with right checksums.
func (s seg) bytes() []byte {
	if s.port == 0 {
		s.port = 1000
	}
	if s.flags == 0 {
		s.flags = wire.ACK
	}
	if s.ttl == 0 {
		s.ttl = 64
	}
	src, dst, hl := a4, b4, wire.IPv4MinLen
	if s.v6 {
		src, dst, hl = a6, b6, wire.IPv6Len
	}
	tl := wire.TCPMinLen + (len(s.options)+3)&^3
	b := make([]byte, hl+tl+len(s.data))
	if s.v6 {
		wire.PutIPv6(b, wire.IPv6Fields{
			TrafficClass: s.tos, FlowLabel: s.label, PayloadLen: len(b) - hl, NextHeader: wire.ProtoTCP, HopLimit: s.ttl, Src: src, Dst: dst,
		})
	} else {
		wire.PutIPv4(b, wire.IPv4Fields{
			TOS: s.tos, TotalLen: len(b), ID: s.id, DontFragment: !s.noDF, TTL: s.ttl, Protocol: wire.ProtoTCP, Src: src, Dst: dst,
		})
	}
	h := b[hl:]
	binary.BigEndian.PutUint16(h, s.port)
	binary.BigEndian.PutUint16(h[2:], 80)
	binary.BigEndian.PutUint32(h[4:], s.seq)
	binary.BigEndian.PutUint32(h[8:], s.ack)
	binary.BigEndian.PutUint16(h[12:], uint16(tl/4)<<12|uint16(s.flags))
	binary.BigEndian.PutUint16(h[14:], s.window)
	copy(h[20:], s.options)
	copy(h[tl:], s.data)
	binary.BigEndian.PutUint16(h[16:], ^naiveSum(src, dst, 6, h))
	return b
}

// naiveSum is the model that checksums are compared with: RFC 1071 word by word over pseudo-header and segment.
func naiveSum(src, dst netip.Addr, protocol uint8, segment []byte) uint16 {
	all := append(src.AsSlice(), dst.AsSlice()...)
	all = append(all, 0, protocol, byte(len(segment)>>8), byte(len(segment)))
	all = append(all, segment...)
	var sum uint32
	for i, c := range all {
		if i%2 == 0 {
			sum += uint32(c) << 8
		} else {
			sum += uint32(c)
		}
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// inbound makes a received packet of b, in a rope of chunks of its own.
func inbound(pool *packet.Pool, b []byte) *packet.Packet {
	p := pool.Get()
	p.Data().Append(b)
	return p
}

// flatten is all bytes of a packet.
func flatten(p *packet.Packet) []byte {
	return bytes.Join(p.Vec(nil), nil)
}

// pattern is n bytes that differ from place to place.
func pattern(n int, at uint32) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((at+uint32(i))*7 + (at+uint32(i))>>8)
	}
	return b
}

// stream is n bytes from seq on, cut into segments of size bytes.
func stream(base seg, n, size int) []seg {
	var segs []seg
	for at := 0; at < n; at += size {
		s := base
		s.seq = base.seq + uint32(at)
		s.data = pattern(min(size, n-at), s.seq)
		segs = append(segs, s)
	}
	return segs
}

// verifyWire fails unless b is a packet with right lengths and checksums.
func verifyWire(t *testing.T, b []byte) {
	t.Helper()
	var src, dst netip.Addr
	var protocol uint8
	var transport []byte
	if wire.IPVersion(b) == 4 {
		h, err := wire.ParseIPv4(b, len(b))
		if err != nil || h.TotalLen() != len(b) || !h.VerifyChecksum() {
			t.Fatalf("IPv4 header %x: %v", b[:20], err)
		}
		src, dst, protocol, transport = h.Src(), h.Dst(), uint8(h.Protocol()), b[len(h):]
	} else {
		h, err := wire.ParseIPv6(b, len(b))
		if err != nil || h.TotalLen() != len(b) {
			t.Fatalf("IPv6 header %x: %v", b[:40], err)
		}
		src, dst, protocol, transport = h.Src(), h.Dst(), uint8(h.NextHeader()), b[40:]
	}
	if sum := naiveSum(src, dst, protocol, transport); sum != 0xffff {
		t.Fatalf("transport checksum wrong in %x: sum %04x", b, sum)
	}
}
