package tcp_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/tcptest"
)

// pick chooses by bits of a seed, so that a few hundred seeds are a few hundred different worlds.
type pick uint64

func (p *pick) of(n int) int {
	*p += 0x9e3779b97f4a7c15
	x := uint64(*p)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int(x>>33) % n
}

func choose[T any](p *pick, of ...T) T { return of[p.of(len(of))] }

// world is what a seed stands for: a bad link, two configurations, and traffic both ways.
func world(seed uint64, loss float64) tcptest.Options {
	p := pick(seed << 20)
	link := func() tcptest.Link {
		return tcptest.Link{
			Delay: choose(&p, 0, time.Millisecond, 20*time.Millisecond, 150*time.Millisecond), Jitter: choose(&p, 0, 0, 3*time.Millisecond),
			Loss: loss, Duplicate: choose(&p, 0, .01, .1), Reorder: choose(&p, 0, .02, .3),
			Rate: choose(&p, int64(0), 0, 1e6, 100e6), Queue: choose(&p, 0, 20000, 200000), GSO: choose(&p, false, false, true),
		}
	}
	config := func() *tcp.Config {
		return &tcp.Config{
			Congestion: choose(&p, "cubic", "reno", "bbr"), SendBuffer: choose(&p, 0, 0, 32<<10), ReceiveBuffer: choose(&p, 0, 0, 4<<10, 64<<10),
			NoSACK: choose(&p, false, false, true), NoTimestamps: choose(&p, false, true), NoWindowScale: choose(&p, false, false, true),
		}
	}
	size := 200000
	if loss >= .05 {
		size = 40000
	}
	traffic := func() tcptest.Traffic {
		return tcptest.Traffic{
			Send: choose(&p, 0, 1, size/10, size), Write: choose(&p, 0, 1000, 20000), Read: choose(&p, 0, 0, 500),
			ReadEvery: choose(&p, 0, 0, 5*time.Millisecond),
		}
	}
	return tcptest.Options{
		Seed: seed, AtoB: link(), BtoA: link(), A: traffic(), B: traffic(), Config: [2]*tcp.Config{config(), config()},
		MSS: choose(&p, 0, 536, 8960), Both: choose(&p, false, false, false, true), MaxTime: 12 * time.Hour,
	}
}

// Two connections over links that lose, duplicate and reorder deliver what was sent, keep to every window, always have something to wait
// for as long as there is something to deliver, end, and give all memory back.
func TestSimulation(t *testing.T) {
	for _, loss := range []float64{0, .01, .05, .3} {
		for seed := range uint64(seeds(20, 100)) {
			n := tcptest.New(world(seed, loss))
			err := n.Run()
			if loss == .3 && err != nil && strings.Contains(err.Error(), "stands still") && gaveUp(n) {
				continue // eight SYNs lost in a row, or 23 times the same segment: that is what giving up is for
			}
			if err != nil {
				t.Errorf("loss %v: %v", loss, err)
			}
		}
	}
}

// gaveUp: an end has timed out.
func gaveUp(n *tcptest.Net) bool {
	for _, e := range n.End {
		if e.Conn == nil || errors.Is(e.Conn.Err(), syscall.ETIMEDOUT) {
			return true
		}
	}
	return false
}

// The same seed is the same run.
func TestSimulationReplays(t *testing.T) {
	run := func() string {
		o := world(7, .05)
		o.Trace = true
		n := tcptest.New(o)
		if err := n.Run(); err != nil {
			t.Fatal(err)
		}
		return strings.Join(n.Trace, "\n")
	}
	if first, second := run(), run(); first != second {
		t.Error("two runs of one seed are different")
	}
}

// The demo's link: 100 Mbit/s, 20 ms round trip, and a queue of one bandwidth-delay product.
func demoLink(loss float64) tcptest.Link {
	return tcptest.Link{Delay: 10 * time.Millisecond, Rate: 100e6, Queue: 250000, Loss: loss}
}

// goodput is the payload rate of a bulk transfer, connection set-up included, as a share of the link.
func goodput(t *testing.T, cc string, size int, link, back tcptest.Link) float64 {
	t.Helper()
	n := tcptest.New(tcptest.Options{
		Seed: 1, AtoB: link, BtoA: back, A: tcptest.Traffic{Send: size},
		Config: [2]*tcp.Config{{Congestion: cc}, {Congestion: cc}},
	})
	if err := n.Run(); err != nil {
		t.Fatal(err)
	}
	return float64(size) * 8 / n.Finished(1).Seconds() / float64(link.Rate)
}

// A long transfer without loss but its own has the link: of 1500 bytes 1448 are payload, 96.5 %, and slow start costs a little.
func TestGoodput(t *testing.T) {
	for _, cc := range []string{"cubic", "reno"} {
		if !testing.Short() { // takes seconds
			if share := goodput(t, cc, 64<<20, demoLink(0), demoLink(0)); share < .93 {
				t.Errorf("%s: %.1f %% of the link", cc, share*100)
			}
		}
		size, least := 32<<20, .90 // the demo's
		if testing.Short() {
			size, least = 4<<20, .70
		}
		if share := goodput(t, cc, size, demoLink(0), demoLink(0)); share < least {
			t.Errorf("%s: %.1f %% of the link in %d bytes", cc, share*100, size)
		}
	}
}

// With 1 % loss, the window of RFC 5681 is about 1.22/sqrt(p) segments (Mathis et al. 1997): 12 segments, 7 Mbit/s. Much less would mean
// that it waits for timeouts.
func TestGoodputLossy(t *testing.T) {
	size := 8 << 20
	if testing.Short() {
		size = 2 << 20
	}
	for _, cc := range []string{"cubic", "reno"} {
		if share := goodput(t, cc, size, demoLink(.01), demoLink(0)); share < .05 {
			t.Errorf("%s: %.1f %% of the link with 1 %% loss", cc, share*100)
		}
	}
}
