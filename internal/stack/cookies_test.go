package stack

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// flood sends SYNs from as many spoofed addresses of 198.18.0.0/15.
func flood(d *tap, dst string, begin, end int) {
	to := port(dst)
	for i := begin; i < end; i++ {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18 + byte(i>>16)&1, byte(i >> 8), byte(i)}), uint16(1024+i%60000))
		d.inject(tcpPacket(from, to, wire.SYN, uint32(i)*7919, 0, ""))
		if i%64 == 0 {
			d.take()
		}
	}
	d.take()
}

// route0 lets the stack answer anybody.
var route0 = InterfaceConfig{Gateway4: netip.MustParseAddr("192.0.2.254")}

// RFC 4987: a flood of SYNs costs a bounded amount of memory, and a client that means it still gets its connection.
func TestSYNFlood(t *testing.T) {
	h := newHost(t, Config{Backlog: 256})
	_, d := h.attach(route0, "192.0.2.1/24")
	_, accept := h.listenTCP("192.0.2.1:80", ListenOptions{})
	n := 100_000
	if testing.Short() {
		n = 20_000
	}
	flood(d, "192.0.2.1:80", 0, n/2)
	before := heap()
	flood(d, "192.0.2.1:80", n/2, n)
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d SYNs more cost %d bytes", n/2, grown)
	}
	if flows := h.flows.len(); flows != 256 {
		t.Errorf("%d flows, want the backlog of 256", flows)
	}
	if st := h.Stats().TCP; st.SynCookiesSent != uint64(n-256) || st.BacklogDrops != 0 {
		t.Errorf("%d cookies sent and %d drops, want %d and none", st.SynCookiesSent, st.BacklogDrops, n-256)
	}
	p := h.dial(d, "192.0.2.7:999", "192.0.2.1:80")
	p.send(wire.ACK|wire.PSH, "hello")
	c := accept()
	buf := make([]byte, 10)
	if k, err := c.Read(buf); string(buf[:k]) != "hello" || err != nil {
		t.Errorf("the honest client's connection reads %q, %v", buf[:k], err)
	}
	if st := h.Stats().TCP; st.SynCookiesReceived != 1 || st.PassiveOpens != 1 {
		t.Errorf("%+v", st)
	}
	h.clock.Advance(2 * time.Minute) // the backlog empties
	if flows := h.flows.len(); flows != 1 {
		t.Errorf("%d flows after the flood, want the client's", flows)
	}
	c.Abort()
}

// heap is the memory in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// The three modes.
func TestSynCookieModes(t *testing.T) {
	for _, c := range []struct {
		mode           tcp.CookieMode
		flows          int
		cookies, drops uint64
	}{
		{tcp.CookiesPressure, 2, 1, 0}, {tcp.CookiesAlways, 0, 3, 0}, {tcp.CookiesNever, 2, 0, 1},
	} {
		h := newHost(t, Config{Backlog: 2, TCP: &tcp.Config{SynCookies: c.mode}})
		_, d := h.attach(route0, "192.0.2.1/24")
		h.listenTCP("192.0.2.1:80", ListenOptions{})
		flood(d, "192.0.2.1:80", 0, 3)
		st := h.Stats().TCP
		if h.flows.len() != c.flows || st.SynCookiesSent != c.cookies || st.BacklogDrops != c.drops {
			t.Errorf("mode %d: %d flows, %d cookies, %d drops; want %+v", c.mode, h.flows.len(), st.SynCookiesSent, st.BacklogDrops, c)
		}
	}
}

// A forged ACK makes no connection, is counted, and gets the RST that it would get without cookies; and without a cookie sent, none is
// looked for.
func TestSynCookieForged(t *testing.T) {
	h := newHost(t, Config{TCP: &tcp.Config{SynCookies: tcp.CookiesAlways}})
	_, d := h.attach(route0, "192.0.2.1/24")
	l, _ := h.listenTCP("192.0.2.1:80", ListenOptions{})
	p := &peer{t: t, d: d, src: port("192.0.2.7:999"), dst: port("192.0.2.1:80"), seq: 1, ack: 12345}
	p.send(wire.ACK, "")
	if f := p.receive(); f.Flags() != wire.RST || f.Seq() != 12345 {
		t.Errorf("%v in answer to an ACK to LISTEN", f.Flags())
	}
	if st := h.Stats().TCP; st.SynCookiesFailed != 0 {
		t.Error("an ACK was looked at for a cookie before any was sent")
	}
	p.seq = 1000
	p.send(wire.SYN, "")
	p.receive()
	p.seq++
	good := p.ack
	p.ack += 2
	p.send(wire.ACK, "")
	if f := p.receive(); f.Flags() != wire.RST {
		t.Errorf("%v in answer to a forged cookie", f.Flags())
	}
	if st := h.Stats().TCP; st.SynCookiesFailed != 1 || l.Waiting() {
		t.Errorf("%+v", st)
	}
	h.clock.Advance(tcp.CookieLife + time.Second)
	p.ack = good
	p.send(wire.ACK, "")
	if f := p.receive(); f.Flags() != wire.RST || l.Waiting() {
		t.Errorf("%v in answer to a cookie that is too old", f.Flags())
	}
}

