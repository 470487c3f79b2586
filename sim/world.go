package sim

import (
	"fmt"
	"time"

	"github.com/weirnet/weir/sched"
)

// Config of a World.
type Config struct {
	Seed uint64
	// Check makes every host's buffers checked ones: what is released is overwritten, what is shared is verified, what leaks is found by
	// Close. It costs about half of the speed.
	Check bool
	// Batches: packets that arrive at one instant reach their host together, so that it may join them (GRO). Else each comes by itself, and
	// the invariants are checked after each. (What they say about stalls is less exact with batches: see progress.)
	Batches bool
	// Begin is what the hosts' clocks show at the beginning.
	Begin time.Duration
	// Trace is told of every packet that leaves a host or reaches one; nil: nobody is.
	Trace func(Event)
	// MaxSteps is how many events there may be before the world gives up; 0: as many as there are.
	MaxSteps int
}

// World is hosts, links and a virtual clock, in one goroutine. What happens depends on the seed and on what its methods were told alone.
type World struct {
	config   Config
	clock    *sched.Virtual
	begin    sched.Time
	random   Random
	patterns patterns
	buffer   []byte // that applications read into
	hosts    []*Host
	links    []*Link
	unrouted bool // links were added since routes were made
	corrupts bool // some link corrupts packets
	orderly  bool // packets stay in order, so that each window that arrives is newer than those before
	flows    int

	ready  []*Conn // whose applications have something to do
	live   []*Conn // to be checked
	next   int     // of live, to be checked after the next step
	dirty  []*Conn // of live, that something has happened to in this step
	steps  int
	still  int // steps at this instant
	failed error
	closed bool
}

// maxStill is how many steps there may be at one instant: more is a loop.
const maxStill = 100_000

// New makes an empty World.
func New(c Config) *World {
	w := &World{config: c, clock: sched.NewVirtual(time.Unix(0, 0)), random: Random(c.Seed), patterns: newPatterns(), begin: sched.Time(c.Begin),
		buffer: make([]byte, maxPattern)}
	w.clock.RunUntil(w.begin)
	return w
}

// Now is how long the world has been running.
func (w *World) Now() time.Duration { return w.clock.Now().Sub(w.begin) }

// Steps is how many events there have been.
func (w *World) Steps() int { return w.steps }

// Random is the world's source of random numbers, for applications that want to be chosen by the seed as well.
func (w *World) Random() *Random { return &w.random }

// Fail ends the world by an error; the first one counts. Run returns it.
func (w *World) Fail(format string, args ...any) {
	if w.failed == nil {
		w.failed = fmt.Errorf("seed %d, at %v: %w", w.config.Seed, w.Now(), fmt.Errorf(format, args...))
	}
}

// Err is the error that has ended the world: a broken invariant, or what Fail was given.
func (w *World) Err() error { return w.failed }

// At calls fn when the world has been running for t, at once if it has been longer.
func (w *World) At(t time.Duration, fn func()) { w.clock.NewTimer(fn).Reset(w.begin.Add(t)) }

// After calls fn in a time d from now.
func (w *World) After(d time.Duration, fn func()) { w.At(w.Now()+d, fn) }

// Every calls fn each d, for the first time in a time d from now, until it returns false.
func (w *World) Every(d time.Duration, fn func() bool) {
	at := w.clock.Now()
	var timer sched.Timer
	again := func() {
		at = at.Add(d)
		timer.Reset(at)
	}
	timer = w.clock.NewTimer(func() {
		if fn() {
			again()
		}
	})
	again()
}

// Run lets time pass. The error is the first broken invariant, and the world then stands still.
func (w *World) Run(d time.Duration) error {
	w.route()
	until := w.clock.Now().Add(d)
	w.settle()
	for w.step(until) {
	}
	if w.failed == nil {
		w.clock.RunUntil(until)
	}
	return w.failed
}

// RunWhile steps as long as more says so, nothing has failed, something is still to happen, and no more time than limit has passed. It
// reports whether more has said no.
func (w *World) RunWhile(limit time.Duration, more func() bool) (bool, error) {
	w.route()
	until := w.clock.Now().Add(limit)
	w.settle()
	for more() {
		if !w.step(until) {
			return false, w.failed
		}
	}
	return true, w.failed
}

// step lets the next event happen, if it does by the given instant, and checks the invariants.
func (w *World) step(until sched.Time) bool {
	next := w.clock.Next()
	if w.failed != nil || next == sched.Never || next > until {
		return false
	}
	if next > w.clock.Now() {
		w.still = 0
	}
	w.clock.Step()
	w.steps++
	if w.still++; w.still > maxStill {
		w.Fail("%d events, and time stands still", w.still)
	}
	if w.config.MaxSteps > 0 && w.steps > w.config.MaxSteps {
		w.Fail("more than %d events", w.config.MaxSteps)
	}
	w.settle()
	return w.failed == nil
}

// settle lets the applications act, and then checks the invariants.
func (w *World) settle() {
	for i := 0; i < len(w.ready); i++ {
		c := w.ready[i]
		w.ready[i] = nil
		c.act()
		if i == maxStill {
			w.Fail("the applications do not come to rest: %v", c)
			break
		}
	}
	w.ready = w.ready[:0]
	w.check()
}

// Close ends all hosts, and reports the first broken invariant, one of which is that nothing leaks.
func (w *World) Close() error {
	if w.closed {
		return w.failed
	}
	w.closed = true
	for _, h := range w.hosts {
		h.stack.Close()
	}
	for _, h := range w.hosts {
		h.checkClosed()
	}
	return w.failed
}
