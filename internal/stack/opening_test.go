package stack

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/auth"
	"github.com/weirnet/weir/wire"
)

// A handler that accepts whatever asks it holds no more handshakes than a listener would, whoever floods it.
func TestAcceptedRequestsAreBounded(t *testing.T) {
	h := newHost(t, Config{Backlog: 20, MaxPending: 10})
	_, d := h.attach(InterfaceConfig{AnyDestination: true, Gateway4: route0.Gateway4}, "192.0.2.1/24")
	var sockets []*TCP
	h.SetTCPHandler(func(r *TCPRequest) {
		c := newSocket(&app{})
		if err := r.Accept(c, nil); err != nil {
			t.Error(err)
		}
		sockets = append(sockets, c)
	})
	flood(d, "192.0.2.1:80", 0, 1000)
	if st := h.Stats().TCP; h.flows.len() != 20 || st.RequestDrops != 980 {
		t.Errorf("%d handshakes, %d SYNs dropped; want 20 and 980", h.flows.len(), st.RequestDrops)
	}
	h.clock.Advance(2 * time.Minute)
	d.take()
	if h.flows.len() != 0 || h.asked.Load() != 0 {
		t.Errorf("%d handshakes are left, %d counted", h.flows.len(), h.asked.Load())
	}
	// Each way to end gives its place back.
	for i := range 100 {
		p := &peer{t: t, d: d, src: port(fmt.Sprintf("192.0.2.9:%d", 1000+i)), dst: port("192.0.2.1:80"), seq: 1000}
		p.send(wire.SYN, "")
		p.seq++
		p.receive()
		if i%2 == 0 {
			p.send(wire.ACK, "")
			_ = sockets[len(sockets)-1].Abort()
		} else {
			p.send(wire.RST, "")
		}
		d.take()
	}
	if n := h.asked.Load(); n != 0 {
		t.Errorf("%d handshakes are counted", n)
	}
	h.SetTCPHandler(func(r *TCPRequest) {
		_ = r.Reject([]error{nil, syscall.ETIMEDOUT}[len(sockets)%2])
		sockets = sockets[1:]
	})
	flood(d, "192.0.2.1:80", 0, 100)
	if n := h.asked.Load(); n != 0 {
		t.Errorf("%d refused requests are counted", n)
	}
}

// RFC 1337: a SYN does not end TIME-WAIT if nobody listens whom it could reach.
func TestTimeWaitWithoutListener(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	c, p := h.connect(d, "192.0.2.9:80", Bound{})
	p.finish(c)
	p.seq += 1000
	p.send(wire.SYN, "")
	if f := p.receive(); f.Flags() != wire.ACK || h.timeWaits.Load() != 1 {
		t.Errorf("%v in answer to a SYN, %d in TIME-WAIT", f.Flags(), h.timeWaits.Load())
	}
	for range 10 {
		p.send(wire.SYN, "")
	}
	if n := len(d.take()); n != 0 {
		t.Errorf("%d answers at once", n)
	}
	h.SetTCPHandler(func(r *TCPRequest) { _ = r.Accept(newSocket(&app{}), nil) })
	p.send(wire.SYN, "")
	if f := p.receive(); f.Flags() != wire.SYN|wire.ACK {
		t.Errorf("%v with a handler", f.Flags())
	}
}

// A SYN cookie of a listener that is closed meanwhile is taken by another one of its group.
func TestReusePortCookies(t *testing.T) {
	h := newHost(t, Config{TCP: &tcp.Config{SynCookies: tcp.CookiesAlways}})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	a, _ := h.listenTCP("192.0.2.1:80", ListenOptions{ReusePort: true})
	p := &peer{t: t, d: d, src: port("192.0.2.9:9"), dst: port("192.0.2.1:80"), seq: 1000}
	p.send(wire.SYN, "")
	p.seq++
	p.receive()
	_, accept := h.listenTCP("192.0.2.1:80", ListenOptions{ReusePort: true})
	_ = a.Close()
	p.send(wire.ACK, "")
	_ = accept().Abort()
}

