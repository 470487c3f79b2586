package relay

import (
	"errors"
	"net"
	"os"
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
		f.copy(guest, host)
		host.Close()
		guest.Close()
	}()
	f.copy(host, guest)
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
// not to be reached) end the flow: the next datagram begins a new one.
func (f *flow) copy(dst, src net.Conn) {
	buf := make([]byte, maxDatagram)
	for {
		left := f.quiet()
		if left <= 0 {
			return
		}
		if src.SetReadDeadline(time.Now().Add(left)) != nil {
			return
		}
		n, err := src.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return
		}
		f.touch()
		if _, err := dst.Write(buf[:n]); err != nil && !errors.Is(err, syscall.EMSGSIZE) {
			return
		}
	}
}
