package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// datagramSizes are bytes of data: none, little, what just fits 1500 bytes of IPv4 and of IPv6 and what does not, and the most.
var datagramSizes = []int{0, 1, 100, 1452, 1453, 1472, 1473, 8000, 32768, 65507}

// packetConn is what the UDP sockets of both sides are.
type packetConn interface {
	net.Conn
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
}

// udpSides are the ways to open a UDP socket on each side.
type udpSide struct {
	name   string
	listen func(*world, netip.AddrPort) (packetConn, error)
	dial   func(*world, netip.AddrPort) (packetConn, error)
	addr   func(family) netip.Addr
}

var udpSides = []udpSide{{
	"kernel",
	func(_ *world, a netip.AddrPort) (packetConn, error) {
		return net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
	},
	func(_ *world, a netip.AddrPort) (packetConn, error) {
		return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(a))
	},
	func(f family) netip.Addr { return f.kernel },
}, {
	"weir",
	func(w *world, a netip.AddrPort) (packetConn, error) { return w.stack.ListenUDP(a) },
	func(w *world, a netip.AddrPort) (packetConn, error) {
		return w.stack.DialUDP(w.ctx, netip.AddrPort{}, a)
	},
	func(f family) netip.Addr { return f.weir },
}}

// Datagrams of every size, whole and in fragments, there and back.
func TestUDP(t *testing.T) {
	inBothModes(t, func(t *testing.T, plain bool) {
		w := newWorld(t, options{plain: plain})
		for _, f := range w.families {
			for i, side := range udpSides {
				other := udpSides[1-i]
				server := w.open(other.listen(w, netip.AddrPortFrom(other.addr(f), 0)))
				client := w.open(side.dial(w, addrPort(server.LocalAddr())))
				for _, n := range datagramSizes {
					if err := datagram(client, server, n); err != nil {
						t.Errorf("%s, %s to %s and back, %d bytes: %v", f.name, side.name, other.name, n, err)
					}
				}
			}
		}
	})
}

// open bounds the time that a socket may take, and closes it with the test.
func (w *world) open(c packetConn, err error) packetConn {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(w.deadline())
	return c
}

// datagram sends n bytes to a server, and from there back.
func datagram(client, server packetConn, n int) error {
	want := block()[n : 2*n]
	buf := make([]byte, 1<<16)
	if k, err := client.Write(want); k != n || err != nil {
		return fmt.Errorf("sending: %d, %w", k, err)
	}
	k, from, err := server.ReadFromUDPAddrPort(buf)
	if err != nil || !bytes.Equal(buf[:k], want) || from != addrPort(client.LocalAddr()) {
		return fmt.Errorf("%d bytes arrived, from %v, %w", k, from, err)
	}
	if k, err := server.WriteToUDPAddrPort(buf[:k], from); k != n || err != nil {
		return fmt.Errorf("sending back: %d, %w", k, err)
	}
	clear(buf)
	if k, _, err = client.ReadFromUDPAddrPort(buf); err != nil || !bytes.Equal(buf[:k], want) {
		return fmt.Errorf("%d bytes came back, %w", k, err)
	}
	return nil
}

// What is too long for a datagram is refused, and nobody hears of it.
func TestUDPTooLong(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		w := newWorld(t, options{})
		for _, side := range udpSides {
			c := w.open(side.dial(w, netip.AddrPortFrom(udpSides[0].addr(v4), 9)))
			if side.name == "kernel" {
				c = w.open(side.dial(w, netip.AddrPortFrom(v4.weir, 9)))
			}
			if _, err := c.Write(make([]byte, 65508)); !errors.Is(err, syscall.EMSGSIZE) {
				t.Errorf("%s: %v, want EMSGSIZE", side.name, err)
			}
		}
	})
}

// A connected socket learns by ICMP that nobody listens, each time.
func TestUDPRefused(t *testing.T) {
	inBothModes(t, func(t *testing.T, plain bool) {
		w := newWorld(t, options{plain: plain})
		for _, f := range w.families {
			for i, side := range udpSides {
				c := w.open(side.dial(w, netip.AddrPortFrom(udpSides[1-i].addr(f), 9)))
				for range 3 {
					if _, err := c.Write([]byte("anybody?")); err != nil {
						t.Errorf("%s, %s: writing: %v", f.name, side.name, err)
					}
					if _, err := c.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNREFUSED) {
						t.Errorf("%s, %s: reading: %v, want ECONNREFUSED", f.name, side.name, err)
					}
				}
			}
		}
	})
}
