package emul

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// stub is a device that takes what it is told to.
type stub struct {
	mu    sync.Mutex
	sink  link.Sink
	room  int // packets; -1: closed
	took  []int
	calls int
	enter func()
}

func (s *stub) Attach(k link.Sink) error { s.sink = k; return nil }
func (s *stub) Info() link.Info {
	return link.Info{MTU: 1500, Offloads: link.TxTSO4, GSOMax: 9, Queues: 4}
}
func (s *stub) Close() error { return nil }

func (s *stub) WritePackets(_ int, batch []*packet.Packet) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.enter != nil {
		s.enter()
	}
	if s.room < 0 {
		return 0, link.ErrClosed
	}
	n := min(s.room, len(batch))
	s.room -= n
	for _, p := range batch[:n] {
		v := slices.Concat(p.Vec(nil)...)
		s.took = append(s.took, int(binary.BigEndian.Uint32(v[20:])))
		p.Release()
	}
	if n < len(batch) {
		return n, link.ErrFull
	}
	return n, nil
}

func newStubBench(t *testing.T, c Config) (*stub, *bench) {
	s := &stub{}
	b := &bench{t: t, clock: sched.NewVirtual(time.Unix(0, 0)), pool: packet.NewPool(nil)}
	c.Clock = b.clock
	b.dev = Wrap(s, c).(*Device)
	b.dev.Attach(link.Sink{})
	t.Cleanup(func() {
		b.dev.Close()
		if n := b.pool.Outstanding(); n != 0 {
			t.Errorf("%d packets leaked", n)
		}
	})
	return s, b
}

func TestFullInnerDeviceIsTriedAgain(t *testing.T) {
	s, b := newStubBench(t, Config{Rate: 8e6, Queue: 3000})
	s.room = 1
	b.send(3, 1000)
	b.clock.Advance(time.Second)
	if calls := s.calls; !slices.Equal(s.took, []int{0}) || calls != 2 {
		t.Errorf("took %v in %d calls: it was not left alone", s.took, calls)
	}
	s.room = 1
	s.sink.Writable(0)
	b.send(1, 1000)
	s.room = 10
	s.sink.Writable(0)
	b.clock.Advance(time.Second)
	if !slices.Equal(s.took, []int{0, 1, 2, 3}) || b.dev.Stats().Sent != 4 {
		t.Errorf("took %v, %+v", s.took, b.dev.Stats())
	}
}

func TestWritableDuringTheCallIsNotLost(t *testing.T) {
	s, b := newStubBench(t, Config{})
	s.enter = func() {
		if s.calls == 1 { // the room comes between the look and the answer
			s.mu.Unlock()
			s.sink.Writable(0)
			s.mu.Lock()
			defer func() { s.room = 0 }()
		} else {
			s.room = 10
		}
	}
	b.send(2, 100)
	b.clock.Advance(time.Second)
	if !slices.Equal(s.took, []int{0, 1}) {
		t.Errorf("took %v", s.took)
	}
}

func TestOneSenderAtATime(t *testing.T) {
	s, b := newStubBench(t, Config{})
	s.room = 10
	nested := 0
	s.enter = func() {
		nested++
		s.mu.Unlock()
		b.dev.run() // as a timer that fires late, on another goroutine
		s.sink.Writable(0)
		s.mu.Lock()
		if nested != 1 {
			t.Error("a second sender came in between")
		}
		nested--
	}
	b.send(2, 100)
	b.clock.Step()
	if !slices.Equal(s.took, []int{0, 1}) {
		t.Errorf("took %v", s.took)
	}
}

func TestExtremeTimesDoNotOverflow(t *testing.T) {
	var l line
	l.set(&Config{Delay: 1<<63 - 1, Jitter: 1<<63 - 1, Rate: 1}, 1500)
	if at := l.arrival(l.depart(1500, 5), time.Hour); at != sched.Never {
		t.Errorf("arrives at %d, want never", at)
	}
	b := newBench(t, Config{Delay: 1<<63 - 1, Jitter: 1<<63 - 1, Rate: 1})
	b.send(10, 1500)
	b.clock.Advance(24 * 365 * time.Hour)
	if len(b.got) != 0 {
		t.Errorf("arrived at %d", b.got[0].at)
	}
}

