package pipe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// newPool returns a checking pool that must have everything back at the end of the test.
func newPool(t testing.TB) *packet.Pool {
	b := buffer.NewPool(buffer.Options{Check: true})
	p := packet.NewPool(b)
	t.Cleanup(func() {
		if n := p.Outstanding(); n != 0 {
			t.Errorf("%d packets leaked", n)
		}
		if n, _ := b.Outstanding(); n != 0 {
			t.Errorf("%d chunks leaked", n)
		}
	})
	return p
}

// newPacket returns an outbound packet of size bytes, 40 of them headers.
func newPacket(pool *packet.Pool, size int) *packet.Packet {
	p := pool.Get()
	payload := make([]byte, size-40)
	for i := range payload {
		payload[i] = byte(i)
	}
	p.Data().Append(payload)
	clear(p.Push(packet.Transport, 20))
	clear(p.Push(packet.Network, 20))
	return p
}

func contents(p *packet.Packet) []byte { return slices.Concat(p.Vec(nil)...) }

// discard is a sink's Deliver.
func discard(_ int, batch []*packet.Packet) {
	for _, p := range batch {
		p.Release()
	}
}

func stats(d link.Device) pipe.Stats { return d.(*pipe.End).Stats() }

func write(t testing.TB, d link.Device, batch ...*packet.Packet) {
	t.Helper()
	if n, err := d.WritePackets(0, batch); n != len(batch) || err != nil {
		t.Fatalf("WritePackets of %d: %d, %v", len(batch), n, err)
	}
}

func TestPipeDeliversThePacketItself(t *testing.T) {
	pool := newPool(t)
	clock := sched.NewVirtual(time.Unix(0, 0))
	clock.RunUntil(77)
	a, b := pipe.New(pipe.Options{})
	var got []*packet.Packet
	b.Attach(link.Sink{Clock: clock, Deliver: func(queue int, batch []*packet.Packet) {
		if queue != 3 {
			t.Errorf("delivered on queue %d", queue)
		}
		got = append(got, batch...)
	}})
	p, q := newPacket(pool, 100), newPacket(pool, 1500)
	want := contents(p)
	p.Checksum, p.CsumStart, p.CsumOffset, p.Depth = packet.ChecksumPartial, 20, 16, 1
	q.Checksum, q.Depth = packet.ChecksumVerified, math.MaxUint8
	batch := []*packet.Packet{p, q}
	if n, err := a.WritePackets(3, batch); n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if !slices.Equal(got, []*packet.Packet{p, q}) || batch[0] != p || batch[1] != q {
		t.Fatal("other packets delivered than written, or the borrowed slice changed")
	}
	if p.Depth != 2 || p.Queue != 3 || p.Received != 77 || q.Depth != math.MaxUint8 {
		t.Errorf("metadata %+v, %+v", p.Meta, q.Meta)
	}
	if p.Checksum != packet.ChecksumPartial || p.CsumStart != 20 || p.CsumOffset != 16 || q.Checksum != packet.ChecksumVerified {
		t.Errorf("checksum state %+v, %+v; want partial, verified as they were", p.Meta, q.Meta)
	}
	if h, ok := p.Consume(packet.Network, 20); !ok || !bytes.Equal(h, want[:20]) || !bytes.Equal(contents(p), want) {
		t.Error("the packet is not an inbound one of the same bytes")
	}
	if s := stats(a); s != (pipe.Stats{Sent: 2}) {
		t.Errorf("%+v", s)
	}
	p.Release()
	q.Release()
}

