package weir_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir"
)

// reuse is what a socket asks for before it is bound.
type reuse struct{ addr, port bool }

// control sets it on a kernel's socket.
func (r reuse) control(_, _ string, c syscall.RawConn) (err error) {
	set := func(fd uintptr) {
		for option, on := range map[int]bool{unix.SO_REUSEADDR: r.addr, unix.SO_REUSEPORT: r.port} {
			v := 0
			if on {
				v = 1
			}
			if e := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, v); e != nil {
				err = e
			}
		}
	}
	if e := c.Control(set); e != nil {
		return e
	}
	return err
}

func (r reuse) options(o *weir.SockOpts) error { o.ReuseAddr, o.ReusePort = r.addr, r.port; return nil }

// listenAs is Listen with these options; the listener is closed at the end of the case.
func (w *parityWorld) listenAs(r reuse, network, address string) (l net.Listener, err error) {
	switch h := w.server.(type) {
	case kernelHost:
		l, err = (&net.ListenConfig{Control: r.control}).Listen(background, network, address)
	case weirHost:
		l, err = (&weir.ListenConfig{Stack: h.Stack, Control: r.options}).Listen(background, network, address)
	}
	if err == nil {
		w.t.Cleanup(func() { l.Close() })
	}
	return l, err
}

// dialAs is Dial with these options.
func (w *parityWorld) dialAs(r reuse, local, address string) (c net.Conn, err error) {
	from := netip.MustParseAddrPort(local)
	switch h := w.client.(type) {
	case kernelHost:
		c, err = (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Control: r.control}).Dial("tcp", address)
	case weirHost:
		c, err = (&weir.Dialer{Stack: h.Stack, Local: from, Control: r.options}).Dial("tcp", address)
	}
	if err == nil {
		w.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// inKernel calls fn with the descriptor of a kernel's socket; false: it is weir's.
func inKernel(w *parityWorld, c net.Conn, fn func(fd int) error) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	w.must(err)
	var e error
	w.must(raw.Control(func(fd uintptr) { e = fn(int(fd)) }))
	w.must(e)
	return true
}

// ipOptions notes TTL and TOS.
func ipOptions(w *parityWorld, what string, c net.Conn) {
	var ttl, tos int
	if !inKernel(w, c, func(fd int) (err error) {
		if ttl, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL); err == nil {
			tos, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS)
		}
		return err
	}) {
		o := c.(interface {
			TTL() uint8
			TOS() uint8
		})
		ttl, tos = int(o.TTL()), int(o.TOS())
	}
	w.notef("%s: TTL %d, TOS %#x", what, ttl, tos)
}

func setIPOptions(w *parityWorld, c net.Conn, ttl, tos int) {
	if !inKernel(w, c, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, ttl); err != nil {
			return err
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, tos)
	}) {
		o := c.(interface {
			SetTTL(uint8) error
			SetTOS(uint8) error
		})
		w.must(o.SetTTL(uint8(ttl)))
		w.must(o.SetTOS(uint8(tos)))
	}
}

func setCork(w *parityWorld, c net.Conn, on bool) {
	v := 0
	if on {
		v = 1
	}
	if !inKernel(w, c, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_CORK, v) }) {
		w.must(c.(*weir.TCPConn).SetCork(on))
	}
}

// closeInTurn closes first, then second, and returns what second reads last. First is in TIME-WAIT then: it is what a connection enters
// when it takes the other side's FIN, and first has read that.
func (w *parityWorld) closeInTurn(first, second net.Conn) error {
	w.must(first.(parityConn).CloseWrite())
	err := readErr(second)()
	w.must(second.Close())
	if err := readErr(first)(); err != io.EOF {
		w.t.Fatal("instead of the FIN:", err)
	}
	w.must(first.Close())
	return err
}

// clientIP is an address of the client's.
func (w *parityWorld) clientIP() string {
	l := w.listen("tcp", w.ip4)
	c, err := w.client.Dial(background, "tcp", "", l.Addr().String())
	w.must(err)
	defer c.Close()
	return c.LocalAddr().(*net.TCPAddr).IP.String()
}

