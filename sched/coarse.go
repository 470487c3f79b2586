package sched

import (
	"math"
	"time"
)

// Coarse is a virtual clock as one sees it who can only tell multiples of a granularity: Now is the last of them, and timers fire at the
// first that is not before their instant. The clock under it, which others see in full, is what moves.
type Coarse struct {
	fine *Virtual
	tick Time
}

// NewCoarse returns the view of a clock with the given granularity; 1 ns or less is the clock's own.
func NewCoarse(v *Virtual, granularity time.Duration) *Coarse {
	return &Coarse{v, max(Time(granularity), 1)}
}

// Now returns the current instant, rounded down.
func (c *Coarse) Now() Time {
	now := c.fine.Now()
	return now - now%c.tick
}

// Wall returns the wall-clock time of an instant.
func (c *Coarse) Wall(t Time) time.Time { return c.fine.Wall(t) }

// NewTimer returns a stopped timer that calls fn in the goroutine that moves the clock.
func (c *Coarse) NewTimer(fn func()) Timer { return coarseTimer{c.fine.NewTimer(fn), c.tick} }

// coarseTimer fires when its instant has come on a Coarse clock.
type coarseTimer struct {
	fine Timer
	tick Time
}

func (t coarseTimer) Reset(at Time) {
	if over := at % t.tick; at != Never && over > 0 {
		if at > math.MaxInt64-t.tick {
			at = Never
		} else {
			at += t.tick - over
		}
	}
	t.fine.Reset(at)
}

func (t coarseTimer) Stop() { t.fine.Stop() }

// OneGoroutine reports whether a clock's timers all run in the goroutine that moves it: nothing then happens at the same time as anything
// else, and no goroutine is needed to hand work to.
func OneGoroutine(c Clock) bool {
	switch c.(type) {
	case *Virtual, *Coarse:
		return true
	}
	return false
}
