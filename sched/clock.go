// Package sched is weir's time: a monotonic [Time], the [Clock] that gives it, and a hierarchical timer wheel ([Wheel] as plain data,
// [Timers] driven by a clock).
package sched

import (
	"math"
	"time"
)

// Time is an instant in nanoseconds on the monotonic scale of one Clock. Times of different clocks do not compare.
type Time int64

// Never is later than every instant: the deadline of something that waits for no time.
const Never Time = math.MaxInt64

// Add returns t+d. It saturates at Never (and, for a negative d, at the least Time), and Never plus anything is Never.
func (t Time) Add(d time.Duration) Time {
	if t == Never {
		return Never
	}
	sum := t + Time(d)
	switch {
	case d > 0 && sum < t:
		return Never
	case d < 0 && sum > t:
		return math.MinInt64
	}
	return sum
}

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// A Clock tells the time and runs functions later. Implementations: Real and *Virtual.
type Clock interface {
	// Now returns the current instant. It never goes back.
	Now() Time
	// Wall returns the wall-clock time of an instant of this clock.
	Wall(Time) time.Time
	// NewTimer returns a stopped timer that calls fn when it expires: on a goroutine of its own under the real clock, in the
	// goroutine that advances the clock under a virtual one.
	NewTimer(fn func()) Timer
}

// A Timer calls its function once per Reset.
type Timer interface {
	// Reset makes the timer expire at the given instant (at once, if that has passed), in place of any earlier setting. It never
	// calls the function early. Reset to Never is Stop.
	Reset(at Time)
	// Stop makes the timer not expire. A call of fn that has begun goes on.
	Stop()
}
