package tcp

import (
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// A receive buffer whose chunks are used badly is as good as a smaller one, and its window opens again when all is read: else it would be
// closed for ever (RFC 9293 §3.8.6.2.2 has the step be a fraction of the buffer).
func TestWindowOpensWhenChunksAreUsedBadly(t *testing.T) {
	for _, mss := range []int{1460, 65483} {
		for _, limit := range []int{32 << 10, 64 << 10, 256 << 10} {
			c := receiver(min(65535, limit), limit, 0)
			c.ourMSS = uint16(mss)
			c.now += 1e12 // too slow for the window to be tuned
			for range 50 {
				n := min(c.offered(), 16500)
				var b buffer.Buffer
				b.AppendChunk(buffer.Wrap(make([]byte, 65536)), 0, n, false)
				c.deliver(&b)
				c.selectWindow()
				c.readBytes(n)
				if c.selectWindow(); c.offered() == 0 {
					t.Fatalf("MSS %d, limit %d: nothing is unread, and the window is closed", mss, limit)
				}
			}
		}
	}
}

// Sequence numbers that were noted 2^31 bytes ago must not seem to lie ahead: one flight may last for as long as it likes.
func TestLongFlight(t *testing.T) {
	if raced || testing.Short() {
		t.Skip("it is long")
	}
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(t, &Config{Buffers: pool, NoSACK: true}, &Config{Buffers: pool}, Params{MSS: 65495, GSOMax: 65495})
	a := d.conn[0]
	a.SetNoDelay(false)
	var src, dst buffer.Buffer
	src.SetPool(pool)
	d.write(t, 0, &src, []byte{1}) // small: what Nagle's algorithm remembers
	d.flush()
	d.read(1, &dst)
	d.write(t, 0, &src, make([]byte, 1<<20))
	f := a.snd
	// More than 2^31 bytes further on, with never a pause.
	const far = 1<<31 + 1<<26
	for a.Info().BytesAcked < far && a.Output(d.now, &d.seg) {
		d.now += 1000
		if a.Unsent() < 1<<18 { // never a small segment again
			d.write(t, 0, &src, make([]byte, 1<<20))
		}
		d.conn[1].Input(d.now, &d.seg)
		d.seg.Payload.Clear()
		d.read(1, &dst)
		for d.conn[1].Output(d.now, &d.seg) {
			a.Input(d.now, &d.seg)
		}
	}
	if a.snd != f || a.Info().BytesAcked < far {
		t.Fatalf("not one flight, or only %d bytes", a.Info().BytesAcked)
	}
	if a.sndUna.Before(f.smallEnd) || !f.point.Before(a.sndUna) {
		t.Errorf("SND.UNA %d; Nagle remembers %d, and fast recovery %d", a.sndUna, f.smallEnd, f.point)
	}
}

// A rope may be longer than sequence numbers can tell: all of it is sent, and nothing seems to be none.
func TestRopeBeyondSequenceSpace(t *testing.T) {
	if ^uint(0)>>32 == 0 {
		t.Skip("an int is too small for such a rope")
	}
	c := &Conn{cfg: &Config{}, state: Established, flags: noDelay, gsoMax: 64000, peerMSS: 1000, pathMSS: 1000, sndWnd: 1 << 20, iss: 7,
		sndUna: 8, sndNxt: 8, ackAt: sched.Never, aliveAt: sched.Never}
	c.cc = c.cfg.control(1000)
	var rope buffer.Buffer
	chunk := make([]byte, 16<<20)
	for int64(rope.Size()) < 5<<30 {
		rope.AppendOwned(chunk) // the same memory all over
	}
	size := rope.Size()
	if err := c.Write(0, &rope); err != nil {
		t.Fatal(err)
	}
	var seg Segment
	sent := 0
	for c.Output(0, &seg) {
		sent += seg.Payload.Size()
		seg.Payload.Clear()
	}
	if sent == 0 || c.Unsent() != size-sent || c.Deadline() == sched.Never {
		t.Errorf("%d of %d bytes sent, %d to go, deadline %v", sent, size, c.Unsent(), c.Deadline())
	}
}

// Objects from the pools bring nothing of their last connection along.
func TestPoolsForget(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{Check: true})
	cfg := &Config{Buffers: pool}
	fresh := func() (flight, inflow) {
		c := &Conn{cfg: cfg, state: Established, rcvNxt: 1, rcvAdv: 1 << 16, sndUna: 5, sndNxt: 5}
		f, in := *c.flight(), *c.inflow()
		f.board.list, in.islands = nil, nil
		c.dropFlight()
		c.dropInflow()
		return f, in
	}
	wantFlight, wantInflow := fresh()
	used := &flight{recovery: recovery{phase: phaseLoss, rescued: true, dupAcks: 9, dupBytes: 9, point: 9, cwnd: 9, start: 9, delivered: 9, out: 9},
		sendTimer: sendTimer{timerAt: 9, stalled: 9, backoff: 9, expiries: 9, persist: true, forced: true},
		roundEnd:  9, smallEnd: 9, limited: true}
	used.board = scoreboard{list: []span{{end: 9, flags: spanLost}}, una: 1, lost: 8, sackedEnd: 9, lossEnd: 9, resend: 9}
	for range 10 { // a sync.Pool may give another one first
		cfg.flights.Put(used)
		cfg.inflows.Put(&inflow{recent: wantInflow.recent, recents: wantInflow.recents})
		if f, in := fresh(); !sameFlight(&f, &wantFlight) || in.held != 0 || in.charged != 0 || in.recents != 0 || in.queue.Size() != 0 {
			t.Fatalf("a used flight or inflow is not as a new one: %+v", f)
		}
	}
}

