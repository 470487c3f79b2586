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
	// One of the two, for life; another listener of the group if one is closed.
	listener *Listener
	request  *TCPRequest

	mu       sync.Mutex
	rec      tcp.SynRecv
	deadline sched.Time // for the handler's decision; Never once it is made
	iface    int        // that replies go out by: of the scope, or the listener's; 0: by route
	manner   manner
	foreign  bool // the local address is ours only by AnyDestination
	dead     bool
	silent   bool // refused by silence: absorbs what comes until deadline
}

// open takes a SYN to a listener or handler, and the packet p if it answers true; false if nobody wants it.
func (s *Stack) open(now sched.Time, seg *tcp.Segment, k *flowKey, p *packet.Packet, m *ip.Meta, floor issFloor) bool {
	if s.closed.Load() {
		return false
	}
	if l := s.listenerOf(k, m); l != nil {
		l.handshake(now, seg, k, m, floor)
		p.Release()
		return true
	}
	fn := s.onTCP.Load()
	if fn == nil {
		return false
	}
	if !s.admits(&manner{}, seg, m) { // signed: a handler has no keys
		p.Release()
		return true
	}
	if s.pending.Add(1) > int64(s.cfg.MaxPending) {
		s.pending.Add(-1)
		s.stats.requestDrops.Add(1)
		p.Release()
		return true
	}
	if !s.mayAsk() {
		s.pending.Add(-1)
		s.stats.requestDrops.Add(1)
		p.Release()
		return true
	}
	o := s.newOpening(now, seg, k, m, floor, nil, s.manner(k, Traffic{}, nil))
	r := &TCPRequest{
		Src: s.zonedPort(k.remoteAddr(), m.Scope), Dst: s.zonedPort(k.localAddr(), m.Scope), Iface: m.Iface,
		request: request{stack: s}, opening: o, syn: p,
	}
	o.request, o.deadline = r, now.Add(decideWithin)
	o.mu.Lock()
	if !s.flows.insert(&o.flow) { // another goroutine was faster with the same SYN
		o.mu.Unlock()
		s.asked.Add(-1)
		r.settle()
		r.dropPacket()
		return true
	}
	o.trace(tcp.EventReceived, seg)
	s.timers.Arm(&o.timer, o.deadline)
	o.mu.Unlock()
	(*fn)(r)
	if s.closed.Load() { // Close may have missed it
		o.shut()
	}
	return true
}

// mayAsk counts one more handshake of the handler's, if there is room: as many as of a listener. A request that was accepted waits for its
// ACK as long as one that a listener has answered, and holds a socket and its caller meanwhile: without a limit a flood of SYNs with forged
// addresses would have a handler that accepts hold any number.
func (s *Stack) mayAsk() bool {
	if s.asked.Add(1) <= int64(max(s.cfg.Backlog, s.cfg.MaxPending)) {
		return true
	}
	s.asked.Add(-1)
	return false
}

// newOpening makes the record of a SYN, for a connection that starts with these options.
func (s *Stack) newOpening(now sched.Time, seg *tcp.Segment, k *flowKey, m *ip.Meta, floor issFloor, with *tcp.Options, w manner) *opening {
	o := &opening{stack: s, iface: m.Scope, foreign: m.Foreign, manner: w, deadline: sched.Never}
	o.flow = flow{key: *k, owner: o}
	o.timer.Owner = o
	p := s.params(now, k, s.pathMTU(m), floor, with)
	p.AuthSpace = w.guard.space()
	o.rec.Init(s.cfg.TCP, now, seg, p)
	return o
}

// pathMTU is the MTU of the interface by which the way leads back to where a packet came from.
func (s *Stack) pathMTU(m *ip.Meta) int {
	if path, err := s.ip.Path(m.Dst, m.Src, m.Scope, true); err == nil {
		return s.mtuOf(path.Iface)
	}
	return s.mtuOf(m.Iface)
}

// mtuOf is the MTU of an interface, or the least that IPv6 allows if it is gone.
func (s *Stack) mtuOf(iface int) int {
	if i := s.iface(iface); i != nil {
		return i.info.Load().MTU
	}
	return 1280
}

// replyBy is the interface by which a listener's packets go: of the scope, or the listener's; 0: by route.
func (l *Listener) replyBy(m *ip.Meta) int { return cmp.Or(m.Scope, l.bind.iface) }