// parityOptionCases are those for which package net has no call.
func parityOptionCases() []parityCase {
	return []parityCase{
		{name: "several listeners", run: func(w *parityWorld) {
			both := reuse{addr: true, port: true}
			l, err := w.listenAs(both, "tcp", join4(w.ip4))
			w.must(err)
			at := l.Addr().String()
			_, port, _ := net.SplitHostPort(at)
			for _, c := range []struct {
				name string
				with reuse
				at   string
			}{
				{"SO_REUSEADDR alone", reuse{addr: true}, at}, {"nothing", reuse{}, at}, {"SO_REUSEADDR alone, all", reuse{addr: true}, "0.0.0.0:" + port},
				{"both", both, at}, {"SO_REUSEPORT alone", reuse{port: true}, at}, {"both, all", both, "0.0.0.0:" + port},
			} {
				_, err := w.listenAs(c.with, "tcp4", c.at)
				w.note(c.name, err)
			}
		}},
		{name: "listen where a connection is, or was", run: func(w *parityWorld) {
			l := w.listen("tcp", w.ip4)
			at := l.Addr().String()
			c, err := w.client.Dial(background, "tcp", "", at)
			w.must(err)
			s, err := l.Accept()
			w.must(err)
			l.Close()
			listen := func(what string, r reuse) {
				l, err := w.listenAs(r, "tcp", at)
				if err == nil {
					l.Close()
				}
				w.note(what, err)
			}
			listen("connected, nothing", reuse{})
			listen("connected, SO_REUSEADDR", reuse{addr: true})
			w.note("read", w.closeInTurn(s, c))
			listen("TIME-WAIT, nothing", reuse{})
			listen("TIME-WAIT, SO_REUSEADDR", reuse{addr: true})
		}},
		{name: "dial from one port twice", run: func(w *parityWorld) {
			l, m := w.listen("tcp", w.ip4), w.listen("tcp", w.ip4)
			from := net.JoinHostPort(w.clientIP(), "20000")
			c, err := w.client.Dial(background, "tcp", from, l.Addr().String())
			w.note("first", err)
			_, err = w.client.Dial(background, "tcp", from, m.Addr().String())
			w.note("another server", err)
			_, err = w.client.Dial(background, "tcp", from, l.Addr().String())
			w.note("the same server", err)
			s, err := l.Accept()
			w.must(err)
			w.note("read", w.closeInTurn(c, s))
			_, err = w.client.Dial(background, "tcp", from, m.Addr().String())
			w.note("in TIME-WAIT", err)
		}},
		{name: "dial from one port twice with SO_REUSEADDR", run: func(w *parityWorld) {
			l, m := w.listen("tcp", w.ip4), w.listen("tcp", w.ip4)
			from := net.JoinHostPort(w.clientIP(), "20001")
			_, err := w.dialAs(reuse{addr: true}, from, l.Addr().String())
			w.note("first", err)
			_, err = w.dialAs(reuse{addr: true}, from, m.Addr().String())
			w.note("another server", err)
		}},
		{name: "TTL and TOS", run: func(w *parityWorld) {
			c, _ := w.pair(w.ip4)
			u := w.dialUDP(w.udp("udp", w.ip4).LocalAddr())
			for _, c := range []net.Conn{c, u} {
				ipOptions(w, "default", c)
				setIPOptions(w, c, 9, 0xbb)
				ipOptions(w, "set", c)
				setIPOptions(w, c, 255, 0)
				ipOptions(w, "set again", c)
			}
		}},
		{name: "cork", run: func(w *parityWorld) {
			c, s := w.pair(w.ip4)
			setCork(w, c, true)
			for _, part := range []string{"head", "body"} {
				n, err := c.Write([]byte(part))
				w.noteN("write", n, err)
			}
			s.SetReadDeadline(soon())
			w.note("read, corked", readErr(s)())
			s.SetReadDeadline(time.Time{})
			setCork(w, c, false)
			n, err := s.Read(buf100)
			w.noteN("read", n, err)
		}},
		{name: "urgent data in line", run: func(w *parityWorld) {
			c, s := w.pair(w.ip4)
			inKernel(w, s, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) })
			c.Write([]byte("abc"))
			if !inKernel(w, c, func(fd int) error { return unix.Sendto(fd, []byte("de!"), unix.MSG_OOB, nil) }) {
				_, err := c.(*weir.TCPConn).WriteUrgent([]byte("de!"))
				w.must(err)
			}
			b := make([]byte, 5)
			n, err := io.ReadFull(s, b)
			w.noteN("before the mark", n, err)
			mark := 0
			if !inKernel(w, s, func(fd int) (err error) { mark, err = unix.IoctlGetInt(fd, unix.SIOCATMARK); return err }) && s.(*weir.TCPConn).UrgentAhead() == 1 {
				mark = 1
			}
			w.notef("at the mark: %d", mark)
			c.CloseWrite()
			rest, err := io.ReadAll(s)
			w.note(fmt.Sprintf("%s%s", b, rest), err)
		}},
		{name: "linger that ends", run: func(w *parityWorld) {
			c, s := w.pair(w.ip4)
			c.SetWriteDeadline(soon())
			w.note("write", writeErr(c)())
			c.SetLinger(1)
			start := time.Now()
			w.note("close", c.Close())
			w.notef("it waits: %v", time.Since(start) > 900*time.Millisecond)
			w.note("close again", c.Close())
			n, err := s.Read(buf100)
			w.noteN("what was sent can be read", n, err)
		}},
		{name: "both ways after a half-close", run: func(w *parityWorld) {
			c, s := w.pair(w.ip4)
			ctx, cancel := context.WithCancel(background)
			go func() {
				defer cancel()
				io.Copy(s, s) // back, all of it
				s.CloseWrite()
			}()
			go func() {
				io.Copy(c, io.LimitReader(zeros{}, 3<<20))
				w.must(c.CloseWrite())
			}()
			n, err := io.Copy(io.Discard, c)
			w.noteN("echo", int(n), err)
			<-ctx.Done()
			w.note("close", c.Close())
			w.note("close", s.Close())
		}},
	}
}
