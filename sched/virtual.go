package sched

import (
	"container/heap"
	"sync"
	"sync/atomic"
	"time"
)

// Virtual is a clock that stands still until it is told to move. All its timers run in the goroutine that moves it, in the
// order of their instants (and of their Reset, where instants are equal), so that the same calls give the same run.
//
// A timer's function may use the clock and its timers freely, itself included, but must not move the clock: Step, RunUntil and
// Advance from inside a timer's function, or from two goroutines at once, are programming errors and panic. Now, Wall, NewTimer
// and the timers' methods are safe for concurrent use.
type Virtual struct {
	now   atomic.Int64
	start time.Time

	mu     sync.Mutex
	timers timerHeap
	resets uint64 // calls of Reset so far: the order among equal instants
	moving bool
}

// NewVirtual returns a virtual clock whose instant 0 is the given wall time.
func NewVirtual(start time.Time) *Virtual { return &Virtual{start: start.Round(0)} }

// Now returns the instant at which the clock stands.
func (v *Virtual) Now() Time { return Time(v.now.Load()) }

// Wall returns the wall-clock time of an instant: the start's plus t.
func (v *Virtual) Wall(t Time) time.Time { return v.start.Add(time.Duration(t)) }

// NewTimer returns a stopped timer that calls fn in the goroutine that moves the clock.
func (v *Virtual) NewTimer(fn func()) Timer { return &virtualTimer{clock: v, fn: fn, index: -1} }

// Next returns when the earliest timer expires, or Never. It is not before Now: a timer set to the past expires now.
func (v *Virtual) Next() Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.timers.next()
}

// Step moves to the earliest timer and runs it; false if there is none.
func (v *Virtual) Step() bool { return v.step(Never) }

// RunUntil runs every timer up to and including t, those set meanwhile too, then sets the clock to t. It does nothing if t has passed.
func (v *Virtual) RunUntil(t Time) {
	for v.step(t) {
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if t > v.Now() {
		v.now.Store(int64(t))
	}
}

// Advance is RunUntil(Now()+d).
func (v *Virtual) Advance(d time.Duration) { v.RunUntil(v.Now().Add(d)) }

// step runs the earliest timer, if it expires by limit.
func (v *Virtual) step(limit Time) bool {
	v.mu.Lock()
	if v.moving {
		v.mu.Unlock()
		panic("sched: virtual clock moved from inside a timer, or by two goroutines at once; set a timer instead")
	}
	next := v.timers.next()
	if next == Never || next > limit {
		v.mu.Unlock()
		return false
	}
	t := heap.Pop(&v.timers).(*virtualTimer)
	v.now.Store(int64(t.at))
	v.moving = true
	v.mu.Unlock()

	defer v.stopped() // by defer: a test may recover from what fn throws
	t.fn()
	return true
}

func (v *Virtual) stopped() {
	v.mu.Lock()
	v.moving = false
	v.mu.Unlock()
}

type virtualTimer struct {
	clock *Virtual
	fn    func()
	at    Time
	order uint64 // of the Reset
	index int    // in clock.timers; -1: stopped
}

func (t *virtualTimer) Reset(at Time) {
	if at == Never {
		t.Stop()
		return
	}
	v := t.clock
	v.mu.Lock()
	defer v.mu.Unlock()
	v.resets++
	t.at, t.order = max(at, v.Now()), v.resets
	if t.index >= 0 {
		heap.Fix(&v.timers, t.index)
	} else {
		heap.Push(&v.timers, t)
	}
}

func (t *virtualTimer) Stop() {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	if t.index >= 0 {
		heap.Remove(&t.clock.timers, t.index)
	}
}

// timerHeap is a container/heap of set timers, the earliest first.
type timerHeap []*virtualTimer

func (h timerHeap) next() Time {
	if len(h) == 0 {
		return Never
	}
	return h[0].at
}

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].order < h[j].order
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*virtualTimer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}
