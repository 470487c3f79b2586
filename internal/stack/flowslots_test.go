package stack

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weirnet/weir/internal/siphash"
)

// The slots beside a map, with hashes that are anything from all alike to all over the place, so that flows crowd at both ends of the array.
func TestFlowSlotsBesideAMap(t *testing.T) {
	for _, spread := range []uint64{1, 5, 100, 1 << 32} {
		rnd := rand.New(rand.NewPCG(1, spread))
		var s flowSlots
		in := make(map[int]*nobody)
		hash := func(i int) uint64 { // some of them at the very end
			return (uint64(i)*0x9e3779b97f4a7c15%spread*(1<<32/spread) | uint64(i%2)*0xffffff00) << 32
		}
		for step := range 30_000 {
			i := rnd.IntN(100 + step%900)
			n := numbered(i)
			at := s.lookup(hash(i), &n.flow.key)
			if old := in[i]; (at >= 0) != (old != nil) || at >= 0 && s.slots[at].flow != &old.flow {
				t.Fatalf("%d hashes, step %d: flow %d is in slot %d, want %v", spread, step, i, at, old != nil)
			}
			switch {
			case at < 0:
				in[i] = n
				s.add(flowSlot{hash: slotHash(hash(i)), flow: &n.flow})
			case rnd.IntN(3) > 0 || step > 25_000:
				delete(in, i)
				s.del(at)
			}
			if s.count != len(in) || 5*s.count > 4*len(s.slots) {
				t.Fatalf("%d in %d slots, want %d", s.count, len(s.slots), len(in))
			}
		}
		for i, n := range in {
			s.del(s.lookup(hash(i), &n.flow.key))
		}
		if s.count != 0 || len(s.slots) > 64 {
			t.Errorf("%d flows are left, in %d slots", s.count, len(s.slots))
		}
	}
}

// Slots are not much more than flows, at any size, and none is far from home.
func TestFlowSlotsAreNearHome(t *testing.T) {
	var table flowTable
	table.init(siphash.Key{K0: 1, K1: 2})
	for i := range 200_000 {
		table.insert(&numbered(i).flow)
		if i%1000 != 999 || i < 20_000 {
			continue
		}
		slots, far, probes := 0, 0, 0
		for i := range table.shards {
			s := &table.shards[i]
			slots += len(s.slots)
			for k := range s.slots {
				if !s.slots[k].free() {
					far, probes = max(far, s.distance(k)), probes+s.distance(k)
				}
			}
		}
		if n := i + 1; slots > n*8/5 || far > 64 || probes > 3*n {
			t.Fatalf("%d flows: %d slots, %d slots from home at most, %.1f on average", n, slots, far, float64(probes)/float64(n))
		}
	}
}

// Looking up what is there, in random order, and what is not.
func BenchmarkFlowTable(b *testing.B) {
	for _, n := range []int{1, 1000, 64_000, 1_000_000} {
		var table flowTable
		table.init(siphash.Key{K0: 1, K1: 2})
		keys := make([]flowKey, n)
		for i := range keys {
			f := &numbered(i).flow
			table.insert(f)
			keys[i] = f.key
		}
		rand.Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		b.Run(fmt.Sprintf("hit/%d", n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				if o, _ := table.find(&keys[i]); o == nil {
					b.Fatal("not found")
				}
				if i++; i == n {
					i = 0
				}
			}
		})
		b.Run(fmt.Sprintf("miss/%d", n), func(b *testing.B) {
			k := keys[0]
			for i := 0; b.Loop(); i++ {
				k.remote[12], k.remotePort, k.localPort = 10, uint16(i), uint16(i>>16)
				if o, _ := table.find(&k); o != nil {
					b.Fatal("found")
				}
			}
		})
	}
}
