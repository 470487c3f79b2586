package interop

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
)

// queueWatch notes on which queues of a device the segments of each TCP flow cross.
type queueWatch struct {
	link.Device
	mu    sync.Mutex
	flows map[uint16]*queuesOfFlow // by weir's port and the kernel's, xored: both directions of one
}

// queuesOfFlow has a bit for each queue on which something was sent, and for that by which something came last.
type queuesOfFlow struct{ sent, received uint64 }

func (w *queueWatch) Attach(s link.Sink) error {
	deliver := s.Deliver
	s.Deliver = func(queue int, batch []*packet.Packet) {
		w.note(queue, batch, false)
		deliver(queue, batch)
	}
	return w.Device.Attach(s)
}

func (w *queueWatch) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	w.note(queue, batch, true)
	return w.Device.WritePackets(queue, batch)
}

func (w *queueWatch) note(queue int, batch []*packet.Packet, sent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range batch {
		b := make([]byte, 24)
		for at, piece := 0, p.Vec(nil); at < len(b) && len(piece) > 0; piece = piece[1:] {
			at += copy(b[at:], piece[0])
		}
		if b[0] != 0x45 || b[9] != 6 {
			continue
		}
		key := (uint16(b[20])<<8 | uint16(b[21])) ^ (uint16(b[22])<<8 | uint16(b[23]))
		f := w.flows[key]
		if f == nil {
			f = &queuesOfFlow{}
			w.flows[key] = f
		}
		if sent {
			f.sent |= 1 << queue
		} else {
			f.received = 1 << queue
		}
	}
}

// Each of many connections, opened from either side, sends by one of the queues and soon hears by the same (until it has heard from us the
// kernel chooses by itself), and together they use all.
func TestQueues(t *testing.T) {
	for _, queues := range []int{2, 4} {
		for _, mode := range modes {
			t.Run(fmt.Sprintf("%d %s", queues, mode.name), func(t *testing.T) {
				inNamespace(t, func(t *testing.T) {
					watch := &queueWatch{flows: map[uint16]*queuesOfFlow{}}
					w := newWorld(t, options{plain: mode.plain, queues: queues, wrap: func(d link.Device) link.Device {
						watch.Device = d
						return watch
					}})
					const conns = 24
					var all sync.WaitGroup
					for i := range conns {
						p := dials[i%2].open(w, v4)
						all.Go(func() {
							if err := echoOver(p, block()[:256<<10]); err != nil {
								t.Error(err)
							}
						})
					}
					all.Wait()
					watch.mu.Lock()
					defer watch.mu.Unlock()
					used := uint64(0)
					for _, f := range watch.flows {
						if f.sent&(f.sent-1) != 0 || f.received != f.sent {
							t.Errorf("a connection sends by queues %b and last heard by %b", f.sent, f.received)
						}
						used |= f.sent
					}
					if len(watch.flows) != conns || used != 1<<queues-1 {
						t.Errorf("%d connections use queues %b", len(watch.flows), used)
					}
				})
			})
		}
	}
}

// echoOver sends data from the kernel to weir and, at the same time, from weir to the kernel.
func echoOver(p pair, data []byte) error {
	done := make(chan error, 2)
	for _, c := range [][2]net.Conn{{p.kernel, p.weir}, {p.weir, p.kernel}} {
		go func() {
			_, err := c[0].Write(data)
			c[0].(halfCloser).CloseWrite()
			if err != nil {
				done <- err
			}
		}()
		go func() {
			got, err := io.ReadAll(c[1])
			if err == nil && !bytes.Equal(got, data) {
				err = fmt.Errorf("%d bytes arrived, which are not the %d sent", len(got), len(data))
			}
			done <- err
		}()
	}
	err := <-done
	if second := <-done; err == nil {
		err = second
	}
	return err
}

// Super-datagrams (UDP_SEGMENT) cross in both directions: the kernel's come to weir as such, or one by one where a program has not asked for
// more, and weir's to the kernel.
func TestUSO(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		w := newWorld(t, options{})
		for _, f := range w.families {
			w.superDatagrams(f)
		}
	})
}

func (w *world) superDatagrams(f family) {
	const segment, segs = 1200, 30
	t := w.t
	ours, err := w.stack.ListenUDP(netip.AddrPortFrom(f.weir, 0))
	w.open(ours, err)
	theirs, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.kernel, 0)))
	w.open(theirs, err)
	if err := theirs.SetReadBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	data := block()[:segment*segs-7]
	from, to := addrPort(ours.LocalAddr()), addrPort(theirs.LocalAddr())

	before := w.tun.Stats()
	if n, err := ours.WriteBatch([]weir.Datagram{{Data: data, Addr: to, Segment: segment}}); n != 1 || err != nil {
		t.Fatalf("WriteBatch = %d, %v", n, err)
	}
	if n := w.tun.Stats().TxPackets - before.TxPackets; n != 1 {
		t.Errorf("%s: %d packets were written for one super-datagram", f.name, n)
	}
	b := make([]byte, 64<<10)
	for at := 0; at < len(data); at += segment {
		want := data[at:min(at+segment, len(data))]
		if n, src, err := theirs.ReadFromUDPAddrPort(b); err != nil || src != from || !bytes.Equal(b[:n], want) {
			t.Fatalf("%s: the kernel read %d bytes from %v, %v; want %d", f.name, n, src, err, len(want))
		}
	}

	raw, err := theirs.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment) })
	if err != nil {
		t.Fatal(err)
	}
	for _, gro := range []bool{false, true} {
		if err := ours.SetGRO(gro); err != nil {
			t.Fatal(err)
		}
		before := w.tun.Stats()
		if _, err := theirs.WriteToUDPAddrPort(data, from); err != nil {
			t.Fatal(err)
		}
		ds := []weir.Datagram{{Data: b}}
		for at := 0; at < len(data); at += ds[0].N {
			if n, err := ours.ReadBatch(ds); n != 1 || err != nil {
				t.Fatalf("ReadBatch = %d, %v", n, err)
			}
			d, want := &ds[0], data[at:min(at+segment, len(data))]
			if gro {
				want = data
			}
			if d.Addr != to || !bytes.Equal(d.Data[:d.N], want) || gro && d.Segment != segment {
				t.Fatalf("%s: read %d bytes (segments of %d) from %v, want %d", f.name, d.N, d.Segment, d.Addr, len(want))
			}
		}
		if n := w.tun.Stats().RxPackets - before.RxPackets; n > 3 { // perhaps neighbours are being looked for
			t.Errorf("%s: %d packets were read for one super-datagram", f.name, n)
		}
	}
}
