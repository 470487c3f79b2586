package weir_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

// forwarder is two hosts of which b takes everything that a sends anywhere.
func forwarder(t testing.TB, c weir.Config) (a, b *weir.Stack) {
	t.Helper()
	a, b = newStack(t, weir.Config{}), newStack(t, c)
	da, db := pipe.New(pipe.Options{})
	join(t, a, weir.InterfaceConfig{Name: "eth0", Device: da, Addrs: prefixes(addrA4, addrA6), Gateway4: addrB4, Gateway6: addrB6})
	join(t, b, weir.InterfaceConfig{
		Name: "eth0", Device: db, Addrs: prefixes(addrB4, addrB6), AnyDestination: true,
		Gateway4: addrA4, Gateway6: addrA6, // by the one interface there is back to whoever sends
	})
	return a, b
}

const anywhere4, anywhere6 = "198.18.5.5:80", "[2001:db8:5::5]:80"

func TestHandleTCPAccept(t *testing.T) {
	a, b := forwarder(t, weir.Config{})
	b.HandleTCP(func(r *weir.TCPRequest) {
		c, err := r.Accept(r.Context())
		if err != nil {
			t.Error(err)
			return
		}
		if c.LocalAddr().String() != r.Dst.String() || c.RemoteAddr().String() != r.Src.String() {
			t.Errorf("%v of a request from %v to %v", c.LocalAddr(), r.Src, r.Dst)
		}
		if r.Reject(nil) == nil {
			t.Error("rejected after Accept")
		}
		if err := second(r.Accept(r.Context())); err == nil {
			t.Error("accepted twice")
		}
		go func() { // lives on when the handler has returned
			io.Copy(c, c)
			c.Close()
		}()
	})
	for _, address := range []string{anywhere4, anywhere6, "192.0.2.2:80"} {
		c, err := a.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("hello"))
		c.(*weir.TCPConn).CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
			t.Errorf("%s: %q, %v", address, got, err)
		}
		if c.RemoteAddr().String() != address {
			t.Errorf("remote address %v", c.RemoteAddr())
		}
	}
	b.HandleTCP(nil)
	if err := second(a.Dial("tcp", anywhere4)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without a handler: %v", err)
	}
}

func TestHandleTCPReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := forwarder(t, weir.Config{})
		for _, c := range []struct {
			name   string
			reject func(r *weir.TCPRequest)
			want   error
			takes  time.Duration
		}{
			{"nothing", func(r *weir.TCPRequest) {}, syscall.ECONNREFUSED, 0},
			{"nil", func(r *weir.TCPRequest) { r.Reject(nil) }, syscall.ECONNREFUSED, 0},
			{"reset", func(r *weir.TCPRequest) { r.Reject(syscall.ECONNRESET) }, syscall.ECONNREFUSED, 0},
			{"host", func(r *weir.TCPRequest) { r.Reject(syscall.EHOSTUNREACH) }, syscall.EHOSTUNREACH, 0},
			{"net", func(r *weir.TCPRequest) { r.Reject(syscall.ENETUNREACH) }, syscall.ENETUNREACH, 0},
			{"denied", func(r *weir.TCPRequest) { r.Reject(syscall.EACCES) }, syscall.EACCES, 0},
			{"error of a dial", func(r *weir.TCPRequest) {
				r.Reject(&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH})
			}, syscall.EHOSTUNREACH, 0},
			{"something else", func(r *weir.TCPRequest) { r.Reject(errors.New("no")) }, syscall.ECONNREFUSED, 0},
			{"silence", func(r *weir.TCPRequest) { r.Reject(syscall.ETIMEDOUT) }, context.DeadlineExceeded, 50 * time.Second},
		} {
			var calls atomic.Int32
			b.HandleTCP(func(r *weir.TCPRequest) { calls.Add(1); c.reject(r) })
			for _, address := range []string{anywhere4, anywhere6} {
				ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
				err := took(t, c.name, c.takes, c.takes, func() error { return second(a.DialContext(ctx, "tcp", address)) })
				cancel()
				want := c.want
				if want == syscall.EACCES && address == anywhere4 {
					want = syscall.EHOSTUNREACH // which is what kernels make of IPv4's code 13
				}
				if !errors.Is(err, want) {
					t.Errorf("%s: %s: %v, want %v", c.name, address, err, want)
				}
			}
			if n := calls.Load(); n != 2 { // retransmitted SYNs are absorbed
				t.Errorf("%s: %d calls for 2 dials", c.name, n)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestHandleTCPContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := forwarder(t, weir.Config{})
		end := make(chan error)
		b.HandleTCP(func(r *weir.TCPRequest) {
			start := time.Now()
			<-r.Context().Done()
			if d := time.Since(start); d > time.Minute {
				t.Errorf("ended after %v", d)
			}
			err := second(r.Accept(context.Background()))
			end <- err
		})
		// The peer gives up: its RST.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := second(a.DialContext(ctx, "tcp", anywhere4)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		err := took(t, "end of a request without an answer", 0, time.Minute, func() error { return <-end })
		if !errors.Is(err, syscall.ECONNABORTED) {
			t.Error(err)
		}
		// No decision for a minute.
		go a.Dial("tcp", anywhere4)
		err = took(t, "end of an undecided request", time.Minute, time.Minute, func() error { return <-end })
		if !errors.Is(err, syscall.ECONNABORTED) {
			t.Error(err)
		}
		// The stack closes.
		go a.Dial("tcp", anywhere4)
		synctest.Wait()
		go b.Close()
		if err := <-end; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		a.Close()
	})
}

