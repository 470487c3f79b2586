package tun

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
)

// maxPieces is how many pieces writev takes (IOV_MAX), one of them the header.
const maxPieces = 1024 - 1

// writer is what a WritePackets in progress needs. Writers are reused: nothing is allocated for a packet.
type writer struct {
	device *Device
	queue  *queue
	run    func(fd uintptr) // w.write, made once
	batch  []*packet.Packet
	n      int // packets of the batch that are done with
	full   bool

	header vnetHeader
	vec    buffer.Vec
	iov    []unix.Iovec
	flat   []byte // packets of more pieces than writev takes
}

func newWriter(d *Device) *writer {
	w := &writer{device: d, vec: make(buffer.Vec, 0, 32), iov: make([]unix.Iovec, 0, 32)}
	w.run = w.write
	return w
}

// WritePackets hands packets to the kernel, which takes them as received on the interface. What it refuses for good is dropped and
// counted. It may be called from many goroutines at once; packets of different calls then interleave.
func (d *Device) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	if uint(queue) >= uint(len(d.queues)) {
		queue = 0
	}
	q := d.queues[queue]
	w := d.writers.Get().(*writer)
	w.queue, w.batch, w.n, w.full = q, batch, 0, false
	err := q.raw.Control(w.run)
	n, full := w.n, w.full
	w.batch = nil
	d.writers.Put(w)
	switch {
	case err != nil:
		return n, link.ErrClosed
	case full:
		d.count.txFull.Add(1)
		d.awaitRoom(q)
		return n, link.ErrFull
	}
	return n, nil
}

// write writes the batch, until the kernel has no room.
func (w *writer) write(fd uintptr) {
	var sent, bytes, dropped uint64
	for _, p := range w.batch {
		size := p.Size()
		err := w.writePacket(int(fd), p)
		if err == unix.EAGAIN {
			w.full = true
			break
		}
		if err != 0 {
			dropped++
		} else {
			sent++
			bytes += uint64(size)
		}
		p.Release()
		w.n++
	}
	c := &w.device.count
	c.txPackets.Add(sent)
	c.txBytes.Add(bytes)
	c.txDropped.Add(dropped)
}

// writePacket makes one writev of p, which stays the caller's.
func (w *writer) writePacket(fd int, p *packet.Packet) syscall.Errno {
	if !w.device.vnet {
		if p.GSO != packet.GSONone {
			return unix.EINVAL // Info asked for none
		}
		if p.Checksum == packet.ChecksumPartial {
			p.FinishChecksum()
		}
	}
	w.vec = p.Vec(w.vec[:0])
	defer clear(w.vec)
	iov := w.iov[:0]
	if w.device.vnet {
		if !w.header.encode(p, w.vec) {
			return unix.EINVAL
		}
		iov = append(iov, iovec(w.header[:]))
	}
	if len(w.vec) > maxPieces {
		w.flatten()
	}
	for _, b := range w.vec {
		if len(b) > 0 {
			iov = append(iov, iovec(b))
		}
	}
	w.iov = iov[:0]
	if len(iov) == 0 {
		return unix.EINVAL
	}
	for {
		_, _, err := syscall.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
		if !passing(err) {
			clear(iov)
			return err
		}
	}
}

// flatten makes one piece of all that are in vec.
func (w *writer) flatten() {
	w.flat = w.flat[:0]
	for _, b := range w.vec {
		w.flat = append(w.flat, b...)
	}
	clear(w.vec)
	w.vec = append(w.vec[:0], w.flat)
}

// awaitRoom has Writable called when the kernel takes packets again. It is rarely needed (the kernel takes a packet in the writing
// thread unless something behind the interface holds it), so that a goroutine is started for it each time.
func (d *Device) awaitRoom(q *queue) {
	if !q.waiting.CompareAndSwap(false, true) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	writable := d.sink.Writable
	if d.closed.Load() || writable == nil {
		q.waiting.Store(false)
		return
	}
	d.tasks.Go(func() {
		err := q.raw.Write(hasRoom)
		q.waiting.Store(false) // before Writable, which may find the device full again
		if err == nil {
			writable(q.index)
		}
	})
}

// hasRoom asks whether a write would be taken now, and if not has the poller told when it would be. Whatever else is wrong with the
// device the next write finds out.
func hasRoom(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p, 0)
	return err != nil && err != unix.EINTR || n > 0
}
