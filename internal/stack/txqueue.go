package stack

import (
	"cmp"
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/internal/offload"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

const (
	txLimit     = 1 << 20   // bytes that wait in one transmit queue
	txBurst     = 256 << 10 // bytes that one connection appends before others have their turn
	txBatch     = 16        // packets (perhaps super-segments) taken off the queue at once
	flushBudget = 1024      // what one caller flushes before the helper takes over: packets, and for each 4 KiB one more
	maxDepth    = 4         // nested deliveries on one goroutine's stack before the helper takes over

	defaultGSOMax = 65535 // link.Info.GSOMax, unless the device says otherwise
)

// txWaiter is a socket that waits for room in a transmit queue. It is in a queue's list at most once.
type txWaiter interface {
	// resume sends what there was no room for; no lock is held.
	resume(now sched.Time)
	nextWaiter() *txWaiter
}

// txQueue is a transmit queue of an interface. Whoever finds it idle flushes it for everyone (see flush); the others only append.
//
// Invariant: a connection with something to send is in the queue, on the waiting list, limited by window, cwnd or pacing, or has a
// deadline. It holds because busy is cleared only while the lock is held and queue and waiting list are empty (or the device is full, and
// owes a call of writable).
type txQueue struct {
	dev    link.Device
	index  int // of the device's queue
	iface  *Interface
	stack  *Stack
	active atomic.Bool  // something is queued or waits (a hint to flushAll; changes under mu)
	bytes  atomic.Int64 // queued (changes under mu)

	mu        sync.Mutex
	ring      ring
	busy      bool // a flusher is at work, or the helper has been told to be
	full      bool // the device said ErrFull
	unblocked int  // calls of writable: one may come before we have noted that the device is full
	closed    bool
	last      bool     // nothing more is taken: what is queued is the last
	head      txWaiter // waiting list, FIFO
	tail      txWaiter
	idle      chan struct{} // closed when busy is cleared; nil: nobody waits for that
	wake      chan struct{} // the helper's, nil before its first need
	helperEnd chan struct{}

	// The flusher's own, guarded by busy.
	raw   []*packet.Packet // taken off the ring
	ready []*packet.Packet // as the device wants them
	sent  int              // of ready
	seen  int              // unblocked, before the device was called
	depth uint8            // of the flusher's deliveries
}

// ring is a FIFO of packets that grows and is then kept.
type ring struct {
	buf  []*packet.Packet
	head int
	n    int
}

func (r *ring) push(p *packet.Packet) {
	if r.n == len(r.buf) {
		grown := make([]*packet.Packet, max(16, 2*r.n))
		n := copy(grown, r.buf[r.head:])
		copy(grown[n:], r.buf[:r.head])
		r.buf, r.head = grown, 0
	}
	r.buf[(r.head+r.n)&(len(r.buf)-1)] = p
	r.n++
}

func (r *ring) pop() *packet.Packet {
	p := r.buf[r.head]
	r.buf[r.head] = nil
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	return p
}

// append adds a packet for which the caller (who may hold a connection's lock) has seen room. On a closed queue it is released.
func (q *txQueue) append(p *packet.Packet) {
	n := p.Size()
	q.mu.Lock()
	if q.closed || q.last {
		q.mu.Unlock()
		q.iface.stats.txDropped.Add(1)
		p.Release()
		return
	}
	q.push(p, n)
	q.mu.Unlock()
}

// push puts p into the ring; q.mu is held.
func (q *txQueue) push(p *packet.Packet, n int) {
	q.ring.push(p)
	q.bytes.Add(int64(n))
	if !q.active.Load() {
		q.active.Store(true)
	}
}

// claim is append for packets whose sender flushes as soon as it has let go of its locks: where nothing is queued, they skip the queue. If it
// answers true the sender is the flusher, and owes flushClaimed; else it owes flush.
func (q *txQueue) claim(ps []*packet.Packet) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed || q.last:
		q.iface.stats.txDropped.Add(uint64(len(ps)))
		for _, p := range ps {
			p.Release()
		}
	case q.busy || q.full || q.work():
		for _, p := range ps {
			q.push(p, p.Size())
		}
	default:
		q.busy = true
		q.seen = q.unblocked
		q.raw = append(q.raw[:0], ps...)
		return true
	}
	return false
}

// flushClaimed is flush for who holds a claim. No lock may be held.
func (q *txQueue) flushClaimed() {
	q.depth = 0
	q.prepare()
	q.run(max(1, flushBudget-q.write()))
}

// offer is append for packets that nobody waits with: without room they are dropped and counted.
func (q *txQueue) offer(p *packet.Packet) bool {
	n := p.Size()
	q.mu.Lock()
	if q.closed || q.last || !q.room() {
		q.mu.Unlock()
		q.iface.stats.txDropped.Add(1)
		p.Release()
		return false
	}
	q.push(p, n)
	q.mu.Unlock()
	return true
}

