package weir

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// copySize is the buffer, in bytes, of a direction neither of whose ends is a TCPConn.
const copySize = 64 << 10

// Splice relays between two connections until both directions have ended, and closes both. When one side sends no more (io.EOF), the
// other is told by CloseWrite and its direction goes on; a side without CloseWrite is closed. If a direction fails, both connections
// are reset (as far as they have SetLinger), so that neither side takes the end for a proper one; when ctx ends they are closed. It
// returns how many bytes were relayed each way, and the first error that was not of its own making: nil if both sides ended
// properly, that of ctx if it ended.
//
// Between TCPConns no byte is copied, and between a TCPConn and anything else once.
func Splice(ctx context.Context, a, b net.Conn) (aToB, bToA int64, err error) {
	r := &relay{a: a, b: b}
	if ctx.Err() != nil { // AfterFunc would race with two ends that have nothing more to say
		r.end(context.Cause(ctx), false)
		return 0, 0, r.err
	}
	stop := context.AfterFunc(ctx, func() { r.end(context.Cause(ctx), false) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		bToA = r.direction(a, b)
	}()
	aToB = r.direction(b, a)
	<-done
	stop()
	r.end(nil, false)
	return aToB, bToA, r.err
}

// relay is one Splice.
type relay struct {
	a, b  net.Conn
	once  sync.Once
	err   error       // why it ended before its time
	ended atomic.Bool // what fails now, fails because of us
}

// end closes both connections, once.
func (r *relay) end(err error, reset bool) {
	r.once.Do(func() {
		r.err = err
		r.ended.Store(true)
		for _, c := range []net.Conn{r.a, r.b} {
			if l, ok := c.(interface{ SetLinger(int) error }); ok && reset {
				_ = l.SetLinger(0)
			}
			_ = c.Close()
		}
	})
}

// direction relays one way and says how much.
func (r *relay) direction(dst, src net.Conn) int64 {
	n, err := relayCopy(dst, src)
	if err != nil {
		if !r.ended.Load() {
			r.end(err, true)
		}
		return n
	}
	w, ok := dst.(interface{ CloseWrite() error })
	if !ok {
		r.end(nil, false)
	} else if err := w.CloseWrite(); err != nil && !r.ended.Load() && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.ENOTCONN) {
		r.end(err, true)
	}
	return n
}

// relayCopy copies until src ends, by the shortest way there is.
func relayCopy(dst, src net.Conn) (int64, error) {
	if c, ok := src.(*TCPConn); ok {
		return c.WriteTo(dst)
	}
	if c, ok := dst.(*TCPConn); ok {
		return c.ReadFrom(src)
	}
	if _, ok := dst.(*net.TCPConn); ok { // the kernel may do it
		return io.Copy(dst, src)
	}
	return io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, copySize))
}
