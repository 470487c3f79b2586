package stack

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/wire"
)

// asking is a host whose handlers keep the requests.
type asking struct {
	*host
	d    *tap
	tcp  []*TCPRequest
	udp  []*UDPRequest
	echo []*EchoRequest
}

func newAsking(t *testing.T, c Config) *asking {
	h := &asking{host: newHost(t, c)}
	h.SetTCPHandler(func(r *TCPRequest) { h.tcp = append(h.tcp, r) })
	h.SetUDPHandler(func(r *UDPRequest) { h.udp = append(h.udp, r) })
	h.SetEchoHandler(func(r *EchoRequest) { h.echo = append(h.echo, r) })
	_, h.d = h.attach(InterfaceConfig{AnyDestination: true}, "192.0.2.1/24", "2001:db8::1/64")
	return h
}

// syn sends a SYN, and returns the last request.
func (h *asking) syn(src, dst string) (*peer, *TCPRequest) {
	h.t.Helper()
	p := &peer{t: h.t, d: h.d, src: port(src), dst: port(dst), seq: 1000}
	p.send(wire.SYN, "")
	if len(h.tcp) == 0 {
		h.t.Fatal("no request")
	}
	return p, h.tcp[len(h.tcp)-1]
}

func TestTCPRequestReset(t *testing.T) {
	h := newAsking(t, Config{})
	p, r := h.syn("192.0.2.9:9", "198.18.0.1:80")
	told := &app{}
	r.SetNotifier(told)
	p.seq++
	p.send(wire.RST, "")
	if told.ready != Canceled || r.Err() != syscall.ECONNABORTED {
		t.Errorf("after a RST: told %v, Err %v", told.ready, r.Err())
	}
	if err := r.Accept(newSocket(&app{}), nil); err != syscall.ECONNABORTED {
		t.Errorf("Accept: %v", err)
	}
	if err := r.Reject(nil); err != syscall.ECONNABORTED {
		t.Errorf("Reject: %v", err)
	}
	late := &app{}
	r.SetNotifier(late)
	if late.ready != Canceled {
		t.Error("who asks later is not told")
	}
	if n := len(h.d.take()); n != 0 {
		t.Errorf("%d packets in answer to a RST", n)
	}
}

// An accepted request whose handshake does not end, or ends otherwise.
func TestTCPRequestHandshakes(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(h *asking, p *peer, r *TCPRequest, c *TCP)
		want error // of Connected
	}{
		"complete":         {func(h *asking, p *peer, r *TCPRequest, c *TCP) { p.send(wire.ACK, "") }, nil},
		"reset":            {func(h *asking, p *peer, r *TCPRequest, c *TCP) { p.send(wire.RST, "") }, net.ErrClosed},
		"silent":           {func(h *asking, p *peer, r *TCPRequest, c *TCP) { h.clock.Advance(5 * time.Minute) }, net.ErrClosed},
		"canceled":         {func(h *asking, p *peer, r *TCPRequest, c *TCP) { r.Cancel() }, net.ErrClosed},
		"the stack closes": {func(h *asking, p *peer, r *TCPRequest, c *TCP) { h.Close() }, net.ErrClosed},
		"the socket closes": {func(h *asking, p *peer, r *TCPRequest, c *TCP) {
			if err := c.Close(); err != nil {
				h.t.Error(err)
			}
			p.send(wire.ACK, "")
			if f := p.receive().Flags(); !f.Has(wire.RST) {
				h.t.Errorf("%v to a peer whose connection nobody has", f)
			}
		}, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			h := newAsking(t, Config{})
			p, r := h.syn("192.0.2.9:9", "198.18.0.1:80")
			a := &app{}
			conn := newSocket(a)
			if err := r.Accept(conn, nil); err != nil {
				t.Fatal(err)
			}
			if f := p.receive().Flags(); f != wire.SYN|wire.ACK {
				t.Fatalf("%v, want SYN-ACK", f)
			}
			p.seq++
			c.act(h, p, r, conn)
			if a.ready&ConnReady == 0 {
				t.Error("the socket was not told")
			}
			if err := conn.Connected(); err != c.want {
				t.Errorf("Connected: %v, want %v", err, c.want)
			}
			if c.want != nil && h.flows.len() != 0 {
				t.Error("the flow is still there")
			}
		})
	}
}

