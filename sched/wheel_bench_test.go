package sched

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkWheelExpire: what it costs to have a timer expire and be armed anew, among others.
func BenchmarkWheelExpire(b *testing.B) {
	for _, n := range []int{1, 64, 4096, 65_536, 1_000_000} {
		var w Wheel
		nodes := make([]Node, n)
		rnd := rand.New(rand.NewPCG(1, 2))
		later := func() Time { return w.now.Add(time.Duration(rnd.Int64N(int64(10 * time.Second)))) }
		for i := range nodes {
			w.Arm(&nodes[i], later())
		}
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			for b.Loop() {
				node := w.Pop()
				for ; node == nil; node = w.Pop() {
					w.Advance(w.Next())
				}
				w.Arm(node, later())
			}
		})
	}
}
