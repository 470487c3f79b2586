package sched

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// alarm is an owner that notes what happens to it.
type alarm struct {
	node Node
	fn   func(now Time)
}

func (a *alarm) Expire(now Time) { a.fn(now) }

func newAlarm(fn func(now Time)) *alarm {
	a := &alarm{fn: fn}
	a.node.Owner = a
	return a
}

// countingClock counts what a clock's timers are asked to do.
type countingClock struct {
	*Virtual
	resets, fires int
}

type countingTimer struct {
	Timer
	c *countingClock
}

func (t countingTimer) Reset(at Time) { t.c.resets++; t.Timer.Reset(at) }

func (c *countingClock) NewTimer(fn func()) Timer {
	return countingTimer{c.Virtual.NewTimer(func() { c.fires++; fn() }), c}
}

func TestTimersExpireExactly(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	timers := NewTimers(v)
	var got []Time
	var want []Time
	for _, at := range []Time{5, 1, 1 << 50, 64, 63, 4096, 200_000_000, 5, 7200e9, 86400e9 * 30, 1<<50 + 1} {
		a := newAlarm(func(now Time) {
			if now != v.Now() || now != at {
				t.Errorf("armed for %d, called at %d with %d", at, v.Now(), now)
			}
			got = append(got, now)
		})
		timers.Arm(&a.node, at)
		want = append(want, at)
	}
	slices.Sort(want)
	if next := timers.Next(); next != want[0] {
		t.Errorf("Next %d, want %d", next, want[0])
	}
	v.RunUntil(1 << 52)
	if !slices.Equal(got, want) {
		t.Errorf("expired at %d, want %d", got, want)
	}
	if timers.Len() != 0 || v.Next() != Never {
		t.Errorf("%d armed, clock timer at %d after all expired", timers.Len(), v.Next())
	}
}

func TestTimersEqualInstantsInOrderOfArm(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	timers := NewTimers(v)
	var got []int
	alarms := make([]*alarm, 100)
	for i := range alarms {
		alarms[i] = newAlarm(func(Time) { got = append(got, i) })
	}
	for i := range 50 { // these come from high levels
		timers.Arm(&alarms[i].node, 1e9)
	}
	v.RunUntil(1e9 - 3)
	for i := 50; i < 100; i++ { // these go to level 0 at once
		timers.Arm(&alarms[i].node, 1e9)
	}
	timers.Arm(&alarms[0].node, 1e9) // now the last
	v.RunUntil(2e9)
	want := make([]int, 0, 100)
	for i := 1; i < 100; i++ {
		want = append(want, i)
	}
	if want = append(want, 0); !slices.Equal(got, want) {
		t.Errorf("order %v", got)
	}
}

func TestTimersPastDeadlineExpiresAtOnce(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	timers := NewTimers(v)
	v.RunUntil(1e9)
	var at Time
	a := newAlarm(func(now Time) { at = now })
	timers.Arm(&a.node, 5)
	v.Step()
	if at != 1e9 {
		t.Errorf("expired at %d, want 1e9", at)
	}
}

func TestTimersNeverCancels(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	timers := NewTimers(v)
	a := newAlarm(func(Time) { t.Error("expired") })
	timers.Arm(&a.node, 5)
	timers.Arm(&a.node, Never)
	timers.Cancel(&a.node)
	timers.Cancel(new(Node))
	if timers.Len() != 0 || timers.Next() != Never {
		t.Errorf("%d armed, next at %d", timers.Len(), timers.Next())
	}
	v.Advance(time.Hour)
}

func TestTimersOwnerMayArmAndCancel(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	timers := NewTimers(v)
	var at []Time
	var self *alarm
	other := newAlarm(func(Time) { t.Error("the cancelled node expired") })
	self = newAlarm(func(now Time) {
		timers.Cancel(&other.node) // due at this very instant
		if at = append(at, now); len(at) < 3 {
			timers.Arm(&self.node, now+10)
		}
	})
	timers.Arm(&self.node, 10)
	timers.Arm(&other.node, 10)
	v.Advance(time.Second)
	if !slices.Equal(at, []Time{10, 20, 30}) {
		t.Errorf("expired at %d", at)
	}
}

func TestTimersLeaveTheClockAlone(t *testing.T) {
	c := &countingClock{Virtual: NewVirtual(time.Unix(0, 0))}
	timers := NewTimers(c)
	expired := 0
	a := newAlarm(func(Time) { expired++ })
	b := newAlarm(func(Time) { expired++ })
	timers.Arm(&a.node, 200e6)
	timers.Arm(&b.node, 7200e9)
	for i := range 1000 {
		timers.Arm(&a.node, 200e6+Time(i)*1e6)
	}
	if c.resets != 1 {
		t.Errorf("pushing a deadline along set the clock timer %d times, want 1", c.resets)
	}
	c.RunUntil(7199e9) // one wake-up in vain at 200 ms, one when a is due
	if c.fires != 2 || expired != 1 {
		t.Errorf("%d wake-ups, %d expired; want 2 and 1", c.fires, expired)
	}
	c.RunUntil(7200e9)
	if c.fires != 3 || expired != 2 || c.Next() != Never {
		t.Errorf("%d wake-ups, %d expired, clock timer at %d", c.fires, expired, c.Next())
	}
}

