package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/capture"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

var (
	src4, dst4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	src6, dst6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

// newPacket returns an outbound packet whose transport checksum is partial, with n bytes of payload.
func newPacket(pool *packet.Pool, v6 bool, proto wire.Protocol, n int) *packet.Packet {
	p := pool.Get()
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	p.Data().Append(payload)
	header, field := 20, uint16(16)
	if proto == wire.ProtoUDP {
		header, field = 8, 6
	}
	src, dst := src4, dst4
	if v6 {
		src, dst = src6, dst6
	}
	t := p.Push(packet.Transport, header)
	clear(t)
	binary.BigEndian.PutUint16(t, 40000)
	binary.BigEndian.PutUint16(t[2:], 40001)
	if proto == wire.ProtoUDP {
		wire.UDP(t).SetLength(header + n)
	} else {
		t[12], t[13] = 5<<4, 0x18
	}
	binary.BigEndian.PutUint16(t[field:], checksum.PseudoHeader(src, dst, uint8(proto), header+n))
	p.Checksum, p.CsumOffset = packet.ChecksumPartial, field
	if v6 {
		p.CsumStart = wire.IPv6Len
		wire.PutIPv6(p.Push(packet.Network, wire.IPv6Len), wire.IPv6Fields{
			NextHeader: proto, PayloadLen: header + n, HopLimit: 64, Src: src, Dst: dst})
	} else {
		p.CsumStart = wire.IPv4MinLen
		h := wire.PutIPv4(p.Push(packet.Network, wire.IPv4MinLen), wire.IPv4Fields{
			Protocol: proto, TotalLen: wire.IPv4MinLen + header + n, TTL: 64, Src: src, Dst: dst})
		h.SetChecksum(h.ComputeChecksum())
	}
	return p
}

func discard(_ int, batch []*packet.Packet) {
	for _, p := range batch {
		p.Release()
	}
}

func write(t *testing.T, d link.Device, batch ...*packet.Packet) {
	t.Helper()
	if n, err := d.WritePackets(0, batch); n != len(batch) || err != nil {
		t.Fatalf("WritePackets of %d: %d, %v", len(batch), n, err)
	}
}

// record is a packet read back.
type record struct {
	iface string
	link  layers.LinkType
	at    time.Time
	size  int
	flags uint32
	bytes []byte
}

// readBack reads a capture with an independent reader, and the flags, which it does not give, by itself.
func readBack(t *testing.T, b []byte) []record {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	flags := epbFlags(t, b)
	var records []record
	for {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		i, err := r.Interface(ci.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		if ci.CaptureLength != len(data) {
			t.Errorf("capture length %d of %d bytes", ci.CaptureLength, len(data))
		}
		records = append(records, record{i.Name, i.LinkType, ci.Timestamp, ci.Length, flags[len(records)], data})
	}
	if len(flags) != len(records) {
		t.Errorf("%d blocks, %d records", len(flags), len(records))
	}
	return records
}

// epbFlags walks the blocks of a capture and returns the flags of each packet.
func epbFlags(t *testing.T, b []byte) (flags []uint32) {
	t.Helper()
	le := binary.LittleEndian
	for len(b) > 0 {
		kind, length := le.Uint32(b), le.Uint32(b[4:])
		if length%4 != 0 || le.Uint32(b[length-4:]) != length {
			t.Fatalf("block of type %#x: lengths %d and %d", kind, length, le.Uint32(b[length-4:]))
		}
		if kind == 6 {
			options := b[28+(le.Uint32(b[20:])+3)&^3 : length-4]
			if le.Uint16(options) != 2 || le.Uint16(options[2:]) != 4 || le.Uint32(options[8:]) != 0 {
				t.Fatalf("options %x", options)
			}
			flags = append(flags, le.Uint32(options[4:]))
		}
		b = b[length:]
	}
	return flags
}

// verify demands that all checksums and lengths of a record hold.
func verify(t *testing.T, r record) {
	t.Helper()
	first := gopacket.Decoder(layers.LayerTypeIPv4)
	switch {
	case r.link == layers.LinkTypeEthernet:
		first = layers.LayerTypeEthernet
	case r.bytes[0]>>4 == 6:
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(r.bytes, first, gopacket.Default)
	if e := p.ErrorLayer(); e != nil || p.TransportLayer() == nil {
		t.Fatalf("does not decode: %v\n%v", e, p)
	}
	if l, ok := p.TransportLayer().(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		l.SetNetworkLayerForChecksum(p.NetworkLayer())
	}
	err, wrong := p.VerifyChecksums()
	if err != nil || len(wrong) != 0 {
		t.Errorf("checksums: %v, %+v in %v", err, wrong, p)
	}
	if u, ok := p.TransportLayer().(*layers.UDP); ok && int(u.Length) != len(u.Contents)+len(u.Payload) {
		t.Errorf("UDP length %d of %d", u.Length, len(u.Contents)+len(u.Payload))
	}
}

func TestBothDirectionsAndTimes(t *testing.T) {
	pool := packet.NewPool(buffer.NewPool(buffer.Options{Check: true}))
	clock := sched.NewVirtual(time.Unix(1_700_000_000, 123_456_789))
	var file bytes.Buffer
	a, b := pipe.New(pipe.Options{})
	d := capture.NewWriter(&file).Wrap(a, capture.Options{Name: "left"})
	d.Attach(link.Sink{Clock: clock, Deliver: discard})
	b.Attach(link.Sink{Clock: clock, Deliver: func(q int, batch []*packet.Packet) {
		for _, p := range batch {
			p.Depth = 0
		}
		b.WritePackets(q, batch) // an answer from inside the delivery
	}})
	clock.Advance(1)
	want := slices.Concat(newPacket(nil, false, wire.ProtoUDP, 5).Vec(nil)...)
	write(t, d, newPacket(pool, false, wire.ProtoUDP, 5))
	clock.Advance(time.Second)
	write(t, d, newPacket(pool, true, wire.ProtoTCP, 100))
	records := readBack(t, file.Bytes())
	if len(records) != 4 {
		t.Fatalf("%d records", len(records))
	}
	for i, r := range records {
		at, flags := time.Unix(1_700_000_000, 123_456_790), uint32(2-i%2) // outbound, inbound, ...
		if i >= 2 {
			at = at.Add(time.Second)
		}
		if r.iface != "left" || r.link != layers.LinkTypeRaw || !r.at.Equal(at) || r.flags != flags || r.size != len(r.bytes) {
			t.Errorf("record %d: %+v, want time %v, flags %d", i, r, at, flags)
		}
		verify(t, r)
	}
	if got := records[0].bytes; len(got) != len(want) || !bytes.Equal(got[28:], want[28:]) {
		t.Error("other bytes recorded than written")
	}
	if n := pool.Outstanding(); n != 0 {
		t.Errorf("%d packets leaked", n)
	}
}

func TestRecordsAreCompletePacketsAreNot(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, proto := range []wire.Protocol{wire.ProtoTCP, wire.ProtoUDP} {
			for _, gso := range []bool{false, true} {
				for _, state := range []packet.Checksum{packet.ChecksumPartial, packet.ChecksumVerified, packet.ChecksumNone} {
					if state == packet.ChecksumNone && !(gso && proto == wire.ProtoUDP && !v6) {
						continue // of super-segments, only those of UDP over IPv4 may have none
					}
					if state == packet.ChecksumVerified && !gso {
						continue // nothing to complete: it is whole
					}
					n := 999
					if gso {
						n = 60_001
					}
					p := newPacket(nil, v6, proto, n)
					p.Checksum = state
					if gso {
						p.GSOSize, p.GSO = 1000, map[wire.Protocol]packet.GSO{wire.ProtoTCP: packet.GSOTCP4, wire.ProtoUDP: packet.GSOUDP4}[proto]
						if v6 {
							p.GSO++
						}
						h := p.Header(packet.Network) // lengths as one segment's, which some leave in the headers
						if v6 {
							wire.IPv6(h).SetPayloadLen(1020)
						} else {
							wire.IPv4(h).SetTotalLen(1040)
						}
						if proto == wire.ProtoUDP {
							wire.UDP(p.Header(packet.Transport)).SetLength(1008)
						}
						if state == packet.ChecksumNone {
							wire.UDP(p.Header(packet.Transport)).SetChecksum(0)
						}
					}
					before, meta := slices.Concat(p.Vec(nil)...), p.Meta
					var file bytes.Buffer
					a, b := pipe.New(pipe.Options{})
					d := capture.Wrap(a, &file)
					checked := false
					b.Attach(link.Sink{Deliver: func(_ int, batch []*packet.Packet) {
						checked = true
						meta.Depth = 1
						if !bytes.Equal(slices.Concat(batch[0].Vec(nil)...), before) || batch[0].Meta != meta {
							t.Errorf("v6 %v, %v, GSO %v: the packet itself changed", v6, proto, gso)
						}
					}})
					write(t, d, p)
					records := readBack(t, file.Bytes())
					wantRecords, wantSize := 1, len(before)
					if gso && proto == wire.ProtoUDP { // each datagram by itself, headers and all
						wantRecords, wantSize = 61, len(before)-59_001
					}
					if len(records) != wantRecords || records[0].size != wantSize || !checked {
						t.Fatalf("v6 %v, %v, GSO %v: %d records", v6, proto, gso, len(records))
					}
					var payload []byte
					for _, r := range records {
						if state == packet.ChecksumNone {
							if r.bytes[26] != 0 || r.bytes[27] != 0 {
								t.Error("a datagram without checksum was recorded with one")
							}
						} else {
							verify(t, r)
						}
						payload = append(payload, r.bytes[len(before)-n:]...)
					}
					if !bytes.Equal(payload, before[len(before)-n:]) {
						t.Errorf("v6 %v, %v, GSO %v: other payload recorded than written", v6, proto, gso)
					}
				}
			}
		}
	}
}

func TestUDPChecksumOfZeroIsAllOnes(t *testing.T) {
	p := newPacket(nil, false, wire.ProtoUDP, 2)
	full := slices.Concat(p.Vec(nil)...)
	missing := ^checksum.Sum(full[20:28], 0) // so that the sum is all ones, its complement zero
	data, _ := p.Data().PullUp(0, 2)
	binary.BigEndian.PutUint16(data, missing)
	var file bytes.Buffer
	a, _ := pipe.New(pipe.Options{})
	write(t, capture.Wrap(a, &file), p)
	if got := readBack(t, file.Bytes())[0].bytes[26:28]; got[0] != 0xff || got[1] != 0xff {
		t.Errorf("checksum %x", got)
	}
}

func TestSnaplenCutsAfterTheChecksum(t *testing.T) {
	var file bytes.Buffer
	a, _ := pipe.New(pipe.Options{})
	d := capture.NewWriter(&file).Wrap(a, capture.Options{Snaplen: 41})
	p := newPacket(nil, false, wire.ProtoTCP, 500)
	write(t, d, newPacket(nil, false, wire.ProtoTCP, 500))
	r := readBack(t, file.Bytes())[0]
	p.FinishChecksum()
	if want := slices.Concat(p.Vec(nil)...); r.size != 540 || !bytes.Equal(r.bytes, want[:41]) {
		t.Errorf("%d of %d bytes: %x", len(r.bytes), r.size, r.bytes)
	}
}

func TestSeveralDevicesInOneFile(t *testing.T) {
	var file bytes.Buffer
	w := capture.NewWriter(&file)
	var devices []link.Device
	for _, name := range []string{"", "héé", ""} {
		a, b := pipe.New(pipe.Options{})
		b.Attach(link.Sink{Deliver: discard})
		devices = append(devices, w.Wrap(a, capture.Options{Name: name}))
	}
	for _, i := range []int{2, 0, 1, 2} {
		write(t, devices[i], newPacket(nil, false, wire.ProtoTCP, i+1))
	}
	var got []string
	for _, r := range readBack(t, file.Bytes()) {
		got = append(got, r.iface)
	}
	if want := []string{"weir2", "weir0", "héé", "weir2"}; !slices.Equal(got, want) {
		t.Errorf("interfaces %q, want %q", got, want)
	}
}

// stub is a device with a hardware address that takes what it is told to.
type stub struct {
	room int
	addr link.HardwareAddr
	sink link.Sink
}

func (s *stub) Attach(k link.Sink) error { s.sink = k; return nil }
func (s *stub) Info() link.Info          { return link.Info{MTU: 1500, Queues: 1, Addr: s.addr} }
func (s *stub) Close() error             { return nil }

func (s *stub) WritePackets(_ int, batch []*packet.Packet) (int, error) {
	n := min(s.room, len(batch))
	if s.room -= n; n < len(batch) {
		return n, link.ErrFull
	}
	return n, nil
}

func TestEthernet(t *testing.T) {
	for _, tags := range []int{0, 1, 2} {
		var file bytes.Buffer
		d := capture.Wrap(&stub{room: 9, addr: link.HardwareAddr{2, 0, 0, 0, 0, 1}}, &file)
		p := newPacket(nil, false, wire.ProtoTCP, 100)
		h := p.Push(packet.Link, 14+4*tags)
		clear(h)
		for i := range tags {
			binary.BigEndian.PutUint16(h[12+4*i:], 0x8100)
		}
		binary.BigEndian.PutUint16(h[len(h)-2:], 0x0800)
		super := newPacket(nil, false, wire.ProtoTCP, 5000)
		super.GSO, super.GSOSize = packet.GSOTCP4, 1000
		copy(super.Push(packet.Link, len(h)), h)
		write(t, d, p, super)
		records := readBack(t, file.Bytes())
		if len(records) != 2 || records[0].link != layers.LinkTypeEthernet {
			t.Fatalf("%d tags: %+v", tags, records)
		}
		verify(t, records[0])
		verify(t, records[1])
	}
}

func TestRefusedPacketsAreRecordedOnce(t *testing.T) {
	var file bytes.Buffer
	s := &stub{room: 1}
	d := capture.Wrap(s, &file)
	var batch []*packet.Packet
	for i := range 6 {
		batch = append(batch, newPacket(nil, false, wire.ProtoTCP, i))
	}
	step := func(from, to, room, want int) {
		t.Helper()
		s.room = room
		if n, _ := d.WritePackets(0, batch[from:to]); n != want {
			t.Fatalf("took %d, want %d", n, want)
		}
	}
	step(0, 4, 1, 1)
	step(1, 4, 1, 1)
	step(2, 3, 0, 0) // fewer at a time than were refused
	step(2, 3, 1, 1)
	step(3, 5, 1, 1)
	step(4, 5, 1, 1)
	step(5, 6, 0, 0)
	step(0, 1, 1, 1) // gave up 5: 0 is a packet of its own again
	var sizes []int
	for _, r := range readBack(t, file.Bytes()) {
		sizes = append(sizes, r.size-40)
	}
	if want := []int{0, 1, 2, 3, 4, 5, 0}; !slices.Equal(sizes, want) {
		t.Errorf("recorded %v, want %v", sizes, want)
	}
}

// brokenWriter fails after some writes.
type brokenWriter struct{ left int }

var errDisk = errors.New("disk full")

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.left--; w.left < 0 {
		return 0, errDisk
	}
	return len(b), nil
}

func TestWriteErrorEndsRecordingAlone(t *testing.T) {
	for left := range 4 {
		a, b := pipe.New(pipe.Options{})
		w := &brokenWriter{left}
		d := capture.Wrap(a, w).(*capture.Device)
		got := 0
		d.Attach(link.Sink{Deliver: func(_ int, batch []*packet.Packet) { got += len(batch) }})
		b.Attach(link.Sink{Deliver: func(_ int, batch []*packet.Packet) { got += len(batch) }})
		for range 3 {
			write(t, d, newPacket(nil, false, wire.ProtoTCP, 1))
			write(t, b, newPacket(nil, false, wire.ProtoTCP, 1))
		}
		if got != 6 {
			t.Errorf("%d of 6 packets crossed", got)
		}
		if err := d.Err(); !errors.Is(err, errDisk) || w.left != -1 {
			t.Errorf("Err %v, %d writes after the error", err, -1-w.left)
		}
	}
}

func TestNilSinkAndPassThrough(t *testing.T) {
	a, b := pipe.New(pipe.Options{MTU: 4000})
	d := capture.Wrap(a, io.Discard)
	if d.Info() != b.Info() {
		t.Errorf("%+v", d.Info())
	}
	if err := d.Attach(link.Sink{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Attach(link.Sink{}); !errors.Is(err, link.ErrAttached) {
		t.Errorf("second Attach: %v", err)
	}
	write(t, b, newPacket(nil, false, wire.ProtoTCP, 1))
	d.Close()
	if n, err := d.WritePackets(0, []*packet.Packet{newPacket(nil, false, wire.ProtoTCP, 1)}); n != 0 || !errors.Is(err, link.ErrClosed) {
		t.Errorf("after Close: %d, %v", n, err)
	}
}

func TestConcurrentUse(t *testing.T) {
	var file bytes.Buffer
	w := capture.NewWriter(&file)
	a, b := pipe.New(pipe.Options{})
	x, y := w.Wrap(a, capture.Options{}), w.Wrap(b, capture.Options{})
	x.Attach(link.Sink{Clock: sched.Real(), Deliver: func(q int, batch []*packet.Packet) { x.WritePackets(q, batch[:0]) }})
	y.Attach(link.Sink{Clock: sched.Real(), Deliver: func(q int, batch []*packet.Packet) { y.WritePackets(q, batch) }})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				x.WritePackets(0, []*packet.Packet{newPacket(nil, false, wire.ProtoTCP, 10)})
			}
		})
	}
	wg.Wait()
	if n := len(readBack(t, file.Bytes())); n != 4*200*4 { // out of x, into y, out of y, into x
		t.Errorf("%d records", n)
	}
}

