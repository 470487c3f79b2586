package weir_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/link/pipe"
)

// inBubble runs fn with two hosts whose packets take delay one way, in virtual time.
func inBubble(t *testing.T, delay time.Duration, fn func(t *testing.T, a, b *weir.Stack)) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newStack(t, weir.Config{}), newStack(t, weir.Config{})
		da, db := pipe.New(pipe.Options{NoOffload: true})
		if delay > 0 {
			da, db = emul.Wrap(da, emul.Config{Delay: delay}), emul.Wrap(db, emul.Config{Delay: delay})
		}
		join(t, a, weir.InterfaceConfig{Name: "eth0", Device: da, Addrs: prefixes(addrA4, addrA6)})
		join(t, b, weir.InterfaceConfig{Name: "eth0", Device: db, Addrs: prefixes(addrB4, addrB6)})
		fn(t, a, b)
	})
}

// took demands that fn takes between least and most of virtual time, and returns its error.
func took(t *testing.T, what string, least, most time.Duration, fn func() error) error {
	t.Helper()
	start := time.Now()
	err := fn()
	if d := time.Since(start); d < least || d > most {
		t.Errorf("%s took %v, want %v to %v", what, d, least, most)
	}
	return err
}

func TestDeadlinesInVirtualTime(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		read := func() error { _, err := x.Read(make([]byte, 10)); return err }
		x.SetReadDeadline(time.Now().Add(time.Hour))
		if err := took(t, "read", time.Hour, time.Hour, read); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		// Moved on while a Read waits, and further than it was.
		x.SetReadDeadline(time.Now().Add(time.Second))
		time.AfterFunc(500*time.Millisecond, func() { x.SetReadDeadline(time.Now().Add(time.Minute)) })
		if err := took(t, "read", time.Minute+500*time.Millisecond, time.Minute+500*time.Millisecond, read); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		// Cleared while a Read waits.
		x.SetReadDeadline(time.Now().Add(time.Second))
		time.AfterFunc(500*time.Millisecond, func() { x.SetReadDeadline(time.Time{}) })
		time.AfterFunc(time.Hour, func() { y.Write([]byte("hello")) })
		if err := took(t, "read", time.Hour, time.Hour, read); err != nil {
			t.Error(err)
		}
		// Two that read: both meet the deadline, though one only waits for its turn.
		x.SetReadDeadline(time.Now().Add(time.Second))
		second := make(chan error)
		go func() { second <- read() }()
		if err := took(t, "two reads", time.Second, time.Second, read); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if err := <-second; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		// A deadline far away holds no closed connection, and nobody up.
		x.SetDeadline(time.Now().Add(1000 * time.Hour))
		took(t, "close", 0, 0, x.Close)
	})
}

func TestTurnsAreFair(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		var order []int
		done := make(chan struct{})
		for i := range 5 {
			go func() {
				n, err := x.Read(make([]byte, 1))
				if n != 1 || err != nil {
					t.Error(n, err)
				}
				order = append(order, i)
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		for range 5 {
			y.Write([]byte{1})
			<-done
		}
		for i, k := range order {
			if i != k {
				t.Fatalf("readers were served in the order %v", order)
			}
		}
	})
}

func TestKeepAlive(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		time.Sleep(time.Hour) // both ends live: probes are answered
		if s := x.Info().State.String() + y.Info().State.String(); s != "ESTABLISHEDESTABLISHED" {
			t.Fatal(s)
		}
		y.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 10 * time.Second, Count: 3})
		time.Sleep(time.Minute / 2)
		b.Interface("eth0").SetUp(false)
		for c, want := range map[*weir.TCPConn]time.Duration{x: 150 * time.Second, y: 90 * time.Second} {
			go func() {
				err := took(t, "read", want-time.Minute, want+time.Second, func() error { _, err := c.Read(make([]byte, 1)); return err })
				if !errors.Is(err, syscall.ETIMEDOUT) {
					t.Error(err)
				}
			}()
		}
		time.Sleep(200 * time.Second)
		synctest.Wait()
	})
}

func TestTimeWait(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		states := func(s *weir.Stack) (all string) {
			for c := range s.Conns() {
				all += c.State + " "
			}
			return all
		}
		x.Close()
		time.Sleep(10 * time.Millisecond)
		if a, b := states(a), states(b); a != "FIN-WAIT-2 " || b != "CLOSE-WAIT " {
			t.Errorf("after Close: %q, %q", a, b)
		}
		y.Close()
		time.Sleep(10 * time.Millisecond)
		if a, b := states(a), states(b); a != "TIME-WAIT " || b != "" {
			t.Errorf("after both: %q, %q", a, b)
		}
		time.Sleep(time.Minute)
		if a := states(a); a != "" {
			t.Errorf("after a minute: %q", a)
		}
	})
}

func TestTimeouts(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		err := took(t, "dial", time.Minute, 5*time.Minute, func() error { return second(a.Dial("tcp", "192.0.2.9:80")) })
		if !errors.Is(err, syscall.ETIMEDOUT) {
			t.Error(err)
		}
		d := &weir.Dialer{Stack: a, Timeout: 3 * time.Second}
		err = took(t, "dial", 3*time.Second, 3*time.Second, func() error { return second(d.Dial("tcp", "192.0.2.9:80")) })
		if ne := net.Error(nil); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Error(err)
		}
		x, _ := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		x.SetUserTimeout(10 * time.Second)
		b.Interface("eth0").SetUp(false)
		x.Write([]byte("hello"))
		err = took(t, "read", 10*time.Second, 20*time.Second, func() error { return second(x.Read(make([]byte, 1))) })
		if !errors.Is(err, syscall.ETIMEDOUT) {
			t.Error(err)
		}
	})
}