func sameFlight(a, b *flight) bool {
	return a.recovery == b.recovery && a.sendTimer == b.sendTimer && a.roundEnd == b.roundEnd && a.smallEnd == b.smallEnd &&
		a.limited == b.limited && a.board.una == b.board.una && a.board.spans() == b.board.spans() && a.board.lost == b.board.lost &&
		a.board.sacked == b.board.sacked && a.board.rtx == b.board.rtx && a.board.resend == b.board.resend &&
		a.board.lossEnd == b.board.lossEnd && a.board.sackedEnd == b.board.sackedEnd && a.queue.Size() == b.queue.Size()
}

// However little of its chunks the data fills, in order or behind holes, and nobody reading: the memory held stays within twice the limit, but
// for chunkSlack and the last segment; and what the peer was offered is taken.
func TestReceiveMemoryIsBounded(t *testing.T) {
	for _, limit := range []int{1000, 8 << 10, 64 << 10, 1 << 20} {
		for _, shape := range []struct {
			name           string
			size, chunk    int
			step, outOfWay int // between segments; and before the first
		}{
			{"bytes in large chunks", 1, 65536, 1, 0},
			{"a little less than a quarter of each chunk", 16000, 65536, 16000, 0},
			{"a little more than a quarter of each chunk", 16500, 65536, 16500, 0},
			{"behind a hole, bytes in large chunks", 1, 65536, 1, 1},
			{"islands of a byte", 1, 65536, 2, 1},
			{"islands in chunks of which they fill a third", 700, 2048, 701, 1},
			{"islands in large chunks", 16500, 65536, 16501, 1},
		} {
			cfg := &Config{ReceiveBuffer: limit}
			c := &Conn{cfg: cfg, state: Established, rcvNxt: 1<<32 - 100, rcvWScale: windowScale(limit), recvLimit: int32(limit), rcvWnd: uint32(limit),
				ourMSS: 1460, rcvMSS: 1460, rcvPacking: 255, ackAt: sched.Never, aliveAt: sched.Never, flags: useSACK}
			c.cc = cfg.control(1460)
			c.rcvAdv = c.rcvNxt
			c.selectWindow()
			begin, at, most := c.rcvNxt, c.rcvNxt+Seq(shape.outOfWay), 0
			for range 3000 {
				if c.rcvAdv.AtOrBefore(at) {
					break
				}
				var seg Segment
				seg.Seq, seg.Flags = at, wire.ACK
				seg.Payload.AppendChunk(buffer.Wrap(make([]byte, shape.chunk)), 0, shape.size, false)
				c.takeText(&seg)
				seg.Payload.Release()
				c.selectWindow()
				most = max(most, c.charged())
				if at += Seq(shape.step); shape.outOfWay == 0 && c.rcvNxt != earlier(at, c.rcvAdv) {
					t.Fatalf("%s, limit %d: %d bytes were not taken, with %d of memory", shape.name, limit, at.minus(c.rcvNxt), c.charged())
				}
			}
			if most > 2*limit+chunkSlack+shape.chunk {
				t.Errorf("%s, limit %d: %d bytes held for %d", shape.name, limit, most, at.minus(begin))
			}
			c.Abort(0, nil)
		}
	}
}
