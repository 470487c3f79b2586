package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// echo is an ICMP echo request with n bytes of data.
func echo(src, dst netip.Addr, n int) []byte {
	b := append([]byte{8, 0, 0, 0, 0x12, 0x34, 0, 1}, pattern(n)...)
	protocol := byte(protoICMP)
	if src.Is6() {
		b[0], protocol = 128, protoICMP6
	}
	seal(b, 2, protocol, src, dst, 0, false)
	return append(ipHeader(src, dst, protocol, len(b)), b...)
}

// What we write the kernel answers, both families and both ways, of all sizes that end up in different chunks.
func TestEcho(t *testing.T) {
	for mode, o := range modes {
		t.Run(mode, func(t *testing.T) {
			nstest.Run(t, func(t *testing.T) {
				o.MTU = 9000
				f := openFar(t, o)
				for _, size := range []int{0, 56, 1472, 2019, 2020, 2021, 8000} {
					f.echo(ours4, kernel4, size)
					f.echo(ours6, kernel6, size)
				}
				if s := f.Stats(); s.TxPackets != 14 || s.RxPackets < 14 || s.RxBad != 0 || s.TxDropped != 0 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

func (f *far) echo(src, dst netip.Addr, size int) {
	f.t.Helper()
	f.send(f.packet(echo(src, dst, size)))
	protocol, reply := byte(protoICMP), byte(0)
	if src.Is6() {
		protocol, reply = protoICMP6, 129
	}
	p, b := f.await("echo reply", func(b []byte) bool {
		h, ok := transport(b, protocol, dst, src)
		return ok && h[0] == reply
	})
	defer p.Release()
	h, _ := transport(b, protocol, dst, src)
	if !bytes.Equal(h[8:], pattern(size)) {
		f.t.Errorf("the reply to %d bytes has other %d", size, len(h)-8)
	}
	if p.Received == 0 {
		f.t.Error("Received is not set")
	}
}

// Small packets hold a small chunk only; of large ones the front lies in one too.
func TestChunks(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		f := openFar(t, Options{MTU: 9000})
		for _, tt := range []struct{ size, footprint int }{{1000, 2048}, {2048, 2048}, {2049, 2048 + 64<<10 + 512}} {
			f.send(f.packet(echo(ours4, kernel4, tt.size-28)))
			p, _ := f.await("echo reply", func(b []byte) bool { return len(b) == tt.size })
			if n := p.Data().Footprint(); n != tt.footprint {
				t.Errorf("a packet of %d bytes holds %d, want %d", tt.size, n, tt.footprint)
			}
			p.Release()
		}
	})
}

// datagram makes a UDP datagram; partial leaves the checksum to the device.
func (f *far) datagram(src, dst netip.AddrPort, payload []byte, partial bool) *packet.Packet {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b[0:], src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	b = append(b, payload...)
	seal(b, udpChecksum, protoUDP, src.Addr(), dst.Addr(), 0, partial)
	ip := ipHeader(src.Addr(), dst.Addr(), protoUDP, len(b))
	p := f.packet(append(ip, b...))
	if partial {
		p.Checksum, p.CsumStart, p.CsumOffset = packet.ChecksumPartial, uint16(len(ip)), udpChecksum
	}
	return p
}

// A partial checksum is finished by the kernel, or by us where it is not asked to, and is right in either case; a wrong one is still
// found to be wrong.
func TestUDPToKernel(t *testing.T) {
	for mode, o := range modes {
		t.Run(mode, func(t *testing.T) {
			nstest.Run(t, func(t *testing.T) {
				f := openFar(t, o)
				for _, a := range [][2]netip.Addr{{ours4, kernel4}, {ours6, kernel6}} {
					s, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a[1], 7)))
					if err != nil {
						t.Fatal(err)
					}
					defer s.Close()
					s.SetReadDeadline(time.Now().Add(patience))
					src, dst := netip.AddrPortFrom(a[0], 9), netip.AddrPortFrom(a[1], 7)
					wrong := f.datagram(src, dst, []byte("wrong"), true)
					wrong.Checksum = packet.ChecksumNone
					f.send(wrong)
					f.send(f.datagram(src, dst, pattern(1001), true))
					f.send(f.datagram(src, dst, pattern(1002), false))
					got := make([]byte, 2000)
					for _, n := range []int{1001, 1002} {
						m, from, err := s.ReadFromUDPAddrPort(got)
						if err != nil || from != src || !bytes.Equal(got[:m], pattern(n)) {
							t.Errorf("the kernel read %d bytes from %v, %v; want %d from %v", m, from, err, n, src)
						}
					}
				}
			})
		})
	}
}

// What the kernel sends has a partial checksum, which finishes to the right one, or a complete one.
func TestUDPFromKernel(t *testing.T) {
	for mode, o := range modes {
		t.Run(mode, func(t *testing.T) {
			nstest.Run(t, func(t *testing.T) {
				f := openFar(t, o)
				for _, a := range [][2]netip.Addr{{ours4, kernel4}, {ours6, kernel6}} {
					s, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a[0], 7)))
					if err != nil {
						t.Fatal(err)
					}
					defer s.Close()
					if _, err := s.Write(pattern(999)); err != nil {
						t.Fatal(err)
					}
					p, b := f.await("datagram", func(b []byte) bool { _, ok := transport(b, protoUDP, a[1], a[0]); return ok })
					want := packet.ChecksumPartial
					if o.NoOffload {
						want = packet.ChecksumNone
					}
					if p.Checksum != want {
						t.Errorf("checksum state %d, want %d", p.Checksum, want)
					}
					if h, _ := transport(b, protoUDP, a[1], a[0]); want == packet.ChecksumPartial && (int(p.CsumStart) != len(b)-len(h) || p.CsumOffset != udpChecksum) {
						t.Errorf("checksum at %d+%d of %d bytes", p.CsumStart, p.CsumOffset, len(b))
					}
					if p.Checksum == packet.ChecksumPartial {
						p.FinishChecksum()
					}
					h, _ := transport(bytes.Join(p.Vec(nil), nil), protoUDP, a[1], a[0])
					if sum := checksum.Sum(h, checksum.PseudoHeader(a[1], a[0], protoUDP, len(h))); sum != 0xffff {
						t.Errorf("the datagram sums to %#x", sum)
					}
					p.Release()
				}
			})
		})
	}
}

