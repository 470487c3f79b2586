package tun

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/link"
)

// Device is a TUN device: a link.Device without hardware address.
//
// One goroutine a queue reads, batches of up to 64 packets, and delivers; of plain packets that come faster than that, a second one delivers.
// Deliver runs once at a time for each queue. WritePackets may be called from many goroutines at once; each
// call hands its packets to the kernel before it returns.
type Device struct {
	name   string
	vnet   bool // a virtio-net header is in front of each packet
	queues []*queue

	writers sync.Pool // of *writer

	mu       sync.Mutex // over the four below, of which closed is read without it, too
	info     link.Info
	sink     link.Sink
	attached bool
	closed   atomic.Bool
	tasks    sync.WaitGroup // the readers, and who waits for room; added to under mu, never once closed is set, or by one of them

	count struct{ rxPackets, rxBytes, rxBad, txPackets, txBytes, txDropped, txFull atomic.Uint64 }
}

// queue is one of the files of a device.
type queue struct {
	index   int
	file    *os.File
	raw     syscall.RawConn
	waiting atomic.Bool // somebody waits for room
}

// newDevice takes over fds, non-blocking and of the given interface; it does so if it succeeds only. An mtu of 0 is asked for.
func newDevice(fds []int, name string, o Options, mtu int) (*Device, error) {
	vnet, offloads, err := negotiate(fds[0], name, o.NoOffload) // which is the interface's, not the queue's
	if err == nil && mtu == 0 {
		if mtu, err = interfaceMTU(name); err != nil {
			err = &Error{Op: "ask for the MTU of", Device: name, Err: err}
		}
	}
	if err != nil {
		return nil, err
	}
	d := &Device{name: name, vnet: vnet, info: link.Info{MTU: mtu, Offloads: offloads, Queues: len(fds)}}
	d.writers.New = func() any { return newWriter(d) }
	for i, fd := range fds {
		// The runtime's poller must not see a TUN file before TUNSETIFF: it would report an error for good.
		q := &queue{index: i, file: os.NewFile(uintptr(fd), name)}
		q.raw, _ = q.file.SyscallConn() // an error there is only of no file
		d.queues = append(d.queues, q)
	}
	return d, nil
}

// Name is the name of the interface.
func (d *Device) Name() string { return d.name }

// Info describes the device. It is Down once the interface has been deleted.
func (d *Device) Info() link.Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.info
}

// Stats returns the counters.
func (d *Device) Stats() Stats {
	c := &d.count
	return Stats{
		RxPackets: c.rxPackets.Load(), RxBytes: c.rxBytes.Load(), RxBad: c.rxBad.Load(),
		TxPackets: c.txPackets.Load(), TxBytes: c.txBytes.Load(), TxDropped: c.txDropped.Load(), TxFull: c.txFull.Load(),
	}
}

// Attach starts to read.
func (d *Device) Attach(s link.Sink) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed.Load():
		return link.ErrClosed
	case d.attached:
		return link.ErrAttached
	}
	d.attached, d.sink = true, s
	for _, q := range d.queues {
		d.tasks.Go(newReader(d, q, s).run)
	}
	return nil
}

// Close ends the reading, waits until nothing is delivered any more, and closes the files: an interface that Open made vanishes.
func (d *Device) Close() error {
	d.mu.Lock()
	first := !d.closed.Swap(true)
	d.mu.Unlock()
	var errs []error
	if first {
		for _, q := range d.queues {
			errs = append(errs, q.file.Close()) // wakes who waits in the poller, and waits for those in the middle of something
		}
	}
	d.tasks.Wait()
	return errors.Join(errs...)
}

// gone says, once, that the interface was deleted under us.
func (d *Device) gone() {
	d.mu.Lock()
	known := d.info.Down
	d.info.Down = true
	info, changed := d.info, d.sink.Changed
	d.mu.Unlock()
	if changed != nil && !known {
		changed(info)
	}
}

// passing says whether a system call that answered err may be made again at once.
func passing(err syscall.Errno) bool { return err == unix.EINTR }
