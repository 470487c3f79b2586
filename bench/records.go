package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
)

// timeWaits is the heap that a connection in TIME-WAIT holds, table entry and timer included, by o.Conns of them.
func timeWaits(_ setup, o options) (sample, error) {
	opened, err := openWeir(o)
	if err != nil {
		return sample{}, err
	}
	w := opened.(*weirWorld)
	before := settledHeap()
	for done := 0; done < o.Conns; done += perPort {
		if err := shortLives(w, done, min(perPort, o.Conns-done)); err != nil {
			return sample{}, err
		}
	}
	after := settledHeap()
	if flows := w.a.Stats().Flows; flows != o.Conns {
		return sample{}, fmt.Errorf("%d of %d connections are in TIME-WAIT", flows, o.Conns)
	}
	runtime.KeepAlive(w)
	return sample{Value: float64(after.HeapAlloc-before.HeapAlloc) / float64(o.Conns)}, nil
}

// shortLives opens connections to a port of their own and closes them, the client first.
func shortLives(w *weirWorld, done, n int) error {
	port := uint16(tcpPort + done/perPort)
	l, err := w.listen(port)
	if err != nil {
		return err
	}
	defer l.Close()
	for range n {
		client, server, err := pair(w, l, port)
		if err != nil {
			return err
		}
		client.Close()
		if _, err := server.Read(make([]byte, 1)); err == nil {
			return fmt.Errorf("port %d: data out of nowhere", port)
		}
		server.Close()
	}
	return nil
}

// largestBacklog is how many handshakes a listener has at most.
const largestBacklog = 1 << 16

// handshakes is the heap that a connection in SYN-RECEIVED holds, table entry and timer included: o.Conns SYNs whose SYN-ACKs nobody answers.
func handshakes(_ setup, o options) (sample, error) {
	o.Conns = min(o.Conns, largestBacklog)
	dev := &synSource{}
	s, err := weir.New(weir.Config{Backlog: o.Conns, SynCookies: weir.SynCookiesNever})
	if err != nil {
		return sample{}, err
	}
	if err := weirInterface(s, dev, hostB); err != nil {
		return sample{}, err
	}
	if err := s.SetRoutes([]weir.Route{{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: hostA}}); err != nil {
		return sample{}, err
	}
	if _, err := s.ListenTCP(netip.AddrPortFrom(hostB, tcpPort)); err != nil {
		return sample{}, err
	}
	before := settledHeap()
	dev.send(o.Conns)
	after := settledHeap()
	if flows := s.Stats().Flows; flows != o.Conns {
		return sample{}, fmt.Errorf("%d of %d handshakes are there: %+v", flows, o.Conns, s.Stats().TCP)
	}
	return sample{Value: float64(after.HeapAlloc-before.HeapAlloc) / float64(o.Conns)}, nil
}

// synSource is a device that delivers SYNs, and drops what it is given.
type synSource struct {
	mu   sync.Mutex
	sink link.Sink
}

// Attach implements link.Device.
func (d *synSource) Attach(s link.Sink) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sink = s
	return nil
}

// WritePackets implements link.Device.
func (d *synSource) WritePackets(_ int, batch []*packet.Packet) (int, error) {
	for _, p := range batch {
		p.Release()
	}
	return len(batch), nil
}

// Info implements link.Device.
func (d *synSource) Info() link.Info { return link.Info{MTU: 1500, Queues: 1} }

// Close implements link.Device.
func (d *synSource) Close() error { return nil }

// send delivers n SYNs, each from a client of its own.
func (d *synSource) send(n int) {
	d.mu.Lock()
	sink := d.sink
	d.mu.Unlock()
	for i := range n {
		p := sink.Packets.Get()
		p.Data().Append(syn(i))
		sink.Deliver(0, []*packet.Packet{p})
	}
}

// syn is the i-th client's SYN: from 198.18.0.0/15, with MSS, SACK, timestamps and window scale.
func syn(i int) []byte {
	const head, length = 20, 60
	b := make([]byte, length)
	src := netip.AddrFrom4([4]byte{198, 18 + byte(i>>24), byte(i >> 16), byte(i >> 8)})
	b[0], b[3], b[8], b[9] = 0x45, length, 64, unix.IPPROTO_TCP
	copy(b[12:], src.AsSlice())
	copy(b[16:], hostB.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^checksum.Sum(b[:head], 0))
	t := b[head:]
	binary.BigEndian.PutUint16(t, uint16(1024+i&255))
	binary.BigEndian.PutUint16(t[2:], tcpPort)
	binary.BigEndian.PutUint32(t[4:], uint32(i))
	t[12], t[13] = 10<<4, 0x02
	binary.BigEndian.PutUint16(t[14:], 65535)
	copy(t[20:], []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7})
	binary.BigEndian.PutUint16(t[16:], ^checksum.Sum(t, checksum.PseudoHeader(src, hostB, unix.IPPROTO_TCP, len(t))))
	return b
}
