package stack

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// fastPeer is a far end that speaks Fast Open.
type fastPeer struct {
	*peer
	h *host
}

// sendWith sends a segment with options.
func (p *fastPeer) sendWith(flags wire.TCPFlags, o wire.TCPOptions, data string) {
	f := wire.TCPFields{SrcPort: p.src.Port(), DstPort: p.dst.Port(), Seq: p.seq, Ack: p.ack, Flags: flags, Window: 65535, Options: &o}
	b := make([]byte, f.HeaderLen())
	wire.PutTCP(b, f)
	p.d.inject(ipPacket(protoTCP, p.src.Addr(), p.dst.Addr(), append(b, data...), tcpChecksum))
}

// got returns the only segment written since, its options and its data.
func (p *fastPeer) got() (h wire.TCP, o wire.TCPOptions, data string) {
	p.t.Helper()
	h = p.receive()
	o.Parse(h.OptionBytes())
	return h, o, string(h[h.DataOffset():])
}

func mssAnd(cookie []byte) wire.TCPOptions {
	return wire.TCPOptions{HasMSS: true, MSS: 1400, HasFastOpen: true, FastOpen: cookie}
}

// fastServer is a listener with Fast Open, and a client of it.
func fastServer(t *testing.T, limit int, c Config) (h *host, p *fastPeer, accept func() *TCP) {
	h = newHost(t, c)
	_, d := h.attach(route0, "192.0.2.1/24")
	_, accept = h.listenTCP("192.0.2.1:80", ListenOptions{FastOpen: limit})
	return h, &fastPeer{&peer{t: t, d: d, src: port("192.0.2.7:999"), dst: port("192.0.2.1:80"), seq: 1000}, h}, accept
}

// cookie asks for one.
func (p *fastPeer) cookie() []byte {
	p.t.Helper()
	q := &fastPeer{&peer{t: p.t, d: p.d, src: netip.AddrPortFrom(p.src.Addr(), 998), dst: p.dst, seq: 1}, p.h}
	q.sendWith(wire.SYN, mssAnd(nil), "")
	h, o, _ := q.got()
	if h.Flags() != wire.SYN|wire.ACK || !o.HasFastOpen || len(o.FastOpen) != 8 {
		p.t.Fatalf("a cookie was asked for: %v, %+v", h.Flags(), o)
	}
	q.seq += 1
	q.sendWith(wire.RST, wire.TCPOptions{}, "")
	return bytes.Clone(o.FastOpen)
}

// RFC 7413 §4.2.2: with a good cookie the application has the data, and may answer, before the handshake is complete.
func TestFastOpenServer(t *testing.T) {
	h, p, accept := fastServer(t, 10, Config{})
	cookie := p.cookie()
	p.sendWith(wire.SYN, mssAnd(cookie), "hello")
	hd, o, _ := p.got()
	if hd.Flags() != wire.SYN|wire.ACK || hd.Ack() != 1006 || o.HasFastOpen {
		t.Fatalf("%v ack %d, %+v; want a SYN-ACK of the data without a cookie", hd.Flags(), hd.Ack(), o)
	}
	c := accept()
	buf := make([]byte, 10)
	if n, err := c.Read(buf); string(buf[:n]) != "hello" || err != nil {
		t.Fatalf("read %q, %v before the handshake is complete", buf[:n], err)
	}
	if c.Info().State != tcp.SynReceived {
		t.Errorf("state %v", c.Info().State)
	}
	p.d.take()
	if _, err := c.Write([]byte("world")); err != nil {
		t.Fatal(err)
	}
	if hd, _, data := p.got(); data != "world" || hd.Flags() != wire.ACK|wire.PSH {
		t.Errorf("%v %q, want the answer before the handshake is complete", hd.Flags(), data)
	}
	if err := c.CloseWrite(); err != nil || len(p.d.take()) != 0 {
		t.Error("a FIN left in SYN-RECEIVED, or ", err)
	}
	p.seq = 1006
	p.send(wire.ACK, "")
	if hd, _, _ := p.got(); hd.Flags() != wire.ACK|wire.FIN {
		t.Errorf("%v, want the FIN", hd.Flags())
	}
	p.send(wire.ACK|wire.FIN, "")
	if _, err := c.Read(buf); err != io.EOF {
		t.Error(err)
	}
	st := h.Stats().TCP
	if st.FastOpenPassive != 1 || st.FastOpenRequests != 1 || st.PassiveOpens != 1 {
		t.Errorf("%+v", st)
	}
	c.Close()
}

