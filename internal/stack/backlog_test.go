package stack

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// waits is how many connections are in a listener's accept queue.
func (l *Listener) waits() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) - l.head
}

// However many handshakes come to their end at once, the accept queue holds no more connections than its backlog, and each that was turned
// away finds its place when there is one.
func TestBacklogIsExact(t *testing.T) {
	for _, mode := range []tcp.CookieMode{tcp.CookiesAlways, tcp.CookiesNever} {
		for backlog := 1; backlog <= 4; backlog++ {
			t.Run(fmt.Sprintf("cookies %d, backlog %d", mode, backlog), func(t *testing.T) {
				h := newHost(t, Config{TCP: &tcp.Config{SynCookies: mode}})
				_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
				l, err := h.ListenTCP(port("192.0.2.1:80"), ListenOptions{Backlog: backlog, Make: func() *TCP {
					for range 20 { // between being let in and being queued: others have their turn
						runtime.Gosched()
					}
					return newSocket(&app{})
				}})
				if err != nil {
					t.Fatal(err)
				}
				peers := backlog // in SYN-RECEIVED at most
				if mode == tcp.CookiesAlways {
					peers = 16
				}
				for round := range 20 {
					finishAtOnce(h, d, l, round*peers, peers)
					if n := l.waits(); n > backlog {
						t.Fatalf("round %d: %d connections wait", round, n)
					}
					if round%2 == 1 {
						takeWaiting(t, l)
					} else if backlog > 1 { // the next find part of the room
						if c, err := l.Accept(); err == nil {
							_ = c.Abort()
						}
					}
				}
				takeWaiting(t, l)
				p := h.dialQuiet(d, "192.0.2.99:99")
				p.send(wire.ACK, "")
				if l.waits() != 1 || l.due != 0 {
					t.Errorf("with an empty queue: %d connections wait, %d places are given away", l.waits(), l.due)
				}
			})
		}
	}
}

// dialQuiet is dial up to the SYN-ACK.
func (h *host) dialQuiet(d *tap, src string) *peer {
	h.t.Helper()
	d.take()
	p := &peer{t: h.t, d: d, src: port(src), dst: port("192.0.2.1:80"), seq: 1000}
	p.send(wire.SYN, "")
	p.seq++
	if f := p.receive().Flags(); f != wire.SYN|wire.ACK {
		h.t.Fatalf("%v in answer to a SYN", f)
	}
	return p
}

// finishAtOnce has n peers' handshakes come to their end from as many goroutines.
func finishAtOnce(h *host, d *tap, l *Listener, from, n int) {
	var all []*peer
	for i := range n {
		if l.full() || l.opening.Load() >= int64(l.backlog) {
			break
		}
		all = append(all, h.dialQuiet(d, fmt.Sprintf("192.0.2.9:%d", 1000+from+i)))
	}
	var wg sync.WaitGroup
	for _, p := range all {
		wg.Go(func() { p.send(wire.ACK, "") })
	}
	wg.Wait()
}

// takeWaiting resets all that wait.
func takeWaiting(t *testing.T, l *Listener) {
	for {
		c, err := l.Accept()
		if err == ErrWouldBlock {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Abort()
	}
}
