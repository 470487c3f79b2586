package emul

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// arrival is a packet at the far end.
type arrival struct {
	number int
	at     sched.Time
}

// bench is an impaired pipe under a virtual clock, and what comes out of it.
type bench struct {
	t     *testing.T
	clock *sched.Virtual
	pool  *packet.Pool
	dev   *Device
	far   link.Device
	sent  int
	got   []arrival
	batch []int // sizes of the batches delivered
	check func(*packet.Packet)
}

func newBench(t *testing.T, c Config) *bench {
	b := &bench{t: t, clock: sched.NewVirtual(time.Unix(0, 0))}
	buffers := buffer.NewPool(buffer.Options{Check: true})
	b.pool = packet.NewPool(buffers)
	near, far := pipe.New(pipe.Options{})
	b.far = far
	b.dev = Wrap(near, c).(*Device)
	if err := b.dev.Attach(link.Sink{Clock: b.clock, Deliver: b.deliver}); err != nil {
		t.Fatal(err)
	}
	far.Attach(link.Sink{Clock: b.clock, Deliver: b.deliver})
	t.Cleanup(func() {
		b.dev.Close()
		if n := b.pool.Outstanding(); n != 0 {
			t.Errorf("%d packets leaked", n)
		}
		if n, _ := buffers.Outstanding(); n != 0 {
			t.Errorf("%d chunks leaked", n)
		}
	})
	return b
}

func (b *bench) deliver(_ int, batch []*packet.Packet) {
	b.batch = append(b.batch, len(batch))
	for _, p := range batch {
		if b.check != nil {
			b.check(p)
		}
		h, _ := p.Peek(24)
		b.got = append(b.got, arrival{int(binary.BigEndian.Uint32(h[20:])), b.clock.Now()})
		p.Release()
	}
}

// newPacket returns a packet with a number, behind a header of 20 bytes.
func newPacket(pool *packet.Pool, number, size int) *packet.Packet {
	p := pool.Get()
	payload := make([]byte, size-20)
	binary.BigEndian.PutUint32(payload, uint32(number))
	p.Data().Append(payload)
	clear(p.Push(packet.Network, 20))
	return p
}

// send writes n numbered packets at once.
func (b *bench) send(n, size int) {
	b.t.Helper()
	var batch []*packet.Packet
	for range n {
		batch = append(batch, newPacket(b.pool, b.sent, size))
		b.sent++
	}
	if n, err := b.dev.WritePackets(0, batch); n != len(batch) || err != nil {
		b.t.Fatalf("WritePackets of %d: %d, %v", len(batch), n, err)
	}
}

// sendEvery writes n packets, one each interval, and waits for them to arrive.
func (b *bench) sendEvery(interval time.Duration, n, size int) {
	b.t.Helper()
	for range n {
		b.send(1, size)
		b.clock.Advance(interval)
	}
	b.clock.Advance(time.Minute)
}

func (b *bench) numbers() []int {
	var n []int
	for _, a := range b.got {
		n = append(n, a.number)
	}
	return n
}

func TestPerfectLinkOnlyDefers(t *testing.T) {
	b := newBench(t, Config{})
	b.send(3, 1000)
	if len(b.got) != 0 {
		t.Error("delivered from inside WritePackets")
	}
	b.clock.Step()
	if !slices.Equal(b.got, []arrival{{0, 0}, {1, 0}, {2, 0}}) || !slices.Equal(b.batch, []int{3}) {
		t.Errorf("%v in batches of %v", b.got, b.batch)
	}
}

func TestRateAndDelayAreExact(t *testing.T) {
	b := newBench(t, Config{Delay: 10 * time.Millisecond, Rate: 100_000_000})
	b.send(3, 1250) // 100 µs each
	b.clock.Advance(time.Second)
	b.send(1, 125)
	b.clock.Advance(time.Second)
	want := []arrival{{0, 10_100_000}, {1, 10_200_000}, {2, 10_300_000}, {3, 1_010_010_000}}
	if !slices.Equal(b.got, want) {
		t.Errorf("%v, want %v", b.got, want)
	}
}

func TestRateCountsNoLinkHeader(t *testing.T) {
	b := newBench(t, Config{Rate: 8_000_000})
	p := newPacket(b.pool, 0, 1000)
	p.Push(packet.Link, 14)
	b.dev.WritePackets(0, []*packet.Packet{p})
	if at := b.clock.Next(); at != 1_000_000 {
		t.Errorf("arrives at %d ns, want 1 ms for 1000 bytes of IP", at)
	}
}

func TestRateDoesNotRound(t *testing.T) {
	b := newBench(t, Config{Rate: 7_000_000_000, Queue: 1 << 30}) // 71.43 ns for 500 bit
	const n = 7000
	b.send(n, 125) // 1000 bit
	b.clock.Advance(time.Second)
	if last := b.got[n-1].at; last != 1_000_000 {
		t.Errorf("%d packets took %d ns, want exactly 1 ms", n, last)
	}
}

