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

// counts are those at which records are weighed: tables grow in steps, and one count might be the best or the worst of a step.
func counts(n int) (all []int) {
	for tenths := 6; tenths <= 10; tenths++ {
		all = append(all, n*tenths/10)
	}
	return all
}

// timeWaits is the heap that a connection in TIME-WAIT holds, table entry and timer included, by up to o.Conns of them: at the server, or at
// a client that has talked to several ports. The client's local ports are many connections' then, which the stack has to count.
func timeWaits(s setup, o options) (all []sample, err error) {
	opened, err := openWeir(o)
	if err != nil {
		return nil, err
	}
	w := opened.(*weirWorld)
	first, holder := false, w.b
	if s.name == "weir/time-wait-client" {
		first, holder = true, w.a
	}
	before, done := settledHeap(), 0
	for i, n := range counts(o.Conns) {
		for part := 0; done < n; part++ {
			more := min(perPort, n-done)
			if err := shortLives(w, uint16(tcpPort+10*i+part), more, first); err != nil {
				return nil, err
			}
			done += more
		}
		if flows := holder.Stats().Flows; flows != n {
			return nil, fmt.Errorf("%d of %d connections are in TIME-WAIT", flows, n)
		}
		all = append(all, recordSample(before, n))
	}
	runtime.KeepAlive(w)
	return all, nil
}

func recordSample(before runtime.MemStats, n int) sample {
	after := settledHeap()
	return sample{Value: float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / float64(n), Note: fmt.Sprintf("up to %d", n)}
}

// shortLives opens connections to a port of their own and closes them, the client first or the server.
func shortLives(w *weirWorld, port uint16, n int, clientFirst bool) error {
	l, err := w.listen(port)
	if err != nil {
		return err
	}
	defer l.Close()
	b := make([]byte, 1)
	for range n {
		first, second, err := pair(w, l, port)
		if err != nil {
			return err
		}
		if !clientFirst {
			first, second = second, first
		}
		first.Close()
		if _, err := second.Read(b); err == nil {
			return fmt.Errorf("port %d: data out of nowhere", port)
		}
		second.Close()
	}
	return nil
}

// largestBacklog is how many handshakes a listener has at most.
const largestBacklog = 1 << 16

// handshakes is the heap that a connection in SYN-RECEIVED holds, table entry and timer included: o.Conns SYNs whose SYN-ACKs nobody answers.
func handshakes(_ setup, o options) (all []sample, err error) {
	o.Conns = min(o.Conns, largestBacklog)
	dev := &synSource{}
	s, err := weir.New(weir.Config{Backlog: o.Conns, SynCookies: weir.SynCookiesNever})
	if err != nil {
		return nil, err
	}
	if err := weirInterface(s, dev, hostB); err != nil {
		return nil, err
	}
	if err := s.SetRoutes([]weir.Route{{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: hostA}}); err != nil {
		return nil, err
	}
	if _, err := s.ListenTCP(netip.AddrPortFrom(hostB, tcpPort)); err != nil {
		return nil, err
	}
	before, done := settledHeap(), 0
	for _, n := range counts(o.Conns) {
		dev.send(done, n)
		done = n
		if flows := s.Stats().Flows; flows != n {
			return nil, fmt.Errorf("%d of %d handshakes are there: %+v", flows, n, s.Stats().TCP)
		}
		all = append(all, recordSample(before, n))
	}
	return all, nil
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

// send delivers SYNs, each from a client of its own: those from one number up to another.
func (d *synSource) send(from, to int) {
	d.mu.Lock()
	sink := d.sink
	d.mu.Unlock()
	for i := from; i < to; i++ {
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
