package tcp

import (
	"fmt"
	"math/bits"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

var (
	cookieLocal  = netip.MustParseAddrPort("192.0.2.1:80")
	cookieRemote = netip.MustParseAddrPort("192.0.2.2:40000")
)

// cookieBench is one SYN, its SYN-ACK, and the ACK that an honest peer sends.
type cookieBench struct {
	cfg        *Config
	keys       *CookieKeys
	now        sched.Time
	p          Params
	syn, reply Segment
}

func newCookieBench(o wire.TCPOptions) *cookieBench {
	b := &cookieBench{cfg: &Config{Buffers: buffer.NewPool(buffer.Options{})}, now: sched.Time(10 * time.Hour)}
	b.keys = NewCookieKeys(b.now, siphash.Key{K0: 1, K1: 2})
	b.p = Params{TSOffset: 77777, MSS: 1460, GSOMax: 1460}
	b.syn = Segment{Seq: 5000, Flags: wire.SYN, Window: 1000, Options: o}
	b.answer()
	return b
}

func (b *cookieBench) answer() {
	b.keys.SynAck(b.cfg, b.now, &b.syn, b.p, cookieLocal, cookieRemote, &b.reply)
}

// ack is what the peer answers.
func (b *cookieBench) ack() *Segment {
	a := &Segment{Seq: b.syn.Seq + 1, Ack: b.reply.Seq + 1, Flags: wire.ACK, Window: 1000}
	if b.reply.Options.TS {
		a.Options.TS, a.Options.TSVal, a.Options.TSEcr = true, b.syn.Options.TSVal+9, b.reply.Options.TSVal
	}
	return a
}

func (b *cookieBench) check(after time.Duration, a *Segment) (r SynRecv, ok bool) {
	ok = b.keys.Check(b.cfg, b.now.Add(after), a, b.p, cookieLocal, cookieRemote, &r)
	return r, ok
}

var fullOptions = wire.TCPOptions{HasMSS: true, MSS: 1460, SACKPermitted: true, TS: true, TSVal: 900, HasWScale: true, WScale: 9}

// RFC 4987 §3.6: a connection that begins with a cookie is no worse for it where the peer has timestamps.
func TestCookieKeepsOptions(t *testing.T) {
	for _, c := range []struct {
		o    wire.TCPOptions
		mss  uint16
		want string
	}{
		{fullOptions, 1460, "ts sack wscale 9 7"},
		{wire.TCPOptions{HasMSS: true, MSS: 1459, TS: true, HasWScale: true, WScale: 0}, 1440, "ts wscale 0 7"},
		{wire.TCPOptions{HasMSS: true, MSS: 65495, TS: true, SACKPermitted: true}, 8940, "ts sack"},
		{wire.TCPOptions{HasMSS: true, MSS: 1000, TS: true, HasWScale: true, WScale: 200}, 536, "ts wscale 14 7"},
		{wire.TCPOptions{HasMSS: true, MSS: 1, SACKPermitted: true, HasWScale: true, WScale: 7}, minPeerMSS, ""}, // no timestamps, nothing
		{wire.TCPOptions{}, 536, ""},
	} {
		b := newCookieBench(c.o)
		if b.reply.Flags != wire.SYN|wire.ACK || b.reply.Ack != b.syn.Seq+1 || b.reply.Options.MSS != 1460 {
			t.Fatalf("%+v: SYN-ACK %+v", c.o, b.reply)
		}
		r, ok := b.check(50*time.Millisecond, b.ack())
		if !ok {
			t.Errorf("%+v: the ACK of the cookie is refused", c.o)
			continue
		}
		got := ""
		if r.ts {
			got = "ts"
		}
		if r.sack {
			got += " sack"
		}
		if r.wscale {
			got += fmt.Sprintf(" wscale %d %d", r.sndWScale, r.rcvWScale)
		}
		if got != c.want || r.sndMSS != c.mss {
			t.Errorf("%+v: %q with MSS %d, want %q with %d", c.o, got, r.sndMSS, c.want, c.mss)
		}
		o := &b.reply.Options
		if o.TS != r.ts || o.SACKPermitted != r.sack || o.HasWScale != r.wscale {
			t.Errorf("%+v: the SYN-ACK promises %+v, the cookie %q", c.o, o, got)
		}
		if late := timestamp(b.now, b.p.TSOffset) - o.TSVal; o.TS && late >= 128 {
			t.Errorf("TSval is %d ms late", late)
		}
	}
}

// The ACK of a cookie makes a whole connection, with the data that comes with it.
func TestCookieMakesConnection(t *testing.T) {
	b := newCookieBench(fullOptions)
	a := b.ack()
	a.Payload.SetPool(b.cfg.Buffers)
	a.Payload.Append([]byte("GET /"))
	r, ok := b.check(0, a)
	if !ok {
		t.Fatal("refused")
	}
	var c Conn
	ev := c.Accept(b.cfg, b.now, &r, a)
	if ev&(Connected|Readable) != Connected|Readable || c.State() != Established || c.ReadSize() != 5 {
		t.Errorf("events %b, state %v, %d bytes to read", ev, c.State(), c.ReadSize())
	}
	if i := c.Info(); i.RTT <= 0 || i.RTT > 64*time.Millisecond || i.SendWindow != 1000<<9 || !i.SACK || !i.Timestamps {
		t.Errorf("%+v", i)
	}
	c.Abort(b.now, nil)
	var seg Segment
	for c.Output(b.now, &seg) {
	}
}

// RFC 9293 §3.8.6: the window of the SYN-ACK is not taken back, whatever became of the memory since, by the SYN-ACK that answers the SYN when
// it comes again, nor by the connection.
func TestCookieImpliesWindow(t *testing.T) {
	for _, o := range []wire.TCPOptions{{}, fullOptions} {
		for _, shares := range [][2]int{{1 << 20, 20 << 10}, {20 << 10, 1 << 20}, {0, 1}} {
			b := newCookieBench(o)
			b.p.Share = shares[0]
			b.answer()
			first := b.reply
			b.p.Share = shares[1]
			b.answer()
			if b.reply.Seq != first.Seq || b.reply.Window != first.Window {
				t.Errorf("shares %d: the SYN-ACK offers %d, then %d", shares, first.Window, b.reply.Window)
			}
			a := b.ack()
			r, ok := b.check(0, a)
			if !ok {
				t.Fatal("refused")
			}
			var c Conn
			c.Accept(b.cfg, b.now, &r, a)
			c.SetShare(shares[1], shares[1])
			c.set(ackNow)
			var seg Segment
			if !c.Output(b.now, &seg) || int(seg.Window)<<c.rcvWScale <= int(first.Window)-1<<c.rcvWScale {
				t.Errorf("shares %d: the SYN-ACK offers %d, the connection %d", shares, first.Window, int(seg.Window)<<c.rcvWScale)
			}
		}
	}
}

// Every field that the cookie was made of must be the same in the ACK.
func TestCookieChecksAllFields(t *testing.T) {
	b := newCookieBench(fullOptions)
	if _, ok := b.check(0, b.ack()); !ok {
		t.Fatal("the honest ACK is refused")
	}
	for name, change := range map[string]func(*Segment){
		"seq": func(a *Segment) { a.Seq++ }, "ack": func(a *Segment) { a.Ack++ }, "ack's MSS": func(a *Segment) { a.Ack ^= 1 << 28 },
		"ack's tick": func(a *Segment) { a.Ack ^= 1 << 30 }, "window scale": func(a *Segment) { a.Options.TSEcr ^= 1 },
		"SACK": func(a *Segment) { a.Options.TSEcr ^= cookieSACK }, "ECN": func(a *Segment) { a.Options.TSEcr ^= cookieECN },
		"no timestamps": func(a *Segment) { a.Options.TS = false }, "echo of the future": func(a *Segment) { a.Options.TSEcr += 1 << 20 },
		"old echo": func(a *Segment) { a.Options.TSEcr -= 1 << 20 }, "SYN": func(a *Segment) { a.Flags |= wire.SYN },
		"RST": func(a *Segment) { a.Flags |= wire.RST }, "no ACK": func(a *Segment) { a.Flags = wire.FIN },
	} {
		a := b.ack()
		change(a)
		if _, ok := b.check(0, a); ok {
			t.Errorf("another %s is taken", name)
		}
	}
	var r SynRecv
	for _, c := range [][2]string{
		{"192.0.2.1:81", "192.0.2.2:40000"}, {"192.0.2.3:80", "192.0.2.2:40000"}, {"192.0.2.1:80", "192.0.2.2:40001"}, {"192.0.2.1:80", "192.0.2.4:40000"},
	} {
		if b.keys.Check(b.cfg, b.now, b.ack(), b.p, netip.MustParseAddrPort(c[0]), netip.MustParseAddrPort(c[1]), &r) {
			t.Errorf("taken for the flow %v", c)
		}
	}
	// The window of the ACK and what it carries are the peer's own affair.
	a := b.ack()
	a.Window, a.Options.TSVal = 7, 1
	if r, ok := b.check(0, a); !ok || r.tsRecent != 1 {
		t.Error("another window or TSval is refused")
	}
}

// A cookie is good for at least one tick and at most two; a guess is good once in 2^27 times.
func TestCookieLife(t *testing.T) {
	b := newCookieBench(wire.TCPOptions{HasMSS: true, MSS: 1460})
	for _, c := range []struct {
		after time.Duration
		ok    bool
	}{{0, true}, {cookieTick, true}, {CookieLife, false}, {3 * cookieTick, false}, {4 * cookieTick, false}, {-cookieTick, false}} {
		if _, ok := b.check(c.after, b.ack()); ok != c.ok {
			t.Errorf("after %v: %v", c.after, ok)
		}
	}
	taken := 0
	for i := range 200_000 {
		a := b.ack()
		a.Ack = Seq(uint32(i) * 0x9e3779b9)
		if _, ok := b.check(0, a); ok {
			taken++
		}
	}
	if taken > 1 {
		t.Errorf("%d of 200000 guesses are taken", taken)
	}
}

// Rotation loses no cookie in flight, and forgets a key when its last cookie has died.
func TestCookieKeyRotation(t *testing.T) {
	b := newCookieBench(fullOptions)
	old := b.ack()
	if b.keys.Due(b.now.Add(cookieRotation-1)) || !b.keys.Due(b.now.Add(cookieRotation)) {
		t.Error("Due")
	}
	rotated := b.now.Add(time.Second)
	b.keys = b.keys.Rotate(rotated, siphash.Key{K0: 3, K1: 4})
	if _, ok := b.check(30*time.Second, old); !ok {
		t.Error("a cookie in flight is lost with its key")
	}
	b.answer()
	if b.reply.Seq+1 == old.Ack {
		t.Error("the new key makes the cookie of the old one")
	}
	if _, ok := b.check(2*time.Second, b.ack()); !ok {
		t.Error("a cookie of the new key is refused")
	}
	b.keys = b.keys.Rotate(rotated.Add(1), siphash.Key{K0: 5, K1: 6})
	if _, ok := b.check(30*time.Second, old); ok {
		t.Error("a key two rotations old is taken")
	}
}

// A cookie tells nothing: neither time nor MSS shows, and what differs in one bit of the input differs in half of the output's.
func TestCookieLooksRandom(t *testing.T) {
	b := newCookieBench(fullOptions)
	var ones [32]int
	flips, last := 0, b.reply.Seq
	const n = 4000
	for i := range n {
		b.syn.Seq = Seq(i)
		b.answer()
		flips += bits.OnesCount32(uint32(b.reply.Seq ^ last))
		last = b.reply.Seq
		for bit := range ones {
			ones[bit] += int(b.reply.Seq >> bit & 1)
		}
	}
	for bit, count := range ones {
		if count < n*45/100 || count > n*55/100 {
			t.Errorf("bit %d is 1 in %d of %d cookies", bit, count, n)
		}
	}
	if mean := float64(flips) / n; mean < 15 || mean > 17 {
		t.Errorf("on average %.2f bits differ between neighbours, want 16", mean)
	}
}