func TestFullInnerDeviceBoundsMemory(t *testing.T) {
	s, b := newStubBench(t, Config{Rate: 8e6, Queue: 3000})
	for range 1000 {
		b.send(1, 1000)
		b.clock.Advance(time.Second)
	}
	if n := b.pool.Outstanding(); n > 200 || s.calls != 1 {
		t.Errorf("%d packets wait, %d calls", n, s.calls)
	}
	if d := b.dev.Stats().QueueDrops; d < 800 {
		t.Errorf("%d dropped", d)
	}
}

func TestInnerDeviceClosed(t *testing.T) {
	s, b := newStubBench(t, Config{})
	s.room = -1
	b.send(3, 100)
	b.clock.Advance(time.Second)
	if d := b.dev.Stats(); d != (Stats{Dropped: 3}) {
		t.Errorf("%+v", d)
	}
}

func TestChangedIsStripped(t *testing.T) {
	s := &stub{}
	d := Wrap(s, Config{})
	var got link.Info
	d.Attach(link.Sink{Changed: func(i link.Info) { got = i }})
	s.sink.Changed(link.Info{MTU: 1400, Offloads: link.TxChecksum, Queues: 8, Down: true})
	if got != (link.Info{MTU: 1400, Queues: 1, Down: true}) {
		t.Errorf("%+v", got)
	}
	d.Close()
}

func TestUnattachedAndClosed(t *testing.T) {
	pool := packet.NewPool(nil)
	near, _ := pipe.New(pipe.Options{})
	d := Wrap(near, Config{}).(*Device)
	if n, err := d.WritePackets(0, []*packet.Packet{newPacket(pool, 0, 100)}); n != 1 || err != nil || d.Stats().Dropped != 1 {
		t.Errorf("before Attach: %d, %v", n, err)
	}
	d.Attach(link.Sink{})
	if err := d.Attach(link.Sink{}); !errors.Is(err, link.ErrAttached) {
		t.Errorf("second Attach: %v", err)
	}
	d.WritePackets(0, []*packet.Packet{newPacket(pool, 0, 100)})
	d.Close()
	d.Close()
	if pool.Outstanding() != 0 {
		t.Error("Close left packets in the queue")
	}
	p := newPacket(pool, 0, 100)
	if n, err := d.WritePackets(0, []*packet.Packet{p}); n != 0 || !errors.Is(err, link.ErrClosed) {
		t.Errorf("after Close: %d, %v", n, err)
	}
	if err := d.Attach(link.Sink{}); !errors.Is(err, link.ErrClosed) {
		t.Errorf("Attach after Close: %v", err)
	}
	if err := near.Attach(link.Sink{}); !errors.Is(err, link.ErrClosed) {
		t.Errorf("the inner device is not closed: %v", err)
	}
}

func TestCloseWaitsForTheRunningTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pipe.New(pipe.Options{})
		leave := make(chan bool)
		far.Attach(link.Sink{Deliver: func(_ int, batch []*packet.Packet) {
			<-leave
			for _, p := range batch {
				p.Release()
			}
		}})
		d := Wrap(near, Config{Delay: time.Second, Clock: sched.Real()}).(*Device)
		d.Attach(link.Sink{})
		pool := packet.NewPool(nil)
		d.WritePackets(0, []*packet.Packet{newPacket(pool, 0, 100)})
		time.Sleep(time.Second)
		d.WritePackets(0, []*packet.Packet{newPacket(pool, 1, 100)})
		synctest.Wait()
		var closed atomic.Int32
		for range 2 {
			go func() { d.Close(); closed.Add(1) }()
		}
		synctest.Wait()
		if closed.Load() != 0 {
			t.Error("Close returned during a delivery")
		}
		close(leave)
		synctest.Wait()
		if closed.Load() != 2 || pool.Outstanding() != 0 {
			t.Errorf("%d of 2 Close returned, %d packets left", closed.Load(), pool.Outstanding())
		}
		time.Sleep(time.Hour)
	})
}

