package sched

import "time"

// Real returns the clock of this machine; its instant 0 is the call of Real. Called inside a testing/synctest bubble it gives the
// bubble's clock, which then belongs to the bubble as every time.Timer made there does.
func Real() Clock { return realClock{base: time.Now()} }

type realClock struct{ base time.Time }

func (c realClock) Now() Time { return Time(time.Since(c.base)) }

// Wall counts back from the present reading of the wall clock, not from that at Real, so that it follows clocks that are set while
// the process runs.
func (c realClock) Wall(t Time) time.Time {
	now := time.Now()
	return time.Unix(0, now.UnixNano()).Add(t.Sub(Time(now.Sub(c.base)))) // without a monotonic reading
}

func (c realClock) NewTimer(fn func()) Timer {
	t := time.AfterFunc(Never.Sub(0), fn)
	t.Stop()
	return realTimer{clock: c, t: t}
}

type realTimer struct {
	clock realClock
	t     *time.Timer
}

func (t realTimer) Reset(at Time) {
	if at == Never {
		t.t.Stop()
		return
	}
	now := t.clock.Now()
	t.t.Reset(max(at, now).Sub(now))
}

func (t realTimer) Stop() { t.t.Stop() }
