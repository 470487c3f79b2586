package weir_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
)

// udpSockets is a connected socket of a's and the one of b's that it sends to.
func udpSockets(t testing.TB, a, b *weir.Stack) (client, server *weir.UDPConn) {
	t.Helper()
	server, err := b.ListenUDP(netip.AddrPortFrom(addrB4, 9))
	if err != nil {
		t.Fatal(err)
	}
	if client, err = a.DialUDP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 9)); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// datagrams is n of them with room for size bytes each, whose first byte is their number.
func datagrams(n, size int) []weir.Datagram {
	ds := make([]weir.Datagram, n)
	for i := range ds {
		ds[i].Data = make([]byte, size)
		ds[i].Data[0] = byte(i)
	}
	return ds
}

// A batch waits for its first datagram, not for more; a deadline or a close ends the waiting.
func TestReadBatch(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, a, b *weir.Stack) {
		x, y := udpSockets(t, a, b)
		in := datagrams(10, 100)
		if n, err := y.ReadBatch(nil); n != 0 || err != nil {
			t.Error(n, err)
		}
		var n int
		read := func() (err error) { n, err = y.ReadBatch(in); return err }
		time.AfterFunc(time.Minute, func() { x.WriteBatch(datagrams(1, 64)) })
		if err := took(t, "the first", time.Minute, time.Minute, read); err != nil || n != 1 || in[0].N != 64 || in[0].Addr != x.LocalAddr().(*net.UDPAddr).AddrPort() {
			t.Errorf("%d read: %v", n, err)
		}
		x.WriteBatch(datagrams(13, 64))
		for _, c := range []struct{ n, third int }{{10, 2}, {3, 12}} {
			if err := took(t, "more", 0, 0, read); err != nil || n != c.n || int(in[2].Data[0]) != c.third {
				t.Errorf("%d read, want %d: %v", n, c.n, err)
			}
		}
		y.SetReadDeadline(time.Now().Add(time.Second))
		if err := took(t, "deadline", time.Second, time.Second, read); !errors.Is(err, os.ErrDeadlineExceeded) || n != 0 {
			t.Error(n, err)
		}
		x.WriteBatch(datagrams(1, 64)) // a deadline that is over goes before what is there
		if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) || n != 0 {
			t.Error(n, err)
		}
		y.SetReadDeadline(time.Time{})
		if err := read(); err != nil || n != 1 {
			t.Error(n, err)
		}
		time.AfterFunc(time.Second, func() { y.Close() })
		if err := took(t, "close", time.Second, time.Second, read); !errors.Is(err, net.ErrClosed) || n != 0 {
			t.Error(n, err)
		}
		if err := y.SetGRO(true); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		x.WriteBatch(datagrams(1, 64)) // nobody is there
		if _, err := x.ReadBatch(in); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
	})
}

// What cannot be sent ends a batch, and those before it have left.
func TestWriteBatchErrors(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, a, b *weir.Stack) {
		x, y := udpSockets(t, a, b)
		to := netip.AddrPortFrom(addrB4, 9)
		u, err := a.ListenUDP(netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name string
			u    *weir.UDPConn
			good netip.AddrPort
			bad  weir.Datagram
			want error
		}{
			{"connected, to another", x, netip.AddrPort{}, weir.Datagram{Addr: netip.AddrPortFrom(addrB4, 10)}, net.ErrWriteToConnected},
			{"connected, to its peer", x, to, weir.Datagram{Addr: to, Data: []byte{2}}, nil},
			{"no address", u, to, weir.Datagram{}, nil /* not one that is exported */},
			{"no way", u, to, weir.Datagram{Addr: netip.MustParseAddrPort("198.18.0.1:9")}, syscall.ENETUNREACH},
			{"too large", u, to, weir.Datagram{Addr: to, Data: make([]byte, 65508)}, syscall.EMSGSIZE},
			{"segment", u, to, weir.Datagram{Addr: to, Data: []byte{2}, Segment: -2}, syscall.EINVAL},
		} {
			ds := datagrams(4, 64)
			for i := range ds {
				ds[i].Addr = c.good
			}
			ds[2] = c.bad
			n, err := c.u.WriteBatch(ds)
			want := 2
			if c.name == "connected, to its peer" {
				want = 4
			}
			if n != want || (err == nil) != (want == 4) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s: %d sent, %v", c.name, n, err)
			}
			if op := (*net.OpError)(nil); err != nil && (!errors.As(err, &op) || op.Op != "write") {
				t.Errorf("%s: %v is no *net.OpError of a write", c.name, err)
			}
			in := datagrams(10, 100)
			if n, err := y.ReadBatch(in); n != want || err != nil {
				t.Errorf("%s: %d arrived: %v", c.name, n, err)
			}
		}
		u.Close()
		if n, err := u.WriteBatch([]weir.Datagram{{Addr: to}}); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Error(n, err)
		}
	})
}

