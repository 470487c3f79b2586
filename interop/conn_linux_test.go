package interop

import (
	"context"
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

// One side ends its direction and then still reads a long answer.
func TestHalfClose(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		w := newWorld(t, options{})
		n := size(4 << 20)
		for _, f := range w.families {
			for _, d := range dials {
				for _, first := range []string{"kernel", "weir"} {
					p := d.open(w, f)
					asks, answers := halfCloser(p.kernel), halfCloser(p.weir)
					if first == "weir" {
						asks, answers = answers, asks
					}
					w.together(func() error {
						return errors.Join(send(asks, 100), receive(asks, n))
					}, func() error {
						return errors.Join(receive(answers, 100), send(answers, n))
					})
				}
			}
		}
	})
}

// What a side sees when the other one resets the connection.
func TestReset(t *testing.T) {
	tests := []struct {
		name  string
		reset func(halfCloser) error
	}{
		{"linger 0", func(c halfCloser) error { return errors.Join(c.SetLinger(0), c.Close()) }},
		{"close with data unread", halfCloser.Close},
	}
	inNamespace(t, func(t *testing.T) {
		w := newWorld(t, options{})
		for _, f := range w.families {
			for _, d := range dials {
				for _, test := range tests {
					for _, by := range []string{"kernel", "weir"} {
						p := d.open(w, f)
						resets, sees := halfCloser(p.kernel), halfCloser(p.weir)
						if by == "weir" {
							resets, sees = sees, resets
						}
						if err := sawReset(resets, sees, test.reset); err != nil {
							t.Errorf("%s, %s, %s by %s: %v", f.name, d.name, test.name, by, err)
						}
					}
				}
			}
		}
	})
}

// sawReset has one side reset, and checks what the other sees.
func sawReset(resets, sees halfCloser, reset func(halfCloser) error) error {
	if _, err := sees.Write([]byte("two")); err != nil {
		return err
	}
	if _, err := io.ReadFull(resets, make([]byte, 1)); err != nil { // one byte has come and stays unread
		return err
	}
	read := make(chan error, 1)
	go func() {
		_, err := sees.Read(make([]byte, 1))
		read <- err
	}()
	if err := reset(resets); err != nil {
		return err
	}
	if err := <-read; !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("Read: %v, want ECONNRESET", err)
	}
	if _, err := sees.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("Write afterwards: %v, want EPIPE", err)
	}
	return nil
}

// Dials that fail, from both sides.
func TestRefused(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		sysctl(t, "net/ipv4/ip_forward", "1") // else nothing is said about other destinations
		sysctl(t, "net/ipv6/conf/all/forwarding", "1")
		w := newWorld(t, options{iface: weir.InterfaceConfig{Gateway4: v4.kernel, Gateway6: v6.kernel, AnyDestination: true}})
		nstest.Route(t, "198.19.0.0/24", "", device)
		nstest.Route(t, "2001:db8:1::/64", "", device)
		nstest.Command(t, patience, "ip", "route", "add", "unreachable", "192.0.2.0/24")
		nstest.Command(t, patience, "ip", "-6", "route", "add", "unreachable", "2001:db8:2::/64")
		nstest.Command(t, patience, "ip", "route", "add", "prohibit", "198.19.1.0/24")
		nstest.Command(t, patience, "ip", "-6", "route", "add", "prohibit", "2001:db8:3::/64")
		verdicts := map[netip.Addr]error{ // of weir about what the kernel asks for
			netip.MustParseAddr("198.19.0.1"):    syscall.ECONNREFUSED,
			netip.MustParseAddr("2001:db8:1::1"): syscall.ECONNREFUSED,
			netip.MustParseAddr("198.19.0.2"):    syscall.EHOSTUNREACH,
			netip.MustParseAddr("2001:db8:1::2"): syscall.EHOSTUNREACH,
			netip.MustParseAddr("198.19.0.3"):    syscall.ENETUNREACH,
			netip.MustParseAddr("2001:db8:1::3"): syscall.ENETUNREACH,
			netip.MustParseAddr("198.19.0.4"):    syscall.EACCES,
			netip.MustParseAddr("2001:db8:1::4"): syscall.EACCES,
		}
		w.stack.HandleTCP(func(r *weir.TCPRequest) { r.Reject(verdicts[r.Dst.Addr()]) })
		for dst, want := range verdicts {
			c, err := kernelDial(w.ctx, netip.AddrPortFrom(dst, 9))
			if !errors.Is(err, kernelSees(dst, want)) {
				t.Errorf("the kernel dials %v: %v, want %v", dst, err, kernelSees(dst, want))
			}
			if err == nil {
				c.Close()
			}
		}
		for _, test := range []struct {
			dst  string
			want error
		}{
			{v4.kernel.String(), syscall.ECONNREFUSED},
			{v6.kernel.String(), syscall.ECONNREFUSED},
			{"192.0.2.1", syscall.EHOSTUNREACH},
			{"2001:db8:2::1", syscall.ENETUNREACH}, // "no route", says Linux of such a route over IPv6
			{"2001:db8:9::1", syscall.ENETUNREACH},
			{"198.19.1.1", syscall.EHOSTUNREACH}, // RFC 1812's "administratively prohibited" is that to Linux's TCP, too
			{"2001:db8:3::1", syscall.EACCES},
		} {
			c, err := w.stack.DialTCP(w.ctx, netip.AddrPort{}, netip.AddrPortFrom(netip.MustParseAddr(test.dst), 9))
			if !errors.Is(err, test.want) {
				t.Errorf("weir dials %s: %v, want %v", test.dst, err, test.want)
			}
			if err == nil {
				c.Close()
			}
		}
	})
}