// TestHandleTCPAcceptCancelled gives up a handshake whose last step does not come.
func TestHandleTCPAcceptCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := forwarder(t, weir.Config{})
		end := make(chan error)
		b.HandleTCP(func(r *weir.TCPRequest) {
			a.Interface("eth0").SetUp(false)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			end <- second(r.Accept(ctx))
		})
		go a.Dial("tcp", anywhere4)
		err := took(t, "accept", time.Second, time.Second, func() error { return <-end })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		synctest.Wait()
		for c := range b.Conns() {
			t.Errorf("left: %+v", c)
		}
		// Nobody ever answers: the SYN-ACK's retransmissions run out.
		b.HandleTCP(func(r *weir.TCPRequest) {
			a.Interface("eth0").SetUp(false)
			end <- second(r.Accept(context.Background()))
		})
		a.Interface("eth0").SetUp(true)
		go a.Dial("tcp", anywhere4)
		if err := <-end; !errors.Is(err, syscall.ECONNABORTED) {
			t.Error(err)
		}
		a.Close()
	})
}

func TestPendingRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := forwarder(t, weir.Config{MaxPendingRequests: 10})
		decide := make(chan struct{})
		var calls atomic.Int32
		b.HandleTCP(func(r *weir.TCPRequest) {
			calls.Add(1)
			<-decide
		})
		for range 20 {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
				defer cancel()
				a.DialContext(ctx, "tcp", anywhere4)
			}()
		}
		synctest.Wait()
		if n, drops := calls.Load(), b.Stats().TCP.RequestDrops; n != 10 || drops != 10 {
			t.Errorf("%d calls, %d drops of 20; want 10 and 10", n, drops)
		}
		close(decide)
		synctest.Wait()
		if err := second(a.Dial("tcp", anywhere4)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("when there is room again: %v", err)
		}
		time.Sleep(time.Second)
	})
}

func TestHandleUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := forwarder(t, weir.Config{})
		var calls atomic.Int32
		accepted := make(chan *weir.UDPConn, 1)
		proceed := make(chan struct{})
		b.HandleUDP(func(r *weir.UDPRequest) {
			calls.Add(1)
			<-proceed
			c, err := r.Accept(r.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if c.LocalAddr().String() != r.Dst.String() || c.RemoteAddr().String() != r.Src.String() {
				t.Errorf("%v of a request from %v to %v", c.LocalAddr(), r.Src, r.Dst)
			}
			accepted <- c
		})
		for _, address := range []string{anywhere4, anywhere6} {
			c, err := a.Dial("udp", address)
			if err != nil {
				t.Fatal(err)
			}
			calls.Store(0)
			for i := range 20 { // 16 of them wait for the decision
				c.Write([]byte{byte(i)})
			}
			proceed <- struct{}{}
			s := <-accepted
			b := make([]byte, 10)
			for i := range 16 {
				if n, err := s.Read(b); n != 1 || err != nil || b[0] != byte(i) {
					t.Fatal(n, err, b[0])
				}
			}
			c.Write([]byte("more"))
			if n, err := s.Read(b); string(b[:n]) != "more" || err != nil {
				t.Error(string(b[:n]), err)
			}
			s.Write([]byte("back"))
			if n, err := c.Read(b); string(b[:n]) != "back" || err != nil {
				t.Error(string(b[:n]), err)
			}
			s.Close()
			c.Write([]byte("again")) // a new request
			proceed <- struct{}{}
			s = <-accepted
			if n, err := s.Read(b); string(b[:n]) != "again" || err != nil {
				t.Error(string(b[:n]), err)
			}
			s.Close()
			if n := calls.Load(); n != 2 {
				t.Errorf("%d calls, want 2", n)
			}
		}
	})
}

func TestHandleUDPReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := forwarder(t, weir.Config{})
		for _, c := range []struct {
			name   string
			reject func(r *weir.UDPRequest)
			want   error
		}{
			{"nothing", func(r *weir.UDPRequest) {}, syscall.ECONNREFUSED},
			{"nil", func(r *weir.UDPRequest) { r.Reject(nil) }, syscall.ECONNREFUSED},
			{"denied", func(r *weir.UDPRequest) { r.Reject(syscall.EACCES) }, syscall.EHOSTUNREACH}, // kernels' reading of IPv4's code 13
			{"silence", func(r *weir.UDPRequest) { r.Reject(syscall.ETIMEDOUT) }, context.DeadlineExceeded},
		} {
			var calls atomic.Int32
			b.HandleUDP(func(r *weir.UDPRequest) { calls.Add(1); c.reject(r) })
			conn, err := a.Dial("udp", anywhere4)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the decision is remembered
				conn.Write([]byte("x"))
				conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
				if _, err := conn.Read(make([]byte, 10)); !errors.Is(err, c.want) && (c.want != context.DeadlineExceeded || !isTimeout(err)) {
					t.Errorf("%s: %v, want %v", c.name, err, c.want)
				}
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("%s: %d calls, want 1", c.name, n)
			}
			time.Sleep(time.Second + time.Millisecond)
			conn.Write([]byte("x"))
			synctest.Wait()
			if n := calls.Load(); n != 2 {
				t.Errorf("%s: after a second: %d calls, want 2", c.name, n)
			}
			conn.Close()
			time.Sleep(2 * time.Second)
		}
		b.HandleUDP(nil)
		conn, err := a.Dial("udp", anywhere4)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte("x"))
		if _, err := conn.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("without a handler: %v", err)
		}
	})
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestHandleEchoAndPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := forwarder(t, weir.Config{})
		b.HandleEcho(func(r *weir.EchoRequest) {
			switch {
			case r.ID != 7 || string(r.Data()) != "hello":
				t.Errorf("%+v %q", r, r.Data())
			case r.Seq == 1:
				r.Reply(r.Data())
			case r.Seq == 2:
				r.Reject(syscall.EHOSTUNREACH)
			}
		})
		for network, to := range map[string]string{"ip4:icmp": "198.18.5.5", "ip6:ipv6-icmp": "2001:db8:5::5", "ip:icmp": "192.0.2.2", "ip6:icmp": "2001:db8::2"} {
			c, err := a.Dial(network, to)
			if err != nil {
				t.Fatal(err)
			}
			six := netip.MustParseAddr(to).Is6()
			for seq := 1; seq <= 3; seq++ {
				if _, err := c.Write(echo(six, seq)); err != nil {
					t.Fatal(err)
				}
				answered := seq == 1 || to == "192.0.2.2" || to == "2001:db8::2" // addresses that are assigned answer by themselves
				c.SetReadDeadline(time.Now().Add(time.Second))
				m := make([]byte, 100)
				n, err := c.Read(m)
				if answered != (err == nil) || err == nil && !bytes.Equal(m[4:n], echo(six, seq)[4:]) {
					t.Errorf("%s %d: % x, %v", to, seq, m[:n], err)
				}
			}
			c.Close()
		}
		p, err := a.ListenPacket("ip4:icmp", "0.0.0.0")
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if _, err := p.WriteTo(echo(false, 1), &net.IPAddr{IP: net.IPv4(192, 0, 2, 2)}); err != nil {
			t.Fatal(err)
		}
		m := make([]byte, 100)
		n, from, err := p.ReadFrom(m)
		if err != nil || from.String() != "192.0.2.2" || n != 13 || m[0] != 0 {
			t.Errorf("% x from %v: %v", m[:n], from, err)
		}
	})
}

// echo is an echo request with ID 7.
func echo(six bool, seq int) []byte {
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 7, Seq: seq, Data: []byte("hello")}}
	if six {
		m.Type = ipv6.ICMPTypeEchoRequest
	}
	b, err := m.Marshal(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// TestHandlerMayClose closes the stack from a handler, and does not wait for another that never ends.
func TestHandlerMayClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := forwarder(t, weir.Config{})
		stuck, closed := make(chan struct{}), make(chan struct{})
		b.HandleTCP(func(r *weir.TCPRequest) {
			if r.Dst.Port() == 80 {
				<-stuck
				return
			}
			b.Close()
			close(closed)
		})
		go a.Dial("tcp", anywhere4)
		synctest.Wait()
		go a.Dial("tcp", "198.18.5.5:81")
		took(t, "close", time.Second, time.Second, func() error { <-closed; return nil })
		close(stuck)
		a.Close()
	})
}

// TestTransparentListener takes connections to addresses that are not assigned.
func TestTransparentListener(t *testing.T) {
	a, b := forwarder(t, weir.Config{})
	plain, err := b.Listen("tcp", ":81")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := second(a.Dial("tcp", "198.18.5.5:81")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a wildcard listener took a foreign address: %v", err)
	}
	l, err := (&weir.ListenConfig{Stack: b, Transparent: true}).Listen(context.Background(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, address := range []string{anywhere4, anywhere6, "192.0.2.2:80"} {
		x, err := a.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		y, err := l.Accept()
		if err != nil || y.LocalAddr().String() != address {
			t.Errorf("%v, %v", y.LocalAddr(), err)
		}
		x.Close()
		y.Close()
	}
}