// A bad cookie: the data is not taken, the SYN-ACK has a good cookie, and the connection goes on as always.
func TestFastOpenServerBadCookie(t *testing.T) {
	h, p, accept := fastServer(t, 10, Config{})
	want := p.cookie()
	for i, bad := range [][]byte{[]byte("notgood!"), want[:6], append(bytes.Clone(want), 0, 0), []byte("abcd")} {
		p.seq, p.src = 1000, netip.AddrPortFrom(p.src.Addr(), uint16(2000+i))
		p.sendWith(wire.SYN, mssAnd(bad), "hello")
		hd, o, _ := p.got()
		if hd.Ack() != 1001 || !bytes.Equal(o.FastOpen, want) {
			t.Fatalf("ack %d, cookie %x; want 1001 and %x", hd.Ack(), o.FastOpen, want)
		}
		p.seq = 1001
		p.send(wire.ACK|wire.PSH, "hello")
		c := accept()
		buf := make([]byte, 10)
		if n, _ := c.Read(buf); string(buf[:n]) != "hello" {
			t.Errorf("read %q", buf[:n])
		}
		c.Abort()
		p.d.take()
	}
	// The cookie of another address is none.
	p.src = port("192.0.2.8:999")
	p.seq = 1000
	p.sendWith(wire.SYN, mssAnd(want), "hello")
	if hd, o, _ := p.got(); hd.Ack() != 1001 || bytes.Equal(o.FastOpen, want) {
		t.Error("one client's cookie is taken from another")
	}
	if st := h.Stats().TCP; st.FastOpenPassiveFail != 5 {
		t.Errorf("%+v", st)
	}
	// Without the option, or with Fast Open off, there is no cookie.
	p.src = port("192.0.2.9:999")
	p.sendWith(wire.SYN, wire.TCPOptions{}, "hello")
	if hd, o, _ := p.got(); hd.Ack() != 1001 || o.HasFastOpen {
		t.Error("a cookie for who did not ask")
	}
	h.listenTCP("192.0.2.1:81", ListenOptions{})
	p.src, p.dst = port("192.0.2.9:998"), port("192.0.2.1:81")
	p.sendWith(wire.SYN, mssAnd(nil), "")
	if _, o, _ := p.got(); o.HasFastOpen {
		t.Error("a cookie of a listener without Fast Open")
	}
}

