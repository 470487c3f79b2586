package weir

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/weirnet/weir/internal/stack"
)

// decideWithin is how long a handler has to decide about an echo request; internal/stack times the others.
const decideWithin = 60 * time.Second

// call runs a handler on a goroutine of its own, or refuse if the stack closes.
func (s *Stack) call(handler func(), refuse func(error) error) {
	if !s.calls.start(s.run, handler) {
		_ = refuse(nil)
	}
}

// request is what the three kinds have in common: a context that ends when it is too late.
type request struct {
	stack *Stack

	mu     sync.Mutex
	ctx    context.Context
	cancel context.CancelFunc
	over   bool
}

// Context ends when the peer gives up, after 60 s without a decision, when the stack closes, and when the handler returns.
func (r *request) Context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		r.ctx, r.cancel = context.WithCancel(r.stack.ctx)
		if r.over {
			r.cancel()
		}
	}
	return r.ctx
}

// Notify is internal/stack's word that it is too late.
func (n *requestNotifier) Notify(stack.Ready) { (*request)(n).end() }

// requestNotifier is a request as internal/stack sees it.
type requestNotifier request

func (r *request) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.cancel != nil {
		r.cancel()
	}
}

// TCPRequest is a SYN that no listener took: somebody wants a connection from Src to Dst. Nothing was answered yet.
type TCPRequest struct {
	Src, Dst netip.AddrPort
	// Interface is the name of the one by which it came.
	Interface string
	request
	inner *stack.TCPRequest
}

// HandleTCP sets the handler of connections that no listener takes, in place of any before; nil removes it: they are refused. Each call
// is on a goroutine of its own, with at most Config.MaxPendingRequests undecided at once. The handler accepts or rejects; if it returns
// without a decision the request is rejected with syscall.ECONNREFUSED. An accepted connection lives on when the handler returns.
func (s *Stack) HandleTCP(handler func(*TCPRequest)) {
	if handler == nil {
		s.inner.SetTCPHandler(nil)
		return
	}
	s.inner.SetTCPHandler(func(in *stack.TCPRequest) {
		s.call(func() {
			r := &TCPRequest{Src: in.Src, Dst: in.Dst, Interface: s.inner.InterfaceName(in.Iface), request: request{stack: s}, inner: in}
			in.SetNotifier((*requestNotifier)(&r.request))
			defer r.end()
			defer r.Reject(syscall.ECONNREFUSED) // does nothing after a decision
			handler(r)
		}, in.Reject)
	})
}

// Accept answers the SYN and returns when the handshake is complete. It fails with syscall.ECONNABORTED when it is too late (see
// Context) or the peer gives up, and with that of ctx, which then sends a RST.
func (r *TCPRequest) Accept(ctx context.Context) (*TCPConn, error) {
	c := r.stack.newTCPConn("tcp")
	var o SockOpts
	_ = o.settle(nil) // without Control there is no error
	err := net.ErrClosed
	if r.stack.ctx.Err() == nil { // the end of Context is the end, though the socket layer may not have heard of Close yet
		err = r.inner.Accept(&c.sock, o.tcp())
	}
	if err == nil {
		if err = c.accepted(ctx); err != nil {
			r.inner.Cancel()
			c.linger().Store(1) // SetLinger(0)
			_ = c.Close()
		}
	}
	if err != nil {
		return nil, &net.OpError{
			Op: "accept", Net: "tcp", Source: tcpAddr(r.Src), Addr: tcpAddr(r.Dst), Err: wrap("accept", r.stack.orClosed(mapContext(err))),
		}
	}
	return c, nil
}

// accepted waits for the end of a handshake that a request began.
func (c *TCPConn) accepted(ctx context.Context) error {
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, c.wr.wake)
		defer stop()
	}
	c.wr.acquire(c.stack)
	defer c.wr.release()
	return c.wr.await(c.stack, func() error {
		switch {
		case c.state().Load()&connDone == 0 && ctx.Err() != nil:
			return ctx.Err()
		case c.state().Load()&connDone == 0:
			return stack.ErrWouldBlock
		case c.sock.Connected() != nil:
			return syscall.ECONNABORTED
		}
		return nil
	})
}

