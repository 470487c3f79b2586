package tun

import (
	"net"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// Benchmarks run as root: they enter no namespace, since a benchmark cannot be executed again, and remove what they make.

func openBench(b *testing.B, deliver func(*Device, *packet.Pool, []*packet.Packet)) (*Device, *packet.Pool) {
	d, err := Open("weirbench0", Options{MTU: 9000})
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { d.Close() })
	nstest.Addr(b, "weirbench0", kernel4.String()+"/24")
	pool := packet.NewPool(buffer.NewPool(buffer.Options{}))
	d.Attach(link.Sink{Packets: pool, Clock: sched.Real(), Deliver: func(_ int, batch []*packet.Packet) {
		deliver(d, pool, batch)
		for _, p := range batch {
			p.Release()
		}
	}})
	return d, pool
}

// BenchmarkRoundTrip is an echo request and its reply: a write, a wake-up and a read.
func BenchmarkRoundTrip(b *testing.B) {
	replied := make(chan bool, 64)
	d, pool := openBench(b, func(_ *Device, _ *packet.Pool, batch []*packet.Packet) {
		for _, p := range batch {
			if h, _ := p.Peek(1); h[0] == 0x45 {
				replied <- true
			}
		}
	})
	request := echo(ours4, kernel4, 56)
	batch := make([]*packet.Packet, 1)
	for b.Loop() {
		p := pool.Get()
		copy(p.Push(packet.Network, len(request)), request)
		batch[0] = p
		d.WritePackets(0, batch)
		<-replied
	}
}

// BenchmarkRead is the kernel sending datagrams of 8000 bytes as fast as it can.
func BenchmarkRead(b *testing.B) {
	const n = 8000
	packets := 0
	batches := 0
	d, _ := openBench(b, func(_ *Device, _ *packet.Pool, batch []*packet.Packet) { packets += len(batch); batches++ })
	s, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ours4, 9)))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.SetBytes(n)
	payload := pattern(n)
	for b.Loop() {
		s.Write(payload)
	}
	d.Close()
	b.ReportMetric(float64(packets)/float64(b.N), "delivered/op")
	b.ReportMetric(float64(packets)/float64(max(batches, 1)), "packets/batch")
}

// BenchmarkWrite is batches of 16 datagrams of 8000 bytes for a socket of the kernel's that nobody reads.
func BenchmarkWrite(b *testing.B) {
	const n = 8000
	d, pool := openBench(b, func(*Device, *packet.Pool, []*packet.Packet) {})
	s, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 7})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.SetBytes(n * 16)
	f := &far{Device: d, t: b, packets: pool}
	p := f.datagram(netip.AddrPortFrom(ours4, 9), netip.AddrPortFrom(kernel4, 7), pattern(n), true)
	defer p.Release()
	batch := make([]*packet.Packet, 16)
	for b.Loop() {
		for i := range batch {
			batch[i] = p.Clone()
		}
		d.WritePackets(0, batch)
	}
}
