package tcp_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/tcptest"
)

func TestScratchBulk(t *testing.T) {
	for _, cc := range []string{"cubic"} {
		for _, loss := range []float64{0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3} {
			size := 32 << 20
			if loss > .06 {
				size = 1 << 20
			}
			for seed := range uint64(3) {
			link := tcptest.Link{Delay: 10 * time.Millisecond, Loss: loss, Rate: 100e6, Queue: 250000}
			cfg := func() *tcp.Config { return &tcp.Config{Congestion: cc} }
			start := time.Now()
			n := tcptest.New(tcptest.Options{Seed: seed, AtoB: link, BtoA: link, A: tcptest.Traffic{Send: size}, Config: [2]*tcp.Config{cfg(), cfg()}})
			err := n.Run()
			d := n.Finished(1)
			fmt.Printf("%s loss %g: %v %v  %.3f Mbit/s  lost %d packets %d (real %v)\n", cc, loss, err, d, float64(size)*8/d.Seconds()/1e6, n.Lost, n.Packets, time.Since(start))
			}
		}
	}
}