// A packet in more pieces than a writev takes arrives all the same.
func TestManyPieces(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		f := openFar(t, Options{})
		s, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 7})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.SetReadDeadline(time.Now().Add(patience))
		for _, pieces := range []int{maxPieces - 29, maxPieces - 28, maxPieces - 27, 5000} {
			payload := pattern(pieces)
			whole := f.datagram(netip.AddrPortFrom(ours4, 9), netip.AddrPortFrom(kernel4, 7), payload, true)
			p := f.packets.Get()
			p.Meta = whole.Meta
			for _, b := range bytes.Join(whole.Vec(nil), nil) {
				p.Data().AppendOwned([]byte{b})
			}
			whole.Release()
			if n := len(p.Vec(nil)); n != 28+pieces {
				t.Fatalf("the packet has %d pieces, want %d", n, 28+pieces)
			}
			f.send(p)
			got := make([]byte, 10000)
			if n, err := s.Read(got); err != nil || !bytes.Equal(got[:n], payload) {
				t.Errorf("the kernel read %d bytes, %v, want %d", n, err, pieces)
			}
		}
	})
}

// A deleted interface ends the reading, and is said to be down; what is written to it is dropped.
func TestDeleted(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		f := openFar(t, Options{})
		nstest.Delete(t, "weir0")
		select {
		case i := <-f.changed:
			if !i.Down || !f.Info().Down {
				t.Errorf("changed to %+v, Info %+v, want down", i, f.Info())
			}
		case <-time.After(patience):
			t.Fatal("nothing was said")
		}
		f.send(f.packet(echo(ours4, kernel4, 0)))
		if s := f.Stats(); s.TxDropped != 1 {
			t.Errorf("stats %+v, want one dropped", s)
		}
	})
}

// An interface that is down takes nothing, and takes again when it is up.
func TestDown(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		f := openFar(t, Options{})
		nstest.Down(t, "weir0")
		f.send(f.packet(echo(ours4, kernel4, 0)))
		if s := f.Stats(); s.TxDropped != 1 || s.TxPackets != 0 {
			t.Errorf("stats %+v, want one dropped", s)
		}
		nstest.Up(t, "weir0")
		f.echo(ours4, kernel4, 0)
	})
}

// Super-segments that no plain device takes, and ones without the checksum that cutting needs, are dropped and counted.
func TestRefused(t *testing.T) {
	for mode, o := range modes {
		t.Run(mode, func(t *testing.T) {
			nstest.Run(t, func(t *testing.T) {
				f := openFar(t, o)
				p := f.packet(echo(ours4, kernel4, 3000))
				p.GSO, p.GSOSize = packet.GSOTCP4, 1000
				f.send(p)
				if s := f.Stats(); s.TxDropped != 1 || s.TxPackets != 0 {
					t.Errorf("stats %+v, want one dropped", s)
				}
				f.send(f.packets.Get()) // of no bytes
				if s := f.Stats(); s.TxDropped != 2 {
					t.Errorf("stats %+v, want two dropped", s)
				}
			})
		})
	}
}

