package weir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/wire"
)

// tracedSegments runs fn with two hosts 1 ms apart, and returns the sizes of the data segments that x has sent.
func tracedSegments(t *testing.T, fn func(x, y *weir.TCPConn)) (sizes []int, all []weir.TCPEvent) {
	inBubble(t, time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		var mu sync.Mutex
		err := x.SetTrace(func(e weir.TCPEvent) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, e)
			if e.Kind == weir.TCPEventSent && e.Bytes > 0 {
				sizes = append(sizes, e.Bytes)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		fn(x, y)
		time.Sleep(time.Second)
		x.Close()
		a.Close()
	})
	return sizes, all
}

func write(t *testing.T, call func([]byte) (int, error), s string) {
	t.Helper()
	if n, err := call([]byte(s)); n != len(s) || err != nil {
		t.Fatal(n, err)
	}
}

// What is written under a cork, or with more to come, leaves in one segment: when the cork is out, the last part is written, or after 200 ms.
func TestCorkAndMore(t *testing.T) {
	for name, c := range map[string]struct {
		fn   func(t *testing.T, x, y *weir.TCPConn)
		want []int
	}{
		"plain": {func(t *testing.T, x, y *weir.TCPConn) { write(t, x.Write, "head"); write(t, x.Write, "body") }, []int{4, 4}},
		"more":  {func(t *testing.T, x, y *weir.TCPConn) { write(t, x.WriteMore, "head"); write(t, x.Write, "body") }, []int{8}},
		"cork": {func(t *testing.T, x, y *weir.TCPConn) {
			x.SetCork(true)
			write(t, x.Write, "head")
			write(t, x.Write, "body")
			x.SetCork(false)
		}, []int{8}},
		"cork forgotten": {func(t *testing.T, x, y *weir.TCPConn) {
			x.SetCork(true)
			write(t, x.Write, "head")
			if err := took(t, "read", 201*time.Millisecond, 201*time.Millisecond, func() error { _, err := y.Read(make([]byte, 9)); return err }); err != nil {
				t.Error(err)
			}
		}, []int{4}},
	} {
		t.Run(name, func(t *testing.T) {
			sizes, _ := tracedSegments(t, func(x, y *weir.TCPConn) { c.fn(t, x, y) })
			if !slices.Equal(sizes, c.want) {
				t.Errorf("segments of %v bytes, want %v", sizes, c.want)
			}
		})
	}
}

// Urgent data goes out with URG, and is read in line; the reader is told how far it is.
func TestUrgent(t *testing.T) {
	_, events := tracedSegments(t, func(x, y *weir.TCPConn) {
		write(t, x.Write, "abc")
		write(t, x.WriteUrgent, "de!")
		time.Sleep(10 * time.Millisecond)
		b := make([]byte, 100)
		if n := y.UrgentAhead(); n != 6 {
			t.Errorf("%d bytes ahead", n)
		}
		io.ReadFull(y, b[:5])
		if n := y.UrgentAhead(); n != 1 {
			t.Errorf("%d bytes ahead of the mark", n)
		}
		if n, err := y.Read(b); string(b[:n]) != "!" || err != nil || y.UrgentAhead() != 0 {
			t.Errorf("%q, %v", b[:n], err)
		}
		y.Close()
		if n := y.UrgentAhead(); n != 0 {
			t.Errorf("%d bytes ahead after Close", n)
		}
	})
	if !slices.ContainsFunc(events, func(e weir.TCPEvent) bool {
		return e.Kind == weir.TCPEventSent && e.Flags&wire.URG != 0 && e.Bytes == 3
	}) {
		t.Error("no segment with URG")
	}
}

