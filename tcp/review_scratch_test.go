package tcp_test

import (
	"slices"
	"testing"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/tcptest"
)

func TestScratchLoss30(t *testing.T) {
	for _, kind := range []string{"", "nots", "nosack", "nothing"} {
		fails := 0
		var longest time.Duration
		start := time.Now()
		for seed := range uint64(200) {
			link := tcptest.Link{Delay: 10 * time.Millisecond, Rate: 100e6, Queue: 250000, Loss: .3}
			cfg := func() *tcp.Config {
				return &tcp.Config{NoTimestamps: kind == "nots" || kind == "nothing", NoSACK: kind == "nosack" || kind == "nothing"}
			}
			n := tcptest.New(tcptest.Options{Seed: seed, AtoB: link, BtoA: link, A: tcptest.Traffic{Send: 256 << 10},
				Config: [2]*tcp.Config{cfg(), cfg()}})
			if err := n.Run(); err != nil {
				fails++
				t.Log(kind, err)
			}
			longest = max(longest, n.Finished(1))
		}
		t.Log(kind, "fails", fails, "longest", longest, "real", time.Since(start))
	}
}

func TestScratchSeed7(t *testing.T) {
	link := tcptest.Link{Delay: 10 * time.Millisecond, Rate: 100e6, Queue: 250000, Loss: .3}
	n := tcptest.New(tcptest.Options{Seed: 7, AtoB: link, BtoA: link, A: tcptest.Traffic{Send: 256 << 10}, Trace: true})
	t.Log(n.Run())
	for _, l := range n.Trace[max(0, len(n.Trace)-60):] {
		t.Log(l)
	}
}
func TestScratchDist(t *testing.T) {
	var all []time.Duration
		for seed := range uint64(200) {
			link := tcptest.Link{Delay: 10 * time.Millisecond, Rate: 100e6, Queue: 250000, Loss: .3}
			n := tcptest.New(tcptest.Options{Seed: seed, AtoB: link, BtoA: link, A: tcptest.Traffic{Send: 256 << 10}})
			n.Run()
			all = append(all, n.Finished(1))
		}
	slices.Sort(all)
	for i := 0; i < 200; i += 10 { t.Log(i, all[i]) }
	t.Log(all[199])
}
