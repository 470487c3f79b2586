// Package emul makes a device behave like a bad link: slow, far away, lossy, out of order. It impairs what is written to the device; for
// both directions both ends are wrapped. What it does depends on nothing but the seed, the clock and the order of the packets.
//
// A packet goes through these stages, in this order:
//
//   - Down, MTU: a link that is down, or a packet that is too long for it, loses the packet and tells nobody;
//   - queue: if what waits for the link's rate, with this packet, exceeds Config.Queue bytes, the packet is dropped (tail drop; a packet
//     that finds nothing waiting is always taken);
//   - Mark: if more than so many bytes wait, a packet of an ECN-capable transport is marked CE (RFC 3168 §5);
//   - rate: it leaves when its last bit has, at max(now, departure of the one before) + bits/Rate, counting the bytes of the IP
//     packet;
//   - Loss: it may be lost on the way, having used the link's time;
//   - Corrupt: one random bit of it may be flipped, in a copy of the bytes concerned, for a sender may keep them for retransmission;
//   - delay: it arrives Delay later, more or less by up to Jitter (evenly), but never before the packet sent before it;
//   - Reorder: it may be held back until 1 to ReorderDepth followers have overtaken it, or for the longer of 1 ms and a quarter of Delay
//     (and, if ReorderDepth is set, of the time in which so many packets of 1500 bytes pass);
//   - Duplicate: it may arrive twice; the copy is neither corrupted nor held back.
//
// SetConfig changes all this while packets pass: those that were written before keep their departures and arrivals.
//
// Arrivals are computed from departures, not from when a timer ran, so that late timers cost precision and no rate: all packets due
// when a timer runs go to the inner device as one batch.
package emul

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/internal/port"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// Config says how bad the link is. The zero value is a perfect one. Probabilities are from 0 to 1, each drawn for each packet on its own.
type Config struct {
	Delay  time.Duration // one way
	Jitter time.Duration // the most by which a packet's delay differs from Delay

	Loss      float64
	Duplicate float64
	Reorder   float64
	Corrupt   float64

	// ReorderDepth is how many followers overtake a packet held back at most; 0: 10. At most 1000.
	ReorderDepth int
	// Down: everything is lost.
	Down bool
	// MTU is the longest packet, in bytes without link header, that is not lost; 0: any. Unlike the MTU of the device, of which the stack
	// knows, it is a black hole.
	MTU int

	// Rate is in bit/s of IP packets; 0: no limit.
	Rate int64
	// Queue bounds what waits for the link, in bytes; 0: the larger of 100 full packets and Rate × 2 × Delay. Without a Rate nothing waits,
	// and it bounds what is under way; 0: 64 MiB.
	Queue int
	// Mark is how many bytes may wait for the link before ECN-capable packets are marked; 0: none are.
	Mark int
	// Seed chooses the random numbers.
	Seed uint64
	// Clock times it all; nil: the one of the Sink, and without that the real one.
	Clock sched.Clock
}

// Device is an impaired device.
type Device struct {
	inner  link.Device
	config Config
	port   port.Port   // WritePackets and the timer's runs count as calls
	clock  sched.Clock // from Attach on, as is timer
	timer  sched.Timer

	mu      sync.Mutex
	random  *rand.Rand
	line    line
	stats   Stats
	wake    sched.Time // for when timer is set; Never: not set
	sending bool       // a run is calling the inner device, and will set the timer
	blocked bool       // the inner device answered ErrFull
	retry   bool       // it has become writable during the call

	out []*packet.Packet // of the run that is sending
}

// Stats counts packets.
type Stats struct {
	Sent       uint64 // handed to the inner device, copies included
	Lost       uint64 // by Loss or Down
	TooLong    uint64 // for Config.MTU
	Marked     uint64
	Duplicated uint64
	Reordered  uint64 // held back
	Corrupted  uint64
	QueueDrops uint64 // the queue was full
	Dropped    uint64 // no packet of the wire (a super-segment); written before Attach; refused by the inner device
}

// Wrap impairs what is written to inner; the result is a *Device. It claims no offloads, so that what it loses or corrupts are packets as
// they are on the wire, and takes no super-segments. Its Close closes inner.
func Wrap(inner link.Device, c Config) link.Device {
	d := &Device{
		inner:  inner,
		config: c,
		random: rand.New(rand.NewPCG(c.Seed, 0)),
		wake:   sched.Never,
	}
	d.line.set(&c, inner.Info().MTU)
	return d
}

