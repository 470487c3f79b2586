package tcp

import (
	"bytes"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/wire"
)

// pressed is a receiver of a stream whose memory gets short while data waits behind a hole.
type pressed struct {
	*duo
	t      *testing.T
	pool   *buffer.Pool
	c      *Conn
	begin  Seq
	stream []byte // all that was offered
	got    bytes.Buffer
}

// newPressed offers a large window, as one that was tuned is.
func newPressed(t *testing.T) *pressed {
	p := &pressed{t: t, pool: buffer.NewPool(buffer.Options{Check: true})}
	cfg := func() *Config { return &Config{Buffers: p.pool, NoTimestamps: true} }
	p.duo = newDuo(t, cfg(), cfg(), Params{MSS: 1460, GSOMax: 1460})
	p.c = p.conn[1]
	p.c.rcvWnd = 128 << 10
	p.c.set(ackNow)
	p.flush()
	p.begin, p.stream = p.c.rcvNxt, text(nil, 0, p.c.offered()).Flatten()
	p.c.SetBuffers(0, len(p.stream))
	return p
}

// send sends the bytes [from, to) of the stream; what is in order is read at once. The answer must tell what is there, and nothing else.
func (p *pressed) send(from, to int) {
	p.t.Helper()
	seg := Segment{Seq: p.begin + Seq(from), Ack: p.c.sndNxt, Flags: wire.ACK, Window: 1000, Segs: 1}
	seg.Payload.SetPool(p.pool)
	seg.Payload.Append(p.stream[from:to])
	p.now += 1000
	p.c.Input(p.now, &seg)
	seg.Payload.Clear()
	if most := 2*p.c.promised() + chunkSlack; p.c.charged() > most {
		p.t.Fatalf("%d bytes of memory are used, at most %d are for what was promised", p.c.charged(), most)
	}
	var rope buffer.Buffer
	rope.SetPool(p.pool)
	p.c.ReadDone(p.now, p.c.Read(&rope, 1<<30))
	p.got.Write(rope.Flatten())
	rope.Release()
	for p.c.Output(p.now, &p.seg) {
		p.check(&p.seg)
		p.seg.Payload.Clear()
	}
}

// check compares an ACK with what is there.
func (p *pressed) check(ack *Segment) {
	p.t.Helper()
	if ack.Ack != p.begin+Seq(p.got.Len()) {
		p.t.Fatalf("%d bytes are acknowledged, %d have been read", ack.Ack.minus(p.begin), p.got.Len())
	}
	for _, b := range ack.Options.SACK[:ack.Options.NSACK] {
		if Seq(b.Right).AtOrBefore(ack.Ack) {
			continue // a D-SACK
		}
		found := false
		for _, at := range p.islands() {
			found = found || at == [2]int{Seq(b.Left).minus(p.begin), Seq(b.Right).minus(p.begin)}
		}
		if !found {
			p.t.Fatalf("%d to %d is reported, what is there is %v", Seq(b.Left).minus(p.begin), Seq(b.Right).minus(p.begin), p.islands())
		}
	}
}

// islands are the ranges of the stream that wait behind holes.
func (p *pressed) islands() (all [][2]int) {
	if p.c.rcv != nil {
		for _, is := range p.c.rcv.islands {
			all = append(all, [2]int{is.begin.minus(p.begin), is.end.minus(p.begin)})
		}
	}
	return all
}

// When memory gets short, what is dropped is what is behind the last holes, and of that nothing was acknowledged but by SACK, which the peer
// must not rely on (RFC 2018 §8): no ACK reports it any more, it is taken when it comes again, and the stream is whole.
func TestPrunedDataComesAgain(t *testing.T) {
	p := newPressed(t)
	const small, full = 300, 1400
	for at := len(p.stream) / 2; at+small < len(p.stream); at += 2 * small {
		p.send(at, at+small)
	}
	before := p.islands()
	p.c.SetBuffers(0, 4<<10)
	at, pruned := 0, 0
	for ; at+full < before[0][0]; at += full {
		p.send(at, at+full)
		now := p.islands()
		if len(now) > len(before) {
			t.Fatalf("%d islands, there were %d", len(now), len(before))
		}
		for i := range now {
			if now[i] != before[i] {
				t.Fatalf("island %d is %d, and was %d: not the farthest were dropped", i, now[i], before[i])
			}
		}
		pruned += len(before) - len(now)
		before = now
	}
	if pruned == 0 || len(before) == 0 {
		t.Fatalf("%d islands were dropped, and %d are left: want some of each", pruned, len(before))
	}
	// The peer sends all again, also what it had been told is there.
	for at < len(p.stream) {
		to := min(at+full, len(p.stream))
		p.send(at, to)
		if at = p.got.Len(); at < to {
			t.Fatalf("%d bytes have been read after %d came in order", at, to)
		}
	}
	if !bytes.Equal(p.got.Bytes(), p.stream) {
		t.Error("another stream")
	}
	for _, c := range p.conn {
		c.Abort(p.now, nil)
		for c.Output(p.now, &p.seg) {
		}
	}
	if err := p.pool.Leaked(); err != nil {
		t.Error(err)
	}
}
