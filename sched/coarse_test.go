package sched

import (
	"slices"
	"testing"
	"time"
)

func TestCoarseClock(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	c := NewCoarse(v, 10)
	var fired []Time
	timer := c.NewTimer(func() {
		if c.Now() != v.Now() {
			t.Errorf("a timer fired at %d, when the coarse clock says %d", v.Now(), c.Now())
		}
		fired = append(fired, v.Now())
	})
	for _, at := range []Time{11, 20, 30, 31} {
		timer.Reset(at)
		v.RunUntil(at + 9)
	}
	timer.Reset(Never - 1) // no multiple of 10 follows
	if v.Next() != Never || !slices.Equal(fired, []Time{20, 20, 30, 40}) || c.Now() != 40 {
		t.Errorf("fired at %v, next %d, now %d", fired, v.Next(), c.Now())
	}
	v.RunUntil(57)
	if c.Now() != 50 || c.Wall(50) != v.Wall(50) {
		t.Errorf("now %d at 57", c.Now())
	}
	if !OneGoroutine(c) || !OneGoroutine(v) || OneGoroutine(Real()) {
		t.Error("which clocks run in one goroutine?")
	}
}
