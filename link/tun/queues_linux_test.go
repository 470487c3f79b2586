package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
)

// The kernel sends a flow by the queue on which it was last heard from, whichever that is.
func TestQueues(t *testing.T) {
	for mode, o := range modes {
		t.Run(mode, func(t *testing.T) {
			nstest.Run(t, func(t *testing.T) {
				o.Queues = 4
				f := openFar(t, o)
				if i := f.Info(); i.Queues != 4 {
					t.Fatalf("Info %+v", i)
				}
				s, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(kernel4, 7)))
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				s.SetDeadline(time.Now().Add(patience))
				for n := range 32 {
					queue, ours := n*n%4, netip.AddrPortFrom(ours4, uint16(1000+n%8)) // most flows change their queue
					p := f.datagram(ours, netip.AddrPortFrom(kernel4, 7), pattern(100), true)
					if n, err := f.WritePackets(queue, []*packet.Packet{p}); n != 1 || err != nil {
						t.Fatalf("WritePackets = %d, %v", n, err)
					}
					b := make([]byte, 200)
					if _, from, err := s.ReadFromUDPAddrPort(b); err != nil || from != ours {
						t.Fatalf("the kernel read from %v, %v", from, err)
					}
					if _, err := s.WriteToUDPAddrPort(b[:50], ours); err != nil {
						t.Fatal(err)
					}
					p, _ = f.await("datagram", func(b []byte) bool {
						h, ok := transport(b, protoUDP, kernel4, ours4)
						return ok && binary.BigEndian.Uint16(h[2:]) == ours.Port()
					})
					if int(p.Queue) != queue {
						t.Errorf("heard from on queue %d, the kernel sends by queue %d", queue, p.Queue)
					}
					p.Release()
				}
			})
		})
	}
}

// Files of several queues are one device; those of two interfaces are none.
func TestFromFiles(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.TUN(t)
		files, err := OpenFiles("weir0", Options{Queues: 3})
		if err != nil {
			t.Fatal(err)
		}
		other, err := OpenFile("weir1", Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		var e *Error
		if _, err := FromFiles(append(files[:2:2], other), Options{}); !errors.As(err, &e) || e.Fix == "" {
			t.Errorf("files of two interfaces: %v", err)
		}
		if _, err := FromFiles(files, Options{Queues: 2}); !errors.As(err, &e) || e.Fix == "" {
			t.Errorf("three files for two queues: %v", err)
		}
		if _, err := FromFiles(nil, Options{}); !errors.As(err, &e) {
			t.Errorf("no files: %v", err)
		}
		if _, err := OpenFile("weir2", Options{Queues: 2}); !errors.As(err, &e) || e.Fix != "use OpenFiles" {
			t.Errorf("one file for two queues: %v", err)
		}
		d, err := FromFiles(files, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			f.Close()
		}
		if i := d.Info(); i.Queues != 3 || i.MTU != 1500 {
			t.Errorf("Info %+v", i)
		}
		nstest.Addr(t, "weir0", kernel4.String()+"/24")
		f := attach(t, d)
		for range 4 {
			f.echo(ours4, kernel4, 100)
		}
		nstest.Delete(t, "weir0")
		select {
		case i := <-f.changed:
			if !i.Down {
				t.Errorf("Info %+v after the interface was deleted", i)
			}
		case <-time.After(patience):
			t.Error("nobody said that the interface was deleted")
		}
		d.Close()
		if n := len(f.changed); n != 0 {
			t.Errorf("said %d times more", n)
		}
	})
}

// Plain packets are read into a small chunk until one does not fit, for the MTU has been raised: that one is lost.
func TestMTURaised(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		f := openFar(t, Options{NoOffload: true})
		f.echo(ours4, kernel4, 1472)
		l, err := netlink.LinkByName(f.Name())
		if err == nil {
			err = netlink.LinkSetMTU(l, 9000)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.send(f.packet(echo(ours4, kernel4, 4000)))
		f.echo(ours4, kernel4, 4000)
		f.echo(ours4, kernel4, 10)
		if s := f.Stats(); s.RxBad != 1 {
			t.Errorf("stats %+v, want one bad", s)
		}
	})
}

// Super-datagrams cross in both directions, and are their datagrams at the other end.
func TestUSO(t *testing.T) {
	const size, segs = 1000, 20
	nstest.Run(t, func(t *testing.T) {
		f := openFar(t, Options{})
		if f.Info().Offloads&link.TxUSO == 0 {
			nstest.Missing(t, "uso", "this kernel's TUN has no USO")
		}
		data := pattern(size*segs - 100) // the last is short
		for _, a := range [][2]netip.Addr{{ours4, kernel4}, {ours6, kernel6}} {
			s, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a[1], 7)))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.SetDeadline(time.Now().Add(patience))
			src, dst := netip.AddrPortFrom(a[0], 9), netip.AddrPortFrom(a[1], 7)
			gso := packet.GSOUDP4
			if src.Addr().Is6() {
				gso = packet.GSOUDP6
			}

			p := f.datagram(src, dst, data, true)
			p.GSO, p.GSOSize = gso, size
			f.send(p)
			got := make([]byte, 2*size)
			for at := 0; at < len(data); at += size {
				want := data[at:min(at+size, len(data))]
				n, from, err := s.ReadFromUDPAddrPort(got)
				if err != nil || from != src || !bytes.Equal(got[:n], want) {
					t.Fatalf("the kernel read %d bytes from %v, %v; want %d; device %+v", n, from, err, len(want), f.Stats())
				}
			}

			raw, err := s.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) })
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.WriteToUDPAddrPort(data, src); err != nil {
				t.Fatal(err)
			}
			p, b := f.await("datagram", func(b []byte) bool { _, ok := transport(b, protoUDP, a[1], a[0]); return ok })
			h, _ := transport(b, protoUDP, a[1], a[0])
			if p.GSO != gso || p.GSOSize != size || p.Segs != segs || p.Checksum != packet.ChecksumPartial || !bytes.Equal(h[8:], data) {
				t.Errorf("%d bytes came from the kernel, %+v", len(h), p.Meta)
			}
			p.Release()
		}
	})
}
