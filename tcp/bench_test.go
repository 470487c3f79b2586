package tcp

import (
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
)

// duo is two connections that hand each other segments directly, as two stacks joined by a pipe do.
type duo struct {
	now  sched.Time
	cfg  [2]*Config
	conn [2]*Conn
	seg  Segment
	hold bool // segments of conn[0] are dropped
}

// newDuo opens a connection between two ends with these configurations.
func newDuo(tb testing.TB, a, b *Config, p Params) *duo {
	tb.Helper()
	d := &duo{now: sched.Time(time.Second), cfg: [2]*Config{a, b}, conn: [2]*Conn{new(Conn), new(Conn)}}
	p.MSS, p.GSOMax = max(p.MSS, minMSS), max(p.GSOMax, p.MSS)
	d.conn[0].Connect(a, d.now, p)
	var syn SynRecv
	var reply Segment
	if !d.conn[0].Output(d.now, &d.seg) {
		tb.Fatal("no SYN")
	}
	p.ISS += 1 << 30
	syn.Init(b, d.now, &d.seg, p)
	syn.Open(d.now, &reply)
	d.now += 1000
	d.conn[0].Input(d.now, &reply)
	if !d.conn[0].Output(d.now, &d.seg) {
		tb.Fatal("no ACK")
	}
	if e := d.conn[1].Accept(b, d.now, &syn, &d.seg); e != Connected {
		tb.Fatal("Accept:", e)
	}
	return d
}

// flush lets both ends send until they have nothing more to send, each segment taking a microsecond.
func (d *duo) flush() Events {
	var events Events
	for more := true; more; {
		more = false
		for i, c := range d.conn {
			for c.Output(d.now, &d.seg) {
				more = true
				d.now += 1000
				if i == 0 && d.hold {
					d.seg.Payload.Clear()
					continue
				}
				events |= d.conn[1-i].Input(d.now, &d.seg)
				d.seg.Payload.Clear()
			}
		}
	}
	return events
}

// write queues the bytes at end i.
func (d *duo) write(tb testing.TB, i int, src *buffer.Buffer, b []byte) {
	src.Append(b)
	if err := d.conn[i].Write(d.now, src); err != nil {
		tb.Fatal(err)
	}
}

// read takes all that end i has.
func (d *duo) read(i int, dst *buffer.Buffer) int {
	n := d.conn[i].Read(dst, 1<<30)
	dst.TrimFront(n)
	d.conn[i].ReadDone(d.now, n)
	return n
}

func benchmarkBulk(b *testing.B, mss, gso, write int) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(b, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: mss, GSOMax: gso})
	var src, dst buffer.Buffer
	src.SetPool(pool)
	data := make([]byte, write)
	b.SetBytes(int64(write))
	b.ReportAllocs()
	for b.Loop() {
		d.write(b, 0, &src, data)
		d.flush()
		d.read(1, &dst)
		d.flush()
	}
	i := d.conn[0].Info()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i.SegmentsSent), "ns/seg")
}

func BenchmarkSuperSegment(b *testing.B) { benchmarkBulk(b, 65535-40, 65535-40, 65535-40-12) }
func BenchmarkSegments(b *testing.B)     { benchmarkBulk(b, 1460, 1460, 64<<10) }

// BenchmarkRoundTrip is a byte there and a byte back.
func BenchmarkRoundTrip(b *testing.B) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(b, &Config{Buffers: pool}, &Config{Buffers: pool}, Params{MSS: 65495, GSOMax: 65495})
	var src [2]buffer.Buffer
	var dst buffer.Buffer
	src[0].SetPool(pool)
	src[1].SetPool(pool)
	b.ReportAllocs()
	for b.Loop() {
		for i := range 2 {
			d.write(b, i, &src[i], []byte{1})
			d.flush()
			if d.read(1-i, &dst) != 1 {
				b.Fatal("nothing arrived")
			}
			d.flush()
		}
	}
}
