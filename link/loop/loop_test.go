package loop_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/loop"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

func newPacket(pool *packet.Pool, size int) *packet.Packet {
	p := pool.Get()
	p.Data().Append(make([]byte, size-20))
	clear(p.Push(packet.Network, 20))
	return p
}

func discard(_ int, batch []*packet.Packet) {
	for _, p := range batch {
		p.Release()
	}
}

func TestLoop(t *testing.T) {
	pool := packet.NewPool(buffer.NewPool(buffer.Options{Check: true}))
	clock := sched.NewVirtual(time.Unix(0, 0))
	clock.RunUntil(5)
	d := loop.New(loop.Options{MTU: 1000})
	if n, err := d.WritePackets(0, []*packet.Packet{newPacket(pool, 50)}); n != 1 || err != nil {
		t.Errorf("before Attach: %d, %v", n, err)
	}
	var depths []uint8
	d.Attach(link.Sink{Clock: clock, Deliver: func(queue int, batch []*packet.Packet) {
		for _, p := range batch {
			if p.Received != 5 || p.Checksum != packet.ChecksumPartial || p.Size() > 1000 {
				t.Errorf("received %+v", p.Meta)
			}
			if depths = append(depths, p.Depth); p.Depth == 3 {
				p.Release()
				continue
			}
			d.WritePackets(queue, []*packet.Packet{p})
		}
	}})
	if err := d.Attach(link.Sink{}); !errors.Is(err, link.ErrAttached) {
		t.Errorf("second Attach: %v", err)
	}
	p := newPacket(pool, 1000)
	p.Checksum = packet.ChecksumPartial
	d.WritePackets(0, []*packet.Packet{newPacket(pool, 1001), p})
	if len(depths) != 3 || depths[0] != 1 || depths[2] != 3 {
		t.Errorf("depths %d", depths)
	}
	if s := d.Stats(); s != (loop.Stats{Sent: 3, Dropped: 2}) {
		t.Errorf("%+v", s)
	}
	d.Close()
	q := newPacket(pool, 50)
	if n, err := d.WritePackets(0, []*packet.Packet{q}); n != 0 || !errors.Is(err, link.ErrClosed) {
		t.Errorf("after Close: %d, %v", n, err)
	}
	q.Release()
	if n := pool.Outstanding(); n != 0 {
		t.Errorf("%d packets leaked", n)
	}
}

func TestLoopInfo(t *testing.T) {
	for option, want := range map[int]int{0: 65535, 1: 576, 1280: 1280, 1 << 20: 65535} {
		if i := loop.New(loop.Options{MTU: option}).Info(); i.MTU != want || i.Queues != 1 || i.Offloads&link.TxTSO6 == 0 {
			t.Errorf("MTU %d: %+v", option, i)
		}
	}
}

func TestLoopCloseIsBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := loop.New(loop.Options{})
		leave := make(chan bool)
		d.Attach(link.Sink{Deliver: func(q int, batch []*packet.Packet) { <-leave; discard(q, batch) }})
		go d.WritePackets(0, []*packet.Packet{newPacket(nil, 50)})
		synctest.Wait()
		var closed atomic.Bool
		go func() { d.Close(); closed.Store(true) }()
		synctest.Wait()
		if closed.Load() {
			t.Error("Close returned during a delivery")
		}
		close(leave)
		synctest.Wait()
		if !closed.Load() {
			t.Error("Close did not return")
		}
	})
}

func TestLoopClosesUnderReentrantTraffic(t *testing.T) {
	pool := packet.NewPool(nil)
	for range 1000 {
		d := loop.New(loop.Options{})
		var closed, late atomic.Bool
		d.Attach(link.Sink{Deliver: func(queue int, batch []*packet.Packet) {
			if closed.Load() {
				late.Store(true)
			}
			for _, p := range batch {
				if p.Depth < 5 {
					if n, _ := d.WritePackets(queue, []*packet.Packet{p}); n == 1 {
						continue
					}
				}
				p.Release()
			}
		}})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					p := newPacket(pool, 60)
					if n, _ := d.WritePackets(0, []*packet.Packet{p}); n == 0 {
						p.Release()
						return
					}
				}
			})
		}
		d.Close()
		closed.Store(true)
		wg.Wait()
		if late.Load() {
			t.Fatal("delivered after Close returned")
		}
	}
	if n := pool.Outstanding(); n != 0 {
		t.Errorf("%d packets leaked", n)
	}
}

func TestLoopAllocatesNothing(t *testing.T) {
	d := loop.New(loop.Options{})
	d.Attach(link.Sink{Clock: sched.Real(), Deliver: func(int, []*packet.Packet) {}})
	batch := []*packet.Packet{newPacket(nil, 1500), newPacket(nil, 100)}
	if n := testing.AllocsPerRun(100, func() { d.WritePackets(0, batch) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
