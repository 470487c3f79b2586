package tcp

import (
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
)

// SO_MAX_PACING_RATE: two segments, or a millisecond's worth, at a time, and the next when the time for them has passed, exactly.
func TestMaxPacingRate(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 1460, GSOMax: 65536})
	c := d.conn[0]
	c.SetMaxPacingRate(1e6)
	var src buffer.Buffer
	src.SetPool(pool)
	d.write(t, 0, &src, make([]byte, 10*1448))
	var at []sched.Time
	begin := d.now
	for len(at) < 5 {
		for c.Output(d.now, &d.seg) {
			at = append(at, d.now)
			if d.seg.Payload.Size() != 2*1448 {
				t.Errorf("%d bytes at once, want two segments", d.seg.Payload.Size())
			}
			d.seg.Payload.Clear()
		}
		next := c.Deadline()
		if next <= d.now || next == sched.Never {
			t.Fatalf("deadline %v at %v", next, d.now)
		}
		d.now = next
		c.Expire(d.now)
	}
	for i := range at {
		if want := begin.Add(time.Duration(i) * 2896 * time.Microsecond); at[i] != want {
			t.Errorf("segment %d after %v, want %v", i, at[i].Sub(begin), want.Sub(begin))
		}
	}
	if i := c.Info(); i.PacingRate != 1e6 || i.MaxPacingRate != 1e6 {
		t.Errorf("info: rate %d, limit %d", i.PacingRate, i.MaxPacingRate)
	}
}

// A timer that is late does not lower the rate, as long as it is less late than half of a gap; time in which there was nothing to send is
// not made good.
func TestPacingLate(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 1460})
	c := d.conn[0]
	c.SetMaxPacingRate(2896e3) // two segments a millisecond
	var src buffer.Buffer
	src.SetPool(pool)
	d.write(t, 0, &src, make([]byte, 10*1448))
	send := func(n int) {
		t.Helper()
		for ; n > 0; n-- {
			if !c.Output(d.now, &d.seg) {
				t.Fatal("held back")
			}
			d.seg.Payload.Clear()
		}
		if c.Output(d.now, &d.seg) {
			t.Fatal("not held back")
		}
	}
	wait := func(after time.Duration) {
		t.Helper()
		if got := c.Deadline().Sub(d.now); got != after {
			t.Fatalf("next after %v, want %v", got, after)
		}
	}
	const gap = 500 * time.Microsecond // one segment: there is no GSO
	send(1)
	wait(gap)
	d.now = d.now.Add(gap + 100*time.Microsecond)
	send(1)
	wait(gap - 100*time.Microsecond)
	d.now = d.now.Add(10 * gap)
	send(1)
	wait(gap / 2)
}

// A timer that is later than a gap is made good at once, for 5 ms or a quarter of the least round trip at the most: else a busy machine
// would look like a slow path.
func TestPacingVeryLate(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 1460})
	c := d.conn[0]
	c.rtt.min = 8 * time.Millisecond
	c.SetMaxPacingRate(2896e3)
	var src buffer.Buffer
	src.SetPool(pool)
	d.write(t, 0, &src, make([]byte, 30*1448))
	for _, step := range []struct {
		late time.Duration
		want int // segments, at 500 µs each
	}{{0, 1}, {1500 * time.Microsecond, 4}, {10 * time.Millisecond, 5}} {
		if c.Unsent() < 30*1448 {
			d.now = c.Deadline()
		}
		d.now = d.now.Add(step.late)
		n := 0
		for ; c.Output(d.now, &d.seg); n++ {
			d.seg.Payload.Clear()
		}
		if n != step.want {
			t.Errorf("%v late: %d segments, want %d", step.late, n, step.want)
		}
	}
}

// What has no rate is not paced: no call asks for the time.
func TestUnpaced(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 1460})
	var src buffer.Buffer
	src.SetPool(pool)
	d.write(t, 0, &src, make([]byte, 20*1448))
	n := 0
	for d.conn[0].Output(d.now, &d.seg) {
		n++
		d.seg.Payload.Clear()
	}
	if n != 10 || d.conn[0].snd.held || d.conn[0].rare != nil || d.conn[0].Info().PacingRate != 0 {
		t.Errorf("%d segments of the initial window at once", n)
	}
}

// Config.Pacing: Reno and CUBIC then pace their window, at twice what a round trip takes as long as it is to double.
func TestPacedWindow(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(t, &Config{Buffers: pool, Pacing: true}, &Config{Buffers: pool}, Params{MSS: 1460})
	c := d.conn[0]
	c.rtt = rttEstimate{srtt: 100 * time.Millisecond, rttvar: time.Millisecond, min: 100 * time.Millisecond}
	if got, want := c.Info().PacingRate, int64(c.cc.Cwnd())*10*2; got != want {
		t.Errorf("in slow start %d bytes per second, want %d", got, want)
	}
	c.cc.Congestion(d.now, c.cc.Cwnd(), 0)
	if got, want := c.Info().PacingRate, int64(c.cc.Cwnd())*10*12/10; got != want {
		t.Errorf("in congestion avoidance %d bytes per second, want %d", got, want)
	}
	c.SetMaxPacingRate(1000)
	if got := c.Info().PacingRate; got != 1000 {
		t.Errorf("%d bytes per second above the limit", got)
	}
}