// RFC 7413 §5.1: pending requests are bounded, and one that was reset counts on for a while.
func TestFastOpenServerLimit(t *testing.T) {
	h, p, accept := fastServer(t, 2, Config{})
	cookie := p.cookie()
	syn := func(port uint16) wire.TCP {
		p.src, p.seq, p.ack = netip.AddrPortFrom(p.src.Addr(), port), 1000, 0
		p.sendWith(wire.SYN, mssAnd(cookie), "hello")
		hd, _, _ := p.got()
		return hd
	}
	taken := func(hd wire.TCP) bool { return hd.Ack() == 1006 }
	one, two := syn(1), syn(2)
	if !taken(one) || !taken(two) {
		t.Fatal("not taken")
	}
	if taken(syn(3)) || h.Stats().TCP.FastOpenOverflow != 1 {
		t.Error("a third is taken")
	}
	p.src, p.seq = netip.AddrPortFrom(p.src.Addr(), 2), 1006
	p.sendWith(wire.RST, wire.TCPOptions{}, "")
	if taken(syn(4)) {
		t.Error("a request that was reset makes room at once")
	}
	p.src, p.seq, p.ack = netip.AddrPortFrom(p.src.Addr(), 1), 1006, one.Seq()+1
	p.send(wire.ACK, "")
	if !taken(syn(5)) {
		t.Error("a handshake that is complete makes no room")
	}
	if taken(syn(6)) {
		t.Error("too much room")
	}
	h.clock.Advance(90 * time.Second) // the reset is forgotten, and request 5 has timed out
	p.d.take()
	if !taken(syn(7)) || !taken(syn(8)) {
		t.Error("no room after a minute")
	}
	for i, want := range []error{nil, syscall.ECONNRESET} { // the first is open, the second was reset, and its data is there all the same
		c := accept()
		buf := make([]byte, 10)
		if n, err := c.Read(buf); string(buf[:n]) != "hello" || err != nil {
			t.Errorf("connection %d reads %q, %v", i+1, buf[:n], err)
		}
		if _, err := c.Read(buf); i == 1 && err != want {
			t.Errorf("connection %d reads %v behind its data, want %v", i+1, err, want)
		}
		c.Abort()
	}
}

// The SYN-ACK of a Fast Open is sent again by its own timer and when the SYN comes again, and five times at most.
func TestFastOpenServerSynAckLost(t *testing.T) {
	h, p, accept := fastServer(t, 10, Config{})
	cookie := p.cookie()
	p.sendWith(wire.SYN, mssAnd(cookie), "hello")
	first, _, _ := p.got()
	h.clock.Advance(1100 * time.Millisecond)
	if hd, _, _ := p.got(); hd.Flags() != wire.SYN|wire.ACK || hd.Ack() != 1006 || hd.Seq() != first.Seq() {
		t.Errorf("%v ack %d after a second, want the SYN-ACK again", hd.Flags(), hd.Ack())
	}
	p.sendWith(wire.SYN, wire.TCPOptions{HasMSS: true, MSS: 1400}, "") // the client's plain SYN
	if hd, _, _ := p.got(); hd.Flags() != wire.SYN|wire.ACK || hd.Ack() != 1006 || hd.Seq() != first.Seq() {
		t.Errorf("%v ack %d in answer to the SYN again", hd.Flags(), hd.Ack())
	}
	c := accept()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	p.d.take()
	h.clock.Advance(2 * time.Minute)
	if n := len(p.d.take()); n != 4 {
		t.Errorf("%d more SYN-ACKs, want 4", n)
	}
	buf := make([]byte, 10)
	if n, err := c.Read(buf); string(buf[:n]) != "hello" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if _, err := c.Read(buf); err != syscall.ETIMEDOUT {
		t.Errorf("%v, want ETIMEDOUT", err)
	}
}

// A cookie of the key before is good, and brings a new one; one of the key before that is not.
func TestFastOpenServerKeyRotation(t *testing.T) {
	h, p, accept := fastServer(t, 10, Config{})
	old := p.cookie()
	h.clock.Advance(4*time.Hour + time.Second)
	p.sendWith(wire.SYN, mssAnd(old), "hello")
	hd, o, _ := p.got()
	if hd.Ack() != 1006 || len(o.FastOpen) != 8 || bytes.Equal(o.FastOpen, old) {
		t.Fatalf("ack %d, %+v; want the data taken, and a new cookie", hd.Ack(), o)
	}
	fresh := bytes.Clone(o.FastOpen)
	accept().Abort()
	h.clock.Advance(4*time.Hour + time.Second)
	for cookie, want := range map[string]uint32{string(fresh): 1006, string(old): 1001} {
		p.d.take()
		p.src, p.seq = netip.AddrPortFrom(p.src.Addr(), p.src.Port()+1), 1000
		p.sendWith(wire.SYN, mssAnd([]byte(cookie)), "hello")
		if hd, _, _ := p.got(); hd.Ack() != want {
			t.Errorf("ack %d, want %d", hd.Ack(), want)
		}
	}
	accept().Abort()
}

