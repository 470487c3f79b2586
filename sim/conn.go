package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// ErrWouldBlock is what a call answers that can do nothing now. The application is called when it can.
const ErrWouldBlock = stack.ErrWouldBlock

// Conn is a TCP connection's end, in the hands of an application: a function that is called when the end may have become ready for
// something, in no other circumstances than that nothing else runs. It does what it can, and returns.
type Conn struct {
	// App is the application; nil: none, yet.
	App func(*Conn)
	// Sent and Received are bytes of the streams that Send and Receive have dealt with.
	Sent, Received int64
	// Finished is when Receive met the end of the stream.
	Finished time.Duration

	host    *Host
	sock    stack.TCP
	watch   *watch
	peer    *Conn // nil: not known
	out, in uint64
	queued  bool // in world.ready
	marked  bool // in world.dirty
	progress
}

// DialOptions say how a connection is opened.
type DialOptions struct {
	IPv6      bool
	LocalPort uint16       // 0: one is chosen
	TCP       *tcp.Options // what it starts with; nil: as its host says
	FastOpen  bool         // the first data goes with the SYN, if the host has a cookie (RFC 7413)
	Keys      tcp.Keys     // its segments are signed by these; nil: they are not
	App       func(*Conn)  // the application
}

// Dial begins to open a connection. How that goes the application learns from Connected.
func (h *Host) Dial(to *Host, port uint16, o DialOptions) (*Conn, error) {
	h.world.route()
	c := h.newConn()
	c.App = o.App
	b := stack.Bound{TCP: o.TCP, FastOpen: o.FastOpen, Keys: o.Keys}
	if o.LocalPort != 0 {
		b.Local = netip.AddrPortFrom(h.Addr(o.IPv6), o.LocalPort)
	}
	if err := h.stack.ConnectTCP(&c.sock, netip.AddrPortFrom(to.Addr(o.IPv6), port), b); err != nil {
		return nil, err
	}
	c.begin()
	c.wake() // with Fast Open it may send already
	return c, nil
}

// ListenOptions say what a listener takes.
type ListenOptions struct {
	TCP      *tcp.Options // what its connections start with; nil: as the host says
	Backlog  int          // handshakes in progress, and connections that wait, at most; 0: as the host says
	FastOpen int          // Fast Open requests in progress, at most; 0: none
	Keys     tcp.Keys     // their segments are signed by these; nil: they are not
	Lazy     bool         // connections wait until Take is called
	Accept   func(*Conn)  // called with each new connection, whose App it sets
}

// Listener takes connections.
type Listener struct {
	ListenOptions
	l *stack.Listener
}

// Listen opens a port on all addresses of the host.
func (h *Host) Listen(port uint16, o ListenOptions) (*Listener, error) {
	l := &Listener{ListenOptions: o}
	h.cookies = h.cookies || o.Backlog > 0
	h.fastOpens = h.fastOpens || o.FastOpen > 0
	var err error
	l.l, err = h.stack.ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), port), stack.ListenOptions{
		TCP: o.TCP, Backlog: o.Backlog, FastOpen: o.FastOpen, Keys: o.Keys, Notifier: l, Make: func() *stack.TCP { return &h.newConn().sock },
	})
	return l, err
}

// Notify is the stack's word that a connection waits.
func (l *Listener) Notify(stack.Ready) {
	if !l.Lazy {
		l.Take(1 << 30)
	}
}

// Take accepts up to n connections that wait, and returns how many.
func (l *Listener) Take(n int) (taken int) {
	for ; taken < n; taken++ {
		sock, err := l.l.Accept()
		if err != nil {
			break
		}
		c := sock.Notifier().(*Conn)
		c.begin()
		if l.Accept != nil {
			l.Accept(c)
		}
		c.wake()
	}
	return taken
}

// Close stops listening.
func (l *Listener) Close() error { return l.l.Close() }

func (h *Host) newConn() *Conn {
	c := &Conn{host: h}
	c.sock.SetNotifier(c)
	return c
}

// begin makes c one of the connections that are checked. Both ends' addresses are known.
func (c *Conn) begin() {
	k := tuple{c.sock.LocalAddr(), c.sock.RemoteAddr()}
	k.remote = netip.AddrPortFrom(k.remote.Addr().Unmap(), k.remote.Port())
	k.local = netip.AddrPortFrom(k.local.Addr().Unmap(), k.local.Port())
	c.watch = c.host.watch(k)
	c.watch.begun = c.watch.conn != nil
	c.watch.conn = c
	c.out, c.in = streamOf(k), streamOf(tuple{k.remote, k.local})
	if far := c.watch.peer; far != nil && far.conn != nil && far.conn.peer == nil { // else a SYN cookie has begun it anew
		c.peer, far.conn.peer = far.conn, c
	}
	c.host.world.live = append(c.host.world.live, c)
	c.touch()
}

