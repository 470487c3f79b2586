package weir

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/sched"
)

// deadline is that of one direction of a socket: a node in the stack's timer wheel, so that pushing it along costs no call of the clock.
type deadline struct {
	timers *sched.Timers
	half   *half
	node   sched.Node
	over   atomic.Bool // it has passed

	set   sync.Mutex
	at    sched.Time // when over becomes true; Never: not by itself
	armed sched.Time // when the node expires, which is not later; Never: it is not armed
}

func (d *deadline) init(s *Stack, h *half) {
	d.timers, d.half, d.at, d.armed = s.inner.Timers(), h, sched.Never, sched.Never
	d.node.Owner = d
}

// expired returns os.ErrDeadlineExceeded if the half's deadline has passed.
func (h *half) expired() error {
	if d := h.slow.Load(); d != nil && d.over.Load() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// setDeadline sets the half's deadline: calls under way and later ones fail from then on. The zero time: none.
func (h *half) setDeadline(s *Stack, t time.Time) {
	if t.IsZero() && h.slow.Load() == nil {
		return
	}
	now := s.clock.Now()
	h.need(s).change(s.instant(t, now), now)
}

// dropDeadline takes a closed socket's deadline out of the timer wheel, which would hold the socket's memory until then.
func (h *half) dropDeadline() {
	if d := h.slow.Load(); d != nil {
		d.change(sched.Never, 0)
		d.disarm()
	}
}

// disarm takes the node out of the wheel.
func (d *deadline) disarm() {
	d.set.Lock()
	defer d.set.Unlock()
	d.armed = sched.Never
	d.timers.Cancel(&d.node)
}

// change sets the deadline. A node that expires before it is left as it is, and armed for the rest when it does: so programs that set a
// deadline before each call, as HTTP servers do, seldom touch the wheel.
func (d *deadline) change(at, now sched.Time) {
	d.set.Lock()
	over := at <= now
	d.over.Store(over)
	if over {
		at = sched.Never
	}
	d.at = at
	if at < d.armed {
		d.armed = at
		d.timers.Arm(&d.node, at)
	}
	d.set.Unlock()
	if over {
		d.half.wake()
	}
}

// Expire is the timer's call.
func (d *deadline) Expire(now sched.Time) {
	d.set.Lock()
	over := d.at <= now
	if over { // else it was changed meanwhile
		d.at = sched.Never
		d.over.Store(true)
	}
	if d.armed = d.at; d.at != sched.Never {
		d.timers.Arm(&d.node, d.at)
	}
	d.set.Unlock()
	if over {
		d.half.wake()
	}
}

// instant is t on the stack's clock, which shows now; Never for the zero time.
func (s *Stack) instant(t time.Time, now sched.Time) sched.Time {
	if t.IsZero() {
		return sched.Never
	}
	if _, virtual := s.clock.(*sched.Virtual); virtual {
		return now.Add(t.Sub(s.clock.Wall(now)))
	}
	return now.Add(time.Until(t)) // by t's monotonic reading, if it has one
}
