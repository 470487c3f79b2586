package main

import (
	"errors"
	"net/netip"
	"time"

	"github.com/vishvananda/netns"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/link/tun"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/sim"
)

// The lossy link: 100 Mbit/s and 20 ms there and back, with room for one bandwidth-delay product in front of it. Headers and timestamps
// leave a stream 0.965 of it at most.
const (
	lossyRate  = 100e6
	lossyDelay = 10 * time.Millisecond
	lossyQueue = lossyRate / 8 / 50
	lossyStart = 2 * time.Second // what is not measured: start-up
)

// lossyWays are the directions: data is lost, acknowledgments are not.
func lossyWays(o options) (there, back emul.Config) {
	return emul.Config{Rate: lossyRate, Delay: lossyDelay, Queue: lossyQueue, Loss: o.Loss, Seed: uint64(time.Now().UnixNano())}, emul.Config{Delay: lossyDelay}
}

// share turns GB/s into the share of the link.
func share(s sample, err error) (sample, error) {
	return sample{Value: s.Value * 8e9 / lossyRate}, err
}

// weirLossy is a stream between two weir stacks with BBR, in real time.
func weirLossy(_ setup, o options) (sample, error) {
	o.MTU = 1500
	da, db := pipe.New(pipe.Options{MTU: o.MTU, NoOffload: true})
	there, back := lossyWays(o)
	w, err := weirPair(emul.Wrap(da, there), emul.Wrap(db, back), weir.Config{Congestion: "bbr"})
	if err != nil {
		return sample{}, err
	}
	return share(pourAfter(w, o, lossyStart))
}

// simLossy is the same in virtual time.
func simLossy(_ setup, o options) (sample, error) {
	there, back := lossyWays(o)
	w := sim.New(sim.Config{Seed: there.Seed})
	a, b := w.Host("sender", sim.HostConfig{}), w.Host("receiver", sim.HostConfig{})
	w.Link(a, b, sim.LinkConfig{There: there, Back: back})
	flow := w.Flow(a, b, sim.Bulk{Congestion: "bbr"})
	if err := w.Run(lossyStart); err != nil {
		return sample{}, err
	}
	from := flow.Stats()
	if err := w.Run(o.Time); err != nil {
		return sample{}, err
	}
	return sample{Value: flow.Stats().Since(from).Goodput() / lossyRate}, w.Close()
}

// kernelLossy is the same between two namespaces of the kernel's, each with a TUN, with its own BBR.
func kernelLossy(_ setup, o options) (sample, error) {
	w := &kernelWorld{addr: hostB, far: netns.None(), control: "bbr"}
	if err := w.newFar(); err != nil {
		return sample{}, err
	}
	near, err := plainTUN(hostA)
	if err != nil {
		return sample{}, err
	}
	var far link.Device
	if err := w.inFar(func() error {
		far, err = plainTUN(hostB)
		return err
	}); err != nil {
		return sample{}, err
	}
	there, back := lossyWays(o)
	if err := bridge(emul.Wrap(near, back), emul.Wrap(far, there)); err != nil {
		return sample{}, err
	}
	return share(pourAfter(w, o, lossyStart))
}

func plainTUN(addr netip.Addr) (link.Device, error) {
	dev, err := tun.Open(tunName, tun.Options{NoOffload: true})
	if err != nil {
		return nil, err
	}
	return dev, configure(tunName, addr)
}

// bridge writes what comes out of each device to the other.
func bridge(a, b link.Device) error {
	into := func(d link.Device) func(int, []*packet.Packet) {
		return func(_ int, batch []*packet.Packet) {
			n, _ := d.WritePackets(0, batch)
			for _, p := range batch[n:] {
				p.Release()
			}
		}
	}
	pool, clock := packet.NewPool(buffer.NewPool(buffer.Options{})), sched.Real()
	return errors.Join(
		a.Attach(link.Sink{Deliver: into(b), Packets: pool, Clock: clock}),
		b.Attach(link.Sink{Deliver: into(a), Packets: pool, Clock: clock}))
}

// lossy is a stream with BBR over the lossy link.
func lossy(s setup, o options) (sample, error) {
	switch s.name {
	case "kernel/emul":
		return kernelLossy(s, o)
	case "weir/sim":
		return simLossy(s, o)
	}
	return weirLossy(s, o)
}