func TestPipeTakesWhatFits(t *testing.T) {
	for _, c := range []struct {
		name    string
		options pipe.Options
		size    int
		gso     packet.GSO
		gsoSize uint16
		want    bool
	}{
		{"MTU by default", pipe.Options{}, 1500, 0, 0, true},
		{"above it", pipe.Options{}, 1501, 0, 0, false},
		{"576", pipe.Options{MTU: 576}, 576, 0, 0, true},
		{"577", pipe.Options{MTU: 576}, 577, 0, 0, false},
		{"65535", pipe.Options{MTU: 65535}, 65535, 0, 0, true},
		{"super-segment", pipe.Options{}, 65535, packet.GSOTCP4, 1460, true},
		{"super-segment of large segments", pipe.Options{}, 65535, packet.GSOTCP4, 1461, false},
		{"too large super-segment", pipe.Options{}, 65536, packet.GSOUDP6, 1000, false},
		{"super-segment without offload", pipe.Options{NoOffload: true}, 1400, packet.GSOTCP4, 100, false},
		{"MTU without offload", pipe.Options{NoOffload: true}, 1500, 0, 0, true},
		{"above it without offload", pipe.Options{NoOffload: true}, 1501, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := newPool(t)
			a, b := pipe.New(c.options)
			delivered := 0
			b.Attach(link.Sink{Deliver: func(q int, batch []*packet.Packet) { delivered += len(batch); discard(q, batch) }})
			p := newPacket(pool, c.size)
			p.GSO, p.GSOSize = c.gso, c.gsoSize
			write(t, a, newPacket(pool, 100), p, newPacket(pool, 100)) // the neighbours are not to suffer
			want := pipe.Stats{Sent: 2, Dropped: 1}
			if c.want {
				want = pipe.Stats{Sent: 3}
			}
			if s := stats(a); s != want || uint64(delivered) != want.Sent {
				t.Errorf("%+v and %d delivered, want %+v", s, delivered, want)
			}
		})
	}
}

func TestPipeWithoutOffloadHasRealChecksums(t *testing.T) {
	pool := newPool(t)
	a, b := pipe.New(pipe.Options{NoOffload: true})
	var got []*packet.Packet
	b.Attach(link.Sink{Deliver: func(_ int, batch []*packet.Packet) { got = append(got, batch...) }})
	partial, verified, broken := newPacket(pool, 99), newPacket(pool, 100), newPacket(pool, 100)
	pseudo := uint16(0x1234)
	binary.BigEndian.PutUint16(partial.Header(packet.Transport)[16:], pseudo)
	partial.Checksum, partial.CsumStart, partial.CsumOffset = packet.ChecksumPartial, 20, 16
	verified.Checksum = packet.ChecksumVerified
	broken.Checksum, broken.CsumStart = packet.ChecksumPartial, 1000
	write(t, a, partial, verified, broken)
	if len(got) != 2 || stats(a) != (pipe.Stats{Sent: 2, Dropped: 1}) {
		t.Fatalf("%d delivered, %+v; one had its checksum outside", len(got), stats(a))
	}
	if sum := checksum.Sum(contents(got[0])[20:], pseudo); sum != 0xffff {
		t.Errorf("checksum not complete: sum %#x", sum)
	}
	for _, p := range got {
		if p.Checksum != packet.ChecksumNone {
			t.Errorf("checksum state %d: the receiver would not verify", p.Checksum)
		}
		p.Release()
	}
}

func TestPipeInfo(t *testing.T) {
	a, b := pipe.New(pipe.Options{MTU: 70000})
	if a.Info() != b.Info() || a.Info().MTU != 65535 || a.Info().Queues != min(runtime.GOMAXPROCS(0), 8) || a.Info().GSOMax != 65535 {
		t.Errorf("%+v", a.Info())
	}
	if o := a.Info().Offloads; o != link.TxChecksum|link.TxTSO4|link.TxTSO6|link.TxUSO|link.TxACE|link.RxJoined {
		t.Errorf("offloads %b", o)
	}
	a, _ = pipe.New(pipe.Options{MTU: 100, NoOffload: true})
	if i := a.Info(); i.MTU != 576 || i.Offloads != 0 {
		t.Errorf("%+v", i)
	}
	a, _ = pipe.New(pipe.Options{})
	if a.Info().MTU != 1500 {
		t.Errorf("%+v", a.Info())
	}
}

