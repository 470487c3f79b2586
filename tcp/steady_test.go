package tcp

import (
	"bytes"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
)

// In steady state nothing is allocated: not for bulk, in segments or super-segments, not for bytes there and back, and not for SACK,
// recovery and reassembly.
func TestNoAllocations(t *testing.T) {
	if raced {
		t.Skip("under the race detector pools forget at random")
	}
	pool := buffer.NewPool(buffer.Options{})
	for _, test := range []struct {
		name string
		p    Params
		size int
		loss bool
		ecn  ECNMode
	}{
		{"super-segments", Params{MSS: 1460, GSOMax: 65000}, 200000, false, 0},
		{"super-segments, AccECN", Params{MSS: 1460, GSOMax: 65000}, 200000, false, AccECNAsk},
		{"losses, AccECN", Params{MSS: 1460, GSOMax: 1460}, 100000, true, AccECNAsk},
		{"segments", Params{MSS: 1460, GSOMax: 1460}, 50000, false, ECNAsk},
		{"bytes", Params{MSS: 1460, GSOMax: 65000}, 1, false, 0},
		{"losses", Params{MSS: 1460, GSOMax: 1460}, 100000, true, 0},
	} {
		d := newDuo(t, &Config{Buffers: pool, ECN: test.ecn}, &Config{Buffers: pool, ECN: test.ecn}, test.p)
		var src, dst buffer.Buffer
		src.SetPool(pool)
		data := make([]byte, test.size)
		n := 0
		round := func() {
			d.write(t, 0, &src, data)
			for got := 0; got < test.size; {
				n++
				d.lossy(test.loss, n)
				if d.conn[0].Deadline() < d.now.Add(time.Second) {
					d.now = max(d.now, d.conn[0].Deadline())
					d.conn[0].Expire(d.now)
				}
				got += d.read(1, &dst)
			}
			d.flush()
		}
		for range 50 {
			round()
		}
		if got := testing.AllocsPerRun(50, round); got > 0.5 {
			t.Errorf("%s: %v allocations for %d bytes", test.name, got, test.size)
		}
		if test.loss && d.conn[0].Info().Retransmits == 0 {
			t.Error("nothing was lost")
		}
	}
}

// lossy is flush, with every seventh segment of A's lost, or nearly, if lose is set.
func (d *duo) lossy(lose bool, salt int) {
	for more, k := true, salt; more; {
		more = false
		for i, c := range d.conn {
			for c.Output(d.now, &d.seg) {
				more = true
				d.now += 1000
				if k++; !lose || i != 0 || k%7 != 0 {
					d.conn[1-i].Input(d.now, &d.seg)
				}
				d.seg.Payload.Clear()
			}
		}
	}
}

// What an idle connection holds is itself and its congestion control.
func TestIdleHoldsNothing(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{Check: true})
	d := newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 1460, GSOMax: 20000})
	var src, dst buffer.Buffer
	src.SetPool(pool)
	for i := range 2 {
		d.write(t, i, &src, make([]byte, 100000))
		src.Release()
		for got := 0; got < 100000; got += d.read(1-i, &dst) {
			d.flush()
		}
		d.now = d.now.Add(time.Second)
		for _, c := range d.conn {
			c.Expire(d.now)
		}
		d.flush()
	}
	for i, c := range d.conn {
		if c.snd != nil || c.rcv != nil || c.Deadline() != sched.Never {
			t.Errorf("end %d is idle and holds %v, %v, a deadline of %v", i, c.snd, c.rcv, c.Deadline())
		}
	}
	if err := pool.Leaked(); err != nil {
		t.Error(err)
	}
}

// Over a way of microseconds the window grows to the whole receive buffer while the reader keeps up, and stays small if it does not.
func TestWindowGrows(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 65000, GSOMax: 65000})
	var src, dst buffer.Buffer
	src.SetPool(pool)
	total := 0
	for total < 64<<20 && d.conn[1].rcvWnd < 4<<20 {
		d.write(t, 0, &src, make([]byte, min(1<<20, d.conn[0].SendSpace())))
		for more := true; more; {
			d.flush()
			n := d.read(1, &dst)
			total += n
			more = n > 0
		}
	}
	if total > 16<<20 {
		t.Errorf("the window is %d after %d bytes", d.conn[1].rcvWnd, total)
	}
	d = newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 1460, GSOMax: 65000})
	d.write(t, 0, &src, make([]byte, 1<<20))
	d.flush()
	if c := d.conn[1]; c.rcvWnd != 65535 || c.offered() >= 1460 || c.ReadSize() < 64000 {
		t.Errorf("nobody reads: the window is %d, %d of it left, %d bytes unread", c.rcvWnd, c.offered(), c.ReadSize())
	}
	if d.conn[0].Deadline() == sched.Never {
		t.Error("a closed window, and nothing to wait for")
	}
}

// The bytes that arrive are the bytes that were written, super-segments, full and small segments, retransmissions, FIN and all.
func TestBulk(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{Check: true})
	d := newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{ISS: 1<<32 - 100000, MSS: 1460, GSOMax: 30000})
	var src, dst, got buffer.Buffer
	src.SetPool(pool)
	got.SetPool(pool)
	want := make([]byte, 300000)
	for i := range want {
		want[i] = byte(i * 7 % 251)
	}
	for left := want; len(left) > 0; {
		n := min(len(left), 7777)
		d.write(t, 0, &src, left[:n])
		left = left[n:]
	}
	src.Release()
	if err := d.conn[0].CloseWrite(d.now); err != nil {
		t.Fatal(err)
	}
	for n := 0; !d.conn[1].EOF(); n++ {
		d.lossy(true, n)
		if at := d.conn[0].Deadline(); at != sched.Never {
			d.now = max(d.now, at)
			d.conn[0].Expire(d.now)
		}
		d.conn[1].ReadDone(d.now, d.conn[1].Read(&got, 1<<20))
	}
	if !bytes.Equal(got.Flatten(), want) {
		t.Error("other bytes")
	}
	got.Release()
	dst.Release()
	if s := d.conn[0].State(); s != FinWait2 {
		d.flush()
		if s = d.conn[0].State(); s != FinWait2 {
			t.Error("A is in", s)
		}
	}
	if s := d.conn[1].State(); s != CloseWait {
		t.Error("B is in", s)
	}
	i := d.conn[0].Info()
	if i.BytesAcked != 300000 || i.BytesSent <= 300000 || i.Retransmits == 0 || i.SegmentsSent < 300000/1448 || i.MinRTT <= 0 ||
		i.RTO < 200*ms {
		t.Errorf("%+v", i)
	}
	if i := d.conn[1].Info(); i.BytesReceived != 300000 || i.OutOfOrder == 0 {
		t.Errorf("%+v", i)
	}
	for _, c := range d.conn {
		c.Abort(d.now, nil)
	}
	if err := pool.Leaked(); err != nil {
		t.Error(err)
	}
}
