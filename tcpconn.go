package weir

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/tcp"
)

// TCPConn is a TCP connection: a net.Conn with every method of net.TCPConn that makes sense without a kernel, and more. All methods are
// safe for concurrent use; of concurrent Reads (or Writes) one goes after the other, each whole.
//
// Errors are *net.OpError round what a kernel's socket would give, so that errors.Is works with syscall.ECONNRESET, syscall.EPIPE,
// os.ErrDeadlineExceeded, net.ErrClosed and so on. io.EOF comes bare.
type TCPConn struct {
	sock   stack.TCP
	stack  *Stack
	rd, wr half
}

// state is what is known of the connection beside its socket.
func (c *TCPConn) state() *atomic.Uint32 { return &c.rd.note }

// linger is what SetLinger was given, plus 1.
func (c *TCPConn) linger() *atomic.Uint32 { return &c.wr.note }

// Bits of TCPConn.state().
const (
	connDone   = 1 << iota // the handshake is over
	connClosed             // Close was called
	connIPv4               // the network's name is "tcp4"
	connIPv6               // … "tcp6"
)

// The settings that package net gives every connection.
const (
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 9
)

// newTCPConn returns a connection of the network "tcp", "tcp4" or "tcp6".
func (s *Stack) newTCPConn(network string) *TCPConn {
	c := &TCPConn{stack: s}
	switch network {
	case "tcp4":
		c.state().Store(connIPv4)
	case "tcp6":
		c.state().Store(connIPv6)
	}
	c.sock.SetNotifier((*tcpNotifier)(c))
	return c
}

// tcpNotifier is a TCPConn as its socket sees it.
type tcpNotifier TCPConn

// Notify wakes who waits for what has come about.
func (n *tcpNotifier) Notify(r stack.Ready) {
	if r&stack.ConnReady != 0 {
		(*TCPConn)(n).state().Or(connDone)
	}
	if r&stack.ReadReady != 0 {
		n.rd.wake()
	}
	if r&(stack.WriteReady|stack.ConnReady) != 0 {
		n.wr.wake()
	}
}

// fail wraps an error of the operation op, in which a kernel's socket would have made the given call.
func (c *TCPConn) fail(op, call string, err error) error {
	err = c.stack.orClosed(err) // and not what the far end of a loopback connection makes of it
	return &net.OpError{Op: op, Net: c.network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: wrap(call, err)}
}

// network is the name under which the connection was asked for.
func (c *TCPConn) network() string {
	switch state := c.state().Load(); {
	case state&connIPv4 != 0:
		return "tcp4"
	case state&connIPv6 != 0:
		return "tcp6"
	}
	return "tcp"
}

// LocalAddr returns our end, a *net.TCPAddr.
func (c *TCPConn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.sock.LocalAddr()) }

// RemoteAddr returns the far end, a *net.TCPAddr.
func (c *TCPConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.sock.RemoteAddr()) }

// AddrPorts returns both ends without an allocation.
func (c *TCPConn) AddrPorts() (local, remote netip.AddrPort) {
	return c.sock.LocalAddr(), c.sock.RemoteAddr()
}

// Read reads what has come, at least one byte, or waits for it. io.EOF: the peer has sent all it will, or CloseRead was called.
func (c *TCPConn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	return n, c.readError(err)
}

// readError is the error of a call that reads: io.EOF stays bare.
func (c *TCPConn) readError(err error) error {
	if err != nil && (err != io.EOF || c.stack.inner.Closed()) {
		return c.fail("read", "read", err)
	}
	return err
}

func (c *TCPConn) read(p []byte) (n int, err error) {
	c.rd.acquire(c.stack)
	defer c.rd.release()
	if len(p) == 0 {
		return 0, c.open()
	}
	err = c.rd.await(c.stack, func() (err error) {
		n, err = c.sock.Read(p)
		return err
	})
	return n, err
}

