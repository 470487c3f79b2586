package weir_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link/pipe"
)

// owner is a connection, and the rope that is written to it without copying. All memory is of one checking pool: it panics when what was
// given away is written to or released once more, and tells what is left.
type owner struct {
	t    *testing.T
	pool *buffer.Pool
	x, y *weir.TCPConn
	data []byte
	rope buffer.Buffer
}

// owning runs fn with a connection whose peer does not read by itself, and looks for what was not given back after both stacks are closed.
func owning(t *testing.T, size int, fn func(o *owner)) {
	synctest.Test(t, func(t *testing.T) {
		o := &owner{t: t, pool: buffer.NewPool(buffer.Options{Check: true}), data: make([]byte, size)}
		for i := range o.data {
			o.data[i] = byte(i * 7 >> 3)
		}
		cfg := weir.Config{Buffers: o.pool, SendBuffer: 64 << 10, ReceiveBuffer: 64 << 10}
		a, b := newPair(t, cfg, pipe.Options{NoOffload: true})
		o.x, o.y = connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		o.rope.SetPool(o.pool)
		for p := o.data; len(p) > 0; p = p[min(len(p), 10_001):] {
			o.rope.Append(p[:min(len(p), 10_001)])
		}
		fn(o)
		o.rope.Release()
		a.Close()
		b.Close()
		synctest.Wait()
		if err := o.pool.Leaked(); err != nil {
			t.Error(err)
		}
	})
}

// rest demands that what was not queued is the caller's still, to the byte.
func (o *owner) rest(queued int64) {
	o.t.Helper()
	if queued < 0 || queued > int64(len(o.data)) || !bytes.Equal(o.rope.Flatten(), o.data[queued:]) {
		o.t.Errorf("%d bytes of %d were queued, and %d are left, or others", queued, len(o.data), o.rope.Size())
	}
}

// read reads to the end of the stream.
func (o *owner) read() []byte {
	got, err := io.ReadAll(o.y)
	if err != nil {
		o.t.Error(err)
	}
	return got
}

// What was written is the connection's: the rope is empty, and what its owner then does with it changes nothing of what is sent.
func TestWriteOwnedTakesAll(t *testing.T) {
	owning(t, 40_000, func(o *owner) { // less than the buffers: it is still queued, or in flight, when WriteOwned returns
		n, err := o.x.WriteOwned(&o.rope)
		if o.rest(n); n != int64(len(o.data)) || err != nil {
			t.Errorf("WriteOwned: %d, %v", n, err)
		}
		o.rope.Append(bytes.Repeat([]byte{0xee}, 5000))
		o.rope.Release()
		if n, err := o.x.WriteOwned(&o.rope); n != 0 || err != nil {
			t.Errorf("WriteOwned of nothing: %d, %v", n, err)
		}
		o.x.CloseWrite()
		if !bytes.Equal(o.read(), o.data) {
			t.Error("another stream")
		}
	})
}

// On an error nothing of the rope is lost: it can go to another connection.
func TestWriteOwnedGivesBackOnError(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(o *owner)
		want error
	}{
		"CloseWrite": {func(o *owner) { o.x.CloseWrite() }, syscall.EPIPE},
		"closed":     {func(o *owner) { o.x.Close() }, net.ErrClosed},
		"reset":      {func(o *owner) { o.y.SetLinger(0); o.y.Close(); synctest.Wait() }, syscall.ECONNRESET},
		"too late":   {func(o *owner) { o.x.SetWriteDeadline(time.Now()) }, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			owning(t, 300_000, func(o *owner) {
				c.end(o)
				n, err := o.x.WriteOwned(&o.rope)
				if o.rest(n); n != 0 || !errors.Is(err, c.want) {
					t.Errorf("WriteOwned: %d, %v", n, err)
				}
			})
		})
	}
}

// Close, a reset and a deadline in the midst of it: what was queued and what is left are all, and each is one's.
func TestWriteOwnedEndsInTheMiddle(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(o *owner)
		want error
	}{
		"Close": {func(o *owner) { o.x.Close() }, net.ErrClosed},
		"reset": {func(o *owner) { o.y.SetLinger(0); o.y.Close() }, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			owning(t, 3<<20, func(o *owner) {
				time.AfterFunc(time.Second, func() { c.end(o) })
				n, err := o.x.WriteOwned(&o.rope)
				if o.rest(n); n == 0 || n == int64(len(o.data)) || !errors.Is(err, c.want) {
					t.Errorf("WriteOwned: %d, %v", n, err)
				}
			})
		})
	}
}

// After a deadline in the midst of it the writer can go on where it was.
func TestWriteOwnedGoesOnAfterADeadline(t *testing.T) {
	owning(t, 3<<20, func(o *owner) {
		o.x.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := o.x.WriteOwned(&o.rope)
		if o.rest(n); n == 0 || n == int64(len(o.data)) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("WriteOwned: %d, %v", n, err)
		}
		o.x.SetWriteDeadline(time.Time{})
		go func() {
			m, err := o.x.WriteOwned(&o.rope)
			if n+m != int64(len(o.data)) || o.rope.Size() != 0 || err != nil {
				t.Errorf("WriteOwned, again: %d after %d, %v, %d are left", m, n, err, o.rope.Size())
			}
			o.x.CloseWrite()
		}()
		if !bytes.Equal(o.read(), o.data) {
			t.Error("another stream")
		}
	})
}
