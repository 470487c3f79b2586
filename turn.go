package weir

import (
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/internal/stack"
)

// half is one direction of a socket as blocking calls see it: a turn, which a whole Read or Write holds, and a place where the holder
// parks until something happens. Every reason to wake passes through that place: readiness, a deadline, a close.
//
// A waiter for the turn need not be woken by a deadline or a close: the holder is, gives the turn on, and the next one meets the same
// end. (The turn is no sync.Mutex because a goroutine that waits for one is not idle in the eyes of testing/synctest.)
type half struct {
	turn atomic.Uint32          // turnFree, turnHeld or turnWanted
	note atomic.Uint32          // the owner's, in the place that alignment leaves
	park atomic.Pointer[waiter] // the holder, while it is about to wait or waits
	slow atomic.Pointer[slow]   // made when a deadline is set or two want the turn
}

const (
	turnFree   = iota
	turnHeld   // nobody waits for it
	turnWanted // somebody may
)

// waiter is where one goroutine parks. Its channel has room for one wake-up, and whoever takes the waiter off its place (half.park or
// slow's queue) sends exactly one: so it is empty again when the waiter goes back to its pool.
type waiter struct {
	ch   chan struct{}
	next *waiter
}

func newWaiter() *waiter { return &waiter{ch: make(chan struct{}, 1)} }

// slow is what few halves need.
type slow struct {
	deadline
	mu          sync.Mutex // of the queue
	first, last *waiter    // for the turn
}

// need returns the half's slow part, made at first need.
func (h *half) need(s *Stack) *slow {
	if d := h.slow.Load(); d != nil {
		return d
	}
	d := new(slow)
	d.deadline.init(s, h)
	if h.slow.CompareAndSwap(nil, d) {
		return d
	}
	return h.slow.Load()
}

// acquire takes the turn.
func (h *half) acquire(s *Stack) {
	if h.turn.CompareAndSwap(turnFree, turnHeld) {
		return
	}
	d := h.need(s)
	d.mu.Lock()
	if h.turn.Swap(turnWanted) == turnFree {
		d.mu.Unlock()
		return
	}
	w := s.waiters.Get().(*waiter)
	if d.first == nil {
		d.first = w
	} else {
		d.last.next = w
	}
	d.last = w
	d.mu.Unlock()
	<-w.ch // the turn is ours now
	s.waiters.Put(w)
}

// release gives the turn to the one who has waited longest.
func (h *half) release() {
	if h.turn.CompareAndSwap(turnHeld, turnFree) {
		return
	}
	d := h.slow.Load()
	d.mu.Lock()
	w := d.first
	if w == nil {
		h.turn.Store(turnFree)
		d.mu.Unlock()
		return
	}
	d.first, w.next = w.next, nil
	if d.first == nil {
		d.last = nil
	}
	d.mu.Unlock()
	w.ch <- struct{}{}
}

// wake ends the holder's waiting; without a waiter it costs one load.
func (h *half) wake() {
	if h.park.Load() == nil {
		return
	}
	if w := h.park.Swap(nil); w != nil {
		w.ch <- struct{}{}
	}
}

// await calls try until it answers anything but stack.ErrWouldBlock, or the deadline passes, and returns that. The caller holds the
// turn. In between it waits for wake: what makes try succeed must be followed by one. try does not escape, and so costs no allocation.
func (h *half) await(s *Stack, try func() error) error {
	if err := h.expired(); err != nil {
		return err
	}
	err := try()
	if err != stack.ErrWouldBlock {
		return err
	}
	w := s.waiters.Get().(*waiter)
	for {
		h.park.Store(w)
		if err = h.expired(); err == nil { // once more, now that nobody misses us
			err = try()
		}
		if err != stack.ErrWouldBlock {
			if !h.park.CompareAndSwap(w, nil) {
				<-w.ch // a wake-up is on its way
			}
			break
		}
		<-w.ch
		if err = h.expired(); err == nil {
			err = try()
		}
		if err != stack.ErrWouldBlock {
			break
		}
	}
	s.waiters.Put(w)
	return err
}
