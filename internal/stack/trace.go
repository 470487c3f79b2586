package stack

import (
	"net/netip"
	"sync"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// TraceEvent is one line of the log of a connection: Event says what happened, Local and Remote to which.
type TraceEvent struct {
	Local, Remote netip.AddrPort
	Missed        int // events before this one that were not told, because the reader of the log did not keep up
	tcp.Event
}

// maxTraced is how many events of a stack wait to be told.
const maxTraced = 1 << 14

// tracer is somebody who is told of events: of one connection, of a listener's, or of all.
type tracer struct {
	fn     func(TraceEvent)
	missed int // the log's lock guards it
}

// newTracer is nil for nobody.
func newTracer(fn func(TraceEvent)) *tracer {
	if fn == nil {
		return nil
	}
	return &tracer{fn: fn}
}

// traceLog hands events on: they come under a socket's lock, and are told by a timer that fires at once, with no lock held, one after the
// other.
type traceLog struct {
	timers *sched.Timers
	all    *tracer // of Config; nil: nobody
	node   sched.Node

	mu    sync.Mutex
	queue []traced
}

// traced is an event and who is to be told.
type traced struct {
	to    *tracer
	event TraceEvent
}

func (l *traceLog) init(timers *sched.Timers, fn func(TraceEvent)) {
	l.timers, l.all = timers, newTracer(fn)
	l.node.Owner = l
}

// add queues an event for who is told of all and for another, each of whom may be nil.
func (l *traceLog) add(own *tracer, k *flowKey, e *tcp.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, to := range [...]*tracer{l.all, own} {
		if to == nil {
			continue
		}
		if len(l.queue) >= maxTraced {
			to.missed++
			continue
		}
		l.queue = append(l.queue, traced{to, TraceEvent{Local: k.localAddr(), Remote: k.remoteAddr(), Missed: to.missed, Event: *e}})
		to.missed = 0
		if len(l.queue) == 1 {
			l.timers.Arm(&l.node, e.Time)
		}
	}
}

// Expire tells what is queued.
func (l *traceLog) Expire(sched.Time) {
	l.mu.Lock()
	queue := l.queue
	l.queue = nil
	l.mu.Unlock()
	for i := range queue {
		queue[i].to.fn(queue[i].event)
	}
}

// SetTrace has fn called for each event of the connection from now on; nil ends it. It is called with no lock held, from the goroutine of
// the timers, and must not block. Who is told of all connections goes on being told.
func (t *TCP) SetTrace(fn func(TraceEvent)) error {
	return t.option(func(sched.Time) error {
		t.trace(newTracer(fn))
		return nil
	})
}

// trace is SetTrace; t.mu is held.
func (t *TCP) trace(own *tracer) {
	log := &t.stack.log
	if own == nil && log.all == nil {
		t.conn.SetTrace(nil)
		return
	}
	t.conn.SetTrace(func(e *tcp.Event) { log.add(own, &t.flow.key, e) })
}

// trace tells of a segment of the handshake; o.mu is held.
func (o *opening) trace(kind tcp.EventKind, seg *tcp.Segment) {
	o.stack.log.opening(nil, o.stack, &o.flow.key, &o.rec, kind, seg)
}

// trace tells of a segment of the handshake.
func (h *handshake) trace(kind tcp.EventKind, seg *tcp.Segment) {
	var own *tracer
	if h.listener != nil {
		own = h.listener.trace
	}
	h.stack.log.opening(own, h.stack, &h.key, &h.rec, kind, seg)
}

// opening tells of a segment of a passive open.
func (l *traceLog) opening(own *tracer, s *Stack, k *flowKey, rec *tcp.SynRecv, kind tcp.EventKind, seg *tcp.Segment) {
	if own != nil || l.all != nil {
		e := rec.Event(s.now(), kind, seg)
		l.add(own, k, &e)
	}
}