// room reports whether a connection may append.
func (q *txQueue) room() bool { return q.bytes.Load() < txLimit }

// wait puts w on the waiting list; false if the queue is closed, and nobody would ever take it off. The caller holds w's lock, has seen
// that w is on no list, and flushes when it has let go of the lock: the flusher may have gone since the caller found no room.
func (q *txQueue) wait(w txWaiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.last {
		return false
	}
	*w.nextWaiter() = nil
	if q.tail == nil {
		q.head = w
	} else {
		*q.tail.nextWaiter() = w
	}
	q.tail = w
	q.active.Store(true)
	return true
}

// takeWaiter takes the first waiter off; q.mu is held.
func (q *txQueue) takeWaiter() txWaiter {
	w := q.head
	if w == nil {
		return nil
	}
	next := w.nextWaiter()
	q.head = *next
	if q.head == nil {
		q.tail = nil
	}
	*next = nil
	return w
}

// flush sends what is queued, unless somebody is at it already or the device is full. No lock may be held. Depth is the number of
// deliveries that the calling goroutine is inside of.
func (q *txQueue) flush(depth uint8) {
	q.mu.Lock()
	if q.busy || q.full || q.closed || !q.work() {
		q.mu.Unlock()
		return
	}
	q.busy = true
	if !q.stack.inline && depth > maxDepth {
		q.handOver()
		return
	}
	q.depth = depth
	q.mu.Unlock()
	q.run(flushBudget)
}

// kick has the helper flush: for callers that must not deliver packets themselves (timers).
func (q *txQueue) kick() {
	if q.stack.inline {
		q.flush(0)
		return
	}
	q.mu.Lock()
	if q.busy || q.full || q.closed || !q.work() {
		q.mu.Unlock()
		return
	}
	q.busy = true
	q.handOver()
}

// work reports whether there is anything to do; q.mu is held.
func (q *txQueue) work() bool { return q.ring.n > 0 || q.head != nil || q.sent < len(q.ready) }

// handOver passes the busy flag on to the helper, starting it at first need; q.mu is held, and is released.
func (q *txQueue) handOver() {
	start := q.wake == nil
	if start {
		q.wake = make(chan struct{}, 1)
		q.helperEnd = make(chan struct{})
	}
	q.depth = 0
	q.wake <- struct{}{} // has room: only the holder of busy sends
	q.mu.Unlock()
	if start {
		q.stack.cfg.Spawn(q.help)
	}
}

// help is the helper: one parked goroutine, ended by close.
func (q *txQueue) help() {
	defer close(q.helperEnd)
	for range q.wake {
		q.run(0)
	}
}

// run is the flusher; it holds the busy flag. When it has used up the budget (0: no limit) it hands over to the helper.
func (q *txQueue) run(budget int) {
	for done := 0; ; {
		q.mu.Lock()
		if q.closed || q.full || !q.work() {
			q.busy = false
			if q.idle != nil {
				close(q.idle)
				q.idle = nil
			}
			if active := q.work(); q.active.Load() != active {
				q.active.Store(active)
			}
			if q.closed {
				q.releaseReady()
			}
			q.mu.Unlock()
			return
		}
		if budget > 0 && done >= budget && !q.stack.inline {
			q.handOver()
			return
		}
		if q.sent == len(q.ready) {
			q.take()
		}
		q.seen = q.unblocked
		waiters := q.head != nil // who comes later is met by the next round
		q.mu.Unlock()
		q.prepare()
		done += q.write()
		if waiters {
			q.resumeWaiters()
		}
	}
}

// take moves up to txBatch packets from the ring to raw; q.mu is held.
func (q *txQueue) take() {
	q.raw = q.raw[:0]
	for len(q.raw) < txBatch && q.ring.n > 0 {
		p := q.ring.pop()
		q.bytes.Add(-int64(p.Size()))
		q.raw = append(q.raw, p)
	}
}

// prepare turns raw into what the device takes: cut to size and with complete checksums where it does neither itself.
func (q *txQueue) prepare() {
	if len(q.raw) == 0 {
		return
	}
	q.ready, q.sent = q.ready[:0], 0
	info := q.iface.info.Load()
	can, most := info.Offloads, cmp.Or(info.GSOMax, defaultGSOMax)
	for i, p := range q.raw {
		q.raw[i] = nil
		switch {
		case p.GSO != packet.GSONone && (can&gsoOffload(p.GSO) == 0 || p.KeepCWR && can&link.TxACE == 0 || p.Size() > most ||
			p.Checksum != packet.ChecksumPartial): // what is to have none is not for a device to cut
			before := len(q.ready)
			if q.ready = offload.Split(q.stack.cfg.Packets, p, q.ready); len(q.ready) == before {
				q.iface.stats.txDropped.Add(1)
			}
			continue
		case p.Checksum == packet.ChecksumPartial && can&link.TxChecksum == 0 && !p.FinishChecksum():
			q.iface.stats.txDropped.Add(1) // whoever asked for the checksum said wrongly where it goes
			p.Release()
			continue
		}
		q.ready = append(q.ready, p)
	}
	q.raw = q.raw[:0]
}

