package stack

import (
	"cmp"
	"net"
	"sync"
	"time"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// decideWithin is how long a request handler has to decide.
const decideWithin = 60 * time.Second

// opening is a passive open in progress: the flow's owner in SYN-RECEIVED, for a listener or for a request.
type opening struct {
	flow  flow
	timer sched.Node
	stack *Stack
	// One of the two, for life.
	listener *Listener
	request  *TCPRequest

	mu       sync.Mutex
	rec      tcp.SynRecv
	deadline sched.Time // for the handler's decision; Never once it is made
	iface    int        // that replies go out by: of the scope, or the listener's; 0: by route
	foreign  bool       // the local address is ours only by AnyDestination
	dead     bool
	silent   bool // refused by silence: absorbs what comes until deadline
}

// open takes a SYN to a listener or handler, and the packet p if it answers true; false if nobody wants it.
func (s *Stack) open(now sched.Time, seg *tcp.Segment, k *flowKey, p *packet.Packet, m *ip.Meta, floor issFloor) bool {
	if s.closed.Load() {
		return false
	}
	if l, ok := s.binds.find(protoTCP, k.localAddr(), m.Iface, m.Foreign).(*Listener); ok {
		l.handshake(now, seg, k, m, floor)
		p.Release()
		return true
	}
	fn := s.onTCP.Load()
	if fn == nil {
		return false
	}
	if s.pending.Add(1) > int64(s.cfg.MaxPending) {
		s.pending.Add(-1)
		s.stats.requestDrops.Add(1)
		p.Release()
		return true
	}
	o := s.newOpening(now, seg, k, m, floor, nil)
	r := &TCPRequest{
		Src: s.zonedPort(k.remoteAddr(), m.Scope), Dst: s.zonedPort(k.localAddr(), m.Scope), Iface: m.Iface,
		request: request{stack: s}, opening: o, syn: p,
	}
	o.request, o.deadline = r, now.Add(decideWithin)
	o.mu.Lock()
	if !s.flows.insert(&o.flow) { // another goroutine was faster with the same SYN
		o.mu.Unlock()
		r.settle()
		r.dropPacket()
		return true
	}
	s.timers.Arm(&o.timer, o.deadline)
	o.mu.Unlock()
	(*fn)(r)
	if s.closed.Load() { // Close may have missed it
		o.shut()
	}
	return true
}

// newOpening makes the record of a SYN, for a connection that starts with these options.
func (s *Stack) newOpening(now sched.Time, seg *tcp.Segment, k *flowKey, m *ip.Meta, floor issFloor, with *tcp.Options) *opening {
	o := &opening{stack: s, iface: m.Scope, foreign: m.Foreign, deadline: sched.Never}
	o.flow = flow{key: *k, owner: o}
	o.timer.Owner = o
	mtu := s.mtuOf(m.Iface)
	if path, err := s.ip.Path(m.Dst, m.Src, m.Scope, true); err == nil {
		mtu = path.MTU
	}
	o.rec.Init(s.cfg.TCP, now, seg, s.params(now, k, mtu, floor, with))
	return o
}

// mtuOf is the MTU of an interface, or the least that IPv6 allows if it is gone.
func (s *Stack) mtuOf(iface int) int {
	if i := s.iface(iface); i != nil {
		return i.info.Load().MTU
	}
	return 1280
}

// handshake begins a passive open for the listener.
func (l *Listener) handshake(now sched.Time, seg *tcp.Segment, k *flowKey, m *ip.Meta, floor issFloor) {
	s := l.stack
	if l.opening.Add(1) > int64(s.cfg.Backlog) || l.full() {
		l.opening.Add(-1)
		s.stats.backlogDrops.Add(1)
		return
	}
	o := s.newOpening(now, seg, k, m, floor, l.options)
	o.listener = l
	o.iface = cmp.Or(o.iface, l.bind.iface)
	o.mu.Lock()
	if !s.flows.insert(&o.flow) {
		o.mu.Unlock()
		l.opening.Add(-1)
		return
	}
	o.send(func(reply *tcp.Segment) bool { o.rec.Open(now, reply); return true })
	s.timers.Arm(&o.timer, o.rec.Deadline())
	o.mu.Unlock()
	if s.closed.Load() { // Close may have missed it
		o.shut()
	}
}

// send sends what fill made, if it says so; o.mu is held.
func (o *opening) send(fill func(reply *tcp.Segment) bool) {
	reply := o.stack.segments.Get().(*tcp.Segment)
	if fill(reply) {
		o.stack.reply(&o.flow.key, o.iface, reply)
	}
	o.stack.segments.Put(reply)
}

// input takes a segment of the flow.
func (o *opening) input(now sched.Time, seg *tcp.Segment, b *batch) bool {
	o.mu.Lock()
	if o.dead {
		o.mu.Unlock()
		return false
	}
	if o.silent {
		o.mu.Unlock()
		return true
	}
	if o.listener != nil && o.listener.closed.Load() {
		o.send(func(reply *tcp.Segment) bool { return tcp.ResetFor(seg, reply) })
		o.remove()
		o.mu.Unlock()
		return true
	}
	var verdict tcp.SynVerdict
	o.send(func(reply *tcp.Segment) bool {
		verdict = o.rec.Input(now, seg, reply)
		return verdict == tcp.SynReply || verdict == tcp.SynReset
	})
	switch verdict {
	case tcp.SynAccept:
		o.accept(now, seg, b) // unlocks
		return true
	case tcp.SynDrop, tcp.SynReset:
		o.remove()
		o.mu.Unlock()
		if o.request != nil {
			o.request.end(b)
		}
		return true
	}
	o.mu.Unlock()
	return true
}

// accept makes a connection of the record; o.mu is held and is released.
func (o *opening) accept(now sched.Time, seg *tcp.Segment, b *batch) {
	s := o.stack
	var t *TCP
	if o.listener != nil {
		if o.listener.full() { // drop the ACK: the SYN-ACK comes again
			s.stats.backlogDrops.Add(1)
			o.mu.Unlock()
			return
		}
		t = o.listener.make()
	} else {
		t = o.request.conn
	}
	t.mu.Lock()
	if o.listener != nil {
		t.init(s, o.flow.key, o.iface, o.foreign)
	}
	ev := t.conn.Accept(s.cfg.TCP, now, &o.rec, seg)
	o.dead = true
	s.timers.Cancel(&o.timer)
	t.inTable = s.flows.replace(&o.flow, &t.flow)
	o.mu.Unlock()
	if t.closed { // the request's owner has given up
		ev |= t.conn.Abort(now, net.ErrClosed)
	}
	t.output(now)
	t.settle(now, ev)
	t.mu.Unlock()
	s.stats.passiveOpens.Add(1)
	if s.closed.Load() { // Close may have met the record in the table, and not the connection
		t.shut()
	}
	if l := o.listener; l != nil {
		l.opening.Add(-1)
		l.push(t, b)
		return
	}
	o.request.release()
	b.wake(t.notifier, ConnReady|readiness(ev))
}

// remove takes the record out of the table; o.mu is held.
func (o *opening) remove() {
	o.dead = true
	o.stack.timers.Cancel(&o.timer)
	o.stack.flows.remove(&o.flow)
	if o.listener != nil {
		o.listener.opening.Add(-1)
	}
	if o.silent {
		o.stack.forget()
	}
}

// Expire is the timer's call: the SYN-ACK again, or the end.
func (o *opening) Expire(now sched.Time) {
	o.mu.Lock()
	if o.dead {
		o.mu.Unlock()
		return
	}
	over := now >= o.deadline
	if !over && o.rec.Opened() && o.rec.Deadline() <= now {
		o.send(func(reply *tcp.Segment) bool {
			v := o.rec.Expire(now, reply)
			over = v == tcp.SynDrop || v == tcp.SynReset
			return v == tcp.SynReply || v == tcp.SynReset
		})
	}
	if over {
		o.remove()
	} else {
		o.stack.timers.Arm(&o.timer, o.next())
	}
	o.mu.Unlock()
	if over && o.request != nil {
		o.request.end(nil)
	}
	o.stack.kickQueues()
}

// next is when Expire is to be called; o.mu is held.
func (o *opening) next() sched.Time {
	if o.rec.Opened() {
		return o.rec.Deadline()
	}
	return o.deadline
}

// shut ends it because the stack closes.
func (o *opening) shut() {
	o.mu.Lock()
	if !o.dead {
		o.send(func(reply *tcp.Segment) bool { o.rec.Refuse(reply); return true })
		o.remove()
	}
	o.mu.Unlock()
	if o.request != nil {
		o.request.end(nil)
	}
}

// timeWait is a connection in TIME-WAIT.
type timeWait struct {
	flow  flow
	timer sched.Node
	stack *Stack
	mu    sync.Mutex
	rec   tcp.TimeWait
	iface int32 // as TCP.bound
	dead  bool
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
	w := &timeWait{stack: s, iface: t.bound, rec: tcp.NewTimeWait(now, &t.conn)}
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

func (w *timeWait) input(now sched.Time, seg *tcp.Segment, _ *batch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return false
	}
	s := w.stack
	reply := s.segments.Get().(*tcp.Segment)
	defer s.segments.Put(reply)
	switch w.rec.Input(now, seg, reply) {
	case tcp.TimeWaitReply:
		s.reply(&w.flow.key, int(w.iface), reply)
	case tcp.TimeWaitReopen:
		w.remove()
		return false
	}
	return true
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
