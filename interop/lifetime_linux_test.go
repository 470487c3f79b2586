package interop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/internal/nstest"
)

// A reader that does not read closes its window; once it reads, everything comes, what was in the sender's queue too.
func TestZeroWindow(t *testing.T) {
	t.Parallel()
	inBothModes(t, func(t *testing.T, plain bool) {
		w := newWorld(t, options{plain: plain, stack: weir.Config{SendBuffer: 1 << 20, ReceiveBuffer: 1 << 20}})
		var all []func() error
		for _, f := range w.families {
			for _, d := range dials {
				p := d.open(w, f)
				all = append(all,
					func() error { return lateReader(p.kernel, p.weir, w.deadline()) },
					func() error { return lateReader(p.weir, p.kernel, w.deadline()) })
			}
		}
		w.together(all...)
	})
}

// lateReader writes until nothing has been taken for a while, and only then reads.
func lateReader(from, to halfCloser, deadline time.Time) error {
	s := stream{size: 1 << 30}
	for {
		from.SetWriteDeadline(time.Now().Add(700 * time.Millisecond)) // more than one probe
		b := s.next()
		n, err := from.Write(b[:min(len(b), 1000)])
		s.at += int64(n)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			return fmt.Errorf("%T, while nobody reads: after %d bytes: %w", from, s.at, err)
		}
	}
	from.SetWriteDeadline(deadline)
	if err := from.CloseWrite(); err != nil {
		return err
	}
	return receive(to, s.at)
}

// The same two ports again and again, as soon as a connection has ended: the side that closed first is in TIME-WAIT then.
func TestReconnect(t *testing.T) {
	const rounds = 50
	inNamespace(t, func(t *testing.T) {
		w := newWorld(t, options{})
		for _, f := range w.families {
			kernelListener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.kernel, 80)))
			if err != nil {
				t.Fatal(err)
			}
			defer kernelListener.Close()
			weirListener, err := w.stack.ListenTCP(netip.AddrPortFrom(f.weir, 80))
			if err != nil {
				t.Fatal(err)
			}
			kernelListener.SetDeadline(w.deadline())
			weirListener.SetDeadline(w.deadline())
			for range rounds {
				d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.kernel, 4000))}
				c, err := d.DialContext(w.ctx, "tcp", weirListener.Addr().String())
				if err == nil {
					err = w.serverClosesFirst(c, weirListener)
				}
				if err != nil {
					t.Fatalf("%s, kernel to weir: %v", f.name, err)
				}
				c, err = (&weir.Dialer{Stack: w.stack, Local: netip.AddrPortFrom(f.weir, 4000)}).DialContext(w.ctx, "tcp", kernelListener.Addr().String())
				if err == nil {
					err = w.serverClosesFirst(c, kernelListener)
				}
				if err != nil {
					t.Fatalf("%s, weir to kernel: %v", f.name, err)
				}
			}
		}
	})
}

// serverClosesFirst has the server say something and close; it returns when the client has closed too.
func (w *world) serverClosesFirst(client net.Conn, l net.Listener) error {
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		return err
	}
	client.SetDeadline(w.deadline())
	_, err = server.Write([]byte("bye"))
	if err = errors.Join(err, server.Close()); err != nil {
		return err
	}
	if got, err := io.ReadAll(client); err != nil || string(got) != "bye" {
		return fmt.Errorf("%q, %w", got, err)
	}
	return nil
}

// A stack that is closed resets its connections, all of them, and takes its interface away.
func TestStackClose(t *testing.T) {
	const connections = 200
	inNamespace(t, func(t *testing.T) {
		w := newWorld(t, options{})
		var open []*net.TCPConn
		for i := range connections {
			open = append(open, dials[i%2].open(w, w.families[i/2%2]).kernel)
		}
		w.stack.Close()
		for _, c := range open {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("%v: %v, want ECONNRESET", c.RemoteAddr(), err)
			}
		}
		if _, err := net.InterfaceByName(device); err == nil {
			t.Errorf("%s is still there", device)
		}
	})
}

// An interface that is taken down and up again: connections go on.
func TestDownUp(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		w := newWorld(t, options{})
		p := w.kernelDials(v4)
		nstest.Down(t, device)
		nstest.Up(t, device)
		w.together(exchange(p, size(1<<20))...)
	})
}
