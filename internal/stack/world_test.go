package stack

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// world is two stacks joined by a pipe, run by one goroutine under a virtual clock.
type world struct {
	t     *testing.T
	clock *sched.Virtual
	a, b  *Stack
}

var (
	addrA = netip.MustParseAddr("192.0.2.1")
	addrB = netip.MustParseAddr("192.0.2.2")
)

func newWorld(t *testing.T, o pipe.Options) *world {
	t.Helper()
	da, db := pipe.New(o)
	return joinWorld(t, da, db, Config{}, Config{})
}

func joinWorld(t *testing.T, da, db link.Device, ca, cb Config) *world {
	t.Helper()
	w := &world{t: t, clock: sched.NewVirtual(testEpoch)}
	w.a = w.host(da, addrA, 1, ca)
	w.b = w.host(db, addrB, 2, cb)
	t.Cleanup(w.close)
	return w
}

func (w *world) host(dev link.Device, addr netip.Addr, seed uint64, c Config) *Stack {
	c.Clock, c.Rand = w.clock, rand.New(rand.NewPCG(seed, 0)).Uint64
	c.Packets = packet.NewPool(buffer.NewPool(buffer.Options{Check: true}))
	s := New(c)
	addrs := []netip.Prefix{netip.PrefixFrom(addr, 24)}
	if _, err := s.AddInterface(InterfaceConfig{Device: dev, Addrs: addrs}); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// close closes both stacks and looks for leaks.
func (w *world) close() {
	for _, s := range []*Stack{w.a, w.b} {
		s.Close()
	}
	for _, s := range []*Stack{w.a, w.b} {
		checkClosed(w.t, s)
	}
}

// app is a socket's application: what Notify has said, and a function to run then.
type app struct {
	ready Ready
	run   func(Ready)
}

func (a *app) Notify(r Ready) {
	a.ready |= r
	if a.run != nil {
		a.run(r)
	}
}

func newSocket(a *app) *TCP {
	t := &TCP{}
	t.SetNotifier(a)
	return t
}

func (w *world) listen(port uint16, accepted func(*TCP)) *Listener {
	w.t.Helper()
	var l *Listener
	n := &app{}
	n.run = func(Ready) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted(c)
		}
	}
	l, err := w.b.ListenTCP(netip.AddrPortFrom(addrB, port), ListenOptions{
		Notifier: n, Make: func() *TCP { return newSocket(&app{}) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// pair makes a connection.
func (w *world) pair() (client, server *TCP) {
	w.t.Helper()
	l := w.listen(80, func(c *TCP) { server = c })
	defer l.Close()
	client = newSocket(&app{})
	if err := w.a.ConnectTCP(client, netip.AddrPortFrom(addrB, 80), Bound{}); err != nil {
		w.t.Fatal(err)
	}
	w.clock.Advance(time.Second)
	if err := client.Connected(); err != nil || server == nil {
		w.t.Fatalf("not connected: %v", err)
	}
	return client, server
}

// transfer sends data from one socket to the other as fast as they let it, and checks what arrives.
func (w *world) transfer(from, to *TCP, data []byte) {
	w.t.Helper()
	var got bytes.Buffer
	rest := data
	buf := make([]byte, 64<<10)
	for limit := w.clock.Now().Add(time.Hour); got.Len() < len(data) && w.clock.Now() < limit; {
		n, err := from.Write(rest)
		if rest = rest[n:]; err != nil && err != ErrWouldBlock {
			w.t.Fatal(err)
		}
		for {
			n, err := to.Read(buf)
			if got.Write(buf[:n]); err != nil {
				break
			}
		}
		if !w.clock.Step() && n == 0 && len(rest) > 0 {
			w.t.Fatalf("stalled with %d bytes unsent and %d received", len(rest), got.Len())
		}
	}
	if !bytes.Equal(got.Bytes(), data) {
		w.t.Fatalf("%d bytes arrived, which are not the %d sent", got.Len(), len(data))
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestTransferBothWays(t *testing.T) {
	for name, o := range map[string]pipe.Options{
		"super-segments": {MTU: 65535}, "MTU 1500": {MTU: 1500, NoOffload: true}, "MTU 576": {MTU: 576, NoOffload: true},
		"MTU 1500 with offloads": {MTU: 1500}, "MTU 9000": {MTU: 9000, NoOffload: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			client, server := w.pair()
			data := randomBytes(3 << 20)
			w.transfer(client, server, data)
			w.transfer(server, client, data)
			client.Close()
			server.Close()
			w.clock.Advance(5 * time.Minute)
			if n := w.a.flows.len() + w.b.flows.len(); n != 0 {
				t.Errorf("%d flows are left after TIME-WAIT", n)
			}
		})
	}
}

func TestHalfCloseAndEOF(t *testing.T) {
	w := newWorld(t, pipe.Options{})
	client, server := w.pair()
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if _, err := server.Read(buf); err != io.EOF {
		t.Errorf("Read after the peer's FIN: %v, want EOF", err)
	}
	if _, err := client.Write([]byte("x")); err != syscall.EPIPE {
		t.Errorf("Write after CloseWrite: %v, want EPIPE", err)
	}
	w.transfer(server, client, randomBytes(100_000))
	server.Close()
	if _, err := client.Read(buf); err != io.EOF {
		t.Errorf("Read after both FINs: %v, want EOF", err)
	}
	client.Close()
	if _, err := client.Read(buf); err != net.ErrClosed {
		t.Errorf("Read after Close: %v, want ErrClosed", err)
	}
}

func TestRefusedAndReset(t *testing.T) {
	w := newWorld(t, pipe.Options{})
	refused := newSocket(&app{})
	if err := w.a.ConnectTCP(refused, netip.AddrPortFrom(addrB, 81), Bound{}); err != nil {
		t.Fatal(err)
	}
	if err := refused.Connected(); err != syscall.ECONNREFUSED {
		t.Errorf("connect to a closed port: %v, want ECONNREFUSED", err)
	}
	client, server := w.pair()
	if err := server.Abort(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1)
	for i, want := range []error{syscall.ECONNRESET, io.EOF} {
		if _, err := client.Read(buf); err != want {
			t.Errorf("Read %d after a reset: %v, want %v", i+1, err, want)
		}
	}
	if _, err := client.Write(buf); err != syscall.EPIPE {
		t.Errorf("Write after a reset that was reported: %v, want EPIPE", err)
	}
}

func TestNoRoute(t *testing.T) {
	w := newWorld(t, pipe.Options{})
	err := w.a.ConnectTCP(newSocket(&app{}), netip.MustParseAddrPort("198.18.0.1:80"), Bound{})
	if err != syscall.ENETUNREACH {
		t.Errorf("connect without a route: %v, want ENETUNREACH", err)
	}
	_, err = w.a.ListenTCP(netip.MustParseAddrPort("198.18.0.1:80"), ListenOptions{})
	if err != syscall.EADDRNOTAVAIL {
		t.Errorf("listen on another's address: %v, want EADDRNOTAVAIL", err)
	}
}

func TestBacklog(t *testing.T) {
	da, db := pipe.New(pipe.Options{})
	w := joinWorld(t, da, db, Config{}, Config{Backlog: 2})
	n := &app{}
	l, err := w.b.ListenTCP(netip.AddrPortFrom(addrB, 80), ListenOptions{Notifier: n, Make: func() *TCP { return newSocket(&app{}) }})
	if err != nil {
		t.Fatal(err)
	}
	var clients []*TCP
	for range 4 {
		c := newSocket(&app{})
		if err := w.a.ConnectTCP(c, netip.AddrPortFrom(addrB, 80), Bound{}); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	connected := func() (n int) {
		for _, c := range clients {
			if c.Connected() == nil {
				n++
			}
		}
		return n
	}
	if connected() != 2 || w.b.Stats().TCP.BacklogDrops != 2 {
		t.Errorf("%d connected and %d drops, want 2 and 2", connected(), w.b.Stats().TCP.BacklogDrops)
	}
	for range 2 {
		if _, err := l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	w.clock.Advance(10 * time.Second) // the SYNs come again
	if connected() != 4 {
		t.Errorf("%d connected after two were accepted, want all", connected())
	}
	l.Close()
	w.clock.Advance(time.Second)
	if _, err := clients[3].Read(make([]byte, 1)); err != syscall.ECONNRESET {
		t.Errorf("an unaccepted connection of a closed listener reads %v, want ECONNRESET", err)
	}
}

// Both sides of a stack's own conversation run on one goroutine: the same seed gives the same packets.
func TestReplaysExactly(t *testing.T) {
	run := func() (now sched.Time, stats Stats) {
		w := newWorld(t, pipe.Options{MTU: 1500, NoOffload: true})
		client, server := w.pair()
		w.transfer(client, server, randomBytes(1<<20))
		return w.clock.Now(), w.a.Stats()
	}
	now1, stats1 := run()
	now2, stats2 := run()
	if now1 != now2 || stats1 != stats2 {
		t.Errorf("two runs differ: %v %+v, %v %+v", now1, stats1, now2, stats2)
	}
}

func TestTCPRequests(t *testing.T) {
	w := newWorld(t, pipe.Options{})
	var requests []*TCPRequest
	w.b.SetTCPHandler(func(r *TCPRequest) { requests = append(requests, r) })
	dial := func() (*TCP, *TCPRequest) {
		t.Helper()
		c := newSocket(&app{})
		if err := w.a.ConnectTCP(c, netip.AddrPortFrom(addrB, 7), Bound{}); err != nil {
			t.Fatal(err)
		}
		if len(requests) == 0 {
			t.Fatal("no request")
		}
		r := requests[len(requests)-1]
		if r.Dst != netip.AddrPortFrom(addrB, 7) || r.Src != c.LocalAddr() {
			t.Errorf("a request from %v to %v, want from %v", r.Src, r.Dst, c.LocalAddr())
		}
		return c, r
	}
	for _, c := range []struct{ reject, want error }{
		{nil, syscall.ECONNREFUSED}, {syscall.ECONNREFUSED, syscall.ECONNREFUSED}, {syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
		{syscall.ENETUNREACH, syscall.ENETUNREACH},
		{syscall.EACCES, syscall.EHOSTUNREACH}, // what kernels make of "communication administratively prohibited" over IPv4
	} {
		conn, r := dial()
		if err := conn.Connected(); err != ErrWouldBlock {
			t.Errorf("before the decision: %v", err)
		}
		if err := r.Reject(c.reject); err != nil {
			t.Error(err)
		}
		w.clock.Advance(time.Second)
		if err := conn.Connected(); !errors.Is(err, c.want) {
			t.Errorf("after Reject(%v): %v, want %v", c.reject, err, c.want)
		}
	}

	before := len(requests)
	conn, r := dial()
	w.clock.Advance(20 * time.Second) // retransmitted SYNs are absorbed
	if len(requests) != before+1 {
		t.Errorf("%d requests for one SYN", len(requests)-before)
	}
	server := newSocket(&app{})
	if err := r.Accept(server, nil); err != nil {
		t.Fatal(err)
	}
	if err := conn.Connected(); err != nil {
		t.Fatalf("after Accept: %v", err)
	}
	if err := r.Reject(nil); err == nil {
		t.Error("a second decision was taken")
	}
	w.transfer(conn, server, randomBytes(100_000))

	conn, r = dial()
	canceled := &app{}
	r.SetNotifier(canceled)
	conn.Abort() // no RST for a SYN-SENT, so the request ends by its time
	w.clock.Advance(2 * time.Minute)
	if canceled.ready&Canceled == 0 {
		t.Error("the request was not cancelled after 60 s")
	}
	if err := r.Accept(newSocket(&app{}), nil); err != syscall.ECONNABORTED {
		t.Errorf("Accept of a cancelled request: %v, want ECONNABORTED", err)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	da, db := pipe.New(pipe.Options{})
	w := joinWorld(t, da, db, Config{}, Config{MaxPending: 3})
	asked := 0
	w.b.SetTCPHandler(func(*TCPRequest) { asked++ })
	for port := range uint16(5) {
		if err := w.a.ConnectTCP(newSocket(&app{}), netip.AddrPortFrom(addrB, 100+port), Bound{}); err != nil {
			t.Fatal(err)
		}
	}
	if st := w.b.Stats().TCP; asked != 3 || st.RequestDrops != 2 {
		t.Errorf("%d requests and %d drops, want 3 and 2", asked, st.RequestDrops)
	}
}
