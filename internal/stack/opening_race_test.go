package stack

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/auth"
)

// Connections open and end in every way at once: by handshake, by SYN cookie (the backlogs are small) and by Fast Open, to a group of
// listeners that come and go, to one with keys that change, and to a handler; and are closed, reset or left at once or after an answer, while
// both stacks close. Nothing is left: no memory, no counter, no goroutine.
func TestOpeningsRace(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var cookies, fast, served atomic.Int64
	untried := func() bool { return cookies.Load() == 0 || fast.Load() == 0 || served.Load() == 0 }
	// What the few rounds of a short test come upon is the scheduler's to say: there are more until all was tried.
	for round, n := 0, rounds(30); round < n || untried() && round < 20*n; round++ {
		mode := []tcp.CookieMode{tcp.CookiesPressure, tcp.CookiesAlways, tcp.CookiesNever}[round%3]
		w := newLive(t, Config{Backlog: 4, MaxPending: 4, MaxOrphans: 8, TCP: nil}, raceLinks[round%2])
		w.b.cfg.TCP.SynCookies = mode
		w.b.cfg.TCP.AbortOnOverflow = round%4 == 0
		w.openWays(round, &served)
		w.wg.Wait()
		cookies.Add(int64(w.b.Stats().TCP.SynCookiesReceived))
		fast.Add(int64(w.b.Stats().TCP.FastOpenPassive))
		w.end()
	}
	if untried() {
		t.Errorf("%d cookies, %d Fast Opens, %d answers: not all was tried", cookies.Load(), fast.Load(), served.Load())
	}
}

// openWays runs listeners and dialers until all dialers are through, and then closes both stacks.
func (w *live) openWays(round int, served *atomic.Int64) {
	keys := [2]*auth.Keys{{MD5: []auth.MD5Key{{Key: []byte("one")}}}, {MD5: []auth.MD5Key{{Key: []byte("two")}}}}
	for range 2 {
		w.serve(ListenOptions{ReusePort: true, FastOpen: 3})
	}
	signed := w.serve(ListenOptions{Keys: keys[0]}, 81)
	w.b.SetTCPHandler(func(r *TCPRequest) {
		switch c := w.socket(); r.Src.Port() % 3 {
		case 0:
			_ = r.Accept(c, nil)
			w.wg.Go(func() { w.echoTo(c) })
		case 1:
			_ = r.Accept(c, &tcp.Options{ReceiveBuffer: 30_000})
			r.Cancel()
			_ = c.Abort()
		default:
			_ = r.Reject(nil)
		}
	})
	var dialers sync.WaitGroup
	for n := range 4 {
		dialers.Go(func() {
			for i := range 40 {
				b := Bound{FastOpen: i%2 == 0, Data: []byte("hello")}
				to := uint16(80 + (n+i)%3) // 82 is the handler's
				if to == 81 {
					b.Keys = keys[i%2]
				}
				w.dialAndEnd(to, b, i, served)
			}
		})
	}
	dialers.Go(func() {
		for i := range 20 {
			l := w.serve(ListenOptions{ReusePort: true, FastOpen: 1})
			_ = signed.SetKeys(auth.Replace(keys[i%2]))
			if l != nil {
				_ = l.Close()
			}
		}
	})
	if round%3 != 0 {
		dialers.Wait()
	}
	w.closeAtOnce()
	dialers.Wait()
}

// dialAndEnd opens a connection and ends it in the i-th way.
func (w *live) dialAndEnd(to uint16, b Bound, i int, served *atomic.Int64) {
	c := w.socket()
	if w.a.ConnectTCP(c, netip.AddrPortFrom(addrB, to), b) != nil {
		return
	}
	switch i % 5 {
	case 0:
		_ = c.Abort()
	case 1:
		_ = c.Close()
	case 2:
		_ = c.SetKeys(auth.Replace(nil))
		_ = c.CloseWrite()
	default:
		w.wg.Go(func() { // as long as it takes, or until the stacks close
			defer c.Close()
			for buf := make([]byte, 100); ; {
				n, err := c.Read(buf)
				switch {
				case n > 0:
					served.Add(1)
					return
				case err != ErrWouldBlock:
					return
				}
				<-c.notifier.(bells).read
			}
		})
	}
}

// serve opens a listener that echoes, on port 80 or the one given; nil if the stack is closed.
func (w *live) serve(o ListenOptions, port ...uint16) *Listener {
	n := make(signal, 1)
	o.Notifier, o.Make = n, w.socket
	at := netip.AddrPortFrom(addrB, append(port, 80)[0])
	l, err := w.b.ListenTCP(at, o)
	if err != nil {
		return nil
	}
	w.wg.Go(func() {
		for {
			switch c, err := l.Accept(); err {
			case nil:
				w.wg.Go(func() { w.echoTo(c) })
			case ErrWouldBlock:
				<-n
			default:
				return
			}
		}
	})
	return l
}

// A SYN for which there is no room while its listener is closed does not leave the listener behind in the table by which records know it.
func TestCloseWhileFull(t *testing.T) {
	h := newHost(t, Config{})
	h.openings.Add(maxOpenings) // of others
	defer h.openings.Add(-maxOpenings)
	for range 5_000 {
		l, err := h.ListenTCP(port("127.0.0.1:80"), ListenOptions{Transparent: true})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		begun := make(chan struct{})
		wg.Go(func() {
			for l.reserve(); !l.closed.Load(); l.reserve() {
				select {
				case <-begun:
				default:
					close(begun)
				}
			}
		})
		<-begun
		l.Close()
		wg.Wait()
		h.listeners.mu.Lock()
		n := len(h.listeners.m)
		h.listeners.mu.Unlock()
		if n != 0 {
			t.Fatalf("%d listeners are left", n)
		}
	}
}