// kernelSees is the error that Linux makes of the ICMP error that weir makes of a verdict.
func kernelSees(dst netip.Addr, verdict error) error {
	if dst.Is4() && verdict == syscall.EACCES { // "communication administratively prohibited"
		return syscall.EHOSTUNREACH
	}
	return verdict
}

// Dials that nobody answers: until the dialer loses patience, and until TCP does.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		sysctl(t, "net/ipv4/tcp_syn_retries", "1")
		g := &gate{}
		w := newWorld(t, options{wrap: g.wrap})
		g.shut.Store(true)
		var all []func() error
		for _, f := range w.families {
			for name, dial := range map[string]func(context.Context) error{
				"kernel": func(ctx context.Context) error {
					_, err := kernelDial(ctx, netip.AddrPortFrom(f.weir, 9))
					return err
				},
				"weir": func(ctx context.Context) error {
					_, err := w.stack.DialTCP(ctx, netip.AddrPort{}, netip.AddrPortFrom(f.kernel, 9))
					return err
				},
			} {
				all = append(all, func() error {
					ctx, cancel := context.WithTimeout(w.ctx, 100*time.Millisecond)
					defer cancel()
					err := dial(ctx)
					if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) || !isTimeout(err) { // net has both
						return fmt.Errorf("%s by %s: %v, want i/o timeout", f.name, name, err)
					}
					return nil
				}, func() error {
					ctx, cancel := context.WithCancel(w.ctx)
					defer time.AfterFunc(50*time.Millisecond, cancel).Stop()
					if err := dial(ctx); !errors.Is(err, context.Canceled) {
						return fmt.Errorf("%s by %s: %v, want operation was canceled", f.name, name, err)
					}
					return nil
				})
			}
			all = append(all, func() error {
				_, err := kernelDial(w.ctx, netip.AddrPortFrom(f.weir, 9))
				if !errors.Is(err, syscall.ETIMEDOUT) {
					return fmt.Errorf("%s by kernel: %v, want ETIMEDOUT", f.name, err)
				}
				return nil
			}, func() error {
				d := weir.Dialer{Stack: w.stack, Control: func(o *weir.SockOpts) error {
					o.UserTimeout = time.Second
					return nil
				}}
				_, err := d.DialContext(w.ctx, "tcp", netip.AddrPortFrom(f.kernel, 9).String())
				if !errors.Is(err, syscall.ETIMEDOUT) || !isTimeout(err) {
					return fmt.Errorf("%s by weir: %v, want ETIMEDOUT", f.name, err)
				}
				return nil
			})
		}
		w.together(all...)
	})
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// Keep-alive probes keep a connection for which nobody writes, and end one whose other side has gone.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	const (
		probes    = 2
		keepAlive = 600 * time.Millisecond // Linux answers probes no more often than twice a second (tcp_invalid_ratelimit)
	)
	inNamespace(t, func(t *testing.T) {
		g := &gate{}
		w := newWorld(t, options{wrap: g.wrap})
		var prober, probed []halfCloser
		for i, f := range w.families {
			p := dials[i].open(w, f)
			p.weir.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: probes})
			p.kernel.SetKeepAlive(false)
			prober, probed = append(prober, p.weir), append(probed, p.kernel)
			p = dials[i].open(w, f)
			p.kernel.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: probes})
			p.weir.SetKeepAlive(false)
			prober, probed = append(prober, p.kernel), append(probed, p.weir)
		}
		var before []int
		var all []func() error
		for _, c := range prober { // for the time of several probes nothing ends
			before = append(before, g.sent(c.LocalAddr()))
			all = append(all, func() error {
				c.SetReadDeadline(time.Now().Add(3500 * time.Millisecond))
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					return fmt.Errorf("%T with a far end that answers: %v, want i/o timeout", c, err)
				}
				return nil
			})
		}
		w.together(all...)
		for i, c := range prober {
			if got := g.sent(c.LocalAddr()) - before[i]; got < probes { // nothing but probes: neither side writes
				t.Errorf("%T has sent %d probes in 3.5 s, want at least %d", c, got, probes)
			}
			w.together(func() error {
				_, err := probed[i].Write([]byte("still there"))
				return err
			}, func() error {
				c.SetReadDeadline(w.deadline())
				_, err := io.ReadFull(c, make([]byte, 11))
				return err
			})
		}
		g.shut.Store(true)
		all = nil
		for _, c := range prober {
			all = append(all, func() error {
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
					return fmt.Errorf("%T with a far end that is gone: %v, want ETIMEDOUT", c, err)
				}
				return nil
			})
		}
		w.together(all...)
	})
}
