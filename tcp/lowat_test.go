package tcp

import (
	"testing"

	"github.com/weirnet/weir/buffer"
)

// A low-water mark of less than a segment says when the writer may go on, not how large segments are: all of a stream that is written as
// there is space goes in full ones, and yet never more than one is unsent.
func TestLowatBelowASegment(t *testing.T) {
	for _, low := range []int{1, 100, 1000, 1448} {
		pool := buffer.NewPool(buffer.Options{})
		d := newDuo(t, &Config{Buffers: pool, NotSentLowat: low}, &Config{Buffers: pool}, Params{MSS: 1460, GSOMax: 1460})
		c := d.conn[0]
		var src, dst buffer.Buffer
		src.SetPool(pool)
		dst.SetPool(pool)
		mss, segments := c.dataMSS(), 0
		for left, idle := 100*mss, 0; left > 0 || c.SendQueue() > 0; idle++ {
			if n := min(c.SendSpace(), left); n > 0 {
				src.Append(make([]byte, n))
				left -= n
				flags := Unfinished
				if left == 0 {
					flags = 0
				}
				if err := c.WriteWith(d.now, &src, flags); err != nil {
					t.Fatal(err)
				}
				idle = 0
			}
			if n := c.Unsent(); n > mss || n >= low && c.SendSpace() > 0 {
				t.Fatalf("mark %d: %d bytes are unsent, and there is space for %d", low, n, c.SendSpace())
			}
			for c.Output(d.now, &d.seg) {
				if n := d.seg.Payload.Size(); n > 0 {
					segments++
					if n != mss {
						t.Fatalf("mark %d: a segment of %d bytes, full ones are %d", low, n, mss)
					}
				}
				d.conn[1].Input(d.now, &d.seg)
				d.seg.Payload.Clear()
			}
			if idle < 10 { // the congestion window closes now and then: what is unsent waits
				continue
			}
			d.read(1, &dst)
			d.now += 1e9
			d.conn[1].Expire(d.now)
			for d.conn[1].Output(d.now, &d.seg) {
				c.Input(d.now, &d.seg)
			}
			idle = 0
		}
		if segments != 100 {
			t.Errorf("mark %d: %d segments, want 100", low, segments)
		}
	}
}
