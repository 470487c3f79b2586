package tun

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
)

const (
	// batchPackets and batchBytes end a batch. More packets would hold back the first for the sake of the last; more bytes would be out of
	// the cache before somebody reads them. (Throughput of super-segments was the same with 128 KiB to 1 MiB.)
	batchPackets = 64
	batchBytes   = 512 << 10

	smallChunk = 2 << 10  // a packet of MTU 1500, or the headers of a super-segment and what is right behind them
	largeChunk = 64 << 10 // the rest of a super-segment
)

// reader reads a queue of a device.
type reader struct {
	device       *Device
	queue        *queue
	sink         link.Sink
	small, large *buffer.Chunk // what the next packet is read into; nil: to be taken
	header       vnetHeader
	iov          [3]unix.Iovec // header, small, large
	batch        *batch
	helper       *helper // nil: there was no need of one so far
	gone         bool    // the last read failed for good
	narrow       bool    // packets are plain and have always fit into a small chunk: each is read by a read, which is cheaper than a readv
}

func newReader(d *Device, q *queue, s link.Sink) *reader {
	return &reader{device: d, queue: q, sink: s, batch: &batch{}, narrow: !d.vnet && d.info.MTU < smallChunk}
}

// run reads and delivers until the device is closed or gone.
//
// It does so inside one RawConn.Read. The poller reports that packets came, once; to wait for the next of them takes nothing but having
// been told by the kernel that there are none. A RawConn.Read a batch would have to be told twice.
func (r *reader) run() {
	err := r.queue.raw.Read(r.drain)
	r.endHelp()
	if err == nil { // else the file was closed
		r.device.gone()
	}
	r.release()
}

// drain delivers what there is. True ends the reading.
func (r *reader) drain(fd uintptr) bool {
	for woken := true; ; woken = false {
		n, more := r.fill(int(fd))
		if n > 0 {
			r.pass(n, more)
		}
		switch {
		case r.device.closed.Load():
			return false // the file is, or is about to be; and who sends without end must not keep it open
		case more:
			continue
		}
		// To be woken for nothing is how one learns, once, that the interface is being deleted. It may not quite have happened yet.
		return r.gone || woken && n == 0 && deleted(int(fd))
	}
}

// deleted says whether the interface of a TUN file does not exist any more, or soon will not.
func deleted(fd int) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p[:], 0)
	return err == nil && n > 0 && p[0].Revents&unix.POLLERR != 0
}

// fill reads a batch: until there are no more packets (more is false then) or it is large enough.
func (r *reader) fill(fd int) (n int, more bool) {
	var bytes, bad uint64
	defer func() {
		c := &r.device.count
		c.rxPackets.Add(uint64(n))
		c.rxBytes.Add(bytes)
		c.rxBad.Add(bad)
	}()
	for n < batchPackets && bytes < batchBytes {
		size, err := r.read(fd)
		switch {
		case passing(err):
			continue
		case err != 0:
			r.gone = err != unix.EAGAIN
			return n, false
		}
		if r.narrow && size >= r.small.Cap() { // the MTU has become larger, and the packet may have been cut
			r.narrow = false
			bad++
			continue
		}
		p := r.packet(size)
		if p == nil {
			bad++
			continue
		}
		r.batch.packets[n] = p
		n++
		bytes += uint64(p.Size())
	}
	return n, true
}

// read reads one packet into the chunks, and returns how many bytes came, the header's included.
//
// Reads and writes of a TUN file in non-blocking mode never wait, and take microseconds. So they are raw system calls: to tell the scheduler
// of each, and to have the processor taken away and given back, costs a tenth of the throughput.
func (r *reader) read(fd int) (int, syscall.Errno) {
	buffers := r.sink.Packets.Buffers()
	if r.small == nil {
		r.small = buffers.Get(smallChunk)
		r.iov[1] = iovec(r.small.Data())
	}
	if r.narrow {
		b := r.small.Data()
		n, _, err := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		return int(n), err
	}
	if r.large == nil {
		r.large = buffers.Get(largeChunk)
		r.iov[2] = iovec(r.large.Data())
	}
	iov := r.iov[1:]
	if r.device.vnet {
		r.iov[0] = iovec(r.header[:])
		iov = r.iov[:]
	}
	n, _, err := syscall.RawSyscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	return int(n), err
}

// packet makes a packet of the n bytes that were read, header included. A chunk that it has bytes in is its, the others stay for the next
// read. Nil if the bytes make no sense.
func (r *reader) packet(n int) *packet.Packet {
	if r.device.vnet {
		n -= vnetHeaderSize
	}
	if n <= 0 {
		return nil
	}
	first := min(n, r.small.Cap())
	p := r.sink.Packets.Get()
	if r.device.vnet && !r.header.decode(&p.Meta, r.small.Data()[:first], n) {
		p.Release()
		return nil
	}
	data := p.Data()
	data.AppendChunk(r.small, 0, first, true)
	r.small = nil
	if n > first {
		data.AppendChunk(r.large, 0, n-first, true)
		r.large = nil
	}
	return p
}

func (r *reader) deliver(batch []*packet.Packet) {
	defer clear(batch) // they are another's now, and not to be reachable from here
	if r.queue.index > 0 {
		for _, p := range batch {
			p.Queue = uint16(r.queue.index)
		}
	}
	if r.sink.Clock != nil {
		now := r.sink.Clock.Now()
		for _, p := range batch {
			p.Received = now
		}
	}
	if r.sink.Deliver == nil {
		for _, p := range batch {
			p.Release()
		}
		return
	}
	r.sink.Deliver(r.queue.index, batch)
}

// release gives the chunks back.
func (r *reader) release() {
	if r.small != nil {
		r.small.Release()
	}
	if r.large != nil {
		r.large.Release()
	}
	r.small, r.large = nil, nil
}

// iovec is b as the kernel takes it. b must not be empty.
func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}
