// Package relay joins a weir.Stack to the network of the process that it runs in: what a program on the stack sends to the outside goes
// out by ordinary sockets of this process, and what comes back goes in. It ends TCP on both sides (a SYN is answered only after the
// outside has answered), keeps UDP flows, and relays ICMP echo where ping sockets are permitted. At the stack's own (gateway) addresses it
// answers DNS, from the host's resolvers, and serves a page about what it sees at http://weir.internal/.
package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/weirnet/weir"
)

// Name is the DNS name of the gateway.
const Name = "weir.internal"

// Options of a Relay.
type Options struct {
	// Gateway4 and Gateway6 are the stack's own addresses, at which DNS and the page are served; invalid: not in that family.
	Gateway4, Gateway6 netip.Addr
	// AllowHostLoopback lets connections to the gateway addresses that nothing else takes reach the same port of the host's 127.0.0.1
	// (or ::1). Otherwise they are refused.
	AllowHostLoopback bool
	// Resolvers are asked in turn; nil: those of /etc/resolv.conf.
	Resolvers []netip.AddrPort
	// UDPIdle ends a UDP flow on which nothing has moved for so long; 0: one minute.
	UDPIdle time.Duration
	// MaxUDPFlows bounds the UDP flows at once; 0: 1024.
	MaxUDPFlows int
	// Log takes a line for the person in front of the program; nil: dropped.
	Log func(string)
}

// Relay is a running relay.
type Relay struct {
	stack  *weir.Stack
	o      Options
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	flows  chan struct{} // a token for each UDP flow
	pings  sync.Once     // the line that says why echo does not work

	refusals refusals

	mu      sync.Mutex
	closers []func()
}

// dialTimeout bounds a dial to the outside: somewhat less than the 60 s that a request may stay undecided.
const dialTimeout = 55 * time.Second

// Start installs the relay's handlers on the stack and serves DNS and the page. Close ends it; the stack stays its owner's.
func Start(s *weir.Stack, o Options) (*Relay, error) {
	if o.UDPIdle == 0 {
		o.UDPIdle = time.Minute
	}
	if o.MaxUDPFlows == 0 {
		o.MaxUDPFlows = 1024
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Resolvers == nil {
		o.Resolvers = hostResolvers("/etc/resolv.conf")
	}
	r := &Relay{stack: s, o: o, flows: make(chan struct{}, o.MaxUDPFlows)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for _, gw := range []netip.Addr{o.Gateway4, o.Gateway6} {
		if !gw.IsValid() {
			continue
		}
		if err := r.serveGateway(gw); err != nil {
			r.Close()
			return nil, err
		}
	}
	s.HandleTCP(r.tcp)
	s.HandleUDP(r.udp)
	s.HandleEcho(r.echo)
	return r, nil
}

// serveGateway starts the services at one of the gateway addresses.
func (r *Relay) serveGateway(gw netip.Addr) error {
	if err := r.serveDNS(gw); err != nil {
		return err
	}
	return r.servePage(gw)
}

// onClose has Close call fn.
func (r *Relay) onClose(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closers = append(r.closers, fn)
}

// Close removes the handlers, ends every relayed connection and waits for the relay's goroutines.
func (r *Relay) Close() {
	r.stack.HandleTCP(nil)
	r.stack.HandleUDP(nil)
	r.stack.HandleEcho(nil)
	r.cancel()
	r.mu.Lock()
	closers := r.closers
	r.closers = nil
	r.mu.Unlock()
	for _, fn := range closers {
		fn()
	}
	r.wg.Wait()
}

// outside translates an address that the program asked for into the one to dial on the host. The error is why it may not go there.
func (r *Relay) outside(dst netip.AddrPort) (netip.AddrPort, error) {
	a := dst.Addr().Unmap()
	if a == r.o.Gateway4 || a == r.o.Gateway6 {
		if !r.o.AllowHostLoopback {
			return dst, syscall.ECONNREFUSED
		}
		host := netip.IPv6Loopback()
		if a.Is4() {
			host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		return netip.AddrPortFrom(host, dst.Port()), nil
	}
	// The stack refuses such destinations already. Here they would mean this host itself.
	if a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
		return dst, syscall.EACCES
	}
	return netip.AddrPortFrom(a, dst.Port()), nil
}

// tcp relays one connection.
func (r *Relay) tcp(req *weir.TCPRequest) {
	dst, err := r.outside(req.Dst)
	if err != nil {
		req.Reject(err)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), dialTimeout)
	defer cancel()
	stop := context.AfterFunc(r.ctx, cancel)
	defer stop()
	var d net.Dialer
	host, err := d.DialContext(ctx, "tcp", dst.String())
	if err != nil {
		req.Reject(rejection(err))
		return
	}
	defer host.Close()
	guest, err := req.Accept(ctx)
	if err != nil {
		return
	}
	defer guest.Close()
	_, _, _ = weir.Splice(r.ctx, guest, host) // an error has shown itself to both ends
}

// rejection is the error of a dial as what the program is to see of it.
func rejection(err error) error {
	for _, e := range []error{syscall.ECONNREFUSED, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EACCES, syscall.ECONNRESET} {
		if errors.Is(err, e) {
			return e
		}
	}
	switch {
	case errors.Is(err, os.ErrPermission):
		return syscall.EACCES
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return syscall.ETIMEDOUT
	}
	return syscall.EHOSTUNREACH
}
