package sim

import (
	"testing"
	"time"

	"github.com/weirnet/weir/link/emul"
)

func TestTwoFlowsOverOneBottleneck(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		w := New(Config{Seed: 1, Check: true})
		a, b, r := w.Host("a", HostConfig{}), w.Host("b", HostConfig{}), w.Router("r")
		w.Link(a, r, LinkConfig{})
		bottleneck := w.Link(r, b, LinkConfig{
			There: emul.Config{Rate: 20e6, Delay: 10 * time.Millisecond, Queue: 50_000},
			Back:  emul.Config{Delay: 10 * time.Millisecond},
		})
		one := w.Flow(a, b, Bulk{IPv6: v6, Congestion: "reno"})
		two := w.Flow(a, b, Bulk{IPv6: v6, Start: time.Second})
		if err := w.Run(2 * time.Second); err != nil {
			t.Fatal(err)
		}
		from := [...]Stats{one.Stats(), two.Stats()}
		bytes := bottleneck.There.Bytes()
		if err := w.Run(5 * time.Second); err != nil {
			t.Fatal(err)
		}
		x, y := one.Stats().Since(from[0]), two.Stats().Since(from[1])
		sum := x.Goodput() + y.Goodput()
		t.Log(x, "and", y, "steps", w.Steps())
		if sum < 0.9*20e6 || sum > 0.975*20e6 { // of 1500 bytes 1448 are payload; and what waited behind a hole may be read in these seconds
			t.Errorf("together %.2f Mbit/s", sum/1e6)
		}
		if x.Arrived+y.Arrived != bottleneck.There.Bytes()-bytes {
			t.Errorf("%d and %d bytes arrived, of %d that came over the bottleneck", x.Arrived, y.Arrived, bottleneck.There.Bytes()-bytes)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkBulk(b *testing.B) {
	for b.Loop() {
		w := New(Config{Seed: 1})
		x, y := w.Host("x", HostConfig{}), w.Host("y", HostConfig{})
		w.Link(x, y, LinkConfig{
			There: emul.Config{Rate: 100e6, Delay: 10 * time.Millisecond, Queue: 250_000},
			Back:  emul.Config{Delay: 10 * time.Millisecond},
		})
		f := w.Flow(x, y, Bulk{})
		if err := w.Run(20 * time.Second); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(f.Stats().Goodput()/1e6, "Mbit/s")
		b.ReportMetric(float64(w.Steps()), "steps")
		w.Close()
	}
}