// A SYN with data and FIN: the whole request in one packet.
func TestFastOpenServerFIN(t *testing.T) {
	_, p, accept := fastServer(t, 10, Config{})
	cookie := p.cookie()
	p.sendWith(wire.SYN|wire.FIN, mssAnd(cookie), "hello")
	if hd, _, _ := p.got(); hd.Ack() != 1007 {
		t.Fatalf("ack %d, want data and FIN acknowledged", hd.Ack())
	}
	c := accept()
	if b, err := drainTCP(c); string(b) != "hello" || err != io.EOF {
		t.Errorf("%q, %v", b, err)
	}
	p.seq = 1007
	p.send(wire.ACK, "")
	if s := c.Info().State; s != tcp.CloseWait {
		t.Errorf("state %v", s)
	}
	c.Close()
	if hd, _, _ := p.got(); hd.Flags() != wire.FIN|wire.ACK {
		t.Errorf("%v", hd.Flags())
	}
	p.send(wire.ACK, "")
}

// drainTCP reads what there is, and what ends it.
func drainTCP(c *TCP) (all []byte, err error) {
	buf := make([]byte, 1000)
	for {
		n, err := c.Read(buf)
		if all = append(all, buf[:n]...); err != nil {
			return all, err
		}
	}
}

// fastClient is a stack whose server is beyond the tap.
func fastClient(t *testing.T) (h *host, d *tap) {
	h = newHost(t, Config{})
	_, d = h.attach(route0, "192.0.2.1/24")
	return h, d
}

// dialFast begins a Fast Open, and returns the socket and its server.
func (h *host) dialFast(d *tap, data string) (*TCP, *fastPeer) {
	h.t.Helper()
	c := newSocket(&app{})
	if err := h.ConnectTCP(c, port("192.0.2.9:80"), Bound{FastOpen: true, Data: []byte(data)}); err != nil {
		h.t.Fatal(err)
	}
	return c, &fastPeer{&peer{t: h.t, d: d, src: port("192.0.2.9:80"), dst: c.LocalAddr(), seq: 5000}, h}
}

var someCookie = []byte{1, 2, 3, 4, 5, 6, 7, 8}

// learn makes the stack know a cookie of the server.
func (h *host) learn(d *tap) {
	h.t.Helper()
	c, p := h.dialFast(d, "")
	hd, o, data := p.got()
	if hd.Flags() != wire.SYN || !o.HasFastOpen || len(o.FastOpen) != 0 || data != "" {
		h.t.Fatalf("%v %+v %q; want a SYN that asks for a cookie", hd.Flags(), o, data)
	}
	if c.Connected() != ErrWouldBlock {
		h.t.Error("connected without a cookie, before the handshake")
	}
	p.sendWith(wire.SYN|wire.ACK, mssAnd(someCookie), "")
	p.got()
	p.seq++
	p.send(wire.RST, "")
	if !h.FastOpenKnown(addr("192.0.2.9")) {
		h.t.Fatal("the cookie was not kept")
	}
}

