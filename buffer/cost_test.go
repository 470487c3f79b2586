package buffer

import (
	"math/rand/v2"
	"testing"
)

func TestAppendCost(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	for range 200 {
		var b, queue Buffer
		b.SetPool(NewPool(Options{}))
		for range 20 {
			n := random.IntN(1 << random.IntN(19))
			before, cost := b.Footprint(), b.AppendCost(n)
			b.Append(make([]byte, n))
			if got := b.Footprint() - before; got != cost {
				t.Fatalf("Append of %d bytes raised the footprint by %d, AppendCost was %d", n, got, cost)
			}
			if random.IntN(4) == 0 { // as a writer does, who keeps the room in the last chunk
				b.Publish(&queue)
				room := 0
				if l := b.last(); l != nil {
					room = len(l.backRoom())
				}
				if b.AppendCost(room) != 0 || b.AppendCost(room+1) == 0 {
					t.Fatalf("room for %d bytes: AppendCost of them is %d, and of one more %d", room, b.AppendCost(room), b.AppendCost(room+1))
				}
			}
		}
		b.Release()
		queue.Release()
	}
}