// open returns net.ErrClosed after Close.
func (c *TCPConn) open() error {
	if c.state().Load()&connClosed != 0 || c.stack.inner.Closed() {
		return net.ErrClosed
	}
	return nil
}

// Write queues all of p for sending, and waits for room where there is none. It returns before the peer has the bytes.
func (c *TCPConn) Write(p []byte) (int, error) {
	return c.write(p, 0)
}

// write is Write with flags.
func (c *TCPConn) write(p []byte, flags tcp.WriteFlags) (n int, err error) {
	c.stack.streams.begin(len(p))
	c.wr.acquire(c.stack)
	err = c.wr.await(c.stack, func() error {
		k, err := c.sock.Send(p[n:], flags)
		n += k
		return err
	})
	c.wr.release()
	c.stack.streams.end(len(p), n)
	if err != nil {
		return n, c.fail("write", "write", err)
	}
	return n, nil
}

// CloseRead makes reads end: what has not been read, and what comes, is discarded.
func (c *TCPConn) CloseRead() error {
	return c.act("shutdown", c.sock.CloseRead)
}

// CloseWrite sends FIN after what was written: the peer reads io.EOF. Writing is over; reading goes on.
func (c *TCPConn) CloseWrite() error {
	return c.act("shutdown", c.sock.CloseWrite)
}

// act is a call that net calls by the name of its system call.
func (c *TCPConn) act(call string, fn func() error) error {
	err := c.open()
	if err == nil {
		err = fn()
	}
	if err != nil {
		return c.fail("close", call, err)
	}
	return nil
}

// Close ends the connection for this program: calls under way and later ones give net.ErrClosed. What was written is still sent (see
// SetLinger). If something was not read, the peer gets a RST.
func (c *TCPConn) Close() error {
	linger := int(c.linger().Load()) - 1
	if !c.shut(linger == 0) {
		return c.fail("close", "close", net.ErrClosed)
	}
	if linger > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(linger)*time.Second)
		defer cancel()
		_ = c.drain(ctx)
	}
	return nil
}

// shut is Close without its waiting; false: it was closed already.
func (c *TCPConn) shut(reset bool) bool {
	if c.state().Or(connClosed)&connClosed != 0 {
		return false
	}
	if reset {
		_ = c.sock.Abort()
	} else {
		_ = c.sock.Close()
	}
	c.rd.wake()
	c.wr.wake()
	c.rd.dropDeadline()
	c.wr.dropDeadline()
	return true
}

// drain waits until the peer of a closed connection has acknowledged everything.
func (c *TCPConn) drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, c.wr.wake)
	defer stop()
	c.wr.acquire(c.stack)
	defer c.wr.release()
	return c.wr.await(c.stack, func() error {
		switch {
		case c.sock.Drained():
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		return stack.ErrWouldBlock
	})
}

// SetDeadline sets both deadlines.
func (c *TCPConn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.rd, &c.wr) }

// SetReadDeadline makes reads, those under way too, fail with os.ErrDeadlineExceeded from then on. The zero time: never.
func (c *TCPConn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.rd) }

// SetWriteDeadline is SetReadDeadline for writes. A Write that fails may have queued a part.
func (c *TCPConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.wr) }

func (c *TCPConn) setDeadlines(t time.Time, halves ...*half) error {
	if err := c.open(); err != nil {
		return c.setLocal(err)
	}
	for _, h := range halves {
		h.setDeadline(c.stack, t)
	}
	return nil
}

// set is how a call ends that has changed an option.
func (c *TCPConn) set(err error) error {
	if err == nil {
		err = c.open()
	}
	if err != nil {
		return c.fail("set", "setsockopt", err)
	}
	return nil
}

// setLocal is set for what net takes to concern our end alone.
func (c *TCPConn) setLocal(err error) error {
	if err == nil {
		err = c.open()
	}
	if err != nil {
		return &net.OpError{Op: "set", Net: c.network(), Addr: c.LocalAddr(), Err: wrap("setsockopt", err)}
	}
	return nil
}

