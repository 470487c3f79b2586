// Package capture records what crosses a device as pcapng, which Wireshark and tshark open: nanosecond times, interface names, directions.
//
// What is recorded has complete checksums, though the packets themselves may not have: partial checksums are finished in the record. A
// super-segment of TCP is one record of its whole size, its lengths and checksums those of one large packet, as captures on a host whose
// network card segments show it. One of UDP is a record for each of its datagrams, whose bounds mean something. A packet that is written is recorded before it goes to the device, so that an answer never comes before the
// question; one that a full device refused is recorded once, when it is first tried.
package capture

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// DefaultSnaplen keeps every packet whole.
const DefaultSnaplen = 262144

// Writer records several devices to one stream. Each batch is one Write, under the Writer's lock, which gives the records their order. The
// stream's writer should not block: packets wait for it. When it fails, recording ends and packets flow on (see Err).
type Writer struct {
	failed atomic.Bool

	mu     sync.Mutex
	w      io.Writer
	err    error
	ifaces uint32
	block  encoder
	pieces buffer.Vec
	flat   []byte    // a super-segment of UDP
	pair   [2][]byte // headers and payload of a datagram of it
}

// NewWriter begins a capture on w: it writes the section header.
func NewWriter(w io.Writer) *Writer {
	cw := &Writer{w: w}
	cw.block.section()
	cw.flush()
	return cw
}

// Err returns why recording ended, nil if it goes on.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Options of one device in a capture.
type Options struct {
	// Name is the interface's name in the capture; "": weir0, weir1, ... by the order of Wrap.
	Name string
	// Snaplen is how many bytes of each packet are kept; 0: DefaultSnaplen.
	Snaplen int
}

// Wrap records what crosses dev, in both directions, to w. The result is a *Device. Its Close closes dev, not w.
func Wrap(dev link.Device, w io.Writer) link.Device { return NewWriter(w).Wrap(dev, Options{}) }

// Wrap records what crosses dev, in both directions. The result is a *Device. Its Close closes dev.
func (w *Writer) Wrap(dev link.Device, o Options) link.Device {
	if o.Snaplen <= 0 {
		o.Snaplen = DefaultSnaplen
	}
	d := &Device{Device: dev, writer: w, snaplen: o.Snaplen, ethernet: dev.Info().Addr != link.HardwareAddr{}}
	t := linkRaw
	if d.ethernet {
		t = linkEthernet
	}
	clock := sched.Real()
	d.clock.Store(&clock)

	w.mu.Lock()
	defer w.mu.Unlock()
	d.iface = w.ifaces
	w.ifaces++
	if o.Name == "" {
		o.Name = fmt.Sprintf("weir%d", d.iface)
	}
	w.block.iface(o.Name, t, o.Snaplen)
	w.flush()
	return d
}

// flush writes what has been encoded.
func (w *Writer) flush() {
	if w.err == nil {
		if _, err := w.w.Write(w.block.b); err != nil {
			w.err = fmt.Errorf("capture: recording ended, packets flow on: %w", err)
			w.failed.Store(true)
		}
	}
	w.block.b = w.block.b[:0]
}

// Device is a device whose packets are recorded.
type Device struct {
	link.Device
	writer   *Writer
	iface    uint32
	snaplen  int
	ethernet bool
	clock    atomic.Pointer[sched.Clock] // the real one until Attach

	mu      sync.Mutex
	refused map[int][]*packet.Packet // by queue: recorded, then refused with ErrFull. For comparison only: they are not ours
}

// Err returns why recording ended, nil if it goes on.
func (d *Device) Err() error { return d.writer.Err() }

// Attach attaches the device. The clock of s, if it has one, gives the times in the capture.
func (d *Device) Attach(s link.Sink) error {
	if s.Clock != nil {
		d.clock.Store(&s.Clock)
	}
	if deliver := s.Deliver; deliver != nil {
		s.Deliver = func(queue int, batch []*packet.Packet) {
			d.record(batch, inbound)
			deliver(queue, batch)
		}
	}
	return d.Device.Attach(s)
}

// WritePackets records batch and writes it to the device.
func (d *Device) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	if d.writer.failed.Load() {
		return d.Device.WritePackets(queue, batch)
	}
	d.record(batch[d.takeRefused(queue, batch):], outbound)
	n, err := d.Device.WritePackets(queue, batch)
	if n < len(batch) && errors.Is(err, link.ErrFull) {
		d.putRefused(queue, batch[n:])
	}
	return n, err
}

// takeRefused returns how many packets at the front of batch were recorded when they were refused before. A caller that does not try
// again what was refused, in order, has the rest forgotten.
func (d *Device) takeRefused(queue int, batch []*packet.Packet) (known int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	refused := d.refused[queue]
	for known < len(refused) && known < len(batch) && refused[known] == batch[known] {
		known++
	}
	switch {
	case len(refused) == 0:
	case known < len(batch):
		clear(refused)
		d.refused[queue] = refused[:0]
	default:
		d.refused[queue] = slices.Delete(refused, 0, known)
	}
	return known
}

// putRefused remembers packets as recorded and refused, before those of which that is known still.
func (d *Device) putRefused(queue int, batch []*packet.Packet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused == nil {
		d.refused = make(map[int][]*packet.Packet)
	}
	d.refused[queue] = slices.Insert(d.refused[queue], 0, batch...)
}

// record writes one record for each packet.
func (d *Device) record(batch []*packet.Packet, dir direction) {
	if len(batch) == 0 || d.writer.failed.Load() {
		return
	}
	clock := *d.clock.Load()
	now := clock.Wall(clock.Now()).UnixNano()
	w := d.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range batch {
		w.pieces = p.Vec(w.pieces[:0])
		at := now
		if dir == inbound && p.Received != 0 {
			at = clock.Wall(p.Received).UnixNano()
		}
		if p.GSO.UDP() && d.recordDatagrams(p, at, dir) {
			continue
		}
		w.block.packet(d.iface, at, dir, d.snaplen, w.pieces, func(b []byte) { complete(b, &p.Meta, d.ethernet) })
	}
	clear(w.pieces)
	w.flush()
}

// recordDatagrams writes one record for each datagram of a UDP super-segment, whose pieces are in w.pieces; w.mu is held. False, and nothing
// done, if it is none.
func (d *Device) recordDatagrams(p *packet.Packet, at int64, dir direction) bool {
	w := d.writer
	w.flat = w.flat[:0]
	for _, piece := range w.pieces {
		w.flat = append(w.flat, piece...)
	}
	ip, udp, ok := udpHeaders(w.flat, p.GSO, d.ethernet)
	if !ok || p.GSOSize == 0 || len(w.flat)-udp > packet.MaxUDPSegs*int(p.GSOSize) {
		return false
	}
	headers, payload := w.flat[:udp+wire.UDPLen], w.flat[udp+wire.UDPLen:]
	noChecksum := p.Checksum != packet.ChecksumPartial && wire.UDP(headers[udp:]).Checksum() == 0
	for i := 0; len(payload) > 0; i++ {
		n := min(len(payload), int(p.GSOSize))
		w.pair = [2][]byte{headers, payload[:n]}
		w.block.packet(d.iface, at, dir, d.snaplen, w.pair[:], func(b []byte) { completeDatagram(b, ip, udp, i, noChecksum) })
		payload = payload[n:]
	}
	clear(w.pair[:])
	return true
}
