// Package sched is weir's time: a monotonic [Time], the [Clock] that gives it, and a hierarchical timer [Wheel].
package sched

import "time"

// Time is an instant in nanoseconds on the monotonic scale of one Clock. Times of different clocks do not compare.
type Time int64

// Never is later than every instant: the deadline of something that waits for no time.
const Never Time = 1<<63 - 1

// Add returns t+d. It saturates at Never, and Never plus anything is Never.
func (t Time) Add(d time.Duration) Time { panic("stub") }

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
	// Reset makes the timer expire at the given instant (at once, if that has passed), in place of any earlier setting.
	Reset(at Time)
	// Stop makes the timer not expire. A call of fn that has begun goes on.
	Stop()
}

// Real returns the clock of this machine. Inside a testing/synctest bubble it follows the bubble's time.
func Real() Clock { panic("stub") }

// Virtual is a clock that stands still until it is told to move. All its timers run in the goroutine that moves it, in the
// order of their instants (and of their Reset, where instants are equal).
type Virtual struct{ now Time }

// NewVirtual returns a virtual clock whose instant 0 is the given wall time.
func NewVirtual(start time.Time) *Virtual { panic("stub") }

func (v *Virtual) Now() Time                { panic("stub") }
func (v *Virtual) Wall(t Time) time.Time    { panic("stub") }
func (v *Virtual) NewTimer(fn func()) Timer { panic("stub") }

// Next returns when the earliest timer expires, or Never.
func (v *Virtual) Next() Time { panic("stub") }

// Step moves to the earliest timer and runs it; false if there is none.
func (v *Virtual) Step() bool { panic("stub") }

// RunUntil runs every timer up to and including t, then sets the clock to t.
func (v *Virtual) RunUntil(t Time) { panic("stub") }

// Advance is RunUntil(Now()+d).
func (v *Virtual) Advance(d time.Duration) { panic("stub") }
