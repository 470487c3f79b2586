package tcp

import (
	"syscall"
	"testing"

	"github.com/weirnet/weir/buffer"
)

// A smaller path: what is in flight and too large is sent again in smaller segments, and no loss is assumed.
func TestSetMSS(t *testing.T) {
	d := newDuo(t, &Config{Congestion: "reno"}, &Config{}, Params{MSS: 1460, GSOMax: 1460})
	c := d.conn[0]
	var src, dst buffer.Buffer
	d.hold = true
	d.write(t, 0, &src, make([]byte, 5*1448+100))
	d.flush()
	before := c.Info()
	if before.InFlight != 5*1448+100 {
		t.Fatal("in flight", before.InFlight)
	}
	d.hold = false
	c.SetMSS(d.now, 1000)
	d.flush()
	i := c.Info()
	if got := d.read(1, &dst); got != 5*1448+100 { // the last hundred bytes, which were lost as well, by RACK
		t.Fatal("read", got)
	}
	if i.Cwnd < before.Cwnd || i.Ssthresh != 0 || i.RTOs != 0 || i.Retransmits != 9 || i.SendMSS != 988 {
		t.Errorf("%+v", i)
	}
	c.SetMSS(d.now, 1)
	if c.mss() != minMSS {
		t.Error("a path of one byte gives segments of", c.mss())
	}
	c.SetMSS(d.now, 1<<20)
	if c.mss() != 1460 {
		t.Error("a path of a megabyte gives segments of", c.mss())
	}
}

// RFC 5927: only news about what is in flight counts.
func TestICMPPlausible(t *testing.T) {
	var c Conn
	c.Connect(&Config{}, 0, Params{ISS: 1<<32 - 1, MSS: 1460})
	if c.InFlight(1<<32-1) || c.ICMPError(0, 1<<32-1, syscall.ECONNREFUSED, true) != 0 {
		t.Error("an error about a SYN that was not sent")
	}
	var seg Segment
	c.Output(0, &seg)
	if c.InFlight(0) || !c.InFlight(1<<32-1) {
		t.Error("in flight is not just the SYN")
	}
	if c.ICMPError(0, 1<<32-1, syscall.EHOSTUNREACH, false) != 0 || c.State() != SynSent || c.Err() != nil {
		t.Error("a soft error ends the attempt")
	}
	if e := c.ICMPError(0, 1<<32-1, syscall.ECONNREFUSED, true); e != Failed|Done || c.Err() != syscall.ECONNREFUSED {
		t.Error("a hard error:", e, c.Err())
	}
}

// RFC 5927 §7.2: what ICMP tells is believed at once only if nothing larger has arrived; else when a timer shows that nothing more does.
func TestTooBig(t *testing.T) {
	d := newDuo(t, &Config{}, &Config{}, Params{MSS: 1460, GSOMax: 1460})
	c := d.conn[0]
	var src buffer.Buffer
	d.hold = true
	d.write(t, 0, &src, make([]byte, 1448))
	d.flush()
	if !c.TooBig(d.now, c.sndUna, 1000) || c.TooBig(d.now, c.sndUna-1, 1000) || c.TooBig(d.now, c.sndNxt, 1000) {
		t.Error("with nothing acknowledged, only what is in flight counts")
	}
	d.hold = false
	d.flush()
	for range 100 {
		if c.sndUna == c.sndNxt {
			break
		}
		d.now = max(d.now, min(c.Deadline(), d.conn[1].Deadline()))
		for _, conn := range d.conn {
			conn.Expire(d.now)
		}
		d.flush()
	}
	if c.carried != 1460 {
		t.Fatal("the path has carried", c.carried)
	}
	d.hold = true
	d.write(t, 0, &src, make([]byte, 1448))
	d.flush()
	if c.TooBig(d.now, c.sndUna, 1000) || c.mss() != 1460 {
		t.Error("what has just arrived does not fit, and that is believed")
	}
	if !c.TooBig(d.now, c.sndUna, 1460) {
		t.Error("a larger path is news to nobody, but no lie")
	}
	for range 3 {
		d.now = c.Deadline()
		if c.Expire(d.now)&PathNarrowed != 0 {
			break
		}
		d.flush()
	}
	if c.mss() != 1000 || c.NarrowedTo() != 1000 {
		t.Errorf("segments of %d, narrowed to %d", c.mss(), c.NarrowedTo())
	}
}

// What routes and ICMP say bounds a search, and lets it go on.
func TestSearchFollowsRoute(t *testing.T) {
	d := newDuo(t, &Config{MTUProbing: MTUProbeAlways}, &Config{}, Params{MSS: 1460, GSOMax: 65536})
	c := d.conn[0]
	if c.payloadMSS() != 1024 {
		t.Fatal("it begins with", c.payloadMSS())
	}
	for _, step := range []struct{ route, low, next int }{
		{1400, 1036, 1400}, {1000, 1000, 0}, {1460, 1000, 1460}, {1, minMSS, 0}, {1 << 20, minMSS, 1460},
	} {
		c.SetMSS(d.now, step.route)
		p := c.search()
		if c.mss() != step.low || int(p.next(c.top(p))) != step.next {
			t.Errorf("a route of %d: segments of %d, then a probe of %d", step.route, c.mss(), p.next(c.top(p)))
		}
	}
	p := c.search()
	p.high = 1459
	if got := p.next(1460); got != minMSS+(1459-minMSS+1)/2 {
		t.Error("half way is", got)
	}
	if p.low = 1452; p.next(1460) != 0 {
		t.Error("the last seven bytes are probed for")
	}
}
