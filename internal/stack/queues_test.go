package stack

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/sched"
)

// manyQueues is a device with four transmit queues.
type manyQueues struct{ scriptedDevice }

func (d *manyQueues) Info() link.Info { return link.Info{MTU: 1500, Queues: 4} }

// Flows are spread over a device's queues, of which each has a joiner of its own; but under a virtual clock there is one, or what a seed
// replays would depend on the machine.
func TestQueuesOfADevice(t *testing.T) {
	for _, c := range []struct {
		clock sched.Clock
		want  int
	}{{sched.Real(), 4}, {sched.NewVirtual(time.Unix(0, 0)), 1}} {
		s := New(Config{Clock: c.clock, Rand: rand.Uint64, Spawn: func(f func()) { go f() }})
		i, err := s.AddInterface(InterfaceConfig{Device: &manyQueues{}})
		if err != nil {
			t.Fatal(err)
		}
		used := map[*txQueue]bool{}
		for hash := range uint32(16) {
			used[i.queue(hash)] = true
		}
		if len(used) != c.want || len(i.joiners) != c.want {
			t.Errorf("%T: %d queues, %d joiners, want %d", c.clock, len(used), len(i.joiners), c.want)
		}
		s.Close()
	}
}