func TestPipeWithoutFarEnd(t *testing.T) {
	pool := newPool(t)
	a, b := pipe.New(pipe.Options{})
	write(t, a, newPacket(pool, 100))
	a.Attach(link.Sink{})
	write(t, b, newPacket(pool, 100)) // nil Deliver
	b.Attach(link.Sink{Deliver: discard})
	if err := b.Attach(link.Sink{}); !errors.Is(err, link.ErrAttached) {
		t.Errorf("second Attach: %v", err)
	}
	write(t, a, newPacket(pool, 100))
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	write(t, a, newPacket(pool, 100))
	if s := stats(a); s != (pipe.Stats{Sent: 1, Dropped: 2}) {
		t.Errorf("%+v", s)
	}
	p := newPacket(pool, 100)
	if n, err := b.WritePackets(0, []*packet.Packet{p}); n != 0 || !errors.Is(err, link.ErrClosed) {
		t.Errorf("written to a closed end: %d, %v", n, err)
	}
	p.Release() // still ours
}

func TestPipeCloseIsBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t)
		a, b := pipe.New(pipe.Options{})
		leave := make(chan bool)
		b.Attach(link.Sink{Deliver: func(q int, batch []*packet.Packet) { <-leave; discard(q, batch) }})
		go a.WritePackets(0, []*packet.Packet{newPacket(pool, 100)})
		synctest.Wait()
		var closed atomic.Bool
		go func() { b.Close(); closed.Store(true) }()
		a.Close() // nothing is inside a: it does not wait
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

// bouncer is a stack that answers every packet with itself, nested in the delivery, until the nesting is deep.
type bouncer struct {
	dev    link.Device
	closed atomic.Bool
	late   atomic.Int32
}

func (s *bouncer) deliver(queue int, batch []*packet.Packet) {
	if s.closed.Load() {
		s.late.Add(1)
	}
	for _, p := range batch {
		if p.Depth >= 6 {
			p.Release()
			continue
		}
		if n, _ := s.dev.WritePackets(queue, []*packet.Packet{p}); n == 0 {
			p.Release()
		}
	}
}

func (s *bouncer) close() {
	s.dev.Close()
	s.closed.Store(true)
}

func TestPipeBothEndsCloseUnderReentrantTraffic(t *testing.T) {
	rounds := 10_000
	if testing.Short() {
		rounds = 500
	}
	pool := packet.NewPool(nil)
	for range rounds {
		a, b := pipe.New(pipe.Options{})
		x, y := &bouncer{dev: a}, &bouncer{dev: b}
		a.Attach(link.Sink{Deliver: x.deliver})
		b.Attach(link.Sink{Deliver: y.deliver})
		var wg sync.WaitGroup
		for _, d := range []link.Device{a, b} {
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
		wg.Go(x.close)
		wg.Go(y.close)
		wg.Wait()
		if x.late.Load()+y.late.Load() != 0 {
			t.Fatal("delivered after Close returned")
		}
	}
	if n := pool.Outstanding(); n != 0 {
		t.Errorf("%d packets leaked", n)
	}
}

func TestPipeAllocatesNothing(t *testing.T) {
	for _, o := range []pipe.Options{{}, {NoOffload: true}} {
		a, b := pipe.New(o)
		var back [64]*packet.Packet
		n := 0
		b.Attach(link.Sink{Clock: sched.Real(), Deliver: func(_ int, batch []*packet.Packet) { n = copy(back[:], batch) }})
		for i := range back {
			back[i] = newPacket(packet.NewPool(nil), 1500)
		}
		batch := back
		if allocs := testing.AllocsPerRun(100, func() { a.WritePackets(0, batch[:]); batch = back }); allocs != 0 || n != len(back) {
			t.Errorf("%+v: %v allocations a batch of %d", o, allocs, n)
		}
	}
}

func BenchmarkPipe(b *testing.B) {
	x, y := pipe.New(pipe.Options{})
	y.Attach(link.Sink{Clock: sched.Real(), Deliver: func(int, []*packet.Packet) {}})
	batch := make([]*packet.Packet, 32)
	for i := range batch {
		batch[i] = newPacket(packet.NewPool(nil), 1500)
	}
	for b.Loop() {
		x.WritePackets(0, batch)
	}
}
