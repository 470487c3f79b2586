package tcp

import (
	"bytes"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// What Get gives belongs to the connection: another one's result does not change it.
func TestFastOpenCacheCopies(t *testing.T) {
	c := NewFastOpenCache(0)
	c.Note(0, server(1), FastOpenResult{Cookie: []byte("first..."), MSS: 1460})
	f, _ := c.Get(0, server(1))
	c.Note(0, server(1), FastOpenResult{Cookie: []byte("second.."), MSS: 1460})
	if !bytes.Equal(f.Cookie, []byte("first...")) {
		t.Errorf("the cookie has become %q", f.Cookie)
	}
}

// A listener with another receive buffer does not take the cookies of one that has announced another window scale.
func TestCookieKnowsWindowScale(t *testing.T) {
	b := newCookieBench(fullOptions)
	if _, ok := b.check(0, b.ack()); !ok {
		t.Fatal("refused")
	}
	b.p.Options = &Options{ReceiveBuffer: 64 << 20}
	if _, ok := b.check(0, b.ack()); ok {
		t.Error("a cookie is good for a listener with another window scale")
	}
}

// RFC 6298 §2: the handshake by cookie gives a first RTT sample, if timestamps tell and no SYN-ACK would have been sent again.
func TestCookieTimesRoundTrip(t *testing.T) {
	for _, o := range []struct {
		after    time.Duration
		ts       bool
		min, max time.Duration
	}{
		{100 * time.Millisecond, true, 100 * time.Millisecond, 164 * time.Millisecond},
		{0, true, time.Millisecond, 64 * time.Millisecond},
		{3 * time.Second, true, 0, 0}, // the first ACK was lost, or the second SYN's cookie
		{100 * time.Millisecond, false, 0, 0},
	} {
		options := fullOptions
		options.TS = o.ts
		b := newCookieBench(options)
		r, ok := b.check(o.after, b.ack())
		if !ok {
			t.Fatal("refused")
		}
		var c Conn
		c.Accept(b.cfg, b.now.Add(o.after), &r, b.ack())
		if rtt := c.Info().RTT; rtt < o.min || rtt > o.max {
			t.Errorf("%+v: RTT %v", o, rtt)
		}
	}
}

// A segment that may follow the ACK of a cookie: by its timestamp.
func TestMayFollowCookie(t *testing.T) {
	cfg, now := &Config{}, sched.Time(time.Hour)
	seg := &Segment{Flags: wire.ACK}
	if !MayFollowCookie(cfg, now, seg, 5) {
		t.Error("without timestamps nothing is known")
	}
	seg.Options.TS = true
	for ago, want := range map[time.Duration]bool{0: true, CookieLife: true, CookieLife + time.Second: false, -time.Second: false, 900 * time.Hour: false} {
		seg.Options.TSEcr = timestamp(now.Add(-ago), 5)
		if MayFollowCookie(cfg, now, seg, 5) != want {
			t.Errorf("an echo of %v ago: %v", ago, !want)
		}
	}
}

// RFC 6298 §2: the first sample of a connection whose listener defers is that of the ACK of the SYN-ACK, not of the data that comes later.
func TestDeferredAcceptTimesRoundTrip(t *testing.T) {
	cfg := &Config{Buffers: buffer.NewPool(buffer.Options{})}
	r := new(SynRecv)
	r.Init(cfg, t0, &Segment{Seq: 500, Flags: wire.SYN, Window: 4000}, Params{ISS: 9000, MSS: 1460, GSOMax: 1460, Options: &Options{DeferAccept: time.Minute}})
	var reply Segment
	r.Open(t0, &reply)
	ack := &Segment{Seq: 501, Ack: 9001, Flags: wire.ACK, Window: 4000}
	for _, after := range []time.Duration{30 * time.Millisecond, 9 * time.Second} {
		if v := r.Input(t0.Add(after), ack, &reply); v != SynKeep {
			t.Fatal(v)
		}
	}
	ack.Payload.SetPool(cfg.Buffers)
	ack.Payload.Append([]byte("x"))
	if v := r.Input(t0.Add(20*time.Second), ack, &reply); v != SynAccept {
		t.Fatal(v)
	}
	var c Conn
	c.Accept(cfg, t0.Add(20*time.Second), r, ack)
	if rtt := c.Info().RTT; rtt != 30*time.Millisecond {
		t.Errorf("RTT %v, want 30 ms", rtt)
	}
	c.Abort(t0.Add(20*time.Second), nil)
}

// Karn's algorithm (RFC 6298 §3): the ACK of a SYN-ACK that was sent twice is no sample, also if data was sent behind it.
func TestFastOpenSynAckResentIsNoSample(t *testing.T) {
	cfg := &Config{Buffers: buffer.NewPool(buffer.Options{}), NoTimestamps: true}
	var r SynRecv
	syn := &Segment{Seq: 500, Flags: wire.SYN, Window: 4000}
	r.Init(cfg, t0, syn, Params{ISS: 9000, MSS: 1460, GSOMax: 1460})
	var c Conn
	c.AcceptFastOpen(cfg, t0, &r, syn, nil)
	var seg Segment
	seg.Payload.SetPool(cfg.Buffers)
	flush := func(at sched.Time) (n int) {
		for c.Output(at, &seg) {
			seg.Payload.Clear()
			n++
		}
		return n
	}
	flush(t0)
	var data buffer.Buffer
	data.SetPool(cfg.Buffers)
	data.Append([]byte("hello"))
	if err := c.Write(t0, &data); err != nil {
		t.Fatal(err)
	}
	flush(t0)
	at := c.Deadline()
	for c.State() == SynReceived && seg.Flags != wire.SYN|wire.ACK {
		at = c.Deadline()
		c.Expire(at)
		flush(at)
	}
	c.Input(at.Add(20*time.Millisecond), &Segment{Seq: 501, Ack: 9001, Flags: wire.ACK, Window: 4000})
	if rtt := c.Info().RTT; c.State() != Established || rtt != 0 {
		t.Errorf("%v, RTT %v: which SYN-ACK was acknowledged is not known", c.State(), rtt)
	}
	c.Abort(at, nil)
}

// RFC 7323 §3.2: a SYN-ACK, or RST, that echoes what this SYN never said is not for it.
func TestSynSentChecksEcho(t *testing.T) {
	for _, flags := range []wire.TCPFlags{wire.SYN | wire.ACK, wire.RST | wire.ACK} {
		for _, o := range []struct {
			echo  func(first, last uint32) uint32
			state State
		}{
			{func(first, last uint32) uint32 { return first }, Established},
			{func(first, last uint32) uint32 { return last }, Established},
			{func(first, last uint32) uint32 { return 0 }, Established},
			{func(first, last uint32) uint32 { return first - 1 }, SynSent},
			{func(first, last uint32) uint32 { return last + 1 }, SynSent},
			{func(first, last uint32) uint32 { return last + 1<<31 }, SynSent},
		} {
			cfg := &Config{Buffers: buffer.NewPool(buffer.Options{})}
			var c Conn
			var seg Segment
			const offset = 1<<32 - 3600_500 // TSval wraps between the SYNs
			c.Connect(cfg, t0, Params{ISS: 9000, TSOffset: offset, MSS: 1460, GSOMax: 1460})
			c.Output(t0, &seg)
			first := seg.Options.TSVal
			now := t0.Add(time.Second)
			c.Expire(now)
			c.Output(now, &seg)
			last := seg.Options.TSVal
			in := &Segment{Seq: 500, Ack: 9001, Flags: flags, Window: 4000}
			in.Options.TS, in.Options.TSVal, in.Options.TSEcr = true, 7, o.echo(first, last)
			c.Input(now, in)
			want := o.state
			if flags.Has(wire.RST) && want == Established {
				want = Closed
			}
			if c.State() != want {
				t.Errorf("%v echoes %d, sent were %d to %d: %v, want %v", flags, in.Options.TSEcr, first, last, c.State(), want)
			}
			if got := c.Output(now, &seg); want == SynSent && (got != (flags&wire.RST == 0) || got && (seg.Flags != wire.RST || seg.Seq != 9001)) {
				t.Errorf("%v: answered %v with %v", flags, got, seg.Flags)
			}
			c.Abort(now, nil)
		}
	}
}