// jammed is a device that takes nothing until it is told to.
type jammed struct {
	sink  link.Sink
	open  atomic.Bool
	taken atomic.Int64
}

func (d *jammed) Attach(s link.Sink) error { d.sink = s; return nil }
func (d *jammed) Info() link.Info          { return link.Info{MTU: 1500, Queues: 1} }
func (d *jammed) Close() error             { return nil }

func (d *jammed) WritePackets(_ int, batch []*packet.Packet) (int, error) {
	if !d.open.Load() {
		return 0, link.ErrFull
	}
	for _, p := range batch {
		p.Release()
	}
	d.taken.Add(int64(len(batch)))
	return len(batch), nil
}

// A batch for which the interface has no room waits where it is, up to the deadline or a close, and goes on from there.
func TestWriteBatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newStack(t, weir.Config{}), &jammed{}
		join(t, s, weir.InterfaceConfig{Device: d, Addrs: prefixes(addrA4)})
		u, err := s.DialUDP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 9))
		if err != nil {
			t.Fatal(err)
		}
		ds := datagrams(4000, 1000)
		u.SetWriteDeadline(time.Now().Add(time.Second))
		var n int
		err = took(t, "deadline", time.Second, time.Second, func() (err error) { n, err = u.WriteBatch(ds); return err })
		if !errors.Is(err, os.ErrDeadlineExceeded) || n < 500 || n == len(ds) {
			t.Fatalf("%d sent: %v", n, err)
		}
		u.SetWriteDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { d.open.Store(true); d.sink.Writable(0) })
		var rest int
		err = took(t, "room", time.Second, time.Second, func() (err error) { rest, err = u.WriteBatch(ds[n:]); return err })
		if err != nil || n+rest != len(ds) {
			t.Errorf("%d and %d sent: %v", n, rest, err)
		}
		synctest.Wait()
		if d.taken.Load() != int64(len(ds)) || s.Stats().UDP.DatagramsOut != uint64(len(ds)) {
			t.Errorf("%d have left, %d counted", d.taken.Load(), s.Stats().UDP.DatagramsOut)
		}
		d.open.Store(false)
		time.AfterFunc(time.Second, func() { u.Close() })
		err = took(t, "close", time.Second, time.Second, func() (err error) { n, err = u.WriteBatch(ds); return err })
		if !errors.Is(err, net.ErrClosed) || n < 500 || n == len(ds) {
			t.Errorf("%d sent: %v", n, err)
		}
		d.open.Store(true)
		d.sink.Writable(0)
	})
}

// Batches of datagrams of one size, of several, and with a Segment allocate nothing.
func TestBatchesAllocateNothing(t *testing.T) {
	for name, o := range map[string]pipe.Options{"with offloads": {}, "without": {NoOffload: true}} {
		t.Run(name, func(t *testing.T) {
			a, b := newPair(t, weir.Config{}, o)
			x, y := udpSockets(t, a, b)
			in := datagrams(100, 2000)
			for what, out := range map[string][]weir.Datagram{
				"equal":    datagrams(64, 64),
				"mixed":    append(append(datagrams(3, 64), datagrams(3, 1200)...), datagrams(3, 300)...),
				"segments": {{Data: make([]byte, 12_000), Segment: 1200}},
			} {
				want := len(out)
				if what == "segments" {
					want = 10
				}
				noAllocs(t, what, func() {
					if n, err := x.WriteBatch(out); n != len(out) || err != nil {
						t.Fatal(n, err)
					}
					for n := 0; n < want; {
						k, err := y.ReadBatch(in)
						if err != nil {
							t.Fatal(err)
						}
						n += k
					}
				})
			}
		})
	}
}
