package relay

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirnet/weir"
)

// maxDatagram holds any UDP payload.
const maxDatagram = 65535

// udp relays one flow until nothing has moved on it for UDPIdle.
func (r *Relay) udp(req *weir.UDPRequest) {
	select {
	case r.flows <- struct{}{}:
		defer func() { <-r.flows }()
	default:
		req.Reject(syscall.ETIMEDOUT) // too many: as a full NAT would, say nothing
		return
	}
	dst, err := r.outside(req.Dst)
	if err == nil {
		err = r.refusals.take(req.Src, req.Dst)
	}
	if err != nil {
		req.Reject(err)
		return
	}
	var d net.Dialer
	host, err := d.DialContext(req.Context(), "udp", dst.String())
	if err != nil {
		req.Reject(rejection(err))
		return
	}
	defer host.Close()
	guest, err := req.Accept(req.Context())
	if err != nil {
		return
	}
	defer guest.Close()
	stop := closeOnDone(r, host, guest)
	defer stop()

	f := &flow{idle: r.o.UDPIdle}
	f.touch()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.refusals.note(req.Src, req.Dst, f.copy(guest, host))
		host.Close()
		guest.Close()
	}()
	r.refusals.note(req.Src, req.Dst, f.copy(host, guest))
	host.Close()
	guest.Close()
	<-done
}

// closeOnDone closes both conns when the relay ends; the returned function undoes that.
func closeOnDone(r *Relay, a, b net.Conn) (stop func()) {
	ended := make(chan struct{})
	go func() {
		select {
		case <-r.ctx.Done():
			a.Close()
			b.Close()
		case <-ended:
		}
	}()
	return func() { close(ended) }
}

// flow is one relayed UDP flow.
type flow struct {
	idle time.Duration
	last atomic.Int64 // when something moved, in Unix nanoseconds
}

func (f *flow) touch() { f.last.Store(time.Now().UnixNano()) }

// quiet is how much longer nothing may move.
func (f *flow) quiet() time.Duration {
	return f.idle - time.Duration(time.Now().UnixNano()-f.last.Load())
}

// copy moves datagrams from src to dst until the flow is idle or one of them is closed. Errors that ICMP brought (a refused port, a host
// not to be reached) end the flow: the next datagram begins a new one. The error is src's, or what dst had to say about a datagram before.
func (f *flow) copy(dst, src net.Conn) error {
	buf := make([]byte, maxDatagram)
	for {
		left := f.quiet()
		if left <= 0 {
			return nil
		}
		if err := src.SetReadDeadline(time.Now().Add(left)); err != nil {
			return err
		}
		n, err := src.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		f.touch()
		if _, err := dst.Write(buf[:n]); err != nil && !errors.Is(err, syscall.EMSGSIZE) {
			return err
		}
	}
}

// refusals remembers flows that ended because the far end, or the way to it, said no: the datagram that it was said about is gone by then,
// so the program is told when it sends the next.
type refusals struct {
	mu   sync.Mutex
	ends map[[2]netip.AddrPort]refusal // by source and destination
}

type refusal struct {
	err  error
	when time.Time
}

const (
	refusalMemory = 5 * time.Second // as long as programs wait before they try again
	maxRefusals   = 1024
)

// note remembers that a flow ended with err, if that is something to be told.
func (r *refusals) note(src, dst netip.AddrPort, err error) {
	if !isICMP(err) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.ends == nil {
		r.ends = map[[2]netip.AddrPort]refusal{}
	}
	if len(r.ends) >= maxRefusals {
		for k, e := range r.ends {
			if now.Sub(e.when) > refusalMemory {
				delete(r.ends, k)
			}
		}
	}
	if len(r.ends) < maxRefusals {
		r.ends[[2]netip.AddrPort{src, dst}] = refusal{rejection(err), now}
	}
}

// take returns how the flow ended, once, if that was a refusal and not long ago.
func (r *refusals) take(src, dst netip.AddrPort) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := [2]netip.AddrPort{src, dst}
	e, ok := r.ends[k]
	delete(r.ends, k)
	if !ok || time.Since(e.when) > refusalMemory {
		return nil
	}
	return e.err
}

// isICMP reports whether a socket's error is one that ICMP brings.
func isICMP(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EACCES)
}
