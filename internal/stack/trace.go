package stack

import (
	"net/netip"
	"sync"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// TraceEvent is one line of the log of a connection.
type TraceEvent struct {
	Local, Remote netip.AddrPort
	Missed        int // events before this one for which there was no room
	tcp.Event
}

// maxTraced is how many events wait to be told.
const maxTraced = 4096

// tracer hands the events of a connection on: they come under the socket's lock, and are told by a timer that fires at once, with no lock
// held, one after the other.
type tracer struct {
	socket *TCP
	fn     func(TraceEvent)
	node   sched.Node

	mu     sync.Mutex
	queue  []TraceEvent
	missed int
}

// SetTrace has fn called for each event of the connection from now on; nil ends it. It is called with no lock held, from the goroutine of
// the timers, and must not block.
func (t *TCP) SetTrace(fn func(TraceEvent)) error {
	return t.option(func(sched.Time) error {
		t.trace(fn)
		return nil
	})
}

// trace is SetTrace; t.mu is held.
func (t *TCP) trace(fn func(TraceEvent)) {
	if fn == nil {
		t.conn.SetTrace(nil)
		return
	}
	r := &tracer{socket: t, fn: fn}
	r.node.Owner = r
	t.conn.SetTrace(r.add)
}

// add queues an event; the socket is locked.
func (r *tracer) add(e *tcp.Event) {
	k := &r.socket.flow.key
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) >= maxTraced {
		r.missed++
		return
	}
	r.queue = append(r.queue, TraceEvent{Local: k.localAddr(), Remote: k.remoteAddr(), Missed: r.missed, Event: *e})
	r.missed = 0
	if len(r.queue) == 1 {
		r.socket.stack.timers.Arm(&r.node, e.Time)
	}
}

// Expire tells what is queued.
func (r *tracer) Expire(sched.Time) {
	r.mu.Lock()
	told := r.queue
	r.queue = nil
	r.mu.Unlock()
	for _, e := range told {
		r.fn(e)
	}
}
