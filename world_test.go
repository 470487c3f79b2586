package weir_test

import (
	"flag"
	"net/netip"
	"testing"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link/pipe"
)

// The addresses of two hosts joined by a pipe.
var (
	addrA4, addrB4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	addrA6, addrB6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

// newStack returns a stack that is closed at the end of the test, and whose memory must all have come back then.
func newStack(t testing.TB, c weir.Config) *weir.Stack {
	t.Helper()
	pool := buffer.NewPool(buffer.Options{})
	if c.Buffers == nil {
		c.Buffers = pool
	}
	s, err := weir.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if used := s.Stats().MemoryUsed; used != 0 {
			t.Errorf("%d bytes are charged to sockets after Close", used)
		}
	})
	return s
}

// newPair returns two hosts joined by a pipe.
func newPair(t testing.TB, c weir.Config, o pipe.Options) (a, b *weir.Stack) {
	t.Helper()
	a, b = newStack(t, c), newStack(t, c)
	da, db := pipe.New(o)
	join(t, a, weir.InterfaceConfig{Device: da, Addrs: prefixes(addrA4, addrA6)})
	join(t, b, weir.InterfaceConfig{Device: db, Addrs: prefixes(addrB4, addrB6)})
	return a, b
}

func join(t testing.TB, s *weir.Stack, c weir.InterfaceConfig) *weir.Interface {
	t.Helper()
	i, err := s.AddInterface(c)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func prefixes(addrs ...netip.Addr) (p []netip.Prefix) {
	for _, a := range addrs {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		p = append(p, netip.PrefixFrom(a, bits))
	}
	return p
}

// long asks for the whole of the tests that repeat something many times.
var long = flag.Bool("long", false, "run tests with many repetitions in full")
