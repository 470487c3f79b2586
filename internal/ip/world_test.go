package ip

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// The interfaces of the world that tests run in.
const (
	ifOne  = 1 // 192.0.2.1/24, 2001:db8:1::1/64, fe80::1/64; MTU 1500
	ifTwo  = 2 // 198.18.0.1/16, 2001:db8:2::1/64, fe80::2/64; MTU 1280
	ifLoop = 3 // loopback
	ifIso  = 4 // isolated: 192.0.2.1/24, 2001:db8:1::1/64 too
	ifAny  = 5 // AnyDestination: 198.51.100.1/30, 2001:db8:5::1/64
	ifDown = 6 // 203.0.113.1/24
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(s ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, s := range s {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func interfaces() []Interface {
	return []Interface{
		{Index: ifOne, Name: "one", MTU: 1500, Up: true, Addrs: prefixes("192.0.2.1/24", "2001:db8:1::1/64", "fe80::1/64"),
			Groups: []netip.Addr{addr("239.1.2.3"), addr("ff02::99")}},
		{Index: ifTwo, Name: "two", MTU: 1280, Up: true, Addrs: prefixes("198.18.0.1/16", "2001:db8:2::1/64", "fe80::2/64")},
		{Index: ifLoop, Name: "lo", MTU: 65535, Up: true, Loopback: true, Addrs: prefixes("127.0.0.1/8", "::1/128")},
		{Index: ifIso, Name: "iso", MTU: 1500, Up: true, Isolated: true, Addrs: prefixes("192.0.2.1/24", "2001:db8:1::1/64")},
		{Index: ifAny, Name: "any", MTU: 1500, Up: true, AnyDestination: true, Addrs: prefixes("198.51.100.1/30", "2001:db8:5::1/64")},
		{Index: ifDown, Name: "down", MTU: 1500, Addrs: prefixes("203.0.113.1/24")},
	}
}

func routes() []Route {
	return []Route{
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Gateway: addr("192.0.2.254"), Iface: ifOne},
		{Prefix: netip.MustParsePrefix("::/0"), Gateway: addr("fe80::fe"), Iface: ifOne},
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Gateway: addr("192.0.2.254"), Iface: ifIso},
	}
}

// sent is a packet that the layer transmitted.
type sent struct {
	iface int
	b     []byte
	meta  packet.Meta
}

// delivered is a packet that the layer delivered.
type delivered struct {
	Meta
	data  []byte // behind the network header
	state packet.Checksum
	ecn   uint8
}

// world is a Layer and what it did.
type world struct {
	*Layer
	t         testing.TB
	clock     *sched.Virtual
	buffers   *buffer.Pool
	pool      *packet.Pool
	seed      uint64
	sent      []sent
	delivered []delivered
	echoes    []Meta
	errors    []Error
	refuse    bool // what is delivered
	check     bool // transmitted packets for right checksums
}

// newWorld returns a layer with the interfaces above. At the end of the test everything must be released.
func newWorld(t testing.TB, change ...func(*Config)) *world {
	w := &world{t: t, clock: sched.NewVirtual(time.Unix(1, 0)), buffers: buffer.NewPool(buffer.Options{Check: true}), check: true}
	w.pool = packet.NewPool(w.buffers)
	c := Config{
		Clock: w.clock, Rand: w.rand, Packets: w.pool,
		Deliver: w.deliver, Transmit: w.transmit,
		Echo: func(_ sched.Time, p *packet.Packet, m *Meta) bool {
			w.echoes = append(w.echoes, *m)
			p.Release()
			return true
		},
		Error: func(_ sched.Time, e *Error) { w.errors = append(w.errors, *e) },
	}
	for _, change := range change {
		change(&c)
	}
	w.Layer = New(c)
	table, err := NewTable(interfaces(), routes())
	if err != nil {
		t.Fatal(err)
	}
	w.SetTable(table)
	t.Cleanup(func() {
		w.Close()
		if n := w.pool.Outstanding(); n != 0 {
			t.Errorf("%d packets leaked", n)
		}
		if err := w.buffers.Leaked(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) rand() uint64 {
	w.seed += 0x9e3779b97f4a7c15
	z := w.seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (w *world) deliver(_ sched.Time, p *packet.Packet, m *Meta) bool {
	if w.refuse {
		return false
	}
	data := bytes.Join(p.Vec(nil), nil)[p.HeaderSize():]
	w.delivered = append(w.delivered, delivered{*m, data, p.Checksum, p.ECN})
	p.Release()
	return true
}

func (w *world) transmit(iface int, p *packet.Packet) {
	if p.Iface != int32(iface) {
		w.t.Errorf("transmit on %d of a packet for %d", iface, p.Iface)
	}
	if w.check && p.Checksum == packet.ChecksumPartial && p.GSO == packet.GSONone {
		p.FinishChecksum()
	}
	b := bytes.Join(p.Vec(nil), nil)
	if w.check && p.GSO == packet.GSONone {
		if err := checkWire(b); err != nil {
			w.t.Errorf("transmitted %x: %v", b, err)
		}
	}
	w.sent = append(w.sent, sent{iface, b, p.Meta})
	p.Release()
}

// input hands bytes to the layer, in a rope of pieces.
func (w *world) input(iface int, b []byte, change ...func(*packet.Packet)) {
	p := w.pool.Get()
	p.Iface = int32(iface)
	half := len(b) / 2
	p.Data().Append(b[:half])
	c := w.buffers.Get(max(len(b)-half, 1))
	copy(c.Data(), b[half:])
	p.Data().AppendChunk(c, 0, len(b)-half, false)
	for _, change := range change {
		change(p)
	}
	w.Input(w.clock.Now(), p, nil)
}

// take returns what was sent so far, and forgets it.
func (w *world) take() []sent {
	s := w.sent
	w.sent = nil
	return s
}

// naiveSum is the model that checksums are compared with.
func naiveSum(b []byte) uint16 {
	var sum uint32
	for i, c := range b {
		if i%2 == 0 {
			sum += uint32(c) << 8
		} else {
			sum += uint32(c)
		}
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// transportSum is the naive sum of pseudo-header and transport data.
func transportSum(src, dst netip.Addr, protocol wire.Protocol, data []byte) uint16 {
	all := append(src.AsSlice(), dst.AsSlice()...)
	all = append(all, 0, uint8(protocol), byte(len(data)>>8), byte(len(data)))
	return naiveSum(append(all, data...))
}

// checkWire looks at lengths and checksums of an outbound packet; of fragments only the header's.
func checkWire(b []byte) error {
	var src, dst netip.Addr
	var protocol wire.Protocol
	var data []byte
	if wire.IPVersion(b) == 4 {
		h, err := wire.ParseIPv4(b, len(b))
		if err != nil || h.TotalLen() != len(b) || naiveSum(h) != 0xffff {
			return fmt.Errorf("header: %v", err)
		}
		if src, dst, protocol, data = h.Src(), h.Dst(), h.Protocol(), b[len(h):]; h.IsFragment() {
			return nil
		}
		if protocol == wire.ProtoICMP {
			if naiveSum(data) != 0xffff {
				return fmt.Errorf("ICMP checksum")
			}
			return nil
		}
	} else {
		h, err := wire.ParseIPv6(b, len(b))
		if err != nil || h.TotalLen() != len(b) {
			return fmt.Errorf("header: %v", err)
		}
		if src, dst, protocol, data = h.Src(), h.Dst(), h.NextHeader(), b[40:]; protocol == wire.ProtoFragment {
			return nil
		}
	}
	switch protocol {
	case wire.ProtoTCP, wire.ProtoUDP, wire.ProtoICMPv6:
		if transportSum(src, dst, protocol, data) != 0xffff {
			return fmt.Errorf("transport checksum")
		}
	}
	return nil
}

// v4 encodes an IPv4 packet; zero fields are filled in.
func v4(src, dst string, protocol wire.Protocol, data []byte, change ...func(*wire.IPv4Fields)) []byte {
	f := wire.IPv4Fields{TTL: 64, Protocol: protocol, Src: addr(src), Dst: addr(dst)}
	for _, change := range change {
		change(&f)
	}
	if f.TotalLen == 0 {
		f.TotalLen = f.HeaderLen() + len(data)
	}
	b := make([]byte, f.HeaderLen(), f.HeaderLen()+len(data))
	wire.PutIPv4(b, f)
	return append(b, data...)
}

// v6 encodes an IPv6 packet.
func v6(src, dst string, next wire.Protocol, data []byte, change ...func(*wire.IPv6Fields)) []byte {
	f := wire.IPv6Fields{PayloadLen: len(data), HopLimit: 64, NextHeader: next, Src: addr(src), Dst: addr(dst)}
	for _, change := range change {
		change(&f)
	}
	b := make([]byte, wire.IPv6Len, wire.IPv6Len+len(data))
	wire.PutIPv6(b, f)
	return append(b, data...)
}

// udp encodes a datagram with its checksum.
func udp(src, dst string, srcPort, dstPort uint16, data []byte) []byte {
	b := append(make([]byte, wire.UDPLen), data...)
	wire.PutUDP(b, wire.UDPFields{SrcPort: srcPort, DstPort: dstPort, Length: len(b)})
	wire.UDP(b[:8]).SetChecksum(wire.UDPChecksum(transportSum(addr(src), addr(dst), wire.ProtoUDP, b)))
	return b
}

// tcp encodes a segment with its checksum.
func tcp(src, dst string, seq uint32, data []byte) []byte {
	b := append(make([]byte, wire.TCPMinLen), data...)
	binary.BigEndian.PutUint32(b, 7<<16|8)
	binary.BigEndian.PutUint32(b[4:], seq)
	b[12], b[13] = 5<<4, uint8(wire.ACK)
	wire.TCP(b).SetChecksum(^transportSum(addr(src), addr(dst), wire.ProtoTCP, b))
	return b
}

// icmp encodes a message with its checksum; src and dst only matter for ICMPv6.
func icmp(src, dst string, typ, code uint8, rest uint32, body []byte) []byte {
	b := append(make([]byte, 8), body...)
	b[0], b[1] = typ, code
	binary.BigEndian.PutUint32(b[4:], rest)
	sum := naiveSum(b)
	if addr(src).Is6() {
		sum = transportSum(addr(src), addr(dst), wire.ProtoICMPv6, b)
	}
	binary.BigEndian.PutUint16(b[2:], ^sum)
	return b
}

func icmp4Packet(src, dst string, typ, code uint8, rest uint32, body []byte) []byte {
	return v4(src, dst, wire.ProtoICMP, icmp(src, dst, typ, code, rest, body))
}

func icmp6Packet(src, dst string, typ, code uint8, rest uint32, body []byte) []byte {
	return v6(src, dst, wire.ProtoICMPv6, icmp(src, dst, typ, code, rest, body))
}

func udp4(src, dst string, data []byte) []byte {
	return v4(src, dst, wire.ProtoUDP, udp(src, dst, 1000, 2000, data))
}

func udp6(src, dst string, data []byte) []byte {
	return v6(src, dst, wire.ProtoUDP, udp(src, dst, 1000, 2000, data))
}

// pattern is n bytes that differ from place to place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}