// RFC 7413 §4.2.2: with a cookie the SYN has data; what the SYN-ACK takes of it is not sent again, and the rest is at once.
func TestFastOpenClient(t *testing.T) {
	h, d := fastClient(t)
	h.learn(d)
	long := strings.Repeat("0123456789", 300)
	for _, c := range []struct{ data, onSYN string }{{"hello", "hello"}, {long, long[:1360]}} {
		for _, taken := range []int{len(c.onSYN), 0, 2} {
			sock, p := h.dialFast(d, c.data)
			hd, o, data := p.got()
			if hd.Flags() != wire.SYN || !bytes.Equal(o.FastOpen, someCookie) || data != c.onSYN {
				t.Fatalf("%v %+v with %d bytes, want %d", hd.Flags(), o, len(data), len(c.onSYN))
			}
			p.ack = hd.Seq() + 1 + uint32(taken)
			p.sendWith(wire.SYN|wire.ACK, wire.TCPOptions{HasMSS: true, MSS: 1400}, "")
			got := ""
			for _, b := range d.take() {
				hd := parse(b).tcp()
				if int(hd.Seq()-p.ack) != len(got) {
					t.Errorf("sequence number %d beyond the acknowledgment, want %d", hd.Seq()-p.ack, len(got))
				}
				got += string(hd[hd.DataOffset():])
			}
			if got != c.data[taken:] {
				t.Errorf("%d bytes follow when %d of %d were taken", len(got), taken, len(c.data))
			}
			if err := sock.Connected(); err != nil || sock.Info().FastOpened != (taken > 0) {
				t.Errorf("%v, FastOpened %v", err, sock.Info().FastOpened)
			}
			p.seq, p.ack = 5001, p.ack+uint32(len(got))
			p.send(wire.ACK, "")
			if q := sock.Info(); q.SendQueue != 0 || q.InFlight != 0 || q.BytesAcked != uint64(len(c.data)) {
				t.Errorf("%+v", q)
			}
			sock.Abort()
			d.take()
		}
	}
	if st := h.Stats().TCP; st.FastOpenActive != 4 || st.FastOpenActiveFail != 0 {
		t.Errorf("%+v", st)
	}
}

// TCP_FASTOPEN_CONNECT: the SYN waits for the first write, for the end of writing, or for who reads first.
func TestFastOpenConnect(t *testing.T) {
	h, d := fastClient(t)
	h.learn(d)
	for name, first := range map[string]struct {
		do   func(*TCP) error
		data string
	}{
		"write": {func(c *TCP) error { _, err := c.Write([]byte("hi")); return err }, "hi"},
		"read":  {func(c *TCP) error { _, err := c.Read(make([]byte, 1)); return err }, ""},
		"close": {func(c *TCP) error { return c.CloseWrite() }, ""},
	} {
		c, p := h.dialFast(d, "")
		h.clock.Advance(time.Minute)
		if len(d.take()) != 0 || c.Connected() != nil {
			t.Fatalf("%s: a SYN before there is data, or %v", name, c.Connected())
		}
		if err := first.do(c); err != nil && err != ErrWouldBlock {
			t.Fatal(err)
		}
		hd, o, data := p.got()
		if hd.Flags() != wire.SYN || data != first.data || !bytes.Equal(o.FastOpen, someCookie) {
			t.Errorf("%s: %v %q", name, hd.Flags(), data)
		}
		c.Abort()
	}
	c, _ := h.dialFast(d, "")
	c.Close()
	if len(d.take()) != 0 || h.flows.len() != 0 {
		t.Error("what was closed before its SYN has left something")
	}
}

// A middlebox that drops the option: the SYN that is sent again is plain, the data follows the handshake, and after the second time the
// option is not tried for four minutes, then eight.
func TestFastOpenClientFallback(t *testing.T) {
	h, d := fastClient(t)
	h.learn(d)
	attempt := func(want bool) {
		t.Helper()
		c, p := h.dialFast(d, "hello")
		hd, o, _ := p.got()
		if o.HasFastOpen != want {
			t.Fatalf("option %v, want %v", o.HasFastOpen, want)
		}
		if want {
			h.clock.Advance(1100 * time.Millisecond)
			again, o, data := p.got()
			if again.Seq() != hd.Seq() || o.HasFastOpen || data != "" {
				t.Errorf("the SYN again has %+v %q", o, data)
			}
		}
		p.ack = hd.Seq() + 1
		p.sendWith(wire.SYN|wire.ACK, wire.TCPOptions{HasMSS: true, MSS: 1400}, "")
		if _, _, data := p.got(); data != "hello" {
			t.Errorf("%q after the handshake", data)
		}
		c.Abort()
		d.take()
	}
	attempt(true)
	attempt(true)
	attempt(false)
	h.clock.Advance(4*time.Minute + time.Second)
	attempt(true)
	h.clock.Advance(4*time.Minute + time.Second)
	attempt(false)
	h.clock.Advance(4*time.Minute + time.Second)
	attempt(true)
	if st := h.Stats().TCP; st.FastOpenActiveFail != 4 {
		t.Errorf("%+v", st)
	}
}