// A handshake by SYN cookie whose ACK is lost, or comes after data, is completed by what is sent again.
func TestSynCookieAckLost(t *testing.T) {
	h := newHost(t, Config{TCP: &tcp.Config{SynCookies: tcp.CookiesAlways}})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	_, accept := h.listenTCP("192.0.2.1:80", ListenOptions{})
	p := &peer{t: t, d: d, src: port("192.0.2.9:9"), dst: port("192.0.2.1:80"), seq: 1000}
	p.send(wire.SYN, "")
	p.receive()
	p.seq = 1001 + 5
	p.send(wire.ACK|wire.PSH, "world") // behind what was lost
	p.send(wire.ACK|wire.FIN, "")
	if n := len(d.take()); n != 0 {
		t.Fatalf("%d packets in answer to what may follow a cookie", n)
	}
	p.seq = 1001
	p.send(wire.ACK|wire.PSH, "hello")
	c := accept()
	d.take()
	p.send(wire.ACK|wire.PSH, "world")
	buf := make([]byte, 20)
	if n, err := c.Read(buf); string(buf[:n]) != "helloworld" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	_ = c.Abort()
	d.take()
	// No cookie has this echo; and when none can be in flight, nothing may follow one.
	fast := &fastPeer{p, h}
	old := wire.TCPOptions{TS: true, TSVal: 1, TSEcr: uint32(1 << 31)}
	fast.src, fast.seq = port("192.0.2.9:10"), 77
	fast.sendWith(wire.ACK|wire.PSH, old, "x")
	if f := p.receive().Flags(); f != wire.RST {
		t.Errorf("%v in answer to an echo of no cookie", f)
	}
	h.clock.Advance(tcp.CookieLife)
	p.send(wire.ACK|wire.PSH, "x")
	if f := p.receive().Flags(); f != wire.RST {
		t.Errorf("%v when no cookie is in flight", f)
	}
}

// A connection in TIME-WAIT and the socket that it was share nothing that either changes: the keys of the one are not the other's.
func TestTimeWaitKeepsItsKeys(t *testing.T) {
	for name, keys := range signings() {
		h := newHost(t, Config{})
		_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
		_, accept := h.listenTCP("192.0.2.1:179", ListenOptions{Keys: keys[0]})
		src, dst := port("192.0.2.9:9"), port("192.0.2.1:179")
		g := auth.NewGuard(keys[0], src, dst)
		d.inject(signed(g, src, dst, wire.SYN, 1000, 0, ""))
		iss := good(t, g, d.one(t)).Seq()
		at := func(flags wire.TCPFlags, seq, ack uint32) []byte {
			return signedTS(g, true, src, dst, flags, seq, iss+ack, "")
		}
		d.inject(at(wire.ACK, 1001, 1))
		c := accept()
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		good(t, g, d.one(t))
		d.inject(at(wire.ACK|wire.FIN, 1001, 2))
		good(t, g, d.one(t))
		if h.timeWaits.Load() != 1 {
			t.Fatalf("%s: %d in TIME-WAIT", name, h.timeWaits.Load())
		}
		if err := c.SetKeys(auth.Replace(keys[1])); err != nil {
			t.Fatal(err)
		}
		d.inject(at(wire.ACK|wire.FIN, 1001, 2)) // our ACK was lost
		good(t, g, d.one(t))
		_ = c.Close()
	}
}

// RFC 6056 §3.3.4: the ports of connections to one destination do not tell how many there are to others.
func TestPortsDoNotCountOthers(t *testing.T) {
	h := newHost(t, Config{})
	h.attach(route0, "192.0.2.1/24")
	next := func(to netip.AddrPort) (p uint16) {
		h.eachPort(addr("192.0.2.1"), to, func(port uint16) bool { p = port; return true })
		return p
	}
	steps := 0
	for i := range 100 {
		spy := netip.AddrPortFrom(addr("198.18.0.9"), uint16(1000+i))
		before := next(spy)
		for n := range 50 {
			next(netip.AddrPortFrom(addr("198.18.0.10"), uint16(n)))
		}
		steps += int(next(spy)-before) % numEphemeral
	}
	// Some of the others have the same counter: 50 of 256.
	if steps > 500 {
		t.Errorf("after 50 connections to others, the port for a destination has moved by %d/100 on average", steps)
	}
}