func TestQueueDropsTail(t *testing.T) {
	b := newBench(t, Config{Rate: 8_000_000, Queue: 3000}) // 1 byte a µs
	b.send(5, 1000)
	b.clock.Advance(1500 * time.Microsecond) // half of the second has gone, 1500 bytes wait
	b.send(3, 1000)
	b.clock.Advance(time.Second)
	if want := []int{0, 1, 2, 5}; !slices.Equal(b.numbers(), want) {
		t.Errorf("arrived %v, want %v", b.numbers(), want)
	}
	if s := b.dev.Stats(); s != (Stats{Sent: 4, QueueDrops: 4}) {
		t.Errorf("%+v", s)
	}
	b.send(1, 1400)
	b.clock.Advance(time.Second)
	if len(b.got) != 5 {
		t.Error("an empty queue refused a packet")
	}
}

func TestQueueDefaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		want   int64
	}{
		{"slow and near", Config{Rate: 1e6}, 100 * 1500},
		{"bandwidth-delay product", Config{Rate: 100e6, Delay: 50 * time.Millisecond}, 1_250_000},
		{"no rate", Config{Delay: time.Second}, 64 << 20},
		{"given", Config{Rate: 1e9, Queue: 7}, 7},
		{"no overflow", Config{Rate: 1 << 62, Delay: 1 << 62}, 1 << 50},
	} {
		var l line
		if l.set(&c.config, 1500); l.queue != c.want {
			t.Errorf("%s: %d, want %d", c.name, l.queue, c.want)
		}
	}
}

func TestNoRateBoundsWhatIsUnderWay(t *testing.T) {
	b := newBench(t, Config{Delay: time.Second, Queue: 2500})
	b.send(3, 1000)
	b.clock.Advance(2 * time.Second)
	b.send(1, 1000)
	b.clock.Advance(2 * time.Second)
	if want := []int{0, 1, 3}; !slices.Equal(b.numbers(), want) || b.dev.Stats().QueueDrops != 1 {
		t.Errorf("arrived %v, want %v", b.numbers(), want)
	}
}

func TestJitterKeepsOrder(t *testing.T) {
	b := newBench(t, Config{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Seed: 1})
	const n = 2000
	var early, late bool
	b.check = nil
	b.sendEvery(time.Millisecond, n, 100)
	if !slices.IsSorted(b.numbers()) || len(b.got) != n {
		t.Error("reordered")
	}
	for _, a := range b.got {
		d := a.at.Sub(sched.Time(a.number) * 1e6)
		if d < 5*time.Millisecond || d > 15*time.Millisecond {
			t.Fatalf("packet %d took %v", a.number, d)
		}
		early, late = early || d < 8*time.Millisecond, late || d > 12*time.Millisecond
	}
	if !early || !late {
		t.Error("the delay hardly varies")
	}
}

func TestShares(t *testing.T) {
	const n = 20_000
	for _, c := range []struct {
		name   string
		config Config
		count  func(Stats) uint64
	}{
		{"loss", Config{Loss: 0.3}, func(s Stats) uint64 { return s.Lost }},
		{"duplicate", Config{Duplicate: 0.1}, func(s Stats) uint64 { return s.Duplicated }},
		{"reorder", Config{Reorder: 0.05}, func(s Stats) uint64 { return s.Reordered }},
		{"corrupt", Config{Corrupt: 0.01}, func(s Stats) uint64 { return s.Corrupted }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.config)
			b.sendEvery(time.Microsecond, n, 100)
			share := c.config.Loss + c.config.Duplicate + c.config.Reorder + c.config.Corrupt
			s := b.dev.Stats()
			if got := float64(c.count(s)) / n; got < share*0.8 || got > share*1.2 {
				t.Errorf("a share of %.4f, want %.2f", got, share)
			}
			if want := n - s.Lost + s.Duplicated; s.Sent != want || uint64(len(b.got)) != want {
				t.Errorf("%+v, %d arrived", s, len(b.got))
			}
		})
	}
}

func TestAllOrNothing(t *testing.T) {
	b := newBench(t, Config{Loss: 1})
	b.sendEvery(time.Microsecond, 100, 100)
	if len(b.got) != 0 || b.dev.Stats().Lost != 100 {
		t.Errorf("%d of 100 arrived", len(b.got))
	}
	b = newBench(t, Config{Loss: -1, Corrupt: 0})
	b.sendEvery(time.Microsecond, 100, 100)
	if len(b.got) != 100 {
		t.Errorf("%d of 100 arrived", len(b.got))
	}
}

func TestLostPacketsUseTheRate(t *testing.T) {
	b := newBench(t, Config{Rate: 8_000_000, Loss: 0.5, Seed: 3})
	b.send(100, 1000)
	b.clock.Advance(time.Second)
	for _, a := range b.got {
		if want := sched.Time(a.number+1) * 1e6; a.at != want {
			t.Fatalf("packet %d arrived at %d, want %d", a.number, a.at, want)
		}
	}
}