// Peek waits like Read, and takes nothing away; SetReadLowat makes Read wait for more, until no more can come.
func TestPeekAndReadLowat(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		buf := make([]byte, 100)
		time.AfterFunc(time.Second, func() { write(t, x.Write, "hello") })
		var n int
		peek := func() (err error) { n, err = y.Peek(buf); return err }
		if err := took(t, "peek", 1001*time.Millisecond, 1001*time.Millisecond, peek); err != nil || string(buf[:n]) != "hello" {
			t.Fatal(n, err)
		}
		if n, err := y.Peek(buf[:2]); n != 2 || err != nil {
			t.Error(n, err)
		}
		if n, err := y.Peek(nil); n != 0 || err != nil {
			t.Error(n, err)
		}
		if n, err := y.Read(buf); string(buf[:n]) != "hello" || err != nil {
			t.Error(n, err)
		}
		y.SetReadDeadline(time.Now().Add(time.Second))
		if err := peek(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		y.SetReadDeadline(time.Time{})

		if err := y.SetReadLowat(10); err != nil {
			t.Fatal(err)
		}
		write(t, x.Write, "12345")
		time.AfterFunc(time.Second, func() { write(t, x.Write, "67890") })
		read := func() (err error) { n, err = y.Read(buf); return err }
		if err := took(t, "read", 1001*time.Millisecond, 1001*time.Millisecond, read); err != nil || n != 10 {
			t.Error(n, err)
		}
		write(t, x.Write, "12345")
		time.AfterFunc(time.Second, func() { y.SetReadLowat(1) }) // wakes the reader
		if err := took(t, "read", time.Second, time.Second, read); err != nil || n != 5 {
			t.Error(n, err)
		}
		y.SetReadLowat(10)
		write(t, x.Write, "12")
		time.AfterFunc(time.Second, func() { x.CloseWrite() })
		if err := took(t, "read", 1001*time.Millisecond, 1001*time.Millisecond, read); err != nil || n != 2 {
			t.Error(n, err)
		}
		if err := peek(); err != io.EOF {
			t.Error(err)
		}
		y.Close()
		for what, err := range map[string]error{
			"peek": peek(), "lowat": y.SetReadLowat(1), "cork": y.SetCork(true), "quick": y.SetQuickAck(true), "clamp": y.SetWindowClamp(1000),
			"not sent": y.SetNotSentLowat(1000),
		} {
			var op interface{ Timeout() bool }
			if !errors.Is(err, os.ErrClosed) && !strings.Contains(fmt.Sprint(err), "use of closed network connection") || !errors.As(err, &op) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
	})
}

// TCP_NOTSENT_LOWAT by call, by SockOpts and by Config: a writer whose peer does not read has no more than that unsent. The clamp bounds
// what the peer may send, and an ACK is at once or waits, as asked.
func TestNotSentLowatClampAndQuickAck(t *testing.T) {
	for name, set := range map[string]func(*weir.Config, *weir.Dialer) func(*weir.TCPConn){
		"call": func(*weir.Config, *weir.Dialer) func(*weir.TCPConn) {
			return func(c *weir.TCPConn) { c.SetNotSentLowat(5000) }
		},
		"SockOpts": func(_ *weir.Config, d *weir.Dialer) func(*weir.TCPConn) {
			d.Control = func(o *weir.SockOpts) error { o.NotSentLowat = 5000; return nil }
			return nil
		},
		"Config": func(c *weir.Config, _ *weir.Dialer) func(*weir.TCPConn) { c.NotSentLowat = 5000; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, d := weir.Config{}, &weir.Dialer{}
				after := set(&cfg, d)
				a, b := newPair(t, cfg, pipe.Options{NoOffload: true})
				d.Stack = a
				l, err := b.ListenTCP(netip.AddrPortFrom(addrB4, 80))
				if err != nil {
					t.Fatal(err)
				}
				c, err := d.Dial("tcp", "192.0.2.2:80")
				if err != nil {
					t.Fatal(err)
				}
				x := c.(*weir.TCPConn)
				if after != nil {
					after(x)
				}
				if _, err := l.Accept(); err != nil {
					t.Fatal(err)
				}
				x.SetWriteDeadline(time.Now().Add(time.Second))
				for err == nil {
					_, err = x.Write(make([]byte, 1000))
				}
				if i := x.Info(); !errors.Is(err, os.ErrDeadlineExceeded) || i.NotSent < 4000 || i.NotSent > 5000 {
					t.Errorf("%v; %d bytes not sent", err, i.NotSent)
				}
			})
		})
	}
	inBubble(t, time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		if err := y.SetWindowClamp(3000); err != nil {
			t.Fatal(err)
		}
		go x.Write(make([]byte, 1<<20))
		for range 300 {
			y.Read(make([]byte, 1000))
		}
		if i := y.Info(); i.ReceiveWindow > 3000 {
			t.Errorf("window %d", i.ReceiveWindow)
		}
	})
	inBubble(t, time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		acked := func(on bool) time.Duration {
			if err := y.SetQuickAck(on); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			write(t, x.Write, "x")
			for x.Info().SendQueue > 0 {
				time.Sleep(time.Millisecond)
			}
			return time.Since(start)
		}
		if on, off := acked(true), acked(false); on > 3*time.Millisecond || off < 30*time.Millisecond {
			t.Errorf("acknowledged after %v and %v", on, off)
		}
	})
}

