package tun

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// Plain packets of which many wait are read while earlier ones are delivered: one delivery at a time, in order, none once the device is
// closed, and none lost or kept.
func TestReadAhead(t *testing.T) {
	for _, all := range []bool{true, false} { // have everything delivered before Close, or not
		nstest.Run(t, func(t *testing.T) { testReadAhead(t, all) })
	}
}

func testReadAhead(t *testing.T, all bool) {
	const datagrams = 400 // the kernel keeps 500 packets for a TUN device
	nstest.TUN(t)
	d, err := Open("weir0", Options{NoOffload: true})
	if err != nil {
		t.Fatal(err)
	}
	nstest.Addr(t, "weir0", kernel4.String()+"/24")
	pool := packet.NewPool(buffer.NewPool(buffer.Options{Check: true}))
	var inside atomic.Int32
	started, gate, last := make(chan struct{}, datagrams), make(chan struct{}), make(chan struct{})
	next := uint32(0)
	err = d.Attach(link.Sink{Packets: pool, Clock: sched.Real(), Deliver: func(_ int, batch []*packet.Packet) {
		if inside.Add(1) != 1 {
			t.Error("two deliveries at once")
		}
		started <- struct{}{}
		<-gate
		for _, p := range batch {
			b := make([]byte, p.Size())
			p.Data().ReadAt(b, 0)
			p.Release()
			if h, ok := transport(b, protoUDP, kernel4, ours4); ok {
				if n := binary.BigEndian.Uint32(h[8:]); n != next {
					t.Errorf("datagram %d came, want %d", n, next)
				}
				if next++; next == datagrams {
					close(last)
				}
			}
		}
		inside.Add(-1)
	}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ours4, 9)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for n := range datagrams {
		if _, err := s.Write(binary.BigEndian.AppendUint32(nil, uint32(n))); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			<-started // the first is being delivered, and the others have to wait
		}
	}
	gate <- struct{}{}
	<-started
	for start := time.Now(); d.Stats().RxPackets < 2*batchPackets; runtime.Gosched() {
		if time.Since(start) > patience {
			t.Fatalf("nothing is read while a batch is delivered: %+v", d.Stats())
		}
	}
	close(gate)
	if all {
		select {
		case <-last:
		case <-time.After(patience):
			t.Errorf("not everything came: %+v", d.Stats())
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if n := inside.Load(); n != 0 {
		t.Errorf("%d deliveries under way after Close", n)
	}
	if n := pool.Outstanding(); n != 0 {
		t.Errorf("%d packets are left", n)
	}
}
