package stack

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/sched"
)

// signal is a Notifier that a goroutine can wait on.
type signal chan struct{}

func (s signal) Notify(Ready) {
	select {
	case s <- struct{}{}:
	default:
	}
}

// realPair makes a connection between two stacks that run on the real clock.
func realPair(b *testing.B, o pipe.Options) (client, server *TCP) {
	b.Helper()
	da, db := pipe.New(o)
	host := func(addr netip.Addr) *Stack {
		s := New(Config{Clock: sched.Real(), Rand: rand.Uint64, Spawn: func(f func()) { go f() }})
		b.Cleanup(s.Close)
		return s
	}
	sa, sb := host(addrA), host(addrB)
	if _, err := sa.AddInterface(InterfaceConfig{Device: da, Addrs: []netip.Prefix{netip.PrefixFrom(addrA, 24)}}); err != nil {
		b.Fatal(err)
	}
	if _, err := sb.AddInterface(InterfaceConfig{Device: db, Addrs: []netip.Prefix{netip.PrefixFrom(addrB, 24)}}); err != nil {
		b.Fatal(err)
	}
	accepted := make(signal, 1)
	makeSocket := func() *TCP {
		t := &TCP{}
		t.SetNotifier(make(signal, 1))
		return t
	}
	l, err := sb.ListenTCP(netip.AddrPortFrom(addrB, 80), ListenOptions{Notifier: accepted, Make: makeSocket})
	if err != nil {
		b.Fatal(err)
	}
	client = makeSocket()
	if err := sa.ConnectTCP(client, netip.AddrPortFrom(addrB, 80), Bound{}); err != nil {
		b.Fatal(err)
	}
	<-accepted
	server, err = l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return client, server
}

func wait(t *TCP) { <-t.Notifier().(signal) }

func readAll(t *TCP, buf []byte, n int) {
	for n > 0 {
		k, err := t.Read(buf)
		if n -= k; err == ErrWouldBlock {
			wait(t)
		} else if err != nil {
			return
		}
	}
}

func writeAll(t *TCP, buf []byte, n int) {
	for n > 0 {
		k, err := t.Write(buf[:min(len(buf), n)])
		if n -= k; err == ErrWouldBlock {
			wait(t)
		} else if err != nil {
			return
		}
	}
}

var benchLinks = []struct {
	name string
	o    pipe.Options
}{{"super", pipe.Options{MTU: 65535}}, {"mtu1500", pipe.Options{MTU: 1500, NoOffload: true}}}

func BenchmarkBulk(b *testing.B) {
	for _, l := range benchLinks {
		b.Run(l.name, func(b *testing.B) {
			client, server := realPair(b, l.o)
			const chunk = 1 << 20
			buf := make([]byte, 256<<10)
			b.SetBytes(chunk)
			b.ReportAllocs()
			b.ResetTimer()
			go writeAll(client, buf, chunk*b.N)
			readAll(server, make([]byte, 256<<10), chunk*b.N)
		})
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, l := range benchLinks {
		b.Run(l.name, func(b *testing.B) {
			client, server := realPair(b, l.o)
			go func() {
				buf := make([]byte, 1)
				for range b.N {
					readAll(server, buf, 1)
					writeAll(server, buf, 1)
				}
			}()
			buf := make([]byte, 1)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				writeAll(client, buf, 1)
				readAll(client, buf, 1)
			}
		})
	}
}