// A refusal by silence absorbs the SYN's retransmissions, for a minute.
func TestTCPRequestSilence(t *testing.T) {
	h := newAsking(t, Config{})
	p, r := h.syn("192.0.2.9:9", "198.18.0.1:80")
	if err := r.Reject(syscall.ETIMEDOUT); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		h.clock.Advance(10 * time.Second)
		p.send(wire.SYN, "")
	}
	if len(h.tcp) != 1 || len(h.d.take()) != 0 {
		t.Errorf("%d requests, and answers", len(h.tcp))
	}
	h.clock.Advance(10 * time.Second)
	if h.syn("192.0.2.9:9", "198.18.0.1:80"); len(h.tcp) != 2 {
		t.Error("no new request after a minute")
	}
}

// A flood of what is refused by silence is not remembered without bound.
func TestRefusalsAreBounded(t *testing.T) {
	h := newAsking(t, Config{})
	h.SetTCPHandler(func(r *TCPRequest) { r.Reject(syscall.ETIMEDOUT) })
	h.SetUDPHandler(func(r *UDPRequest) { r.Reject(syscall.ETIMEDOUT) })
	for n := range maxRefusals + 100 {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, byte(n >> 8), byte(n)}), uint16(n%2+1))
		if n%2 == 0 {
			h.d.inject(tcpPacket(src, port("198.18.0.1:80"), wire.SYN, 1, 0, ""))
		} else {
			h.d.inject(udpPacket(src, port("198.18.0.1:80"), "x"))
		}
	}
	if n := h.flows.len(); n != maxRefusals {
		t.Errorf("%d flows, want %d", n, maxRefusals)
	}
	h.clock.Advance(2 * time.Minute)
	if n := h.flows.len(); n != 0 || h.refusals.Load() != 0 {
		t.Errorf("%d flows two minutes later", n)
	}
}

func TestRequestsEndWithTheStack(t *testing.T) {
	h := newAsking(t, Config{})
	_, r := h.syn("192.0.2.9:9", "198.18.0.1:80")
	h.d.inject(udpPacket(port("192.0.2.9:9"), port("198.18.0.1:53"), "x"))
	var told [2]app
	r.SetNotifier(&told[0])
	h.udp[0].SetNotifier(&told[1])
	h.Close()
	for i, err := range []error{r.Accept(newSocket(&app{}), nil), h.udp[0].Accept(&UDP{}), r.Reject(nil), h.udp[0].Reject(nil)} {
		if err != syscall.ECONNABORTED || told[i%2].ready != Canceled {
			t.Errorf("%d: %v, told %v", i, err, told[i%2].ready)
		}
	}
	if f := parse(h.d.one(t)).tcp().Flags(); !f.Has(wire.RST) {
		t.Errorf("the peer is told %v", f)
	}
}

func TestUDPRequestAccepted(t *testing.T) {
	h := newAsking(t, Config{})
	src, dst := port("192.0.2.9:9"), port("198.18.0.1:53")
	for n := range requestDatagrams + 5 {
		h.d.inject(udpPacket(src, dst, fmt.Sprint(n)))
	}
	if len(h.udp) != 1 {
		t.Fatalf("%d requests", len(h.udp))
	}
	r := h.udp[0]
	if r.Src != src || r.Dst != dst || r.Iface != 1 {
		t.Errorf("a request from %v to %v by %d", r.Src, r.Dst, r.Iface)
	}
	u := &UDP{}
	if err := r.Accept(u); err != nil {
		t.Fatal(err)
	}
	if r.Reject(nil) == nil || r.Accept(&UDP{}) == nil {
		t.Error("a second decision was taken")
	}
	h.d.inject(udpPacket(src, dst, "more"))
	for n := range requestDatagrams {
		if data, from := readUDP(t, u); data != fmt.Sprint(n) || from != src {
			t.Errorf("read %q from %v, want %d", data, from, n)
		}
	}
	if data, _ := readUDP(t, u); data != "more" {
		t.Errorf("read %q, want what came after the decision", data)
	}
	if err := u.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if got := parse(h.d.one(t)); got.src != dst.Addr() || got.dst != src.Addr() {
		t.Errorf("answered from %v to %v", got.src, got.dst)
	}
	h.clock.Advance(2 * time.Minute)
	if r.Err() != nil {
		t.Error("an accepted request ended by its time")
	}
	u.Close()
	h.d.inject(udpPacket(src, dst, "again"))
	if len(h.udp) != 2 {
		t.Fatal("no new request after Close")
	}
	h.udp[1].Reject(nil)
}