func TestReorderIsOvertakenByAFew(t *testing.T) {
	b := newBench(t, Config{Reorder: 0.05, Delay: time.Second, Seed: 9})
	b.sendEvery(time.Microsecond, 1000, 100)
	var moved []int
	top := -1
	for i, a := range b.got {
		if a.number < top {
			overtaken := 0
			for _, o := range b.got[:i] {
				if o.number > a.number {
					overtaken++
				}
			}
			moved = append(moved, overtaken)
		}
		top = max(top, a.number)
	}
	if len(moved) < 20 || len(b.got) != 1000 {
		t.Errorf("%d of %d came late", len(moved), len(b.got))
	}
	if m := slices.Max(moved); m > fewOvertakers+fewOvertakers/2 || m < 5 {
		t.Errorf("overtaken by %v", moved)
	}
}

func TestReorderedPacketComesWithoutFollowers(t *testing.T) {
	b := newBench(t, Config{Reorder: 1, Delay: 40 * time.Millisecond})
	b.sendEvery(time.Second, 1, 100)
	if want := []arrival{{0, 50_000_000}}; !slices.Equal(b.got, want) {
		t.Errorf("%v, want %v: Delay and a quarter of it", b.got, want)
	}
}

func TestDuplicateFollowsAtOnce(t *testing.T) {
	b := newBench(t, Config{Duplicate: 1, Delay: time.Millisecond})
	b.send(2, 100)
	b.clock.Advance(time.Second)
	if want := []arrival{{0, 1e6}, {0, 1e6}, {1, 1e6}, {1, 1e6}}; !slices.Equal(b.got, want) {
		t.Errorf("%v, want %v", b.got, want)
	}
}

func TestCorruptFlipsOneBitOfACopy(t *testing.T) {
	b := newBench(t, Config{Corrupt: 1})
	var kept buffer.Buffer // what the sender keeps for retransmission
	kept.SetPool(b.pool.Buffers())
	kept.Append(make([]byte, 400))
	defer kept.Release()
	flipped := map[int]bool{}
	b.check = func(p *packet.Packet) {
		n := 0
		for i, c := range slices.Concat(p.Vec(nil)...) {
			if n += bits.OnesCount8(c); c != 0 {
				flipped[i] = true
			}
		}
		if n != 1 || p.Checksum != packet.ChecksumNone {
			t.Errorf("%d bits flipped, checksum state %d", n, p.Checksum)
		}
	}
	for range 500 {
		p := b.pool.Get()
		kept.ShareTo(p.Data(), 0, 400)
		clear(p.Push(packet.Network, 20))
		p.Checksum = packet.ChecksumVerified
		b.dev.WritePackets(0, []*packet.Packet{p})
		b.clock.Advance(time.Second)
	}
	for _, c := range slices.Concat(kept.Vec(nil)...) {
		if c != 0 {
			t.Fatal("the sender's bytes changed")
		}
	}
	header := 0
	for i := range 20 {
		if flipped[i] {
			header++
		}
	}
	if len(flipped) < 200 || header < 5 {
		t.Errorf("%d bytes hit, %d of the header", len(flipped), header)
	}
}

func TestPartialChecksumIsFinishedAndSuperSegmentRefused(t *testing.T) {
	b := newBench(t, Config{})
	p, super, broken := newPacket(b.pool, 0, 60), newPacket(b.pool, 1, 60), newPacket(b.pool, 2, 60)
	p.Checksum, p.CsumStart, p.CsumOffset, p.Depth = packet.ChecksumPartial, 20, 16, 4
	super.GSO = packet.GSOTCP4
	broken.Checksum, broken.CsumStart = packet.ChecksumPartial, 100
	b.check = func(p *packet.Packet) {
		if sum := checksum.Sum(slices.Concat(p.Vec(nil)...)[20:], 0); sum != 0xffff || p.Checksum != packet.ChecksumNone {
			t.Errorf("sum %#x, state %d", sum, p.Checksum)
		}
		if p.Depth != 1 {
			t.Errorf("depth %d on a new goroutine's stack, want 1 (the pipe's)", p.Depth)
		}
	}
	b.dev.WritePackets(0, []*packet.Packet{super, p, broken})
	b.clock.Advance(time.Second)
	if s := b.dev.Stats(); s != (Stats{Sent: 1, Dropped: 2}) || len(b.got) != 1 {
		t.Errorf("%+v, %d arrived", s, len(b.got))
	}
}

func TestSameSeedSameRun(t *testing.T) {
	run := func(seed uint64) []arrival {
		b := newBench(t, Config{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.1, Duplicate: 0.1, Reorder: 0.1,
			Corrupt: 0.1, Rate: 10e6, Seed: seed})
		b.sendEvery(100*time.Microsecond, 500, 100)
		return b.got
	}
	if !slices.Equal(run(1), run(1)) {
		t.Error("the same seed gave two runs")
	}
	if slices.Equal(run(1), run(2)) {
		t.Error("two seeds gave the same run")
	}
}

func TestInfoClaimsNothing(t *testing.T) {
	near, far := pipe.New(pipe.Options{MTU: 9000})
	d := Wrap(near, Config{})
	if i := d.Info(); i != (link.Info{MTU: 9000, Queues: 1}) {
		t.Errorf("%+v", i)
	}
	if near.Info() != far.Info() {
		t.Error("the inner device's info changed")
	}
}
