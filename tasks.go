package weir

import (
	"sync"
	"time"

	"github.com/weirnet/weir/sched"
)

// tasks are goroutines that Close waits for.
type tasks struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // made by wait, closed when n becomes 0
}

// start runs fn on a new goroutine; false, and nothing done, once wait was called.
func (t *tasks) start(spawn func(func()), fn func()) bool {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return false
	}
	t.n++
	t.mu.Unlock()
	spawn(func() {
		defer t.done()
		fn()
	})
	return true
}

func (t *tasks) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n == 0 && t.closed {
		close(t.idle)
	}
}

// wait lets no more start and waits until all have ended, but no longer than d. It is called once.
func (t *tasks) wait(clock sched.Clock, d time.Duration) {
	t.mu.Lock()
	t.closed = true
	t.idle = make(chan struct{})
	running := t.n > 0
	t.mu.Unlock()
	if !running {
		return
	}
	over := make(chan struct{})
	timer := clock.NewTimer(func() { close(over) })
	timer.Reset(clock.Now().Add(d))
	defer timer.Stop()
	select {
	case <-t.idle:
	case <-over:
	}
}