func TestUDPRequestBytesAreBounded(t *testing.T) {
	h := newAsking(t, Config{})
	for range requestDatagrams {
		h.d.inject(udpPacket(port("192.0.2.9:9"), port("198.18.0.1:53"), strings.Repeat("x", 20000)))
	}
	if used, _ := h.Memory(); used > requestBytes+512 || used < requestBytes/2 {
		t.Errorf("%d bytes are held for a request, the limit is %d", used, requestBytes)
	}
}

func TestUDPRequestRejected(t *testing.T) {
	for _, c := range []struct {
		err error
		typ wire.ICMPv4Type
		cod uint8
	}{
		{nil, wire.ICMPv4DstUnreachable, wire.ICMPv4PortUnreachable},
		{syscall.ECONNREFUSED, wire.ICMPv4DstUnreachable, wire.ICMPv4PortUnreachable},
		{net.ErrClosed, wire.ICMPv4DstUnreachable, wire.ICMPv4PortUnreachable},
		{syscall.EHOSTUNREACH, wire.ICMPv4DstUnreachable, wire.ICMPv4HostUnreachable},
		{syscall.ENETUNREACH, wire.ICMPv4DstUnreachable, wire.ICMPv4NetUnreachable},
		{syscall.EACCES, wire.ICMPv4DstUnreachable, wire.ICMPv4AdminProhibited},
		{syscall.ETIMEDOUT, 0, 0},
	} {
		h := newAsking(t, Config{})
		send := func() { h.d.inject(udpPacket(port("192.0.2.9:9"), port("198.18.0.1:53"), "x")) }
		answered := func(when string) {
			t.Helper()
			all := h.d.take()
			if c.typ == 0 {
				if len(all) != 0 {
					t.Errorf("Reject(%v), %s: %d answers, want silence", c.err, when, len(all))
				}
				return
			}
			if len(all) != 1 {
				t.Errorf("Reject(%v), %s: %d answers", c.err, when, len(all))
				return
			}
			if m := wire.ICMPv4(parse(all[0]).body); m.Type() != c.typ || m.Code() != c.cod {
				t.Errorf("Reject(%v), %s: answered with type %d code %d, want %d %d", c.err, when, m.Type(), m.Code(), c.typ, c.cod)
			}
		}
		send()
		if err := h.udp[0].Reject(c.err); err != nil {
			t.Fatal(err)
		}
		answered("at once")
		h.clock.Advance(900 * time.Millisecond)
		send()
		answered("within a second")
		h.clock.Advance(200 * time.Millisecond)
		if send(); len(h.udp) != 2 {
			t.Errorf("Reject(%v): %d requests after a second, want a new one", c.err, len(h.udp))
		}
	}
}

func TestUDPRequestExpires(t *testing.T) {
	h := newAsking(t, Config{})
	h.d.inject(udpPacket(port("192.0.2.9:9"), port("198.18.0.1:53"), "x"))
	told := &app{}
	h.udp[0].SetNotifier(told)
	h.clock.Advance(time.Minute)
	if told.ready != Canceled || h.udp[0].Accept(&UDP{}) != syscall.ECONNABORTED || h.flows.len() != 0 {
		t.Errorf("after a minute: told %v, %d flows", told.ready, h.flows.len())
	}
}

// Without a handler, and with too many requests undecided.
func TestRequestsWithoutAHandler(t *testing.T) {
	h := newAsking(t, Config{MaxPending: 2})
	for n := range 4 {
		src := netip.AddrPortFrom(addr("192.0.2.9"), uint16(n+1))
		h.d.inject(udpPacket(src, port("198.18.0.1:53"), "x"))
		h.d.inject(tcpPacket(src, port("198.18.0.1:53"), wire.SYN, 1, 0, ""))
		h.d.inject(icmpPacket(src.Addr(), addr("198.18.0.1"), uint8(wire.ICMPv4Echo), 0, 0, nil))
	}
	if len(h.tcp)+len(h.udp)+len(h.echo) != 2 || h.Stats().TCP.RequestDrops != 10 || len(h.d.take()) != 0 {
		t.Errorf("%d requests and %d drops, want 2 and 10", len(h.tcp)+len(h.udp)+len(h.echo), h.Stats().TCP.RequestDrops)
	}
	h.SetTCPHandler(nil)
	h.SetUDPHandler(nil)
	h.SetEchoHandler(nil)
	src := port("192.0.2.9:99")
	h.d.inject(udpPacket(src, port("198.18.0.1:53"), "x"))
	if m := wire.ICMPv4(parse(h.d.one(t)).body); m.Code() != wire.ICMPv4PortUnreachable {
		t.Errorf("UDP without a handler is answered with code %d", m.Code())
	}
	h.d.inject(tcpPacket(src, port("198.18.0.1:53"), wire.SYN, 1, 0, ""))
	if f := parse(h.d.one(t)).tcp().Flags(); !f.Has(wire.RST) {
		t.Errorf("TCP without a handler is answered with %v", f)
	}
	h.d.inject(icmpPacket(src.Addr(), addr("198.18.0.1"), uint8(wire.ICMPv4Echo), 0, 0, nil))
	if n := len(h.d.take()); n != 0 {
		t.Errorf("echo without a handler is answered")
	}
	for _, r := range h.echo {
		r.Reject(nil)
	}
}

