package stack

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// These tests run on the real clock with goroutines that meet as they like, and look for what is left behind, above all under the race
// detector. None of them waits for time to pass.

// live is two stacks joined by a pipe, and the goroutines that use them.
type live struct {
	t    *testing.T
	a, b *Stack
	ia   *Interface
	wg   sync.WaitGroup

	mu    sync.Mutex
	socks []interface{ Close() error }
}

func newLive(t *testing.T, c Config, o pipe.Options) *live {
	t.Helper()
	w := &live{t: t}
	da, db := pipe.New(o)
	w.a, w.ia = w.host(c, da, addrA)
	w.b, _ = w.host(c, db, addrB)
	return w
}

func (w *live) host(c Config, d link.Device, a netip.Addr) (*Stack, *Interface) {
	w.t.Helper()
	c.Clock, c.Rand, c.Spawn = sched.Real(), rand.Uint64, func(f func()) { go f() }
	c.Packets = packet.NewPool(buffer.NewPool(buffer.Options{Check: true}))
	s := New(c)
	i, err := s.AddInterface(InterfaceConfig{Device: d, Addrs: []netip.Prefix{netip.PrefixFrom(a, 24)}})
	if err != nil {
		w.t.Fatal(err)
	}
	return s, i
}

// end waits for the goroutines, all of whose sockets have ended, and looks for leaks.
func (w *live) end() {
	w.t.Helper()
	w.wg.Wait()
	for _, s := range w.socks { // those that were reset before the stack closed keep what is unread
		_ = s.Close()
	}
	checkClosed(w.t, w.a)
	checkClosed(w.t, w.b)
}

// closeAtOnce closes both stacks from several goroutines.
func (w *live) closeAtOnce() {
	var wg sync.WaitGroup
	for _, s := range []*Stack{w.a, w.b, w.b, w.a} {
		wg.Go(s.Close)
	}
	wg.Wait()
}

// keep closes a socket at the end.
func (w *live) keep(s interface{ Close() error }) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.socks = append(w.socks, s)
}

// bells is a Notifier that a reader and a writer can wait on.
type bells struct{ read, write signal }

func (b bells) Notify(r Ready) {
	if r&(ReadReady|ConnReady) != 0 {
		b.read.Notify(r)
	}
	if r&(WriteReady|ConnReady) != 0 {
		b.write.Notify(r)
	}
}

func newBells() bells { return bells{make(signal, 1), make(signal, 1)} }

// socket is one that goroutines can wait on.
func (w *live) socket() *TCP {
	t := &TCP{}
	t.SetNotifier(newBells())
	w.keep(t)
	return t
}

// echo serves every connection of a listener until it ends.
func (w *live) echo() {
	n := make(signal, 1)
	l, err := w.b.ListenTCP(netip.AddrPortFrom(addrB, 80), ListenOptions{Notifier: n, Make: w.socket})
	if err != nil {
		w.t.Error(err)
		return
	}
	w.wg.Go(func() {
		for {
			c, err := l.Accept()
			switch err {
			case nil:
				w.wg.Go(func() { w.echoTo(c) })
			case ErrWouldBlock:
				<-n
			default:
				return
			}
		}
	})
}

// echoTo sends back what comes until the connection ends, in whatever way.
func (w *live) echoTo(c *TCP) {
	defer c.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Read(buf)
		if err == ErrWouldBlock {
			<-c.notifier.(bells).read
			continue
		}
		if err != nil || !writeOrEnd(c, buf[:n]) {
			return
		}
	}
}

// writeOrEnd writes all of b; false if the connection ended before.
func writeOrEnd(c *TCP, b []byte) bool {
	for len(b) > 0 {
		n, err := c.Write(b)
		if b = b[n:]; err == ErrWouldBlock {
			<-c.notifier.(bells).write
		} else if err != nil {
			return false
		}
	}
	return true
}

// connect opens a connection; nil if that fails.
func (w *live) connect() *TCP {
	c := w.socket()
	if w.a.ConnectTCP(c, netip.AddrPortFrom(addrB, 80), Bound{}) != nil {
		return nil
	}
	for c.Connected() == ErrWouldBlock {
		<-c.notifier.(bells).write
	}
	if c.Connected() != nil {
		return nil
	}
	return c
}

// talk sends and reads what comes back until the connection ends; started is called after the first round.
func (w *live) talk(c *TCP, size int, started func()) {
	defer c.Close()
	out, in := make([]byte, size), make([]byte, size)
	for round := 0; writeOrEnd(c, out); round++ {
		for left := size; left > 0; {
			n, err := c.Read(in)
			if left -= n; err == ErrWouldBlock {
				<-c.notifier.(bells).read
			} else if err != nil {
				return
			}
		}
		if round == 0 {
			started()
		}
	}
}

