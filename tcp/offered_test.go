package tcp

import (
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/wire"
)

// What the peer was offered is taken, in order and behind a hole, however badly its segments fill their chunks; also if the receive buffer is
// lowered while it is on its way.
func TestOfferedIsTaken(t *testing.T) {
	for i := range 4 {
		hole, lowered := i&1 != 0, i&2 != 0
		pool := buffer.NewPool(buffer.Options{})
		d := newDuo(t, &Config{Buffers: pool, NoTimestamps: true}, &Config{Buffers: pool, NoTimestamps: true}, Params{MSS: 1460, GSOMax: 1460})
		c := d.conn[1]
		c.rcvWnd = 1 << 20 // as if tuned
		c.set(ackNow)
		d.flush()
		offered := c.offered()
		if offered < 1<<19 {
			t.Fatal("offered", offered)
		}
		c.SetBuffers(0, offered)
		if lowered {
			c.SetBuffers(0, 16<<10)
		}
		const size = 1000
		payload := make([]byte, size)
		begin, lost := c.rcvNxt, Seq(0)
		if hole {
			lost = size
		}
		send := func(from, to Seq) {
			for ; (from + size).AtOrBefore(to); from += size {
				seg := Segment{Seq: from, Ack: c.sndNxt, Flags: 0x10, Window: 1000, Segs: 1}
				seg.Payload.SetPool(pool)
				seg.Payload.Append(payload)
				d.now += 1000
				c.Input(d.now, &seg)
				seg.Payload.Clear()
				for c.Output(d.now, &d.seg) {
					d.seg.Payload.Clear()
				}
			}
		}
		end := begin + Seq(offered)
		send(begin+lost, end)
		send(begin, begin+lost)
		if got, want := c.ReadSize(), offered/size*size; got != want {
			t.Errorf("hole %v, lowered %v: %d bytes of %d that were offered are there", hole, lowered, got, want)
		}
		if left := c.offered(); lowered && left >= size {
			t.Errorf("hole %v, lowered %v: the window went on: %d bytes", hole, lowered, left)
		}
		if used := c.charged(); used > 2*offered+chunkSlack {
			t.Errorf("hole %v, lowered %v: %d bytes of memory for %d", hole, lowered, used, offered)
		}
	}
}

// A receive buffer that is lowered keeps what came behind a hole only while that is in proportion to what was offered, which becomes less as the
// hole is filled and read: what is behind must never keep out what is next.
func TestHoleIsFilledThoughBufferIsLowered(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(t, &Config{Buffers: pool, NoTimestamps: true}, &Config{Buffers: pool, NoTimestamps: true}, Params{MSS: 1460, GSOMax: 1460})
	c := d.conn[1]
	c.rcvWnd = 128 << 10 // as if tuned
	c.set(ackNow)
	d.flush()
	const small, full = 300, 1400 // each takes 2 KB of memory
	offered := c.offered()
	c.SetBuffers(0, offered)
	var got buffer.Buffer
	got.SetPool(pool)
	begin := c.rcvNxt
	send := func(seq Seq, size int) {
		seg := Segment{Seq: seq, Ack: c.sndNxt, Flags: 0x10, Window: 1000, Segs: 1}
		seg.Payload.SetPool(pool)
		seg.Payload.Append(make([]byte, size))
		d.now += 1000
		c.Input(d.now, &seg)
		seg.Payload.Clear()
		c.ReadDone(d.now, c.Read(&got, 1<<30))
		got.Clear()
		for c.Output(d.now, &d.seg) {
			d.seg.Payload.Clear()
		}
	}
	end := begin + Seq(offered)
	for seq := begin + Seq(offered/2); (seq + small).Before(end); seq += 2 * small { // islands, of which some are dropped, and some stay
		send(seq, small)
	}
	c.SetBuffers(0, 4<<10)
	for seq := begin; (seq + full).Before(end); seq += full {
		if send(seq, full); c.rcvNxt.Before(seq + full) {
			t.Fatalf("byte %d of %d that were offered, the next in order, is refused: %d bytes of memory are used", seq.minus(begin), offered, c.charged())
		}
	}
}

// What a SYN or SYN-ACK has offered is offered again by the next one, and by the ACK that follows, though memory has become short meanwhile.
func TestFirstWindowStays(t *testing.T) {
	for _, how := range []string{"active", "simultaneous", "Fast Open"} {
		cfg := &Config{Buffers: buffer.NewPool(buffer.Options{}), NoTimestamps: true}
		var c Conn
		var r SynRecv
		syn := &Segment{Seq: 500, Flags: wire.SYN, Window: 4000}
		if how == "Fast Open" {
			r.Init(cfg, t0, syn, Params{ISS: 9000, MSS: 1460, GSOMax: 1460})
			c.AcceptFastOpen(cfg, t0, &r, syn, nil)
		} else {
			c.Connect(cfg, t0, Params{ISS: 9000, MSS: 1460, GSOMax: 1460})
		}
		now, windows := t0, []uint16(nil)
		flush := func() {
			for seg := (Segment{}); c.Output(now, &seg); {
				windows = append(windows, seg.Window)
			}
		}
		flush()
		c.SetShare(1<<20, 20_000)
		now = c.Deadline()
		c.Expire(now)
		flush()
		switch how {
		case "simultaneous":
			c.Input(now, syn)
			flush()
			now = c.Deadline()
			c.Expire(now)
		case "active":
			c.Input(now, &Segment{Seq: 500, Ack: 9001, Flags: wire.SYN | wire.ACK, Window: 4000})
		}
		flush()
		if len(windows) < 2 {
			t.Fatalf("%s: %d segments", how, len(windows))
		}
		for _, w := range windows {
			if w != windows[0] {
				t.Errorf("%s: windows of %d", how, windows)
				break
			}
		}
		c.Abort(now, nil)
	}
}