// lateClock runs timers late by up to lag, as a loaded machine does.
type lateClock struct {
	*sched.Virtual
	lag time.Duration
}

type lateTimer struct {
	sched.Timer
	lag time.Duration
}

func (t lateTimer) Reset(at sched.Time) { t.Timer.Reset(at.Add(t.lag)) }

func (c lateClock) NewTimer(fn func()) sched.Timer {
	return lateTimer{c.Virtual.NewTimer(fn), c.lag}
}

func TestLateTimersKeepTheRate(t *testing.T) {
	v := sched.NewVirtual(time.Unix(0, 0))
	near, far := pipe.New(pipe.Options{})
	d := Wrap(near, Config{Rate: 100e6, Delay: time.Millisecond, Clock: lateClock{v, 20 * time.Millisecond}, Queue: 10 << 20})
	d.Attach(link.Sink{})
	var bytes int
	var last sched.Time
	far.Attach(link.Sink{Deliver: func(_ int, batch []*packet.Packet) {
		for _, p := range batch {
			bytes += p.Size()
			p.Release()
		}
		last = v.Now()
	}})
	for i := range 5000 {
		d.WritePackets(0, []*packet.Packet{newPacket(nil, i, 1250)})
	}
	v.Advance(time.Minute)
	if bytes != 5000*1250 || last > 530e6 { // 500 ms by the rate
		t.Errorf("%d bytes by %d ns", bytes, last)
	}
	d.Close()
}

func TestConcurrentUse(t *testing.T) {
	pool := packet.NewPool(nil)
	near, far := pipe.New(pipe.Options{})
	x := Wrap(near, Config{Delay: 20 * time.Microsecond, Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, Corrupt: 0.1, Rate: 10e9, Seed: 1})
	y := Wrap(far, Config{Delay: 20 * time.Microsecond, Seed: 2})
	clock := sched.Real()
	var got atomic.Int64
	for _, d := range []link.Device{x, y} {
		d.Attach(link.Sink{Clock: clock, Deliver: func(_ int, batch []*packet.Packet) {
			got.Add(int64(len(batch)))
			for _, p := range batch {
				if n, _ := d.WritePackets(0, []*packet.Packet{p}); n == 0 {
					p.Release()
				}
			}
		}})
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range 3000 {
				p := newPacket(pool, i, 100)
				if n, _ := x.WritePackets(0, []*packet.Packet{p}); n == 0 {
					p.Release()
				}
			}
		})
	}
	wg.Wait()
	wg.Go(func() { x.Close() })
	wg.Go(func() { y.Close() })
	wg.Wait()
	if n := pool.Outstanding(); n != 0 || got.Load() == 0 {
		t.Errorf("%d packets leaked, %d arrived", n, got.Load())
	}
}

func TestAllocatesNothing(t *testing.T) {
	v := sched.NewVirtual(time.Unix(0, 0))
	near, far := pipe.New(pipe.Options{})
	d := Wrap(near, Config{Rate: 1e9, Delay: time.Millisecond, Reorder: 0.1, Jitter: time.Millisecond, Clock: v})
	d.Attach(link.Sink{})
	var batch, back []*packet.Packet
	far.Attach(link.Sink{Deliver: func(_ int, b []*packet.Packet) { back = append(back, b...) }})
	for i := range 16 {
		back = append(back, newPacket(nil, i, 1000)) // not from a pool: sync.Pool forgets some under the race detector
	}
	send := func() {
		batch, back = back, batch[:0]
		d.WritePackets(0, batch)
		v.Advance(10 * time.Millisecond)
	}
	for range 100 {
		send()
	}
	if n := testing.AllocsPerRun(100, send); n != 0 || len(back) != 16 {
		t.Errorf("%v allocations, %d of 16 packets back", n, len(back))
	}
	d.Close()
}