// rounds is fewer where a round takes long.
func rounds(n int) int {
	switch {
	case testing.Short():
		return max(n/10, 1)
	case raceEnabled:
		return max(n/2, 1)
	}
	return n
}

var raceLinks = []pipe.Options{{MTU: 65535}, {NoOffload: true}}

// Two stacks joined by a pipe close at once, under traffic of all kinds.
func TestBothStacksCloseUnderTraffic(t *testing.T) {
	for round := range rounds(150) {
		w := newLive(t, Config{}, raceLinks[round%2])
		w.echo()
		w.talkUDP()
		const conns = 4
		var going sync.WaitGroup
		going.Add(conns)
		for n := range conns {
			w.wg.Go(func() {
				started := sync.OnceFunc(going.Done)
				defer started()
				if c := w.connect(); c != nil {
					w.talk(c, 1<<(4*n), started) // the last does not get through a round before others do
				}
			})
		}
		if round%3 == 0 {
			going.Wait()
		}
		w.closeAtOnce()
		w.end()
	}
}

// talkUDP sends datagrams both ways as fast as they are taken, until the sockets end.
func (w *live) talkUDP() {
	open := func(s *Stack, addr netip.Addr) *UDP {
		u := &UDP{}
		u.SetNotifier(make(signal, 1))
		if err := s.ListenUDP(u, netip.AddrPortFrom(addr, 53), ListenOptions{}); err != nil {
			w.t.Error(err)
		}
		w.keep(u)
		return u
	}
	for _, ends := range [][2]*UDP{{open(w.a, addrA), open(w.b, addrB)}} {
		for k, u := range ends {
			to := ends[1-k].LocalAddr()
			w.wg.Go(func() {
				ds := room(3, 1000)
				for n := 0; ; n++ {
					err := u.WriteTo(make([]byte, n%3000), to)
					if n%2 == 0 {
						for i := range ds {
							ds[i].Addr, ds[i].Segment = to, 0
						}
						_, err = u.WriteBatch(ds)
						u.SetGRO(n%4 == 0)
						_, _ = u.ReadBatch(ds[:n%3])
					}
					if err == ErrWouldBlock {
						<-u.Notifier().(signal)
					} else if err != nil && err != syscall.ECONNREFUSED && err != syscall.EMSGSIZE {
						return
					}
					_, _, _, _ = u.ReadFrom(nil)
				}
			})
		}
	}
}

// Requests are decided while peers give up, others decide the same, sockets close and stacks end.
func TestDecisionsRace(t *testing.T) {
	for round := range rounds(150) {
		w := newLive(t, Config{MaxPending: 8}, raceLinks[round%2])
		decide := func(r *TCPRequest, n uint32) {
			r.SetNotifier(make(signal, 1))
			switch c := w.socket(); n % 6 {
			case 0:
				_ = r.Reject(syscall.ETIMEDOUT)
			case 1:
				_ = r.Reject(syscall.EHOSTUNREACH)
			case 2:
				if r.Accept(c, nil) == nil {
					r.Cancel()
				}
			case 3:
				if r.Accept(c, nil) == nil {
					_ = c.Abort()
				}
			default:
				if r.Accept(c, nil) == nil {
					w.wg.Go(func() { w.echoTo(c) })
				}
			}
		}
		var n atomic.Uint32
		w.b.SetTCPHandler(func(r *TCPRequest) {
			k := n.Add(1)
			w.wg.Go(func() { decide(r, k) })
			if k%2 == 0 {
				w.wg.Go(func() { decide(r, k+1) })
			}
		})
		w.b.SetUDPHandler(func(r *UDPRequest) {
			for _, accept := range []bool{true, false} {
				w.wg.Go(func() {
					u := &UDP{}
					u.SetNotifier(make(signal, 1))
					switch {
					case !accept:
						_ = r.Reject(nil)
					case r.Accept(u) == nil:
						w.keep(u)
						_, _, _, _ = u.ReadFrom(nil)
						_ = u.Write(nil)
						_ = u.Close()
					}
				})
			}
		})
		var going sync.WaitGroup
		for n := range 6 {
			going.Add(1)
			w.wg.Go(func() {
				defer going.Done()
				for range 3 {
					u := &UDP{}
					if w.a.ConnectUDP(u, netip.AddrPortFrom(addrB, 7), Bound{}) == nil {
						_ = u.Write([]byte("x"))
						_ = u.Write([]byte("y"))
						_ = u.Close()
					}
					c := w.socket()
					if w.a.ConnectTCP(c, netip.AddrPortFrom(addrB, 7), Bound{}) != nil {
						return
					}
					if _, err := c.Write([]byte("x")); err == nil && n%2 == 0 {
						_, _ = c.Read(make([]byte, 1))
					}
					_ = c.Abort()
				}
			})
		}
		if round%2 == 0 {
			going.Wait()
		}
		w.closeAtOnce()
		w.end()
	}
}

