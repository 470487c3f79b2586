package tcp

import (
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/wire"
)

// RFC 3168 §6.1.2: marks reduce the window once for a window of data, by PRR; a loss in the same window does not reduce it again.
func TestEnterCWR(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	d := newDuo(t, &Config{Buffers: pool, Congestion: "reno"}, &Config{Buffers: pool}, Params{MSS: 1012, GSOMax: 1012})
	c := d.conn[0]
	var src buffer.Buffer
	src.SetPool(pool)
	d.write(t, 0, &src, make([]byte, 30000))
	for c.Output(d.now, &d.seg) {
		d.seg.Payload.Clear()
	}
	f := c.snd
	n := ackNews{pipe: f.pipe(), spans: 1, marked: true}
	n.acked = c.advance(f, c.sndUna+2000, &n.delivery)
	c.recover(f, &n, &wire.TCPOptions{})
	if f.phase != phaseCWR || c.cc.Ssthresh() != 8000 || f.board.toResend() {
		t.Fatalf("phase %d, ssthresh %d", f.phase, c.cc.Ssthresh())
	}
	if room := c.cwnd(f) - f.pipe(); room != 0 {
		t.Errorf("%d bytes may go for 2000 delivered, want none", room)
	}
	if c.enterCWR(f, &n) {
		t.Error("a second mark in the same window reduces it again")
	}
	f.board.loseFirst(1000)
	n = ackNews{pipe: f.pipe(), dup: true}
	c.recover(f, &n, &wire.TCPOptions{})
	if f.phase != phaseFast || c.cc.Ssthresh() != 8000 || c.cwnd(f) < f.pipe()+1000 {
		t.Errorf("phase %d, ssthresh %d, cwnd %d with %d in flight", f.phase, c.cc.Ssthresh(), c.cwnd(f), f.pipe())
	}
	n = ackNews{pipe: f.pipe()}
	n.acked = c.advance(f, c.sndNxt, &n.delivery)
	c.recover(f, &n, &wire.TCPOptions{})
	if f.phase != phaseOpen || c.cc.Cwnd() != 8000 {
		t.Errorf("phase %d, cwnd %d at the end", f.phase, c.cc.Cwnd())
	}
}
