package tcp

import (
	"testing"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// What a socket asks for shows in its SYN: window, window scale and MSS (RFC 9293 §3.7.1, RFC 7323 §2.2).
func TestOptionsOfSYN(t *testing.T) {
	for _, tt := range []struct {
		name   string
		o      *Options
		mss    uint16
		window uint16
		scale  uint8
	}{
		{"none", nil, 1460, 65535, 7},
		{"zero", &Options{}, 1460, 65535, 7},
		{"receive buffer", &Options{ReceiveBuffer: 20000}, 1460, 20000, 0},
		{"large receive buffer", &Options{ReceiveBuffer: 16 << 20}, 1460, 65535, 9},
		{"MSS", &Options{MSS: 700}, 700, 65535, 7},
		{"MSS beyond the path's", &Options{MSS: 9000}, 1460, 65535, 7},
		{"tiny MSS", &Options{MSS: 1}, minUserMSS, 65535, 7},
	} {
		var c Conn
		var syn, reply Segment
		p := Params{ISS: 1, MSS: 1460, Options: tt.o}
		c.Connect(&Config{}, t0, p)
		if !c.Output(t0, &syn) {
			t.Fatal("no SYN")
		}
		var r, late SynRecv
		peer := &Segment{Seq: 9, Flags: wire.SYN, Options: allOptions}
		r.Init(&Config{}, t0, peer, p)
		r.Open(t0, &reply)
		late.Init(&Config{}, t0, peer, Params{ISS: 1, MSS: 1460})
		late.Configure(&Config{}, tt.o)
		var lateReply Segment
		late.Open(t0, &lateReply)
		for what, s := range map[string]*Segment{"SYN": &syn, "SYN-ACK": &reply, "SYN-ACK of a record configured late": &lateReply} {
			if s.Options.MSS != tt.mss || s.Window != tt.window || s.Options.WScale != tt.scale {
				t.Errorf("%s: %s has MSS %d, window %d, scale %d; want %d, %d, %d",
					tt.name, what, s.Options.MSS, s.Window, s.Options.WScale, tt.mss, tt.window, tt.scale)
			}
		}
	}
}

// What others leave of the memory bounds the window of a SYN-ACK, also if the record is configured late.
func TestConfigureKeepsShare(t *testing.T) {
	for o, want := range map[*Options]uint16{nil: 20 << 10, {ReceiveBuffer: 1 << 20}: 20 << 10, {ReceiveBuffer: 18 << 10}: 18 << 10} {
		var r SynRecv
		var reply Segment
		r.Init(&Config{}, t0, &Segment{Seq: 9, Flags: wire.SYN, Options: allOptions}, Params{ISS: 1, MSS: 1460, Share: 20 << 10})
		r.Configure(&Config{}, o)
		if r.Open(t0, &reply); reply.Window != want {
			t.Errorf("%+v: a window of %d, want %d", o, reply.Window, want)
		}
	}
}

// An accepted connection has what its listener's options say from its first instant.
func TestOptionsOfAccepted(t *testing.T) {
	o := &Options{SendBuffer: 10000, MSS: 600, Congestion: "reno", Nagle: true, UserTimeout: 9 * time.Second,
		KeepAlive: KeepAlive{Idle: 5 * time.Second, Interval: time.Second, Count: 2}}
	var r SynRecv
	var c Conn
	var reply Segment
	r.Init(&Config{}, t0, &Segment{Seq: 9, Flags: wire.SYN, Options: allOptions}, Params{ISS: 1, MSS: 1460, Options: o})
	r.Open(t0, &reply)
	c.Accept(&Config{}, t0, &r, &Segment{Seq: 10, Ack: 2, Flags: wire.ACK, Window: 1000, Options: wire.TCPOptions{TS: true, TSVal: 5}})
	if c.State() != Established || c.sendLimit != 10000 || c.mss() > 600 || c.cc.Name() != "reno" || c.is(noDelay) || c.userTimeout != 9000 {
		t.Errorf("state %v, send limit %d, MSS %d, %s, no delay %v, user timeout %d", c.State(), c.sendLimit, c.mss(), c.cc.Name(), c.is(noDelay), c.userTimeout)
	}
	if at := t0.Add(5 * time.Second); c.Deadline() != at {
		t.Errorf("the first keepalive probe is due at %v, want %v", c.Deadline(), at)
	}
}

// TCP_MAXSEG on an open connection bounds what is sent from then on, and the path cannot raise it again.
func TestSetMaxSegment(t *testing.T) {
	d := newDuo(t, &Config{NoTimestamps: true}, &Config{}, Params{MSS: 1460, GSOMax: 1460})
	c := d.conn[0]
	c.SetMaxSegment(d.now, 500)
	c.SetMSS(d.now, 1460)
	if c.payloadMSS() != 500 {
		t.Errorf("payload of a full segment: %d, want 500", c.payloadMSS())
	}
	if c.SetMaxSegment(d.now, 1); c.payloadMSS() < minUserMSS || c.Deadline() != sched.Never {
		t.Errorf("payload of a full segment: %d", c.payloadMSS())
	}
}
