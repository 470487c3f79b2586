package tcp

import (
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
)

// refusal is a transfer over a path of 20 ms, at whose end the data of segments is refused for want of memory until an instant. It returns
// when all has arrived, and how many timeouts it took.
func refusal(t *testing.T, segments int, until time.Duration) (time.Duration, uint64) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(t, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 1460, GSOMax: 1460})
	d.conn[0].rtt = rttEstimate{}
	d.conn[0].rtt.sample(20*time.Millisecond, 1)
	var src, dst buffer.Buffer
	src.SetPool(pool)
	type packet struct {
		at  sched.Time
		to  int
		seg Segment
	}
	var way []*packet
	begin, got, size := d.now, 0, segments*1448
	d.write(t, 0, &src, make([]byte, size))
	for d.now.Sub(begin) < time.Minute && got < size {
		for i, c := range d.conn {
			for {
				p := &packet{at: d.now.Add(10 * time.Millisecond), to: 1 - i}
				if !c.Output(d.now, &p.seg) {
					break
				}
				way = append(way, p)
			}
		}
		d.now = min(d.conn[0].Deadline(), d.conn[1].Deadline())
		if len(way) > 0 {
			d.now = min(d.now, way[0].at)
		}
		for len(way) > 0 && way[0].at <= d.now {
			p := way[0]
			way = way[1:]
			if p.to == 1 && p.seg.Payload.Size() > 0 && d.now.Sub(begin) < until {
				d.conn[1].Refuse(&p.seg)
				p.seg.Payload.Clear()
			}
			d.conn[p.to].Input(d.now, &p.seg)
			p.seg.Payload.Clear()
			got += d.read(1, &dst)
		}
		for _, c := range d.conn {
			c.Expire(d.now)
		}
	}
	if got < size {
		t.Fatalf("%d of %d bytes have arrived", got, size)
	}
	return d.now.Sub(begin), d.conn[0].Info().RTOs
}

// What was refused for want of memory comes again without a retransmission timeout, when there is memory again: the probe of RFC 8985 §7 is
// taken, and its SACK tells that the rest is lost.
func TestRefusedDataComesAgain(t *testing.T) {
	for _, segments := range []int{1, 2, 10} {
		for _, until := range []time.Duration{15 * time.Millisecond, 40 * time.Millisecond} {
			most := 150 * time.Millisecond
			if segments == 1 {
				most = 250 * time.Millisecond // the probe of a single segment waits for a delayed ACK as well
			}
			if took, rtos := refusal(t, segments, until); rtos > 0 || took > most {
				t.Errorf("%d segments, refused for %v: %v and %d timeouts", segments, until, took, rtos)
			}
		}
	}
}