// What is broken, or from or to port 0, is no request.
func TestNoRequestOutOfNonsense(t *testing.T) {
	h := newAsking(t, Config{})
	for _, ports := range [][2]string{{"192.0.2.9:0", "198.18.0.1:80"}, {"192.0.2.9:9", "198.18.0.1:0"}} {
		src, dst := port(ports[0]), port(ports[1])
		h.d.inject(tcpPacket(src, dst, wire.SYN, 1, 0, ""))
		if f := parse(h.d.one(t)).tcp().Flags(); !f.Has(wire.RST) {
			t.Errorf("%v is answered with %v", ports, f)
		}
	}
	src, dst := port("192.0.2.9:9"), port("198.18.0.1:80")
	for _, flags := range []wire.TCPFlags{wire.SYN | wire.RST, wire.SYN | wire.ACK, wire.FIN, 0, wire.ACK} {
		h.d.inject(tcpPacket(src, dst, flags, 1, 1, ""))
	}
	h.d.inject(udpPacket(src, netip.AddrPortFrom(dst.Addr(), 0), "x"))
	if len(h.tcp)+len(h.udp) != 0 {
		t.Errorf("%d requests", len(h.tcp)+len(h.udp))
	}
}

func TestEchoRequests(t *testing.T) {
	for _, c := range []struct {
		src, dst  string
		typ, want uint8
	}{
		{"192.0.2.9", "198.18.0.1", uint8(wire.ICMPv4Echo), uint8(wire.ICMPv4EchoReply)},
		{"2001:db8::9", "2001:db8:1::1", uint8(wire.ICMPv6Echo), uint8(wire.ICMPv6EchoReply)},
	} {
		h := newAsking(t, Config{})
		ask := func() *EchoRequest {
			t.Helper()
			h.echo = nil
			h.d.inject(icmpPacket(addr(c.src), addr(c.dst), c.typ, 0, wire.ICMPEcho(7, 8), []byte("payload")))
			if len(h.echo) != 1 {
				t.Fatal("no request")
			}
			return h.echo[0]
		}
		r := ask()
		if r.Src != addr(c.src) || r.Dst != addr(c.dst) || r.ID != 7 || r.Seq != 8 || string(r.Data()) != "payload" {
			t.Errorf("request %+v with %q", r, r.Data())
		}
		if err := r.Reply(r.Data()); err != nil {
			t.Fatal(err)
		}
		got := parse(h.d.one(t))
		body := append([]byte{c.want, 0, got.body[2], got.body[3], 0, 7, 0, 8}, "payload"...)
		if got.src != addr(c.dst) || got.dst != addr(c.src) || !bytes.Equal(got.body, body) {
			t.Errorf("replied %x from %v to %v, want %x", got.body, got.src, got.dst, body)
		}
		if r.Reply(nil) == nil || r.Reject(nil) == nil || r.Data() != nil {
			t.Error("a second decision was taken")
		}
		if err := ask().Reject(syscall.EACCES); err != nil {
			t.Error(err)
		}
		if got := parse(h.d.one(t)); got.dst != addr(c.src) || got.body[0] == c.want {
			t.Errorf("rejected with %x", got.body)
		}
		if err := ask().Reject(syscall.ECONNREFUSED); err != nil || len(h.d.take()) != 0 {
			t.Errorf("rejected by silence: %v", err)
		}
		if err := ask().Reply(make([]byte, 70000)); err != syscall.EMSGSIZE {
			t.Errorf("a reply that is too large: %v", err)
		}
	}
}