// Everything that can change about a socket and its stack changes while it is in use.
func TestChangesUnderTraffic(t *testing.T) {
	for round := range rounds(40) {
		w := newLive(t, Config{Memory: leastMemory}, raceLinks[round%2])
		w.echo()
		var going sync.WaitGroup
		const conns = 3
		going.Add(conns)
		for range conns {
			w.wg.Go(func() {
				started := sync.OnceFunc(going.Done)
				defer started()
				if c := w.connect(); c != nil {
					w.talk(c, 50_000, started)
				}
			})
		}
		going.Wait()
		change := func(fn func(n int)) {
			w.wg.Go(func() {
				for n := range 50 {
					fn(n)
				}
			})
		}
		change(func(n int) {
			_ = w.a.SetRoutes([]ip.Route{{Prefix: netip.MustParsePrefix("198.18.0.0/15"), Iface: w.ia.Index(), Metric: n}})
		})
		change(func(n int) { _ = w.ia.SetAddrs([]netip.Prefix{netip.PrefixFrom(addrA, 24-n%2)}) })
		change(func(n int) { _ = w.ia.SetUp(n%4 != 0) })
		change(func(n int) {
			d, _ := pipe.New(pipe.Options{})
			if i, err := w.a.AddInterface(InterfaceConfig{Device: d}); err == nil {
				_ = i.Close()
			}
		})
		change(func(int) {
			for c := range w.b.Conns() {
				_ = c.State
			}
			_, _ = w.a.Stats(), w.ia.Info()
		})
		change(func(n int) {
			if l, err := w.b.ListenTCP(netip.AddrPortFrom(addrB, 81), ListenOptions{Make: w.socket}); err == nil {
				c := w.socket()
				_ = w.a.ConnectTCP(c, netip.AddrPortFrom(addrB, 81), Bound{})
				if n%2 == 0 {
					_, _ = l.Accept()
				}
				_ = l.Close()
				_ = c.Abort()
			}
		})
		if round%2 == 0 {
			w.wg.Go(func() { _ = w.ia.Close() })
		}
		w.closeAtOnce()
		w.end()
	}
}

// A socket is closed by many at once, once.
func TestOneCloseOfManyWins(t *testing.T) {
	for round := range rounds(200) {
		w := newLive(t, Config{}, raceLinks[round%2])
		w.echo()
		c := w.connect()
		u, p := &UDP{}, &Ping{}
		if err := w.a.ConnectUDP(u, netip.AddrPortFrom(addrB, 53), Bound{}); err != nil {
			t.Fatal(err)
		}
		if err := w.a.OpenPing(p, 1, netip.Addr{}, addrB, 0); err != nil {
			t.Fatal(err)
		}
		l, err := w.a.ListenTCP(netip.AddrPortFrom(addrA, 80), ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var won atomic.Int32
		var closers sync.WaitGroup
		for n := range 12 {
			closers.Go(func() {
				all := []func() error{c.Close, u.Close, p.Close, l.Close}
				if n%8 == 0 {
					all[0] = c.Abort
				}
				if all[n%4]() == nil {
					won.Add(1)
				}
			})
		}
		_, _ = c.Write([]byte("x"))
		_ = u.Write([]byte("x"))
		if round%2 == 0 {
			w.a.Close()
		}
		closers.Wait()
		w.closeAtOnce()
		w.end()
		if n := won.Load(); n > 4 || round%2 == 1 && n != 4 {
			t.Errorf("%d of 12 Close won, want one for each of 4 sockets", n)
		}
	}
}

// Under load from many goroutines nothing gets lost: whoever waits is woken.
func TestManyWritersOneLink(t *testing.T) {
	for _, o := range raceLinks {
		w := newLive(t, Config{Memory: 1 << 20}, o)
		w.echo()
		var done sync.WaitGroup
		for range 8 {
			done.Add(1)
			w.wg.Go(func() {
				defer done.Done()
				c := w.connect()
				if c == nil {
					t.Error("not connected")
					return
				}
				defer c.Close()
				const total = 400_000
				w.wg.Go(func() { writeOrEnd(c, make([]byte, total)) })
				in := make([]byte, 64<<10)
				for left := total; left > 0; {
					n, err := c.Read(in)
					if left -= n; err == ErrWouldBlock {
						<-c.notifier.(bells).read
					} else if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		done.Wait()
		w.closeAtOnce()
		w.end()
	}
}
