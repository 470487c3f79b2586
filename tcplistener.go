package weir

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/internal/stack"
)

// TCPListener takes TCP connections: a net.Listener.
type TCPListener struct {
	_      [0]func() // no ==: its code would be in every program
	sock   *stack.Listener
	stack  *Stack
	name   string // of the network
	acc    half
	closed atomic.Bool
}

// Notify wakes Accept.
func (n *listenNotifier) Notify(stack.Ready) { n.acc.wake() }

// listenNotifier is a TCPListener as its socket sees it.
type listenNotifier TCPListener

// ListenTCP listens on an address of the stack's. The zero Addr and :: take both families, 0.0.0.0 takes IPv4, port 0 chooses one.
// Errors: syscall.EADDRINUSE, EADDRNOTAVAIL (the address is not ours), net.ErrClosed.
func (s *Stack) ListenTCP(addr netip.AddrPort) (*TCPListener, error) {
	return (&ListenConfig{Stack: s}).listenTCP("tcp", addr)
}

func (l *TCPListener) fail(op, call string, err error) error {
	return &net.OpError{Op: op, Net: l.name, Addr: l.Addr(), Err: wrap(call, err)}
}

// Accept waits for the next connection and returns it, a *TCPConn. Errors: net.ErrClosed, os.ErrDeadlineExceeded.
func (l *TCPListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptTCP is Accept with the connection's own type.
func (l *TCPListener) AcceptTCP() (*TCPConn, error) {
	c, err := l.accept()
	if err != nil {
		return nil, l.fail("accept", "accept", err)
	}
	return c, nil
}

func (l *TCPListener) accept() (*TCPConn, error) {
	l.acc.acquire(l.stack)
	defer l.acc.release()
	var sock *stack.TCP
	err := l.acc.await(l.stack, func() (err error) {
		sock, err = l.sock.Accept()
		return err
	})
	if err != nil {
		return nil, err
	}
	return (*TCPConn)(sock.Notifier().(*tcpNotifier)), nil
}

// Addr returns the address listened on, a *net.TCPAddr.
func (l *TCPListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.sock.Addr()) }

// SetDeadline makes Accept fail with os.ErrDeadlineExceeded from then on. The zero time: never.
func (l *TCPListener) SetDeadline(t time.Time) error {
	if l.closed.Load() {
		return l.fail("set", "setsockopt", net.ErrClosed)
	}
	l.acc.setDeadline(l.stack, t)
	return nil
}

// Close ends listening. Connections that wait to be accepted are reset; those accepted go on.
func (l *TCPListener) Close() error {
	if l.closed.Swap(true) {
		return l.fail("close", "close", net.ErrClosed)
	}
	_ = l.sock.Close()
	l.acc.dropDeadline()
	return nil
}