// streamOf is the number of the stream of bytes that goes from a local to a remote address.
func streamOf(k tuple) uint64 {
	a := k.local.Addr().As16()
	r := Random(uint64(k.local.Port())<<32 + uint64(k.remote.Port())<<16 + uint64(a[15])<<8 + uint64(a[2]))
	return r.Uint64()
}

// String names the connection.
func (c *Conn) String() string {
	return fmt.Sprintf("%s: %v > %v", c.host.Name, c.watch.key.local, c.watch.key.remote)
}

// Notify is the stack's word that c has become ready for something.
func (c *Conn) Notify(stack.Ready) {
	c.touch()
	c.wake()
}

// WakeAt has the application called when the world has been running for t.
func (c *Conn) WakeAt(t time.Duration) { c.host.world.At(t, c.wake) }

// wake has the application called when the step is over.
func (c *Conn) wake() {
	if !c.queued {
		c.queued = true
		c.host.world.ready = append(c.host.world.ready, c)
	}
}

// act lets the application act.
func (c *Conn) act() {
	c.queued = false
	if c.App != nil && c.watch != nil { // else it waits to be accepted
		c.App(c)
	}
	c.touch()
}

// Host is where the connection ends.
func (c *Conn) Host() *Host { return c.host }

// Peer is the other end, nil if it is not known yet.
func (c *Conn) Peer() *Conn { return c.peer }

// Connected says how opening went: ErrWouldBlock while it goes on, nil, or why it failed.
func (c *Conn) Connected() error { return c.sock.Connected() }

// Info is the connection's state.
func (c *Conn) Info() tcp.Info { return c.sock.Info() }

// Socket is what is under the Conn, for what this package has no words for.
func (c *Conn) Socket() *stack.TCP { return &c.sock }

// Arrived is how many bytes of IP packets have come to this end.
func (c *Conn) Arrived() int64 { return c.watch.arrivedBytes }

// Send queues up to n bytes of the connection's stream, which both ends know, and returns how many. Fewer come with an error:
// ErrWouldBlock, or why nothing more can be sent.
func (c *Conn) Send(n int) (sent int, err error) { return c.SendWith(n, 0) }

// SendWith is Send with flags: tcp.MoreToCome, tcp.Urgent.
func (c *Conn) SendWith(n int, flags tcp.WriteFlags) (sent int, err error) {
	for sent < n && err == nil {
		var k int
		k, err = c.sock.Send(c.host.world.patterns.at(c.out, c.Sent, min(n-sent, maxPattern)), flags)
		sent += k
		c.Sent += int64(k)
	}
	c.touch()
	return sent, err
}

// Receive reads up to n bytes, checks that they are what the other end has sent, and returns how many. io.EOF is the end of the stream,
// which is checked to be where the other end has stopped.
func (c *Conn) Receive(n int) (received int, err error) {
	w := c.host.world
	for received < n && err == nil {
		var k int
		buf := w.buffer[:min(n-received, len(w.buffer))]
		k, err = c.sock.Read(buf)
		if !bytes.Equal(buf[:k], w.patterns.at(c.in, c.Received, k)) {
			w.Fail("%v: received other bytes than were sent, within %d from %d", c, k, c.Received)
			return received, errors.New("wrong bytes")
		}
		received += k
		c.Received += int64(k)
	}
	if c.peer != nil && c.Received > c.peer.Sent {
		w.Fail("%v: received %d bytes, and %d were sent", c, c.Received, c.peer.Sent)
	}
	if err == io.EOF {
		c.finish()
	}
	c.touch()
	return received, err
}

// finish takes the end of the stream.
func (c *Conn) finish() {
	if c.Finished != 0 {
		return
	}
	c.Finished = c.host.world.Now()
	if err := c.failure(); err == nil && c.peer != nil && c.Received != c.peer.Sent {
		c.host.world.Fail("%v: end of stream after %d bytes, and %d were sent", c, c.Received, c.peer.Sent)
	}
}

// ended reports whether the connection is in CLOSED, or in TIME-WAIT, from where another may take its place.
func (c *Conn) ended() (over bool) {
	c.sock.View(func(tc *tcp.Conn, _ sched.Time, _ bool) {
		over = tc.State() == tcp.Closed || tc.State() == tcp.TimeWaiting
	})
	return over
}

// failure is why the connection has failed, nil if it has not.
func (c *Conn) failure() (err error) {
	c.sock.View(func(tc *tcp.Conn, _ sched.Time, _ bool) { err = tc.Err() })
	return err
}

// CloseWrite sends a FIN after what is queued; CloseRead throws away what is unread and what comes; Close does both; Abort resets.
func (c *Conn) CloseWrite() error { return c.done(c.sock.CloseWrite()) }
func (c *Conn) CloseRead() error  { return c.done(c.sock.CloseRead()) }
func (c *Conn) Close() error      { return c.done(c.sock.Close()) }
func (c *Conn) Abort() error      { return c.done(c.sock.Abort()) }

func (c *Conn) done(err error) error {
	c.touch()
	return err
}
