package weir

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// attemptDelay is RFC 8305's Connection Attempt Delay (§5).
const attemptDelay = 250 * time.Millisecond

// attempt is how one ended.
type attempt struct {
	conn *TCPConn
	err  error
}

// race connects to one of several addresses (RFC 8305 §5): it tries them in turn, a further one when the one before has failed or has
// taken a while, and takes the first connection. If all fail the error is that of the first.
func (d *Dialer) race(ctx context.Context, network string, addrs []netip.AddrPort) (*TCPConn, error) {
	if len(addrs) == 1 {
		return d.dialTCP(ctx, network, addrs[0])
	}
	d.Stack.order(addrs)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the attempts that have lost
	results := make(chan attempt)
	next := make(chan struct{}, 1)
	timer := d.Stack.clock.NewTimer(func() {
		select {
		case next <- struct{}{}:
		default:
		}
	})
	defer timer.Stop()
	var firstErr error
	for started, running := 0, 0; ; {
		if started < len(addrs) {
			if !d.start(ctx, network, addrs[started], results) {
				return nil, &net.OpError{Op: "dial", Net: network, Addr: tcpAddr(addrs[started]), Err: net.ErrClosed}
			}
			started++
			running++
			if delay := d.delay(); delay > 0 {
				timer.Reset(d.Stack.clock.Now().Add(delay))
			}
		}
		select {
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			if firstErr == nil {
				firstErr = r.err
			}
			if running--; running == 0 && started == len(addrs) {
				return nil, firstErr
			}
		case <-next:
		}
	}
}

func (d *Dialer) delay() time.Duration {
	if d.FallbackDelay == 0 {
		return attemptDelay
	}
	return d.FallbackDelay
}

// start makes an attempt on a goroutine of its own, which ends when its result is taken or ctx is over; false if the stack closes.
func (d *Dialer) start(ctx context.Context, network string, addr netip.AddrPort, results chan<- attempt) bool {
	return d.Stack.own.start(d.Stack.run, func() {
		c, err := d.dialTCP(ctx, network, addr)
		select {
		case results <- attempt{c, err}:
		case <-ctx.Done():
			if err == nil {
				_ = c.Close()
			}
		}
	})
}

// order sorts addresses for a race (RFC 8305 §4): those to which there is a way first, and among them IPv6 and IPv4 by turns, otherwise
// as they were.
func (s *Stack) order(addrs []netip.AddrPort) {
	reachable := func(a netip.AddrPort) bool {
		_, err := s.inner.Lookup(netip.Addr{}, a.Addr(), 0, false)
		return err == nil
	}
	var with, without [2][]netip.AddrPort // a way to them; of IPv6 and of IPv4
	for _, a := range addrs {
		family := 0
		if a.Addr().Is4() {
			family = 1
		}
		if reachable(a) {
			with[family] = append(with[family], a)
		} else {
			without[family] = append(without[family], a)
		}
	}
	addrs = addrs[:0]
	for _, of := range [...]*[2][]netip.AddrPort{&with, &without} {
		for i := range max(len(of[0]), len(of[1])) {
			for _, family := range of {
				if i < len(family) {
					addrs = append(addrs, family[i])
				}
			}
		}
	}
}
