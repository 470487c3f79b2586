package stack

import (
	"sync"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// timeWait is a connection in TIME-WAIT.
type timeWait struct {
	flow   flow
	timer  sched.Node
	stack  *Stack
	mu     sync.Mutex
	rec    tcp.TimeWait
	iface  int32 // as TCP.bound
	manner manner
	dead   bool
}

// maxTimeWaits bounds the memory of connections that are over, to some 30 MB. One more ends at once: better a small risk for its flow
// (RFC 1337) than none for new ones.
const maxTimeWaits = 128 << 10

// enterTimeWait puts a record in t's place; t.mu is held.
func (s *Stack) enterTimeWait(now sched.Time, t *TCP) {
	if s.timeWaits.Add(1) > maxTimeWaits {
		s.timeWaits.Add(-1)
		s.flows.remove(&t.flow)
		return
	}
	w := &timeWait{stack: s, iface: t.bound, manner: t.manner.clone(), rec: tcp.NewTimeWait(now, &t.conn)}
	w.flow = flow{key: t.flow.key, owner: w}
	w.timer.Owner = w
	w.mu.Lock()
	defer w.mu.Unlock()
	if !s.flows.replace(&t.flow, &w.flow) {
		s.timeWaits.Add(-1)
		return
	}
	s.timers.Arm(&w.timer, w.rec.Deadline())
}

func (w *timeWait) input(now sched.Time, seg *tcp.Segment, m *ip.Meta, _ *batch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return false
	}
	s := w.stack
	if !s.admits(&w.manner, seg, m) {
		return true
	}
	reply := s.segments.Get().(*tcp.Segment)
	defer s.segments.Put(reply)
	switch w.rec.Input(now, seg, reply) {
	case tcp.TimeWaitReply:
		s.reply(&w.flow.key, int(w.iface), reply, &w.manner)
	case tcp.TimeWaitReopen:
		if s.listens(&w.flow.key, m) {
			w.remove()
			return false
		}
		// There is nobody to reopen it for, and so any SYN, forged or not, would only end TIME-WAIT before its time (RFC 1337). As Linux
		// does, it is answered as one that is not new.
		if w.rec.Challenge(now, reply) == tcp.TimeWaitReply {
			s.reply(&w.flow.key, int(w.iface), reply, &w.manner)
		}
	case tcp.TimeWaitDrop:
		w.remove()
	}
	return true
}

// listens reports whether somebody may want what a SYN asks for.
func (s *Stack) listens(k *flowKey, m *ip.Meta) bool {
	return s.onTCP.Load() != nil || s.listenerOf(k, m) != nil
}

// Expire is the timer's call.
func (w *timeWait) Expire(now sched.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.dead:
	case w.rec.Deadline() <= now:
		w.remove()
	default: // 2MSL began anew
		w.stack.timers.Arm(&w.timer, w.rec.Deadline())
	}
}

// yield gives the record's place to f, a new connection of the same addresses and ports, if that is safe.
func (w *timeWait) yield(now sched.Time, f *flow) (floor issFloor, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead || !w.rec.Reusable(now) || !w.stack.flows.replace(&w.flow, f) {
		return issFloor{}, false
	}
	w.end()
	return w.floor(), true
}

// floor is for a connection that takes the record's place, which never changes any more.
func (w *timeWait) floor() issFloor { return issFloor{w.rec.NextISS(), true} }

// issFloor is the least initial sequence number that a connection may have, if there is one.
type issFloor struct {
	least tcp.Seq
	set   bool
}

// raise returns iss, or the floor if iss is before that.
func (f issFloor) raise(iss tcp.Seq) tcp.Seq {
	if f.set && iss.Before(f.least) {
		return f.least
	}
	return iss
}

// remove takes the record out of the table; w.mu is held.
func (w *timeWait) remove() {
	w.end()
	w.stack.flows.remove(&w.flow)
}

// end makes the record one that is not in the table; w.mu is held.
func (w *timeWait) end() {
	w.dead = true
	w.stack.timers.Cancel(&w.timer)
	w.stack.timeWaits.Add(-1)
}

func (w *timeWait) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.dead {
		w.remove()
	}
}
