package weir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

// A parityHost is who makes sockets: the kernel by package net, or a stack.
type parityHost interface {
	Dial(ctx context.Context, network, local, address string) (net.Conn, error)
	Listen(network, address string) (net.Listener, error)
	ListenPacket(network, address string) (net.PacketConn, error)
}

type kernelHost struct{}

func (kernelHost) Dial(ctx context.Context, network, local, address string) (net.Conn, error) {
	d := net.Dialer{}
	if local != "" {
		a := netip.MustParseAddrPort(local)
		d.LocalAddr = net.TCPAddrFromAddrPort(a)
		if strings.HasPrefix(network, "udp") {
			d.LocalAddr = net.UDPAddrFromAddrPort(a)
		}
	}
	return d.DialContext(ctx, network, address)
}
func (kernelHost) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}
func (kernelHost) ListenPacket(network, address string) (net.PacketConn, error) {
	return net.ListenPacket(network, address)
}

type weirHost struct{ *weir.Stack }

func (h weirHost) Dial(ctx context.Context, network, local, address string) (net.Conn, error) {
	d := weir.Dialer{Stack: h.Stack}
	if local != "" {
		d.Local = netip.MustParseAddrPort(local)
	}
	return d.DialContext(ctx, network, address)
}

// A parityWorld is a client and a server, which may be one host.
type parityWorld struct {
	t              *testing.T
	client, server parityHost
	ip4, ip6       string // the server's
	far            string // an address to which there is a way, and that answers nothing; empty: there is none
	log            []string
}

// parityWorlds are the ones to compare; the first is the reference.
var parityWorlds = []struct {
	name string
	make func(t *testing.T) *parityWorld
}{
	{"kernel", func(t *testing.T) *parityWorld {
		return &parityWorld{t: t, client: kernelHost{}, server: kernelHost{}, ip4: "127.0.0.1", ip6: "::1", far: "198.19.0.1"}
	}},
	{"loopback", func(t *testing.T) *parityWorld {
		s := weirHost{newStack(t, weir.Config{})}
		return &parityWorld{t: t, client: s, server: s, ip4: "127.0.0.1", ip6: "::1"}
	}},
	{"pipe", func(t *testing.T) *parityWorld {
		a, b := newPair(t, weir.Config{}, pipe.Options{})
		return &parityWorld{t: t, client: weirHost{a}, server: weirHost{b}, ip4: "192.0.2.2", ip6: "2001:db8::2", far: "192.0.2.9"}
	}},
	{"pipe without offloads", func(t *testing.T) *parityWorld {
		a, b := newPair(t, weir.Config{}, pipe.Options{NoOffload: true})
		return &parityWorld{t: t, client: weirHost{a}, server: weirHost{b}, ip4: "192.0.2.2", ip6: "2001:db8::2", far: "192.0.2.9"}
	}},
}

// sentinels are what programs compare errors with.
var sentinels = []error{
	io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded, context.Canceled, net.ErrWriteToConnected, os.ErrPermission,
	syscall.EACCES, syscall.EADDRINUSE, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EAGAIN, syscall.ECONNABORTED,
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EDESTADDRREQ, syscall.EHOSTUNREACH, syscall.EINVAL, syscall.EMSGSIZE,
	syscall.ENETDOWN, syscall.ENETUNREACH, syscall.ENOTCONN, syscall.EPIPE, syscall.EPROTONOSUPPORT, syscall.ETIMEDOUT,
}

// describe is all that a program can tell about an error.
func describe(err error) string {
	if err == nil {
		return "ok"
	}
	var s []string
	for _, e := range sentinels {
		if errors.Is(err, e) || e == os.ErrDeadlineExceeded && errors.Is(err, context.DeadlineExceeded) {
			s = append(s, e.Error())
		}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		s = append(s, fmt.Sprintf("OpError{%s %s %s %s}", op.Op, op.Net, networkOf(op.Source), networkOf(op.Addr)))
	}
	var addr *net.AddrError
	if errors.As(err, &addr) {
		s = append(s, fmt.Sprintf("AddrError{%s, %s}", addr.Err, addr.Addr))
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		s = append(s, fmt.Sprintf("DNSError{%s, not found %v}", dns.Name, dns.IsNotFound))
	}
	var unknown net.UnknownNetworkError
	if errors.As(err, &unknown) {
		s = append(s, fmt.Sprintf("UnknownNetworkError{%s}", unknown))
	}
	var ne interface {
		Timeout() bool
		Temporary() bool // deprecated, but programs still look at it
	}
	if errors.As(err, &ne) {
		s = append(s, fmt.Sprintf("timeout %v temporary %v", ne.Timeout(), ne.Temporary()))
	}
	if len(s) == 0 {
		s = append(s, err.Error())
	}
	return strings.Join(s, ", ")
}

func networkOf(a net.Addr) string {
	if a == nil {
		return "nil"
	}
	return a.Network()
}

func (w *parityWorld) note(what string, err error) { w.log = append(w.log, what+": "+describe(err)) }

func (w *parityWorld) noteN(what string, n int, err error) {
	w.log = append(w.log, fmt.Sprintf("%s: %d, %s", what, n, describe(err)))
}

func (w *parityWorld) notef(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

func (w *parityWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestParity runs the table of situations on the kernel's loopback and on weir, and demands that a program cannot tell them apart.
func TestParity(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		for _, c := range slices.Concat(parityCases, parityOptionCases()) {
			t.Run(c.name, func(t *testing.T) {
				var want []string
				for i, make := range parityWorlds {
					t.Run(make.name, func(t *testing.T) {
						w := make.make(t)
						if c.far && w.far == "" {
							t.Skip("every address is ours")
						}
						c.run(w)
						if i == 0 {
							want = w.log
							t.Log("\n" + strings.Join(want, "\n"))
							return
						}
						for k := range max(len(want), len(w.log)) {
							if k >= len(want) || k >= len(w.log) || want[k] != w.log[k] {
								t.Fatalf("line %d: got\n  %s\nthe kernel has\n  %s", k+1, strings.Join(w.log[k:], "\n  "), strings.Join(want[k:], "\n  "))
							}
						}
					})
				}
			})
		}
	})
}
