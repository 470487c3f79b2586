package sched

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimeAddSaturates(t *testing.T) {
	for _, c := range []struct {
		t    Time
		d    time.Duration
		want Time
	}{
		{0, 5, 5},
		{5, -7, -2},
		{Never, -1, Never},
		{Never, 1, Never},
		{Never - 1, 1, Never},
		{Never - 1, 2, Never},
		{1, math.MaxInt64, Never},
		{-2, math.MinInt64, math.MinInt64},
	} {
		if got := c.t.Add(c.d); got != c.want {
			t.Errorf("%d.Add(%d) = %d, want %d", c.t, c.d, got, c.want)
		}
	}
	if d := Time(7).Sub(9); d != -2 {
		t.Errorf("7-9 = %d", d)
	}
}

func TestVirtualOrder(t *testing.T) {
	v := NewVirtual(time.Unix(100, 0))
	var got []string
	note := func(name string) func() { return func() { got = append(got, name) } }
	a, b, c, d, e := v.NewTimer(note("a")), v.NewTimer(note("b")), v.NewTimer(note("c")), v.NewTimer(note("d")), v.NewTimer(note("e"))
	a.Reset(10)
	b.Reset(10)
	c.Reset(5)
	d.Reset(10)
	e.Reset(7)
	a.Reset(10) // now behind b and d
	e.Stop()
	e.Stop()
	if v.Next() != 5 || !v.Step() || v.Now() != 5 {
		t.Errorf("after the first step: now %d, next %d", v.Now(), v.Next())
	}
	v.Advance(4)
	if v.Now() != 9 || len(got) != 1 {
		t.Errorf("at %d: %v", v.Now(), got)
	}
	v.RunUntil(10)
	if want := []string{"c", "b", "d", "a"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	if v.Step() || v.Next() != Never {
		t.Error("a timer is left")
	}
	v.RunUntil(3)
	if v.Now() != 10 {
		t.Errorf("went back to %d", v.Now())
	}
	if w := v.Wall(v.Now()); !w.Equal(time.Unix(100, 10)) {
		t.Errorf("wall time %v", w)
	}
}

func TestVirtualTimerMaySetItself(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	var at []Time
	var timer Timer
	timer = v.NewTimer(func() {
		at = append(at, v.Now())
		switch len(at) {
		case 1:
			timer.Reset(0) // the past: now
		case 2:
			timer.Reset(20)
		case 3:
			timer.Reset(30)
			timer.Stop()
		}
	})
	timer.Reset(10)
	v.RunUntil(100)
	if want := []Time{10, 10, 20}; !slices.Equal(at, want) || v.Now() != 100 {
		t.Errorf("expired at %d, want %d; now %d", at, want, v.Now())
	}
	timer.Reset(Never)
	if v.Step() {
		t.Error("a timer set to Never expired")
	}
}

func TestVirtualMustNotMoveInsideTimer(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	v.NewTimer(func() {
		defer func() {
			if recover() == nil {
				t.Error("Advance inside a timer did not panic")
			}
		}()
		v.Advance(1)
	}).Reset(1)
	v.Step()
	v.NewTimer(func() {}).Reset(2)
	if !v.Step() {
		t.Error("the clock does not move any more")
	}
}

func TestRealFollowsTheBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Real()
		fired := make(chan Time, 10)
		timer := c.NewTimer(func() { fired <- c.Now() })
		time.Sleep(time.Hour)
		if len(fired) != 0 {
			t.Fatal("a new timer is not stopped")
		}
		if c.Now() != Time(time.Hour) {
			t.Errorf("now %d after an hour", c.Now())
		}
		timer.Reset(c.Now().Add(time.Second))
		if at := <-fired; at != Time(time.Hour+time.Second) {
			t.Errorf("expired at %d", at)
		}
		timer.Reset(5) // passed
		if at := <-fired; at != Time(time.Hour+time.Second) {
			t.Errorf("expired at %d", at)
		}
		timer.Reset(c.Now().Add(time.Second))
		timer.Stop()
		timer.Reset(c.Now().Add(time.Second))
		timer.Reset(Never)
		time.Sleep(time.Hour)
		if len(fired) != 0 {
			t.Error("a stopped timer expired")
		}
		if w, n := c.Wall(c.Now().Add(time.Minute)), time.Now().Add(time.Minute); !w.Equal(n) {
			t.Errorf("wall time %v, want %v", w, n)
		}
	})
}

func TestNowAllocatesNothing(t *testing.T) {
	c := Real()
	timer := c.NewTimer(func() {})
	if n := testing.AllocsPerRun(100, func() { timer.Reset(c.Now().Add(time.Hour)); timer.Stop() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRealNow(b *testing.B) {
	c := Real()
	for b.Loop() {
		c.Now()
	}
}