// Key rotation through the stack: a cookie of just before is good just after.
func TestSynCookieRotationInStack(t *testing.T) {
	h := newHost(t, Config{TCP: &tcp.Config{SynCookies: tcp.CookiesAlways}})
	_, d := h.attach(route0, "192.0.2.1/24")
	_, accept := h.listenTCP("192.0.2.1:80", ListenOptions{})
	first := h.cookieKeys(h.now())
	h.clock.Advance(10*time.Minute - time.Second)
	p := &peer{t: t, d: d, src: port("192.0.2.7:999"), dst: port("192.0.2.1:80"), seq: 1000}
	p.send(wire.SYN, "")
	p.receive()
	p.seq++
	h.clock.Advance(2 * time.Second)
	p.send(wire.ACK, "")
	if h.cookieKeys(h.now()) == first {
		t.Error("the keys were not rotated")
	}
	accept().Abort()
}

// A full accept queue: the handshake is completed again when there is room, or (AbortOnOverflow) the peer is told.
func TestAcceptQueueOverflow(t *testing.T) {
	for _, abort := range []bool{false, true} {
		h := newHost(t, Config{TCP: &tcp.Config{AbortOnOverflow: abort}})
		_, d := h.attach(route0, "192.0.2.1/24")
		_, accept := h.listenTCP("192.0.2.1:80", ListenOptions{Backlog: 1})
		p := &peer{t: t, d: d, src: port("192.0.2.7:999"), dst: port("192.0.2.1:80"), seq: 1000}
		p.send(wire.SYN, "")
		p.receive()
		p.seq++
		q := &peer{t: t, d: d, src: port("192.0.2.8:999"), dst: port("192.0.2.1:80"), seq: 2000}
		q.send(wire.SYN, "") // beyond the backlog: a cookie
		q.receive()
		q.seq++
		q.send(wire.ACK, "") // and this one is faster
		p.send(wire.ACK, "")
		drops := h.Stats().TCP.BacklogDrops
		if abort {
			if f := p.receive(); f.Flags() != wire.RST || drops != 1 || h.openings.Load() != 0 {
				t.Errorf("AbortOnOverflow: %v, %d drops, %d handshakes", f.Flags(), drops, h.openings.Load())
			}
			accept().Abort()
			continue
		}
		if sent := d.take(); len(sent) != 0 || drops != 1 {
			t.Errorf("%d packets, %d drops; want 0 and 1", len(sent), drops)
		}
		accept().Abort()
		d.take()
		h.clock.Advance(1500 * time.Millisecond)
		if f := p.receive(); f.Flags() != wire.SYN|wire.ACK {
			t.Errorf("%v, want the SYN-ACK again", f.Flags())
		}
		p.send(wire.ACK, "")
		accept().Abort()
	}
}

// ICMP errors about a SYN-ACK end the handshake if they quote its sequence number, and nothing else does.
func TestICMPAboutSynAck(t *testing.T) {
	for _, c := range []struct {
		name  string
		code  uint8
		delta uint32
		gone  bool
	}{
		{"host unreachable", wire.ICMPv4HostUnreachable, 0, true}, {"port unreachable", wire.ICMPv4PortUnreachable, 0, true},
		{"another number", wire.ICMPv4PortUnreachable, 1, false}, {"the number before", wire.ICMPv4HostUnreachable, 1<<32 - 1, false},
	} {
		h := newHost(t, Config{})
		_, d := h.attach(route0, "192.0.2.1/24")
		h.listenTCP("192.0.2.1:80", ListenOptions{})
		p := &peer{t: t, d: d, src: port("192.0.2.7:999"), dst: port("192.0.2.1:80"), seq: 1000}
		p.send(wire.SYN, "")
		d2 := p.receive()
		quoted := tcpPacket(p.dst, p.src, wire.SYN|wire.ACK, d2.Seq()+c.delta, 1001, "")
		d.inject(icmpPacket(addr("192.0.2.254"), addr("192.0.2.1"), uint8(wire.ICMPv4DstUnreachable), c.code, 0, quoted[:28]))
		if gone := h.flows.len() == 0; gone != c.gone || h.openings.Load() != int64(h.flows.len()) {
			t.Errorf("%s: gone %v, want %v; %d handshakes counted", c.name, gone, c.gone, h.openings.Load())
		}
	}
}

// RFC 9293 §3.10.7.2: what a listener does with segments that open nothing.
func TestListenDropsAndResets(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(route0, "192.0.2.1/24")
	h.listenTCP("192.0.2.1:80", ListenOptions{})
	for _, c := range []struct {
		flags, want wire.TCPFlags
	}{
		{0, 0}, {wire.FIN, 0}, {wire.PSH | wire.URG, 0}, {wire.RST, 0}, {wire.RST | wire.ACK, 0}, {wire.SYN | wire.RST, 0},
		{wire.ACK, wire.RST}, {wire.FIN | wire.ACK, wire.RST}, {wire.SYN | wire.ACK, wire.RST}, {wire.FIN | wire.PSH | wire.URG, 0},
		{wire.FIN | wire.SYN | wire.RST | wire.PSH | wire.ACK | wire.URG, 0},
	} {
		d.inject(tcpPacket(port("192.0.2.7:999"), port("192.0.2.1:80"), c.flags, 1, 2, ""))
		var got wire.TCPFlags
		if sent := d.take(); len(sent) == 1 {
			got = parse(sent[0]).tcp().Flags()
		}
		if got != c.want || h.flows.len() != 0 {
			t.Errorf("%v to LISTEN: answered with %v, want %v", c.flags, got, c.want)
		}
	}
}
