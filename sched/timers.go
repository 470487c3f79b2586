package sched

import (
	"runtime"
	"strings"
	"sync"
)

// Timers is a timer wheel driven by a Clock: safe for concurrent use, one clock timer for all nodes, no tick while nothing is due.
//
// Expired nodes are taken off one by one under the lock, and their owners called after it is released, in the order of their instants
// and, among equal ones, of their Arm. A node that was armed again or cancelled between the two may still be called: the owner
// compares with its own deadline (the call is a hint that time has come). Expire may arm and cancel any node; it should not block,
// for it holds up those behind it. At most one Expire runs at a time.
//
// The clock timer is set again only when the earliest expiry moves forward. A node cancelled or moved back leaves it to fire once in
// vain, so that a connection that pushes its deadline along with each packet costs no call of the clock.
type Timers struct {
	_     [0]func() // no ==: its code would be in every program
	clock Clock
	timer Timer

	mu      sync.Mutex
	idle    chan struct{} // made by Stop for running to close when it ends
	wheel   Wheel
	wake    Time // for when timer is set; Never: not set
	running bool
	stopped bool
}

// NewTimers returns timers without a node. They need a Stop if any node is armed at the end.
func NewTimers(c Clock) *Timers {
	t := &Timers{clock: c, wake: Never}
	t.timer = c.NewTimer(t.run)
	return t
}

// Arm sets n to expire at the given instant, in place of any earlier setting. It never expires before that instant, and at once if
// the instant has passed. Never is Cancel. O(1). After Stop it does nothing.
func (t *Timers) Arm(n *Node, at Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	t.wheel.Arm(n, at)
	if !t.running { // else run sets the timer when it ends
		t.sleep(at)
	}
}

// Cancel disarms n. The zero and the expired Node are fine. O(1).
func (t *Timers) Cancel(n *Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wheel.Cancel(n)
}

// Next returns the exact earliest expiry, or Never.
func (t *Timers) Next() Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wheel.Next()
}

// Len returns the number of armed nodes.
func (t *Timers) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wheel.Len()
}

// Stop disarms the clock timer and waits for a running expiry to end (unless called from inside an Expire, which then is the last).
// Nothing is called after it.
func (t *Timers) Stop() {
	t.mu.Lock()
	t.stopped = true
	t.timer.Stop()
	if !t.running || insideExpiry() {
		t.mu.Unlock()
		return
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	<-idle
}

// sleep sets the clock timer to at, if that is earlier than it is set for.
func (t *Timers) sleep(at Time) {
	if at < t.wake {
		t.wake = at
		t.timer.Reset(at)
	}
}

// run is the clock timer's function. A late call of an earlier setting may meet a running one, which then does its work too.
func (t *Timers) run() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running || t.stopped {
		return
	}
	t.running = true
	now := t.clock.Now()
	t.wheel.Advance(now)
	for !t.stopped {
		n := t.wheel.Pop()
		if n == nil {
			break
		}
		t.expire(n.Owner, now)
	}
	t.running = false
	if t.idle != nil {
		close(t.idle) // the last run: Stop was called
	}
	if !t.stopped {
		t.wake = Never
		t.sleep(t.wheel.bound())
	}
}

// expire calls an owner with the lock released.
func (t *Timers) expire(owner Expirer, now Time) {
	t.mu.Unlock()
	defer t.mu.Lock()
	owner.Expire(now)
}

// insideExpiry reports whether the calling goroutine is inside an Expire that a Timers called: waiting for the end of that would be
// waiting for oneself. It reads the call stack, so only the slow path of Stop uses it.
func insideExpiry() bool {
	pcs := make([]uintptr, 64)
	for skip := 0; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs)
		if n == 0 {
			return false
		}
		frames := runtime.CallersFrames(pcs[:n])
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			if strings.HasSuffix(f.Function, "/sched.(*Timers).run") {
				return true
			}
		}
	}
}