// SetConfig makes the link another one for what is written from now on. Seed and Clock stay what they were.
func (d *Device) SetConfig(c Config) {
	mtu := d.inner.Info().MTU
	d.mu.Lock()
	defer d.mu.Unlock()
	c.Seed, c.Clock = d.config.Seed, d.config.Clock
	d.config = c
	d.line.set(&c, mtu)
}

// Config returns what Wrap or SetConfig was given last.
func (d *Device) Config() Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config
}

// Waiting returns how many bytes of IP packets wait for the link's rate, the one that is leaving included.
func (d *Device) Waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clock == nil {
		return 0
	}
	return int(d.line.waiting(d.clock.Now()))
}

// Attach attaches the inner device. What it delivers passes as it is.
func (d *Device) Attach(s link.Sink) error {
	if d.port.Closed() {
		return link.ErrClosed
	}
	own := s
	own.Writable = func(int) { d.writable() }
	if s.Changed != nil {
		own.Changed = func(i link.Info) { s.Changed(stripped(i)) }
	}
	if err := d.inner.Attach(own); err != nil {
		return err
	}
	d.start(s.Clock)
	return d.port.Attach(s)
}

// start chooses the clock and makes the timer.
func (d *Device) start(ofSink sched.Clock) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.clock = d.config.Clock; {
	case d.clock != nil:
	case ofSink != nil:
		d.clock = ofSink
	default:
		d.clock = sched.Real()
	}
	d.timer = d.clock.NewTimer(d.run)
}

// Info is that of the inner device without offloads and further queues.
func (d *Device) Info() link.Info { return stripped(d.inner.Info()) }

func stripped(i link.Info) link.Info {
	i.Offloads, i.GSOMax, i.Queues = 0, 0, 1
	return i
}

// Stats returns the counters.
func (d *Device) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// Close releases what is under way, waits for what runs, and closes the inner device.
func (d *Device) Close() error {
	d.port.Close()
	d.mu.Lock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.line.release()
	d.mu.Unlock()
	return d.inner.Close()
}

// WritePackets takes all of batch, or none with link.ErrClosed. The packets reach the inner device from the clock's timer, never from
// inside this call.
func (d *Device) WritePackets(_ int, batch []*packet.Packet) (int, error) {
	if d.port.Closed() {
		return 0, link.ErrClosed
	}
	attached := d.port.Enter() != nil
	if attached {
		defer d.port.Exit()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !attached {
		d.stats.Dropped += uint64(len(batch))
		port.Release(batch)
		return len(batch), nil
	}
	now := d.clock.Now()
	for _, p := range batch {
		d.admit(p, now)
	}
	d.sleep()
	return len(batch), nil
}

// sleep sets the timer for the earliest arrival, if it is not set for that or an earlier one, and nobody is about to do it.
func (d *Device) sleep() {
	if d.sending || d.blocked {
		return
	}
	if at := d.line.next(); at < d.wake {
		d.wake = at
		d.timer.Reset(at)
	}
}

// run is the timer's function: it sends what is due.
func (d *Device) run() {
	if d.port.Enter() == nil {
		return
	}
	defer d.port.Exit()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wake = sched.Never
	if !d.sending {
		d.send()
	}
}

// writable is the inner device's Writable.
func (d *Device) writable() {
	if d.port.Enter() == nil {
		return
	}
	defer d.port.Exit()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retry = true
	if d.blocked { // never while somebody sends
		d.send()
	}
}

// send hands everything due to the inner device, the lock released meanwhile, and sets the timer for the rest. One goroutine at a time
// does it, so that packets stay in order.
func (d *Device) send() {
	d.sending, d.blocked = true, false
	for !d.blocked {
		if d.out = d.line.due(d.out, d.clock.Now()); len(d.out) == 0 {
			break
		}
		for _, p := range d.out {
			p.Depth = 0 // this goroutine's stack is a new one
		}
		d.retry = false
		d.mu.Unlock()
		n, err := d.inner.WritePackets(0, d.out)
		d.mu.Lock()
		d.sent(n, err)
	}
	d.sending = false
	d.sleep()
}

// sent accounts for what the inner device took of d.out, and keeps the rest for another time if there will be one.
func (d *Device) sent(n int, err error) {
	d.stats.Sent += uint64(n)
	left := d.out[n:]
	switch {
	case len(left) == 0:
	case errors.Is(err, link.ErrFull):
		d.blocked = !d.retry
		d.line.unsend(left)
	default:
		d.stats.Dropped += uint64(len(left))
		port.Release(left)
	}
	clear(d.out)
	d.out = d.out[:0]
}