// While the kernel has no room WritePackets answers ErrFull, and Writable says when it has. (It seldom has none: what is in flight is in
// a thread that is writing it. So many threads write, with a send buffer for one packet.)
func TestFull(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		f := openFar(t, Options{})
		f.queues[0].raw.Control(func(fd uintptr) {
			if err := unix.IoctlSetPointerInt(int(fd), unix.TUNSETSNDBUF, 2000); err != nil {
				t.Fatal(err)
			}
		})
		const writers, each = 4, 1000
		rounds := uint64(0)
		for start := time.Now(); f.Stats().TxFull == 0 && time.Since(start) < patience; rounds++ {
			var all sync.WaitGroup
			for range writers {
				all.Go(func() {
					for range each {
						p := f.datagram(netip.AddrPortFrom(ours4, 9), netip.AddrPortFrom(kernel4, 7), pattern(1400), true)
						if !f.writeAll(p) {
							return
						}
					}
				})
			}
			all.Wait()
		}
		if s := f.Stats(); s.TxPackets != rounds*writers*each || s.TxDropped != 0 || s.TxFull == 0 {
			t.Errorf("stats %+v, want %d sent and some that had to wait", s, rounds*writers*each)
		}
	})
}

// writeAll writes p, waiting for room where there is none.
func (f *far) writeAll(p *packet.Packet) bool {
	for {
		room := f.room.Load()
		n, err := f.WritePackets(0, []*packet.Packet{p})
		if n == 1 && err == nil {
			return true
		}
		if n != 0 || !errors.Is(err, link.ErrFull) {
			f.t.Errorf("WritePackets = %d, %v", n, err)
			p.Release()
			return false
		}
		select {
		case <-*room:
		case <-time.After(patience):
			f.t.Error("nobody said that there is room")
			p.Release()
			return false
		}
	}
}

// Close ends the reader, is a barrier for Deliver, and may be called twice and from many goroutines.
func TestClose(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.TUN(t)
		for range 50 {
			d, err := Open("weir0", Options{})
			if err != nil {
				t.Fatal(err)
			}
			nstest.Addr(t, "weir0", kernel4.String()+"/24")
			f := &far{Device: d, t: t, packets: packet.NewPool(nil)}
			var closed atomic.Bool
			started := make(chan struct{}, 1)
			if err := d.Attach(link.Sink{Packets: f.packets, Deliver: func(_ int, batch []*packet.Packet) {
				if closed.Load() {
					t.Error("delivered after Close")
				}
				for _, p := range batch {
					p.Release()
				}
				select {
				case started <- struct{}{}:
				default:
				}
				f.WritePackets(0, []*packet.Packet{f.packet(echo(ours4, kernel4, 0))}) // keeps it going
			}}); err != nil {
				t.Fatal(err)
			}
			if err := d.Attach(link.Sink{}); !errors.Is(err, link.ErrAttached) {
				t.Errorf("the second Attach: %v", err)
			}
			f.send(f.packet(echo(ours4, kernel4, 0)))
			<-started
			var closers sync.WaitGroup
			for range 3 {
				closers.Go(func() {
					if err := d.Close(); err != nil {
						t.Error(err)
					}
					closed.Store(true)
				})
			}
			closers.Wait()
			p := f.packet(echo(ours4, kernel4, 0))
			if n, err := d.WritePackets(0, []*packet.Packet{p}); n != 0 || !errors.Is(err, link.ErrClosed) {
				t.Errorf("WritePackets after Close = %d, %v", n, err)
			}
			if err := d.Attach(link.Sink{}); !errors.Is(err, link.ErrClosed) {
				t.Errorf("Attach after Close: %v", err)
			}
		}
	})
}

// Neither reading nor writing allocates, by any queue.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for mode, o := range modes {
		for _, queues := range []int{1, 3} {
			t.Run(fmt.Sprint(mode, " ", queues), func(t *testing.T) {
				o := o
				o.Queues = queues
				nstest.Run(t, func(t *testing.T) { testAllocs(t, o) })
			})
		}
	}
}

func testAllocs(t *testing.T, o Options) {
	nstest.TUN(t)
	o.MTU = 9000
	d, err := Open("weir0", o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	nstest.Addr(t, "weir0", kernel4.String()+"/24")
	pool, replied := packet.NewPool(buffer.NewPool(buffer.Options{})), make(chan int, 64)
	d.Attach(link.Sink{Packets: pool, Clock: sched.Real(), Deliver: func(queue int, batch []*packet.Packet) {
		for _, p := range batch {
			if b, _ := p.Peek(1); b[0] == 0x45 {
				replied <- queue
			}
			p.Release()
		}
	}})
	request := echo(ours4, kernel4, 4000)
	batch := make([]*packet.Packet, 1)
	queue, replies := 0, make([]int, o.Queues)
	n := testing.AllocsPerRun(500, func() {
		p := pool.Get()
		copy(p.Push(packet.Network, 20), request)
		p.Data().Append(request[20:])
		batch[0] = p
		d.WritePackets(queue, batch)
		replies[<-replied]++ // the kernel answers by the queue on which it was asked
		queue = (queue + 1) % o.Queues
	})
	if n != 0 {
		t.Errorf("%v allocations a round trip", n)
	}
	for queue, n := range replies {
		if n < 501/o.Queues {
			t.Errorf("%d replies came by queue %d, want a share of 501: %v", n, queue, replies)
		}
	}
}