func TestTimersSetTheClockOnceARun(t *testing.T) {
	c := &countingClock{Virtual: NewVirtual(time.Unix(0, 0))}
	timers := NewTimers(c)
	nodes := make([]Node, 100)
	a := newAlarm(func(now Time) {
		for i := range nodes {
			nodes[i].Owner = newAlarm(func(Time) {})
			timers.Arm(&nodes[i], 1000-Time(10*i)) // some have passed
		}
	})
	timers.Arm(&a.node, 100)
	c.Step()
	if c.resets != 2 || c.Next() != 110 {
		t.Errorf("clock timer set %d times, for %d; want 2 and 110", c.resets, c.Next())
	}
}

func TestTimersStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		timers := NewTimers(Real())
		entered, leave := make(chan bool), make(chan bool)
		a := newAlarm(func(Time) { close(entered); <-leave })
		b := newAlarm(func(Time) { t.Error("called after Stop began") })
		timers.Arm(&a.node, 1e9)
		timers.Arm(&b.node, 1e9)
		<-entered
		var stopped atomic.Bool
		go func() { timers.Stop(); stopped.Store(true) }()
		synctest.Wait()
		if stopped.Load() {
			t.Error("Stop did not wait for the running Expire")
		}
		close(leave)
		synctest.Wait()
		if !stopped.Load() {
			t.Error("Stop did not return")
		}
		timers.Arm(&b.node, 0)
		timers.Stop()
		time.Sleep(time.Hour)
	})
}

func TestTimersStopFromInsideExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		timers := NewTimers(Real())
		done := make(chan bool)
		a := newAlarm(func(Time) { func() { timers.Stop() }(); close(done) })
		b := newAlarm(func(Time) { t.Error("called after Stop") })
		timers.Arm(&a.node, 1e9)
		timers.Arm(&b.node, 1e9)
		<-done
		time.Sleep(time.Hour)
	})
}

func TestTimersRealClockNeverEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := Real()
		timers := NewTimers(clock)
		defer timers.Stop()
		var late, calls atomic.Int64
		for i := range 1000 {
			at := Time(i*i) * 1009
			a := newAlarm(func(now Time) { late.Add(int64(now - at)); calls.Add(1) })
			timers.Arm(&a.node, at)
		}
		time.Sleep(time.Hour)
		if late.Load() != 0 || calls.Load() != 1000 {
			t.Errorf("%d calls, %d ns late in all; a bubble's timers are exact", calls.Load(), late.Load())
		}
	})
}

func TestTimersConcurrent(t *testing.T) {
	timers := NewTimers(Real())
	clock := timers.clock
	var early atomic.Int64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var alarms [16]*alarm
			var at [16]atomic.Int64 // the earliest instant that may still be meant
			for i := range alarms {
				alarms[i] = newAlarm(func(now Time) {
					if int64(now) < at[i].Load() {
						early.Add(1)
					}
				})
			}
			for i := range 20_000 {
				a := i * (g + 1) % 16
				switch i % 5 {
				case 0:
					timers.Cancel(&alarms[a].node)
				default:
					when := clock.Now().Add(time.Duration(i%300) * time.Microsecond)
					at[a].CompareAndSwap(0, int64(when))
					timers.Arm(&alarms[a].node, max(when, Time(at[a].Load())))
				}
			}
			for _, a := range alarms {
				timers.Cancel(&a.node)
			}
		})
	}
	wg.Wait()
	last := make(chan struct{}) // on a busy machine the timers' goroutine may not have had its turn before
	due := clock.Now().Add(300 * time.Microsecond)
	end := newAlarm(func(now Time) {
		if now < due {
			early.Add(1)
		}
		close(last)
	})
	timers.Arm(&end.node, due)
	<-last
	timers.Stop()
	if early.Load() != 0 {
		t.Errorf("%d calls before their time", early.Load())
	}
	if n := timers.Len(); n != 0 {
		t.Errorf("%d still armed", n)
	}
}

func TestTimersAllocateNothing(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	timers := NewTimers(v)
	a := newAlarm(func(Time) {})
	if n := testing.AllocsPerRun(100, func() {
		timers.Arm(&a.node, v.Now()+1000)
		v.Step()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTimersArmCancel(b *testing.B) {
	for _, armed := range []int{1, 1e3, 1e6} {
		b.Run(byCount(armed), func(b *testing.B) {
			timers := NewTimers(Real())
			defer timers.Stop()
			nodes := make([]Node, armed)
			for i := range nodes {
				timers.Arm(&nodes[i], 3600e9+Time(i)*1_000_003)
			}
			var n Node
			for i := 0; b.Loop(); i++ {
				timers.Arm(&n, 3600e9+Time(i)*1000)
				timers.Cancel(&n)
			}
		})
	}
}
