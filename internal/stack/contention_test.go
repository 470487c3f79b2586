package stack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// never is an Expirer that is not called in time.
type never struct{}

func (never) Expire(sched.Time) {}

// BenchmarkContention is what each structure that a packet touches costs when one goroutine, and when several at once, do nothing but that:
// docs/scale.md says what follows. ns/op is for one operation of one goroutine.
func BenchmarkContention(b *testing.B) {
	s := New(Config{Clock: sched.Real(), Rand: rand.Uint64, Spawn: func(f func()) { go f() }})
	b.Cleanup(s.Close)
	buffers := buffer.NewPool(buffer.Options{})
	packets := packet.NewPool(buffers)
	var conn [8]sync.Mutex
	turns := 0                        // under conn[0]
	apart := make([]sync.Mutex, 8*16) // each of a goroutine's own line
	var q txQueue
	key := func(g int) flowKey {
		return makeKey(protoTCP, netip.AddrPortFrom(addrA, uint16(g)), netip.AddrPortFrom(addrB, 80), 0)
	}
	for _, c := range []struct {
		name string
		op   func(g int) func()
	}{
		{"packet from the pool and back", func(int) func() { return func() { packets.Get().Release() } }},
		{"chunk of 2 KiB from the pool and back", func(int) func() { return func() { buffers.Get(2048).Release() } }},
		{"a reference to one chunk, of all", func() func(int) func() {
			k := buffers.Get(2048)
			return func(int) func() { return func() { k.Retain(); k.Release() } }
		}()},
		{"flow looked up, each another", func(g int) func() { k := key(g); return func() { s.flows.find(&k) } }},
		{"flow looked up, all the same", func(int) func() { k := key(0); return func() { s.flows.find(&k) } }},
		{"counter of the stack", func(int) func() { return func() { s.stats.segsIn.Add(1) } }},
		{"memory charged and given back", func(int) func() { return func() { s.memory.received.charge(4096); s.memory.received.charge(-4096) } }},
		{"timer armed", func(int) func() {
			n := &sched.Node{Owner: never{}}
			at := sched.Real().Now().Add(1 << 40)
			b.Cleanup(func() { s.timers.Cancel(n) })
			return func() { s.timers.Arm(n, at) }
		}},
		{"connection's lock, each its own", func(g int) func() { m, n := &apart[16*g], 0; return func() { m.Lock(); n++; m.Unlock() } }},
		{"connection's lock, all the same", func(int) func() { m := &conn[0]; return func() { m.Lock(); turns++; m.Unlock() } }},
		{"packet into the transmit queue and out", func(int) func() {
			p := packets.Get()
			return func() {
				q.mu.Lock()
				q.push(p, 1500)
				q.ring.pop()
				q.bytes.Add(-1500)
				q.mu.Unlock()
			}
		}},
	} {
		for _, goroutines := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%s/%d", c.name, goroutines), func(b *testing.B) {
				var all sync.WaitGroup
				for g := range goroutines {
					op := c.op(g)
					all.Go(func() {
						for range b.N {
							op()
						}
					})
				}
				all.Wait()
			})
		}
	}
}
