package interop

import (
	"io"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir"
)

// Fast Open with the kernel in both roles: the first connection fetches the cookie, the second has its data on the SYN.
func TestFastOpenWithKernel(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		sysctl(t, "net/ipv4/tcp_fastopen", "3")
		w := newWorld(t, options{})
		for _, f := range w.families {
			t.Run("weir dials, "+f.name, func(t *testing.T) { weirFastOpens(t, w, f) })
			t.Run("kernel dials, "+f.name, func(t *testing.T) { kernelFastOpens(t, w, f) })
		}
	})
}

// answer reads a request of five bytes and answers it.
func answer(c net.Conn) error {
	defer c.Close()
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}

func weirFastOpens(t *testing.T, w *world, f family) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16) })
		return err
	}}
	l, err := lc.Listen(w.ctx, "tcp", netip.AddrPortFrom(f.kernel, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range 3 {
		d := weir.Dialer{Stack: w.stack, FastOpen: true, Data: []byte("hello")}
		done := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				err = answer(c)
			}
			done <- err
		}()
		c, err := d.DialContext(w.ctx, "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(w.deadline())
		if all, err := io.ReadAll(c); string(all) != "hello" || err != nil {
			t.Errorf("%d: %q, %v", i, all, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if info := c.(*weir.TCPConn).Info(); info.FastOpened != (i > 0) {
			t.Errorf("%d: FastOpened %v", i, info.FastOpened)
		}
		c.Close()
	}
}

func kernelFastOpens(t *testing.T, w *world, f family) {
	l, err := (&weir.ListenConfig{Stack: w.stack, FastOpen: 16}).Listen(w.ctx, "tcp", net.JoinHostPort(f.weir.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	number, _ := strconv.Atoi(port)
	for i := range 3 {
		opened := make(chan bool, 1)
		done := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				opened <- false
				done <- err
				return
			}
			opened <- c.(*weir.TCPConn).Info().FastOpened
			done <- answer(c)
		}()
		got, err := kernelFastDial(f.weir, number)
		if string(got) != "hello" || err != nil {
			t.Errorf("%d: %q, %v", i, got, err)
		}
		if yes := <-opened; yes != (i > 0) {
			t.Errorf("%d: FastOpened %v", i, yes)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// kernelFastDial sends "hello" by sendto with MSG_FASTOPEN from a socket of the kernel, and reads the answer.
func kernelFastDial(server netip.Addr, port int) ([]byte, error) {
	domain := unix.AF_INET
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: port, Addr: [4]byte(server.AsSlice()[:4])}
	if server.Is6() {
		domain, to = unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: server.As16()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	limit := unix.Timeval{Sec: int64(patience.Seconds())}
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &limit); err != nil {
			return nil, err
		}
	}
	if err := unix.Sendto(fd, []byte("hello"), unix.MSG_FASTOPEN, to); err != nil {
		return nil, err
	}
	b := make([]byte, 5)
	n, err := unix.Read(fd, b)
	return b[:max(n, 0)], err
}
