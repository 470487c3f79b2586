package stack

import (
	"slices"
	"sync"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// scriptedDevice records what is written, and answers as write says.
type scriptedDevice struct {
	mu    sync.Mutex
	seen  []byte // the first payload byte of each packet
	write func(batch []*packet.Packet) (int, error)
}

func (d *scriptedDevice) Attach(link.Sink) error { return nil }
func (d *scriptedDevice) Info() link.Info        { return link.Info{MTU: 1500, Queues: 1} }
func (d *scriptedDevice) Close() error           { return nil }

func (d *scriptedDevice) WritePackets(_ int, batch []*packet.Packet) (int, error) {
	n, err := len(batch), error(nil)
	if d.write != nil {
		n, err = d.write(batch)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range batch[:n] {
		b, _ := p.Data().PullUp(0, 1)
		d.seen = append(d.seen, b[0])
		p.Release()
	}
	return n, err
}

func newQueue(t *testing.T, dev link.Device) (*txQueue, *packet.Pool) {
	t.Helper()
	pool := packet.NewPool(buffer.NewPool(buffer.Options{Check: true}))
	t.Cleanup(func() {
		if n := pool.Outstanding(); n != 0 {
			t.Errorf("%d packets leaked", n)
		}
	})
	s := &Stack{cfg: Config{Packets: pool, Clock: sched.NewVirtual(testEpoch), Spawn: func(f func()) { go f() }}}
	i := &Interface{stack: s, index: 1}
	info := dev.Info()
	i.info.Store(&info)
	q := &txQueue{dev: dev, iface: i, stack: s}
	i.queues = []*txQueue{q}
	return q, pool
}

func numberedPacket(pool *packet.Pool, n int) *packet.Packet {
	p := pool.Get()
	p.Data().Append([]byte{byte(n)})
	return p
}

func upTo(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestQueueKeepsOrderOverAFullDevice(t *testing.T) {
	dev := &scriptedDevice{}
	q, pool := newQueue(t, dev)
	room := 3
	dev.write = func(batch []*packet.Packet) (int, error) {
		if n := min(room, len(batch)); n < len(batch) {
			room = 0
			return n, link.ErrFull
		}
		room -= len(batch)
		return len(batch), nil
	}
	for i := range 40 {
		q.append(numberedPacket(pool, i))
	}
	q.flush(0)
	if !slices.Equal(dev.seen, upTo(3)) {
		t.Fatalf("the device has %v, want 0 1 2", dev.seen)
	}
	q.flush(0)
	if len(dev.seen) != 3 {
		t.Fatal("a full device was written to before it said writable")
	}
	for range 20 {
		room = 2
		q.writable()
	}
	if !slices.Equal(dev.seen, upTo(40)) {
		t.Fatalf("the device has %v, want 0 to 39", dev.seen)
	}
	q.shut()
}

// A device may find room again between answering ErrFull and our noting it.
func TestQueueMissesNoWritable(t *testing.T) {
	dev := &scriptedDevice{}
	q, pool := newQueue(t, dev)
	first := true
	dev.write = func(batch []*packet.Packet) (int, error) {
		if first {
			first = false
			q.writable()
			return 0, link.ErrFull
		}
		return len(batch), nil
	}
	q.append(numberedPacket(pool, 0))
	q.flush(0)
	if len(dev.seen) != 1 {
		t.Error("the packet waits for a writable that has been")
	}
	q.shut()
}

func TestQueueDropsForABrokenDevice(t *testing.T) {
	dev := &scriptedDevice{write: func([]*packet.Packet) (int, error) { return 0, link.ErrClosed }}
	q, pool := newQueue(t, dev)
	q.append(numberedPacket(pool, 0))
	q.flush(0)
	if n := q.iface.stats.txDropped.Load(); n != 1 {
		t.Errorf("%d drops counted, want 1", n)
	}
	q.shut()
}

// While one goroutine flushes, others leave theirs and go; a re-entrant flush returns at once.
func TestQueueHasOneFlusher(t *testing.T) {
	dev := &scriptedDevice{}
	q, pool := newQueue(t, dev)
	depth := 0
	sent := 0
	dev.write = func(batch []*packet.Packet) (int, error) {
		depth++
		defer func() { depth-- }()
		if depth > 1 {
			t.Error("the device was entered twice")
		}
		if sent++; sent < 10 {
			q.append(numberedPacket(pool, sent))
			q.flush(1)
		}
		return len(batch), nil
	}
	q.append(numberedPacket(pool, 0))
	q.flush(0)
	if !slices.Equal(dev.seen, upTo(10)) {
		t.Errorf("the device has %v, want 0 to 9", dev.seen)
	}
	q.shut()
}

// Beyond its budget, and beyond a depth of deliveries, the flusher hands over to the helper; shut ends it.
func TestQueueHandsOver(t *testing.T) {
	for _, depth := range []uint8{0, maxDepth + 1} {
		dev := &scriptedDevice{}
		q, pool := newQueue(t, dev)
		done := make(chan struct{})
		want, sent := flushBudget*3, 0
		dev.write = func(batch []*packet.Packet) (int, error) {
			if sent += len(batch); sent == want {
				close(done)
			}
			return len(batch), nil
		}
		for i := range want {
			q.append(numberedPacket(pool, i))
		}
		q.flush(depth)
		<-done
		q.shut()
		if !slices.Equal(dev.seen, upTo(want)) {
			t.Errorf("depth %d: the device has %d packets, or out of order", depth, len(dev.seen))
		}
	}
}

func upToInts(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// waiter is a txWaiter that sends its packets one turn at a time.
type waiter struct {
	next txWaiter
	q    *txQueue
	pool *packet.Pool
	left []int
}

func (w *waiter) nextWaiter() *txWaiter { return &w.next }

func (w *waiter) resume(sched.Time) {
	if len(w.left) == 0 {
		return
	}
	w.q.append(numberedPacket(w.pool, w.left[0]))
	w.left = w.left[1:]
	w.q.wait(w)
}

func TestQueueServesWaitersInTurn(t *testing.T) {
	dev := &scriptedDevice{}
	q, pool := newQueue(t, dev)
	a := &waiter{q: q, pool: pool, left: []int{0, 2, 4}}
	b := &waiter{q: q, pool: pool, left: []int{1, 3, 5}}
	q.wait(a)
	q.wait(b)
	q.flush(0)
	if !slices.Equal(dev.seen, upTo(6)) {
		t.Errorf("the device has %v, want 0 to 5", dev.seen)
	}
	q.mu.Lock()
	idle := !q.busy && !q.work()
	q.mu.Unlock()
	if !idle || q.active.Load() {
		t.Error("the queue is not idle after all was sent")
	}
	q.shut()
}

// Traffic that goes on, as forwarded packets may, does not keep drain from coming to an end; nor do those who wait.
func TestQueueDrains(t *testing.T) {
	dev := &scriptedDevice{}
	q, pool := newQueue(t, dev)
	w := &waiter{q: q, pool: pool, left: upToInts(1000)}
	dev.write = func(batch []*packet.Packet) (int, error) {
		q.offer(numberedPacket(pool, 0))
		return len(batch), nil
	}
	for i := range 100 {
		q.append(numberedPacket(pool, i))
	}
	q.wait(w)
	q.drain()
	if n := len(dev.seen); n != 100 {
		t.Errorf("%d packets were sent, want the 100 that were queued", n)
	}
	if q.wait(w) {
		t.Error("a waiter was taken")
	}
	q.shut()
}

func TestQueueRefusesBeyondItsLimit(t *testing.T) {
	dev := &scriptedDevice{}
	q, pool := newQueue(t, dev)
	big := func() *packet.Packet {
		p := pool.Get()
		p.Data().Grow(txLimit, false)
		return p
	}
	if !q.offer(big()) || q.offer(big()) {
		t.Error("offer does not keep to the limit")
	}
	if q.room() {
		t.Error("there is room beyond the limit")
	}
	if n := q.iface.stats.txDropped.Load(); n != 1 {
		t.Errorf("%d drops counted, want 1", n)
	}
	q.shut()
	q.append(numberedPacket(pool, 1)) // released, as the leak check sees
}
