package stack

import (
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/loop"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// loopHost is a host with a loopback interface.
func loopHost(t *testing.T) *host {
	h := newHost(t, Config{})
	_, err := h.AddInterface(InterfaceConfig{
		Device: loop.New(loop.Options{}), Loopback: true,
		Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A socket that connects to itself opens simultaneously, and hears itself.
func TestSocketThatConnectsToItself(t *testing.T) {
	h := loopHost(t)
	c := newSocket(&app{})
	if err := h.ConnectTCP(c, port("127.0.0.1:5000"), Bound{Local: port("127.0.0.1:5000")}); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(time.Second)
	if err := c.Connected(); err != nil {
		t.Fatal(err)
	}
	(&world{t: t, clock: h.clock}).transfer(c, c, randomBytes(1<<20))
	c.Close()
	h.clock.Advance(5 * time.Minute)
	if n := h.flows.len(); n != 0 {
		t.Errorf("%d flows are left", n)
	}
}

func TestSimultaneousOpen(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	a := &app{}
	c := newSocket(a)
	if err := h.ConnectTCP(c, port("192.0.2.9:80"), Bound{}); err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, d: d, src: port("192.0.2.9:80"), dst: c.LocalAddr(), seq: 1000}
	p.receive()
	p.send(wire.SYN, "")
	if f := p.receive().Flags(); f != wire.SYN|wire.ACK || c.Connected() != ErrWouldBlock {
		t.Fatalf("%v in answer to a SYN", f)
	}
	p.send(wire.SYN|wire.ACK, "")
	if err := c.Connected(); err != nil || a.ready&ConnReady == 0 {
		t.Errorf("Connected: %v, told %v", err, a.ready)
	}
}

func TestConnectErrors(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24", "2001:db8::1/64")
	h.listenTCP("192.0.2.1:80", ListenOptions{})
	for _, c := range []struct {
		remote string
		b      Bound
		want   error
	}{
		{"203.0.113.1:80", Bound{}, syscall.ENETUNREACH},
		{"224.0.0.1:80", Bound{}, syscall.ENETUNREACH}, {"255.255.255.255:80", Bound{}, syscall.ENETUNREACH},
		{"[ff02::1]:80", Bound{Iface: 1}, syscall.ENETUNREACH},
		{"192.0.2.9:80", Bound{Local: port("192.0.2.77:0")}, syscall.EADDRNOTAVAIL},
		{"192.0.2.9:80", Bound{Local: port("[2001:db8::1]:0")}, syscall.EADDRNOTAVAIL},
		{"192.0.2.9:80", Bound{Local: port("192.0.2.1:80")}, syscall.EADDRINUSE},
		{"192.0.2.9:80", Bound{Iface: 7}, syscall.ENETDOWN},
	} {
		if err := h.ConnectTCP(newSocket(&app{}), port(c.remote), c.b); err != c.want {
			t.Errorf("connect to %s: %v, want %v", c.remote, err, c.want)
		}
	}
	if n := len(d.take()); n != 0 || h.flows.len() != 0 {
		t.Errorf("%d packets were sent, and %d flows are left", n, h.flows.len())
	}
}

// A peer of link-local address, and one that we reach from a link-local address.
func TestTCPLinkLocal(t *testing.T) {
	h := newHost(t, Config{})
	h.attach(InterfaceConfig{}, "2001:db8::1/64")
	_, d := h.attach(InterfaceConfig{}, "fe80::1/64")
	for _, remote := range []string{"[fe80::9]:80", "[2001:db8:1::9]:80"} {
		if remote == "[2001:db8:1::9]:80" {
			if err := h.SetRoutes(nil); err != nil {
				t.Fatal(err)
			}
		}
		b := Bound{Iface: 2}
		if addr := port(remote).Addr(); !addr.IsLinkLocalUnicast() {
			b = Bound{Local: port("[fe80::1]:0"), Iface: 2}
			if _, err := h.Lookup(b.Local.Addr(), addr, 2, false); err != nil {
				continue // there is no route off the link
			}
		}
		c, p := h.connect(d, remote, b)
		write(t, c, "x")
		p.receive()
		if c.LocalAddr().Addr() != addr("fe80::1%eth1") {
			t.Errorf("connected from %v", c.LocalAddr())
		}
	}
	_, accept := h.listenTCP("[fe80::1%eth1]:80", ListenOptions{})
	h.dial(d, "[fe80::9]:9", "[fe80::1]:80")
	if c := accept(); c.RemoteAddr() != port("[fe80::9%eth1]:9") {
		t.Errorf("accepted from %v", c.RemoteAddr())
	}
}

// A listener that keeps to an interface has connections that do.
func TestListenerOfAnInterface(t *testing.T) {
	h := newHost(t, Config{})
	_, d1 := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	_, d2 := h.attach(InterfaceConfig{}, "192.0.2.2/24")
	_, accept := h.listenTCP("[::]:80", ListenOptions{Iface: 2})
	p := h.dial(d2, "192.0.2.9:9", "192.0.2.2:80") // the route to there is by the first
	write(t, accept(), "x")
	p.receive()
	d1.inject(tcpPacket(port("192.0.2.9:9"), port("192.0.2.1:80"), wire.SYN, 1, 0, ""))
	if f := parse(d1.one(t)).tcp().Flags(); !f.Has(wire.RST) {
		t.Errorf("a SYN by another interface is answered with %v", f)
	}
}

// finish closes a connection from both ends, ours first, so that it stays in TIME-WAIT.
func (p *peer) finish(c *TCP) {
	p.t.Helper()
	if err := c.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.receive()
	p.send(wire.ACK|wire.FIN, "")
	p.seq++
	p.receive()
}

func TestTimeWait(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	_, accept := h.listenTCP("192.0.2.1:80", ListenOptions{})
	p := h.dial(d, "192.0.2.9:9", "192.0.2.1:80")
	p.finish(accept())
	for c := range h.Conns() {
		if c.Remote.IsValid() && c.State != "TIME-WAIT" {
			t.Errorf("a connection is in %s", c.State)
		}
	}
	p.seq--
	p.send(wire.ACK|wire.FIN, "") // our ACK was lost
	if f := p.receive().Flags(); f != wire.ACK {
		t.Errorf("a FIN that comes again is answered with %v", f)
	}
	p.seq += 100
	last := p.ack
	p.send(wire.SYN, "") // a new incarnation
	h2 := p.receive()
	if h2.Flags() != wire.SYN|wire.ACK || int32(h2.Seq()-last) < 0 {
		t.Errorf("a new SYN is answered with %v and sequence number %d, the last one was %d", h2.Flags(), h2.Seq(), last)
	}
	p.seq++
	p.send(wire.ACK, "")
	p.finish(accept())
	h.clock.Advance(time.Minute)
	if n := h.flows.len(); n != 0 || h.timeWaits.Load() != 0 {
		t.Errorf("%d flows are left after TIME-WAIT", n)
	}

	h.timeWaits.Store(maxTimeWaits) // as if there were so many
	p = h.dial(d, "192.0.2.9:9", "192.0.2.1:80")
	p.finish(accept())
	if n := h.flows.len(); n != 0 {
		t.Errorf("%d flows in TIME-WAIT beyond the limit", n)
	}
	h.timeWaits.Store(0)
}

// Ropes go in and out without copies, and keep to limits as bytes do.
func TestRopes(t *testing.T) {
	w := newWorld(t, pipe.Options{MTU: 65535})
	client, server := w.pair()
	rope, got := &buffer.Buffer{}, &buffer.Buffer{}
	rope.SetPool(w.a.Packets().Buffers())
	rope.Append(randomBytes(100_000))
	want := string(rope.Flatten())
	if err := client.WriteRope(rope); err != nil || rope.Size() != 0 {
		t.Fatalf("WriteRope: %v, %d bytes are left", err, rope.Size())
	}
	for got.Size() < len(want) {
		n, err := server.ReadRope(got, 10_000)
		if err == ErrWouldBlock {
			if !w.clock.Step() {
				t.Fatal("stalled")
			}
			continue
		}
		if err != nil || n > 10_000 {
			t.Fatalf("ReadRope: %d, %v", n, err)
		}
		server.ReadDone(n)
	}
	if string(got.Flatten()) != want {
		t.Error("what arrived is not what was sent")
	}
	got.Release()
	_ = client.Close()
	if n, err := server.ReadRope(got, 1); n != 0 || err != io.EOF {
		t.Errorf("ReadRope at the end: %d, %v", n, err)
	}
	rope.Append([]byte("x"))
	if err := client.WriteRope(rope); err == nil {
		t.Error("WriteRope after Close: no error")
	}
	rope.Release()
}

// small is a device that takes super-segments of at most some size.
type small struct {
	*pipe.End
	t    *testing.T
	most int
}

func (d *small) Info() link.Info {
	i := d.End.Info()
	i.GSOMax = d.most
	return i
}

func (d *small) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	for _, p := range batch {
		if p.Size() > d.most {
			d.t.Errorf("a packet of %d bytes, the device takes %d", p.Size(), d.most)
		}
	}
	return d.End.WritePackets(queue, batch)
}

// A device that takes only small super-segments is given no larger ones.
func TestGSOMax(t *testing.T) {
	da, db := pipe.New(pipe.Options{})
	w := joinWorld(t, &small{End: da.(*pipe.End), t: t, most: 3000}, db, Config{}, Config{})
	client, server := w.pair()
	w.transfer(client, server, randomBytes(1<<20))
}

// RFC 9293 §3.10.7.4, MUST-58: segments that come together are acknowledged together. What the quick ACKs of the start would answer one by
// one is joined first.
func TestOneAckPerBatch(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	_, accept := h.listenTCP("192.0.2.1:80", ListenOptions{})
	p := h.dial(d, "192.0.2.9:5000", "192.0.2.1:80")
	c := accept()
	piece := strings.Repeat("x", 1000)
	var batch [][]byte
	for range 8 {
		b := tcpPacket(p.src, p.dst, wire.ACK, p.seq, p.ack, piece)
		p.seq += uint32(len(piece))
		ip := wire.IPv4(b[:wire.IPv4MinLen])
		ip.SetFragment(true, false, 0) // whose identification means nothing (RFC 6864)
		ip.SetChecksum(0)
		ip.SetChecksum(ip.ComputeChecksum())
		batch = append(batch, b)
	}
	d.inject(batch...)
	if ack := p.receive(); ack.Flags() != wire.ACK || ack.Ack() != p.seq {
		t.Errorf("%v of %d in answer to 8 segments up to %d", ack.Flags(), ack.Ack(), p.seq)
	}
	c.Abort()
	d.take()
}