// The SYN with data was only late: the SYN-ACK takes its data, though a plain SYN was sent since.
func TestFastOpenClientLateSynAck(t *testing.T) {
	h, d := fastClient(t)
	h.learn(d)
	c, p := h.dialFast(d, "hello")
	hd, _, _ := p.got()
	h.clock.Advance(1100 * time.Millisecond)
	d.take()
	p.ack = hd.Seq() + 7
	p.sendWith(wire.SYN|wire.ACK, wire.TCPOptions{}, "") // of more than was sent
	if f := p.receive(); f.Flags() != wire.RST {
		t.Errorf("%v for an ACK of the future", f.Flags())
	}
	p.ack = hd.Seq() + 6
	p.sendWith(wire.SYN|wire.ACK, wire.TCPOptions{}, "")
	if hd, _, data := p.got(); hd.Flags() != wire.ACK || data != "" {
		t.Errorf("%v %q", hd.Flags(), data)
	}
	if c.Connected() != nil || h.Stats().TCP.FastOpenActiveFail != 0 {
		t.Errorf("%v, %+v", c.Connected(), h.Stats().TCP)
	}
	c.Abort()
}

// A connection that is cut off after its Fast Open: nobody tries for an hour.
func TestFastOpenBlackhole(t *testing.T) {
	h, d := fastClient(t)
	h.learn(d)
	c, p := h.dialFast(d, "hello")
	hd, _, _ := p.got()
	p.ack = hd.Seq() + 6
	p.sendWith(wire.SYN|wire.ACK, wire.TCPOptions{}, "")
	if _, err := c.Write([]byte("more")); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(20 * time.Second)
	if st := h.Stats().TCP; st.FastOpenBlackhole != 1 || h.FastOpenKnown(addr("192.0.2.9")) {
		t.Errorf("%+v", st)
	}
	h.clock.Advance(time.Hour)
	if !h.FastOpenKnown(addr("192.0.2.9")) {
		t.Error("the pause does not end")
	}
	c.Abort()
}

// Both ends are ours, over a pipe: asking, then data on the SYN, in both families.
func TestFastOpenBothEnds(t *testing.T) {
	w := newWorld(t, pipe.Options{})
	var server *TCP
	n := &app{}
	var l *Listener
	n.run = func(Ready) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			server = c
		}
	}
	l, err := w.b.ListenTCP(netip.AddrPortFrom(addrB, 80), ListenOptions{
		Notifier: n, FastOpen: 10, Make: func() *TCP { return newSocket(&app{}) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		c := newSocket(&app{})
		if err := w.a.ConnectTCP(c, netip.AddrPortFrom(addrB, 80), Bound{FastOpen: true, Data: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(time.Second)
		buf := make([]byte, 10)
		if n, err := server.Read(buf); string(buf[:n]) != "hello" || err != nil {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		if c.Info().FastOpened != (i > 0) || server.Info().FastOpened != (i > 0) {
			t.Errorf("connection %d: FastOpened %v and %v", i, c.Info().FastOpened, server.Info().FastOpened)
		}
		w.transfer(server, c, randomBytes(100_000))
		w.transfer(c, server, randomBytes(100_000))
		c.Close()
		server.Close()
	}
	if l.fast.Pending() != 0 {
		t.Errorf("%d requests pending", l.fast.Pending())
	}
}