// Reject refuses: syscall.ECONNREFUSED, ECONNRESET and nil by a RST; EHOSTUNREACH, ENETUNREACH and EACCES by that ICMP error; ETIMEDOUT
// by silence. All else counts as ECONNREFUSED, so that the error of a Dial can be handed on. It is an error if the request was decided
// already, or if it is too late.
func (r *TCPRequest) Reject(err error) error { return r.inner.Reject(err) }

// UDPRequest is the first datagram of a flow from Src to Dst that no socket took.
type UDPRequest struct {
	Src, Dst netip.AddrPort
	// Interface is the name of the one by which it came.
	Interface string
	request
	inner *stack.UDPRequest
}

// HandleUDP sets the handler of flows that no socket takes, in place of any before; nil removes it: they are answered with port
// unreachable. It is called as HandleTCP's. Up to 16 datagrams or 64 KiB wait for the decision. After the accepted socket is closed the
// next datagram of the flow is a new request.
func (s *Stack) HandleUDP(handler func(*UDPRequest)) {
	if handler == nil {
		s.inner.SetUDPHandler(nil)
		return
	}
	s.inner.SetUDPHandler(func(in *stack.UDPRequest) {
		s.call(func() {
			r := &UDPRequest{Src: in.Src, Dst: in.Dst, Interface: s.inner.InterfaceName(in.Iface), request: request{stack: s}, inner: in}
			in.SetNotifier((*requestNotifier)(&r.request))
			defer r.end()
			defer r.Reject(syscall.ECONNREFUSED) // does nothing after a decision
			handler(r)
		}, in.Reject)
	})
}

// Accept returns a socket for the flow, connected to Src; what has waited is its to read. It does not wait, and fails with
// syscall.ECONNABORTED when it is too late (see Context).
func (r *UDPRequest) Accept(ctx context.Context) (*UDPConn, error) {
	c := r.stack.newUDPConn("udp")
	err := ctx.Err()
	if err == nil {
		err = r.inner.Accept(&c.sock)
	}
	if err != nil {
		return nil, &net.OpError{
			Op: "accept", Net: "udp", Source: udpAddr(r.Src), Addr: udpAddr(r.Dst), Err: wrap("accept", r.stack.orClosed(mapContext(err))),
		}
	}
	return c, nil
}

// Reject answers with port unreachable (syscall.ECONNREFUSED, ECONNRESET, nil and all else), that ICMP error (EHOSTUNREACH,
// ENETUNREACH, EACCES) or silence (ETIMEDOUT), and so for a second to further datagrams of the flow. It is an error if the request was
// decided already, or if it is too late.
func (r *UDPRequest) Reject(err error) error { return r.inner.Reject(err) }

// EchoRequest is an ICMP echo request ("ping") to an address that is ours only by InterfaceConfig.AnyDestination.
type EchoRequest struct {
	Src, Dst netip.Addr
	ID, Seq  uint16
	// Interface is the name of the one by which it came.
	Interface string
	request
	inner *stack.EchoRequest
}

// HandleEcho sets the handler of echo requests to addresses that are ours only by InterfaceConfig.AnyDestination, in place of any
// before; nil removes it: they are dropped. (To addresses that are assigned the stack replies itself.) It is called as HandleTCP's.
func (s *Stack) HandleEcho(handler func(*EchoRequest)) {
	if handler == nil {
		s.inner.SetEchoHandler(nil)
		return
	}
	s.inner.SetEchoHandler(func(in *stack.EchoRequest) {
		s.call(func() {
			r := &EchoRequest{Src: in.Src, Dst: in.Dst, ID: in.ID, Seq: in.Seq, Interface: s.inner.InterfaceName(in.Iface), request: request{stack: s}, inner: in}
			r.ctx, r.cancel = context.WithTimeout(s.ctx, decideWithin)
			defer r.end()
			defer r.Reject(syscall.ECONNREFUSED) // does nothing after a decision
			handler(r)
		}, in.Reject)
	})
}

// Data returns a copy of what the request carries behind its header, nil after the decision.
func (r *EchoRequest) Data() []byte { return r.inner.Data() }

// Reply sends the echo reply, from Dst to Src with the request's ID and Seq, carrying data (an honest one carries the request's).
func (r *EchoRequest) Reply(data []byte) error { return r.inner.Reply(data) }

// Reject answers with that ICMP error (syscall.EHOSTUNREACH, ENETUNREACH, EACCES) or, for all else, with silence.
func (r *EchoRequest) Reject(err error) error { return r.inner.Reject(err) }
