package interop

import (
	"errors"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// patched is the far end of a bad link, joined to a device: what comes out of one goes into the other.
type patched struct {
	link.Device // the near end, the stack's
	far, inner  link.Device
	packets     *packet.Pool
}

// overBadLink puts a link that is bad in both directions in front of a device.
func overBadLink(t testing.TB, c emul.Config) func(inner link.Device) link.Device {
	return func(inner link.Device) link.Device {
		near, far := pipe.New(pipe.Options{MTU: inner.Info().MTU, NoOffload: true})
		back := c
		back.Seed++
		p := &patched{emul.Wrap(near, c), emul.Wrap(far, back), inner, packet.NewPool(buffer.NewPool(buffer.Options{}))}
		clock := sched.Real()
		err := errors.Join(
			p.far.Attach(link.Sink{Deliver: into(p.inner), Packets: p.packets, Clock: clock}),
			p.inner.Attach(link.Sink{Deliver: into(p.far), Packets: p.packets, Clock: clock}))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

// into writes what is delivered to a device. What it has no room for is lost.
func into(d link.Device) func(int, []*packet.Packet) {
	return func(queue int, batch []*packet.Packet) {
		n, _ := d.WritePackets(queue, batch)
		for _, p := range batch[n:] {
			p.Release()
		}
	}
}

// Close ends the device first, which else would deliver into a link that is closed.
func (p *patched) Close() error {
	return errors.Join(p.inner.Close(), p.far.Close(), p.Device.Close())
}

// Much data over links that lose, reorder and duplicate in both directions: nothing is missing, nothing is wrong.
func TestBadLinks(t *testing.T) {
	links := []struct {
		name string
		size int64
		emul.Config
	}{
		{"a little of everything", 16 << 20, emul.Config{Delay: time.Millisecond, Loss: 0.01, Reorder: 0.01, Duplicate: 0.01}},
		{"loss", 2 << 20, emul.Config{Delay: time.Millisecond, Loss: 0.03}},
		{"reordering", 4 << 20, emul.Config{Delay: time.Millisecond, Jitter: time.Millisecond, Reorder: 0.2}},
		{"duplication", 8 << 20, emul.Config{Delay: time.Millisecond, Duplicate: 0.3}},
		{"corruption", 4 << 20, emul.Config{Delay: time.Millisecond, Corrupt: 0.01}},
		{"small queue", 8 << 20, emul.Config{Delay: 5 * time.Millisecond, Rate: 200e6, Queue: 64 << 10}},
	}
	for i, l := range links {
		t.Run(l.name, func(t *testing.T) {
			inNamespace(t, func(t *testing.T) {
				l.Seed = uint64(2 * i)
				w := newWorld(t, options{plain: true, noPool: true, wrap: overBadLink(t, l.Config)})
				n := size(l.size)
				var all []func() error
				for k, f := range w.families {
					p := dials[k].open(w, f)
					all = append(all, exchange(p, n)...)
				}
				w.together(all...)
			})
		})
	}
}
