package stack

import (
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

// opening is a passive open of a request's: the flow's owner in SYN-RECEIVED. (Those of listeners are handshakes.)
type opening struct {
	flow    flow
	timer   sched.Node
	stack   *Stack
	request *TCPRequest

	mu       sync.Mutex
	rec      tcp.SynRecv
	deadline sched.Time // for the handler's decision; Never once it is made
	iface    int        // that replies go out by: of the scope; 0: by route
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
	if ask := s.handlers.tcp.Load(); ask != nil {
		(*ask)(now, seg, *k, p, m, floor)
		return true
	}
	return false
}

// requestTCP asks a handler about a SYN. It owns p.
func (s *Stack) requestTCP(handle func(*TCPRequest), now sched.Time, seg *tcp.Segment, k *flowKey, p *packet.Packet, m *ip.Meta, floor issFloor) {
	if !s.admits(&manner{}, seg, m) { // signed: a handler has no keys
		p.Release()
		return
	}
	if s.pending.Add(1) > int64(s.cfg.MaxPending) {
		s.pending.Add(-1)
		s.stats.requestDrops.Add(1)
		p.Release()
		return
	}
	if !s.mayAsk() {
		s.pending.Add(-1)
		s.stats.requestDrops.Add(1)
		p.Release()
		return
	}
	o := s.newOpening(now, seg, k, m, floor)
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
		return
	}
	o.trace(tcp.EventReceived, seg)
	s.timers.Arm(&o.timer, o.deadline)
	o.mu.Unlock()
	handle(r)
	if s.closed.Load() { // Close may have missed it
		o.shut()
	}
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

// newOpening makes the record of a SYN, for a connection that starts with the defaults until TCPRequest.Accept says otherwise.
func (s *Stack) newOpening(now sched.Time, seg *tcp.Segment, k *flowKey, m *ip.Meta, floor issFloor) *opening {
	o := &opening{stack: s, iface: m.Scope, foreign: m.Foreign, manner: s.manner(k, Traffic{}, nil), deadline: sched.Never}
	o.flow = flow{key: *k, owner: o}
	o.timer.Owner = o
	o.rec.Init(s.cfg.TCP, now, seg, s.params(now, k, s.pathMTU(m), floor, nil))
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
		o.request.end(b)
		return true
	}
	o.mu.Unlock()
	return true
}

// accept makes a connection of the record; o.mu is held and is released.
func (o *opening) accept(now sched.Time, seg *tcp.Segment, b *batch) {
	s, t := o.stack, o.request.conn
	t.mu.Lock()
	t.manner = o.manner
	t.takeFirst(seg)
	ev := t.conn.Accept(s.cfg.TCP, now, &o.rec, seg)
	t.trace(nil)
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
	s.asked.Add(-1)
	s.stats.passiveOpens.Add(1)
	if s.closed.Load() { // Close may have met the record in the table, and not the connection
		t.shut()
	}
	o.request.release()
	b.wake(t.notifier, ConnReady|readiness(ev))
}

// icmp takes an ICMP error that quotes our SYN-ACK: who sent the SYN cannot be reached, or never was there. The quoted sequence number is a
// secret that only who has seen the SYN-ACK can know (RFC 5927 §4). Hard errors end a connection that is not synchronized (RFC 1122
// §4.2.3.9, RFC 5927 §5.2), and soft ones may (RFC 5461 §4.1): nobody waits for this one but the peer, whose next SYN begins anew.
func (o *opening) icmp(_ sched.Time, e *ip.Error, b *batch) {
	o.mu.Lock()
	if o.dead || o.silent || o.manner.ignoresICMP() || e.MTU > 0 || !e.HasSeq || !o.rec.Quoted(tcp.Seq(e.Seq)) {
		o.mu.Unlock()
		return
	}
	o.remove()
	o.mu.Unlock()
	o.request.end(b)
}

// remove takes the record out of the table; o.mu is held.
func (o *opening) remove() {
	o.dead = true
	o.stack.timers.Cancel(&o.timer)
	o.stack.flows.remove(&o.flow)
	if o.silent {
		o.stack.forget()
	} else {
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
	if over {
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
	o.request.end(nil)
}