func TestLinger(t *testing.T) {
	inBubble(t, 100*time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		go io.Copy(io.Discard, y)
		x.SetLinger(10)
		x.Write(make([]byte, 1000))
		took(t, "close that lingers for a round trip", 200*time.Millisecond, 300*time.Millisecond, x.Close)

		x, y = connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		x.SetLinger(10)
		b.Interface("eth0").SetUp(false)
		x.Write(make([]byte, 1000))
		took(t, "close that lingers in vain", 10*time.Second, 10*time.Second, x.Close)
		b.Interface("eth0").SetUp(true)
		if got, err := io.ReadAll(y); len(got) != 1000 || err != nil { // it is still sent
			t.Error(len(got), err)
		}

		x, y = connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		x.SetLinger(0)
		x.Write(make([]byte, 1000))
		took(t, "close that resets", 0, 0, x.Close)
		if _, err := io.ReadAll(y); !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}

		x, y = connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		x.Write(make([]byte, 1000))
		took(t, "close", 0, 0, x.Close)
		if got, err := io.ReadAll(y); len(got) != 1000 || err != nil {
			t.Error(len(got), err)
		}
	})
}

// TestDialCancelLeavesNothing cancels a Dial whose SYN has no answer.
func TestDialCancelLeavesNothing(t *testing.T) {
	inBubble(t, time.Second, func(t *testing.T, a, b *weir.Stack) {
		l, err := b.Listen("tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond) // while the SYN-ACK is on its way
		defer cancel()
		if err := second(a.DialContext(ctx, "tcp", "192.0.2.2:80")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		l.Close()
		for _, s := range []*weir.Stack{a, b} {
			for c := range s.Conns() {
				t.Errorf("left: %+v", c)
			}
		}
	})
}

// TestRace dials a name with several addresses (RFC 8305), of which most do not answer.
func TestRace(t *testing.T) {
	inBubble(t, 10*time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		records := map[string][]netip.Addr{
			"both.example":    {addrB4, addrB6},
			"dead6.example":   {netip.MustParseAddr("2001:db8::9"), addrB4},
			"refused.example": {netip.MustParseAddr("2001:db8::2"), addrB4},
			"dead.example":    {netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.10"), addrB4},
			"none.example":    {netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")},
		}
		serveDNS(t, b, addrB4, records)
		s := newStack(t, weir.Config{DNS: []netip.AddrPort{netip.AddrPortFrom(addrB4, 0)}})
		_ = a.Interface("eth0").Close()
		dev, far := pipe.New(pipe.Options{})
		join(t, s, weir.InterfaceConfig{Device: emul.Wrap(dev, emul.Config{Delay: 10 * time.Millisecond}), Addrs: prefixes(addrA4, addrA6)})
		_ = b.Interface("eth0").Close()
		join(t, b, weir.InterfaceConfig{Device: emul.Wrap(far, emul.Config{Delay: 10 * time.Millisecond}), Addrs: prefixes(addrB4, addrB6)})
		l, err := b.Listen("tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		four, err := b.Listen("tcp4", ":81")
		if err != nil {
			t.Fatal(err)
		}
		defer four.Close()
		const rtt = 20 * time.Millisecond
		for _, c := range []struct {
			address string
			remote  string
			takes   time.Duration
		}{
			{"both.example:80", "[2001:db8::2]:80", 2 * rtt},
			{"dead6.example:80", "192.0.2.2:80", 2*rtt + 250*time.Millisecond},
			{"refused.example:81", "192.0.2.2:81", 3 * rtt},
			{"dead.example:80", "192.0.2.2:80", 2*rtt + 500*time.Millisecond},
		} {
			var conn net.Conn
			err := took(t, c.address, c.takes, c.takes+rtt/2, func() (err error) {
				conn, err = s.Dial("tcp", c.address)
				return err
			})
			if err != nil {
				t.Errorf("%s: %v", c.address, err)
				continue
			}
			if got := conn.RemoteAddr().String(); got != c.remote {
				t.Errorf("%s: connected to %s, want %s", c.address, got, c.remote)
			}
			conn.Close()
		}
		if err := second(s.Dial("tcp", "none.example:80")); !errors.Is(err, syscall.ENETUNREACH) {
			t.Error(err)
		}
		time.Sleep(time.Second)
		for c := range s.Conns() {
			if !strings.Contains(c.State, "WAIT") {
				t.Errorf("left: %+v", c)
			}
		}
	})
}

func TestShutdown(t *testing.T) {
	inBubble(t, 100*time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		x, y := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		l, err := a.Listen("tcp", ":81")
		if err != nil {
			t.Fatal(err)
		}
		x.Write(make([]byte, 100_000))
		got := make(chan int)
		go func() {
			p, err := io.ReadAll(y)
			if err != nil {
				t.Error(err)
			}
			got <- len(p)
		}()
		err = took(t, "shutdown", 200*time.Millisecond, 3*time.Second, func() error { return a.Shutdown(context.Background()) })
		if n := <-got; n != 100_000 || err != nil {
			t.Errorf("%d bytes arrived, %v", n, err)
		}
		for what, err := range map[string]error{"accept": second(l.Accept()), "read": second(x.Read(buf100)), "dial": second(a.Dial("tcp", "192.0.2.2:80"))} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
	inBubble(t, 0, func(t *testing.T, a, b *weir.Stack) {
		x, _ := connect(t, a, b, netip.AddrPortFrom(addrB4, 80))
		b.Interface("eth0").SetUp(false)
		x.Write([]byte("hello"))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := took(t, "shutdown", time.Minute, time.Minute, func() error { return a.Shutdown(ctx) })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