// handshake begins a passive open for the listener. With no room for one more it answers with a cookie, if it may.
func (l *Listener) handshake(now sched.Time, seg *tcp.Segment, k *flowKey, m *ip.Meta, floor issFloor) {
	s := l.stack
	w := s.manner(k, l.traffic, l.keys.Load().keys)
	if !s.admits(&w, seg, m) {
		return
	}
	if l.full() {
		s.stats.backlogDrops.Add(1)
		return
	}
	mode := s.cfg.TCP.SynCookies
	if w.guard != nil {
		mode = tcp.CookiesNever // what the peer's options and ISN say goes into digests
	}
	if mode == tcp.CookiesAlways {
		l.sendCookie(now, seg, k, m)
		return
	}
	if !l.reserve() {
		if mode == tcp.CookiesNever {
			s.stats.backlogDrops.Add(1)
			return
		}
		l.sendCookie(now, seg, k, m)
		return
	}
	offer := false
	if seg.Options.HasFastOpen && w.guard == nil && l.fastOpens() {
		var taken bool
		if taken, offer = l.fastHandshake(now, seg, k, m, floor); taken {
			l.release()
			return
		}
	}
	o := s.newOpening(now, seg, k, m, floor, l.options, w)
	o.listener = l
	o.iface = l.replyBy(m)
	o.mu.Lock()
	if !s.flows.insert(&o.flow) {
		o.mu.Unlock()
		l.release()
		return
	}
	o.trace(tcp.EventReceived, seg)
	o.send(func(reply *tcp.Segment) bool {
		o.rec.Open(now, reply)
		if offer {
			s.offerCookie(now, k, reply)
		}
		return true
	})
	s.timers.Arm(&o.timer, o.rec.Deadline())
	o.mu.Unlock()
	if s.closed.Load() { // Close may have missed it
		o.shut()
	}
}

// reserve counts one more handshake in progress, if there is room for it.
func (l *Listener) reserve() bool {
	if l.opening.Add(1) <= int64(l.backlog) {
		if l.stack.openings.Add(1) <= maxOpenings {
			return true
		}
		l.stack.openings.Add(-1)
	}
	l.opening.Add(-1)
	return false
}

// release is the end of a handshake in progress.
func (l *Listener) release() {
	l.opening.Add(-1)
	l.stack.openings.Add(-1)
}

// send sends what fill made, if it says so; o.mu is held.
func (o *opening) send(fill func(reply *tcp.Segment) bool) {
	reply := o.stack.segments.Get().(*tcp.Segment)
	if fill(reply) {
		o.trace(tcp.EventSent, reply)
		o.stack.reply(&o.flow.key, o.iface, reply, &o.manner)
	}
	o.stack.segments.Put(reply)
}

// input takes a segment of the flow.
func (o *opening) input(now sched.Time, seg *tcp.Segment, m *ip.Meta, b *batch) bool {
	o.mu.Lock()
	if o.dead {
		o.mu.Unlock()
		return false
	}
	if o.silent || !o.stack.admits(&o.manner, seg, m) {
		o.mu.Unlock()
		return true
	}
	o.trace(tcp.EventReceived, seg)
	if o.listener != nil && o.listener.closed.Load() && !o.inherit() {
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

// inherit gives the record of a closed listener to another of its group; false if there is none. o.mu is held.
func (o *opening) inherit() bool {
	heir := o.listener.heir(&o.flow.key)
	if heir == nil {
		return false
	}
	o.listener.opening.Add(-1)
	heir.opening.Add(1)
	o.listener = heir
	return true
}

// accept makes a connection of the record; o.mu is held and is released.
func (o *opening) accept(now sched.Time, seg *tcp.Segment, b *batch) {
	s := o.stack
	var t *TCP
	if o.listener != nil {
		if o.listener.full() {
			o.overflow(seg) // unlocks
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
	t.manner = o.manner
	t.takeFirst(seg)
	ev := t.conn.Accept(s.cfg.TCP, now, &o.rec, seg)
	t.trace(o.tracer())
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
	if l := o.listener; l != nil {
		l.release()
		l.accepted(t, b)
		return
	}
	s.asked.Add(-1)
	s.stats.passiveOpens.Add(1)
	if s.closed.Load() { // Close may have met the record in the table, and not the connection
		t.shut()
	}
	o.request.release()
	b.wake(t.notifier, ConnReady|readiness(ev))
}

// overflow: the accept queue has no room. The ACK is ignored, so that the SYN-ACK comes again and with it the next ACK, or the peer is
// told at once. o.mu is held and is released.
func (o *opening) overflow(seg *tcp.Segment) {
	defer o.mu.Unlock()
	o.stack.stats.backlogDrops.Add(1)
	if o.stack.cfg.TCP.AbortOnOverflow {
		o.send(func(reply *tcp.Segment) bool { return tcp.ResetFor(seg, reply) })
		o.remove()
	}
}

// icmp takes an ICMP error that quotes our SYN-ACK: who sent the SYN cannot be reached, or never was there. The quoted sequence number is a
// secret that only who has seen the SYN-ACK can know (RFC 5927 §4). Hard errors end a connection that is not synchronized (RFC 1122
// §4.2.3.9, RFC 5927 §5.2), and soft ones may (RFC 5461 §4.1): nobody waits for this one but the peer, whose next SYN begins anew.
func (o *opening) icmp(e *ip.Error, b *batch) {
	o.mu.Lock()
	if o.dead || o.silent || o.manner.ignoresICMP() || e.MTU > 0 || !e.HasSeq || !o.rec.Quoted(tcp.Seq(e.Seq)) {
		o.mu.Unlock()
		return
	}
	o.remove()
	o.mu.Unlock()
	if o.request != nil {
		o.request.end(b)
	}
}

// remove takes the record out of the table; o.mu is held.
func (o *opening) remove() {
	o.dead = true
	o.stack.timers.Cancel(&o.timer)
	o.stack.flows.remove(&o.flow)
	switch {
	case o.listener != nil:
		o.listener.release()
	case o.silent:
		o.stack.forget()
	default:
		o.stack.asked.Add(-1)
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