// SetLinger says what Close does with what was written and not yet acknowledged. sec < 0, the default: it is sent in the background.
// 0: it is thrown away, and the peer gets a RST. sec > 0: Close waits that many seconds for the peer to have it, and what is left then
// is sent in the background.
func (c *TCPConn) SetLinger(sec int) error {
	if err := c.open(); err != nil {
		return c.set(err)
	}
	c.linger().Store(uint32(max(-1, min(sec, 1<<30)) + 1))
	return nil
}

// SetNoDelay says whether small writes are sent at once (true, the default) or gathered while something is unacknowledged (Nagle's
// algorithm).
func (c *TCPConn) SetNoDelay(on bool) error { return c.set(c.sock.SetNoDelay(on)) }

// SetKeepAlive turns keep-alive probes on, as they are by default (after 15 s, every 15 s, 9 of them), or off.
func (c *TCPConn) SetKeepAlive(on bool) error {
	return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: on})
}

// SetKeepAlivePeriod sets the time without traffic before the first probe, and turns probes on.
func (c *TCPConn) SetKeepAlivePeriod(d time.Duration) error {
	return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: d, Interval: d})
}

// SetKeepAliveConfig sets keep-alive probes. Fields that are zero or negative mean 15 s, 15 s and 9 probes.
func (c *TCPConn) SetKeepAliveConfig(k net.KeepAliveConfig) error {
	idle, interval, count := keepAlive(k)
	return c.set(c.sock.SetKeepAlive(idle, interval, count))
}

// keepAlive is k with its defaults; idle 0: off.
func keepAlive(k net.KeepAliveConfig) (idle, interval time.Duration, count int) {
	if !k.Enable {
		return 0, 0, 0
	}
	idle, interval, count = keepAliveIdle, keepAliveInterval, keepAliveCount
	if k.Idle > 0 {
		idle = k.Idle
	}
	if k.Interval > 0 {
		interval = k.Interval
	}
	if k.Count > 0 {
		count = k.Count
	}
	return idle, interval, count
}

// SetReadBuffer limits what may wait to be read, in bytes of memory; 0 changes nothing. A window that was offered stays offered, and the scale
// that the handshake has fixed bounds what a larger buffer can offer: SockOpts.ReceiveBuffer is for that.
func (c *TCPConn) SetReadBuffer(bytes int) error { return c.setLocal(c.sock.SetBuffers(0, bytes)) }

// SetWriteBuffer limits what may wait to be sent and acknowledged, in bytes of memory; 0 changes nothing. It then no longer follows what
// the path takes.
func (c *TCPConn) SetWriteBuffer(bytes int) error { return c.setLocal(c.sock.SetBuffers(bytes, 0)) }

// SetUserTimeout bounds how long sent data may stay unacknowledged before the connection ends with ETIMEDOUT (RFC 5482). 0: about 15
// minutes.
func (c *TCPConn) SetUserTimeout(d time.Duration) error { return c.set(c.sock.SetUserTimeout(d)) }

// SetCongestionControl chooses the congestion control: "cubic", "reno", "bbr" or "bbr-tolerant". It starts from the initial window. The error
// is syscall.ENOENT for a name that there is not.
func (c *TCPConn) SetCongestionControl(name string) error {
	err := checkCongestion(name)
	if err == nil {
		err = c.sock.SetCongestion(name)
	}
	return c.set(err)
}

// SetMaxPacingRate bounds the rate at which data is sent, in bytes per second (SO_MAX_PACING_RATE); 0: no limit. What may be sent then goes
// out evenly, two segments or a millisecond's worth at a time.
func (c *TCPConn) SetMaxPacingRate(rate int64) error {
	return c.set(c.sock.SetMaxPacingRate(rate))
}

// Info returns what the connection knows about itself and its path.
func (c *TCPConn) Info() TCPInfo { return c.sock.Info() }