// Config.Trace is told of all connections from their SYN on, and Close tells what is left; AbortOnOverflow resets what does not fit.
func TestConfigTraceAndOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var log []string
		record := func(e weir.TCPEvent) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case e.Kind == weir.TCPEventState:
				log = append(log, fmt.Sprintf("state %v", e.State))
			case e.Flags&(wire.SYN|wire.FIN|wire.RST) != 0:
				log = append(log, fmt.Sprintf("%v %v %v", e.Kind, e.State, e.Flags))
			}
		}
		a, b := newStack(t, weir.Config{}), newStack(t, weir.Config{Trace: record, Backlog: 1, AbortOnOverflow: true})
		da, db := pipe.New(pipe.Options{NoOffload: true})
		join(t, a, weir.InterfaceConfig{Device: emul.Wrap(da, emul.Config{Delay: time.Millisecond}), Addrs: prefixes(addrA4)})
		join(t, b, weir.InterfaceConfig{Device: db, Addrs: prefixes(addrB4)})
		l, err := b.ListenTCP(netip.AddrPortFrom(addrB4, 80))
		if err != nil {
			t.Fatal(err)
		}
		b.HandleTCP(func(r *weir.TCPRequest) {
			_, _ = r.Accept(context.Background())
		})
		c, err := a.Dial("tcp", "192.0.2.2:80")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		time.Sleep(time.Second)
		want := []string{
			"received SYN-RECEIVED SYN", "sent SYN-RECEIVED SYN|ACK", "state ESTABLISHED", "received ESTABLISHED FIN|ACK", "state CLOSE-WAIT",
		}
		mu.Lock()
		if !slices.Equal(log, want) {
			t.Errorf("got\n%s", strings.Join(log, "\n"))
		}
		log = nil
		mu.Unlock()
		// The one connection that waits fills the backlog: the next is reset when its handshake is complete.
		if c, err := a.Dial("tcp", "192.0.2.2:80"); err == nil {
			c.SetReadDeadline(time.Now().Add(time.Second))
			_, err = c.Read(make([]byte, 1))
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("beyond the backlog: %v", err)
			}
		}
		if _, err := a.Dial("tcp", "192.0.2.2:81"); err != nil {
			t.Fatal(err)
		}
		l.Close()
		b.Close()
		mu.Lock()
		defer mu.Unlock()
		if n := len(log); n == 0 || !strings.Contains(strings.Join(log, "\n"), "state CLOSED") {
			t.Errorf("Close did not tell:\n%s", strings.Join(log, "\n"))
		}

	})
}

// What Info counts in time is as of the call, not of the last packet.
func TestInfoAges(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		if err := x.SetCongestionControl("vegas"); !errors.Is(err, syscall.ENOENT) || x.SetCongestionControl("bbr-tolerant") != nil {
			t.Error(err)
		}
		x.SetKeepAlive(false)
		y.SetKeepAlive(false)
		write(t, x.Write, "hello")
		y.Read(make([]byte, 9))
		time.Sleep(time.Minute)
		i, j := x.Info(), y.Info()
		if i.LastDataSent != time.Minute+time.Millisecond || i.LastAckReceived < 59*time.Second || j.LastDataReceived.Round(time.Second) != time.Minute {
			t.Errorf("sent %v ago, ACK %v ago, received %v ago", i.LastDataSent, i.LastAckReceived, j.LastDataReceived)
		}
	})
}
