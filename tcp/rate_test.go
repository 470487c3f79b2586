package tcp

import (
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp/cc"
)

// rateBoard is a scoreboard with the clock and the sums that a connection keeps for it.
type rateBoard struct {
	scoreboard
	now sched.Time
}

func newRateBoard() *rateBoard {
	b := &rateBoard{now: sched.Time(time.Second)}
	b.reset(1000)
	return b
}

func (b *rateBoard) send(n int) { b.transmitted(b.end()+Seq(n), b.now) }

func (b *rateBoard) ack(to Seq, sacks ...Seq) (s cc.Sample) {
	var d delivery
	b.acked(to, &d)
	for i := 0; i+1 < len(sacks); i += 2 {
		b.sack(sacks[i], sacks[i+1], &d)
	}
	b.rate.sample(b.now, d.bytes, &d.newest, 10*time.Millisecond, &s)
	return s
}

// draft-ietf-ccwg-bbr-06 §4.1.2: the sample of a packet is what was delivered since the ACK before it was sent, over the time from that
// ACK, or the time that sending took if that is longer.
func TestRateSample(t *testing.T) {
	b := newRateBoard()
	for range 4 { // 4 × 1000 bytes, 1 ms apart
		b.send(1000)
		b.now += sched.Time(time.Millisecond)
	}
	b.now = sched.Time(time.Second + 20*time.Millisecond)
	s := b.ack(2000)
	if s.Delivered != 1000 || s.Interval != 20*time.Millisecond || s.Rate != 50000 || s.InFlight != 1000 || s.Prior != 0 {
		t.Errorf("the first sample: %+v", s)
	}
	b.now += sched.Time(time.Millisecond)
	s = b.ack(4000) // of the third, which was sent 2 ms after the first; 3000 bytes in 21 ms
	if s.Delivered != 3000 || s.Interval != 21*time.Millisecond || s.InFlight != 3000 {
		t.Errorf("the second sample: %+v", s)
	}
	b.send(1000) // P.delivered is 3000, and what is in flight is the fourth and this
	b.now += sched.Time(30 * time.Millisecond)
	s = b.ack(6000)
	if s.Delivered != 2000 || s.Prior != 3000 || s.InFlight != 2000 || s.Interval != 30*time.Millisecond {
		t.Errorf("the third sample: %+v", s)
	}
}

// §4.1.1.2.3: ACKs that come at once do not make a rate that is higher than that of sending.
func TestRateSampleCompressedAcks(t *testing.T) {
	b := newRateBoard()
	b.send(1000)
	b.now += sched.Time(10 * time.Millisecond)
	b.ack(2000)
	for range 20 { // paced over 20 ms
		b.send(1000)
		b.now += sched.Time(time.Millisecond)
	}
	b.now += sched.Time(time.Millisecond)
	b.ack(3000)
	s := b.ack(22000) // all the rest in the same instant: 21 ms for acknowledging from the ACK before, 19 for sending
	if s.Rate > 20000*1000/21+1 {
		t.Errorf("%d bytes per second: %+v", s.Rate, s)
	}
}

// §4.1.2.3, GenerateRateSample: less than the least round trip is of something that was sent twice, and gives no rate.
func TestRateSampleTooShort(t *testing.T) {
	b := newRateBoard()
	b.send(1000)
	b.now += sched.Time(5 * time.Millisecond)
	if s := b.ack(2000); s.Rate != 0 || s.Delivered != 1000 {
		t.Errorf("a sample in half of the least round trip: %+v", s)
	}
}

// The packet sent last of all that an ACK tells about makes the sample; a retransmission is one by the time at which it was sent.
func TestRateSampleNewest(t *testing.T) {
	b := newRateBoard()
	for range 5 {
		b.send(1000)
		b.now += sched.Time(time.Millisecond)
	}
	b.now += sched.Time(15 * time.Millisecond)
	b.ack(1000, 2000, 6000)
	b.loseFirst(1000)
	b.next(1 << 30)
	b.retransmitted(2000, b.now)
	b.now += sched.Time(20 * time.Millisecond)
	s := b.ack(6000)
	if s.Delivered != 1000 || s.Prior != 4000 || s.Lost != 0 || s.InFlight != 1000 {
		t.Errorf("the sample of a retransmission: %+v", s)
	}
}

// What is lost after a packet was sent is in its sample, and what is in flight when a burst is sent is known for each part of it.
func TestRateSampleLost(t *testing.T) {
	b := newRateBoard()
	var c lossCounter
	b.rate.control = &c
	b.send(3000)
	b.now += sched.Time(time.Millisecond)
	b.send(1000)
	b.now += sched.Time(20 * time.Millisecond)
	b.split(b.head, 2000)
	b.lose(b.head)
	if c.last != (cc.LostPacket{Bytes: 1000, InFlight: 1000, Lost: 1000}) {
		t.Errorf("the first third of a burst of 3000 is lost: %+v", c.last)
	}
	s := b.ack(1000, 4000, 5000)
	if s.Lost != 1000 || s.InFlight != 4000 {
		t.Errorf("the sample after a loss: %+v", s)
	}
}

type lossCounter struct {
	cc.Control
	last cc.LostPacket
}

func (c *lossCounter) Lost(p cc.LostPacket) { c.last = p }

// §4.1.2.4: a sample is application-limited if there was nothing to send in the round trip before; a writer that is ahead of the network
// has none such, once the first window is acknowledged.
func TestRateAppLimited(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	for _, tt := range []struct {
		name      string
		write     int
		limited   bool
		atLeast   int64
		roundTrip int
	}{{"a little at a time", 1000, true, 1, 20}, {"more than the window", 200000, false, 1, 4}} {
		d := newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 1460})
		var src, dst buffer.Buffer
		src.SetPool(pool)
		for range tt.roundTrip {
			d.write(t, 0, &src, make([]byte, tt.write))
			d.flush()
			d.read(1, &dst)
			d.flush()
			d.now += sched.Time(50 * time.Millisecond)
		}
		i := d.conn[0].Info()
		if i.DeliveryRate < tt.atLeast || i.DeliveryAppLimited != tt.limited {
			t.Errorf("%s: %d bytes per second, application-limited %v", tt.name, i.DeliveryRate, i.DeliveryAppLimited)
		}
		if want := i.BytesAcked; i.Delivered != want {
			t.Errorf("%s: %d delivered, want %d", tt.name, i.Delivered, want)
		}
	}
}

// Nor is a sample the application's doing if packets wait in the stack's transmit queue.
func TestRateBacklogged(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	for _, backlogged := range []bool{false, true} {
		d := newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 1460})
		var src buffer.Buffer
		src.SetPool(pool)
		d.write(t, 0, &src, make([]byte, 1000))
		f := d.conn[0].snd
		f.board.rate.appLimited = 0
		d.conn[0].Output(d.now, &d.seg)
		d.conn[0].SetBacklogged(backlogged)
		d.conn[0].checkAppLimited(f)
		if limited := f.board.rate.appLimited != 0; limited == backlogged {
			t.Errorf("packets in the queue: %v, application-limited: %v", backlogged, limited)
		}
	}
}