func gsoOffload(g packet.GSO) link.Offload {
	switch g {
	case packet.GSOTCP4:
		return link.TxTSO4
	case packet.GSOTCP6:
		return link.TxTSO6
	default:
		return link.TxUSO
	}
}

// write hands ready to the device and returns how much of flushBudget that was. A device that is gone takes everything.
func (q *txQueue) write() int {
	batch := q.ready[q.sent:]
	if len(batch) == 0 {
		return 0
	}
	var bytes uint64
	for _, p := range batch {
		p.Depth = q.depth
		bytes += uint64(p.Size())
	}
	n, err := q.dev.WritePackets(q.index, batch)
	for _, p := range batch[n:] {
		bytes -= uint64(p.Size())
	}
	q.iface.stats.txPackets.Add(uint64(n))
	q.iface.stats.txBytes.Add(bytes)
	if n < len(batch) && err == link.ErrFull {
		q.mu.Lock()
		q.full = q.unblocked == q.seen
		q.mu.Unlock()
	} else if n < len(batch) {
		q.iface.stats.txDropped.Add(uint64(len(batch) - n))
		for _, p := range batch[n:] {
			p.Release()
		}
		n = len(batch)
	}
	q.sent += n
	clear(batch[:n])
	return n + int(bytes>>12)
}

// resumeWaiters lets those waiting now have their turn, as long as there is room. No lock is held while a waiter runs.
func (q *txQueue) resumeWaiters() {
	q.mu.Lock()
	last := q.tail
	for q.head != nil && q.room() && !q.closed {
		w := q.takeWaiter()
		q.mu.Unlock()
		w.resume(q.stack.now())
		if w == last {
			return
		}
		q.mu.Lock()
	}
	q.mu.Unlock()
}

// writable is the device's word that it takes packets again.
func (q *txQueue) writable() {
	q.mu.Lock()
	q.full = false
	q.unblocked++
	q.mu.Unlock()
	q.flush(0)
}

// drain takes nothing more, and returns when everything is sent, be it by a flusher that is at work already, or when the device is full.
// The caller is not inside of a delivery.
func (q *txQueue) drain() {
	q.mu.Lock()
	q.last = true // or traffic that goes on could keep the flusher at work for ever
	q.mu.Unlock()
	q.flush(0)
	if q.stack.inline {
		return // there is no goroutine to wait for
	}
	q.mu.Lock()
	if !q.busy {
		q.mu.Unlock()
		return
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	idle := q.idle
	q.mu.Unlock()
	<-idle
}

// shut refuses what comes, ends the helper, and releases what is queued. A flusher that is at work releases what it holds itself.
func (q *txQueue) shut() {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.closed = true
	wake, end := q.wake, q.helperEnd
	q.empty()
	if wake != nil {
		close(wake)
		<-end
	}
}

// purge drops what is queued for an interface that is down. Those who wait have their turn, and find another way or none.
func (q *txQueue) purge() {
	q.mu.Lock()
	q.empty()
}

// empty releases what is queued and takes everybody off the waiting list; q.mu is held, and is released.
func (q *txQueue) empty() {
	var left []*packet.Packet
	for q.ring.n > 0 {
		left = append(left, q.ring.pop())
	}
	q.bytes.Store(0)
	if !q.busy {
		q.releaseReady()
	}
	var waiters []txWaiter
	for w := q.takeWaiter(); w != nil; w = q.takeWaiter() {
		waiters = append(waiters, w)
	}
	q.active.Store(q.busy) // what the flusher holds is its own to look at
	q.mu.Unlock()
	q.iface.stats.txDropped.Add(uint64(len(left)))
	for _, p := range left {
		p.Release()
	}
	for _, w := range waiters {
		w.resume(q.stack.now())
	}
}

// releaseReady gives back what was prepared and not sent; q.mu is held, and no flusher is at work.
func (q *txQueue) releaseReady() {
	q.iface.stats.txDropped.Add(uint64(len(q.ready) - q.sent))
	for _, p := range q.ready[q.sent:] {
		p.Release()
	}
	q.ready, q.sent = nil, 0
}
