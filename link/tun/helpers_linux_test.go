package tun

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

const patience = 10 * time.Second // for what must come

var (
	kernel4, ours4 = netip.MustParseAddr("198.18.1.1"), netip.MustParseAddr("198.18.1.2")
	kernel6, ours6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

// modes are the two ways in which packets cross.
var modes = map[string]Options{"offload": {}, "plain": {NoOffload: true}}

// far is the hand-made far end of a device: what the kernel sends comes out of in.
type far struct {
	*Device
	t       testing.TB
	packets *packet.Pool
	in      chan *packet.Packet
	changed chan link.Info
	room    atomic.Pointer[chan struct{}] // closed when there is room
}

// openFar makes weir0 with addresses in this namespace, and attaches to it.
func openFar(t testing.TB, o Options) *far {
	t.Helper()
	nstest.TUN(t)
	d, err := Open("weir0", o)
	if err != nil {
		t.Fatal(err)
	}
	nstest.Addr(t, "weir0", kernel4.String()+"/24")
	nstest.Addr(t, "weir0", kernel6.String()+"/64")
	return attach(t, d)
}

func attach(t testing.TB, d *Device) *far {
	t.Helper()
	buffers := buffer.NewPool(buffer.Options{Check: true})
	f := &far{Device: d, t: t, packets: packet.NewPool(buffers), in: make(chan *packet.Packet, 4096), changed: make(chan link.Info, 8)}
	f.newRoom()
	err := d.Attach(link.Sink{
		Deliver: func(_ int, batch []*packet.Packet) {
			for _, p := range batch {
				f.in <- p
			}
		},
		Changed:  func(i link.Info) { f.changed <- i },
		Writable: func(int) { close(*f.newRoom()) },
		Packets:  f.packets,
		Clock:    sched.Real(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		for len(f.in) > 0 {
			(<-f.in).Release()
		}
		if n := f.packets.Outstanding(); n != 0 {
			t.Errorf("%d packets leaked", n)
		}
		if err := buffers.Leaked(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// newRoom returns the channel to close when there is room, and puts a new one in its place.
func (f *far) newRoom() *chan struct{} {
	c := make(chan struct{})
	return f.room.Swap(&c)
}

// packet makes an outbound packet: the front of b in the header block, the rest payload.
func (f *far) packet(b []byte) *packet.Packet {
	p := f.packets.Get()
	n := min(len(b), 80)
	copy(p.Push(packet.Network, n), b)
	p.Data().Append(b[n:])
	return p
}

// send hands one packet to the kernel.
func (f *far) send(p *packet.Packet) {
	f.t.Helper()
	if n, err := f.WritePackets(0, []*packet.Packet{p}); n != 1 || err != nil {
		f.t.Fatalf("WritePackets = %d, %v", n, err)
	}
}

// await returns the next packet that is wanted and drops others (the kernel looks for IPv6 routers and the like). The caller releases it.
func (f *far) await(what string, wanted func(b []byte) bool) (*packet.Packet, []byte) {
	f.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case p := <-f.in:
			b := make([]byte, p.Size())
			p.Data().ReadAt(b, 0)
			if wanted(b) {
				return p, b
			}
			p.Release()
		case <-timeout:
			f.t.Fatalf("no %s came; device: %+v", what, f.Stats())
		}
	}
}

// transport returns the transport header and what follows; false if b is not of the protocol, from src to dst.
func transport(b []byte, protocol byte, src, dst netip.Addr) ([]byte, bool) {
	if src.Is4() {
		if len(b) < 20 || b[0] != 0x45 || b[9] != protocol || !bytes.Equal(b[12:16], src.AsSlice()) || !bytes.Equal(b[16:20], dst.AsSlice()) {
			return nil, false
		}
		return b[20:], true
	}
	if len(b) < 40 || b[0]>>4 != 6 || b[6] != protocol || !bytes.Equal(b[8:24], src.AsSlice()) || !bytes.Equal(b[24:40], dst.AsSlice()) {
		return nil, false
	}
	return b[40:], true
}

const (
	protoICMP, protoTCP, protoUDP, protoICMP6 = 1, 6, 17, 58
)

// ipHeader is the header of a packet with n bytes behind it.
func ipHeader(src, dst netip.Addr, protocol byte, n int) []byte {
	if src.Is6() {
		b := make([]byte, 40)
		b[0], b[6], b[7] = 0x60, protocol, 64
		binary.BigEndian.PutUint16(b[4:], uint16(n))
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
		return b
	}
	b := make([]byte, 20)
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+n))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^checksum.Sum(b, 0))
	return b
}

// seal puts the checksum of transport, from src to dst, at off: the complete one, or the pseudo-header's alone.
func seal(t []byte, off int, protocol byte, src, dst netip.Addr, payload int, partial bool) {
	sum := checksum.PseudoHeader(src, dst, protocol, len(t)+payload)
	if protocol == protoICMP {
		sum = 0
	}
	if !partial {
		sum = ^checksum.Sum(t, sum)
	}
	binary.BigEndian.PutUint16(t[off:], sum)
}

// pattern is n bytes that tell where they are.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}