func TestRecordingAllocatesNothing(t *testing.T) {
	a, b := pipe.New(pipe.Options{})
	d := capture.Wrap(a, io.Discard)
	batch := []*packet.Packet{newPacket(nil, false, wire.ProtoTCP, 1000)}
	b.Attach(link.Sink{Deliver: func(int, []*packet.Packet) {}})
	if n := testing.AllocsPerRun(100, func() { d.WritePackets(0, batch) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzComplete has packets recorded whose metadata do not fit their bytes.
func FuzzComplete(f *testing.F) {
	f.Add([]byte{0x45, 1, 2, 3}, uint8(1), uint8(1), uint16(20), uint16(16), true)
	f.Add(slices.Concat(newPacket(nil, true, wire.ProtoUDP, 9).Vec(nil)...), uint8(4), uint8(1), uint16(0), uint16(0), false)
	f.Fuzz(func(t *testing.T, b []byte, gso, state uint8, start, offset uint16, ethernet bool) {
		s := &stub{room: math.MaxInt}
		if ethernet {
			s.addr[0] = 2
		}
		var file bytes.Buffer
		d := capture.Wrap(s, &file)
		p := (*packet.Pool)(nil).Get()
		p.Data().Append(b)
		p.GSO, p.Checksum = packet.GSO(gso), packet.Checksum(state)
		p.CsumStart, p.CsumOffset = start, offset
		d.WritePackets(0, []*packet.Packet{p})
		if !bytes.Equal(slices.Concat(p.Vec(nil)...), b) {
			t.Error("the packet changed")
		}
		if r := readBack(t, file.Bytes()); len(r) != 1 || len(r[0].bytes) != len(b) {
			t.Errorf("%+v", r)
		}
	})
}

func TestTsharkOpensIt(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if slices.Contains(strings.FieldsFunc(os.Getenv("WEIR_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' }), "tshark") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	name := filepath.Join(t.TempDir(), "test.pcapng")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	clock := sched.NewVirtual(time.Unix(1_700_000_000, 123_456_789))
	a, b := pipe.New(pipe.Options{})
	d := capture.NewWriter(file).Wrap(a, capture.Options{Name: "left"})
	d.Attach(link.Sink{Clock: clock, Deliver: discard})
	b.Attach(link.Sink{Deliver: discard})
	super := newPacket(nil, true, wire.ProtoTCP, 60_000)
	super.GSO, super.GSOSize = packet.GSOTCP6, 1000
	write(t, d, newPacket(nil, false, wire.ProtoUDP, 50), super)
	write(t, b, newPacket(nil, false, wire.ProtoTCP, 0))
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tshark, "-r", name, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		"-T", "fields", "-E", "separator=,", "-e", "frame.time_epoch", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction",
		"-e", "frame.len", "-e", "tcp.checksum.status", "-e", "udp.checksum.status")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	// direction: 1 inbound, 2 outbound; checksum status: 1 good
	want := `1700000000.123456789,left,0x00000002,78,,1
1700000000.123456789,left,0x00000002,60060,1,
1700000000.123456789,left,0x00000001,40,1,
`
	if string(out) != want {
		t.Errorf("tshark says\n%s\nwant\n%s%s", out, want, stderr.Bytes())
	}
}
