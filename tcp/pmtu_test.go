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
