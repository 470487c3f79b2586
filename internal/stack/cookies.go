package stack

import (
	"sync/atomic"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// maxOpenings bounds the memory of handshakes in progress, of all listeners together, to some 6 MB.
const maxOpenings = 64 << 10

// cookieKeys returns the keys of SYN cookies, new ones if it is time.
func (s *Stack) cookieKeys(now sched.Time) *tcp.CookieKeys {
	for {
		old := s.cookies.Load()
		if old != nil && !old.Due(now) {
			return old
		}
		key := siphash.Key{K0: s.cfg.Rand(), K1: s.cfg.Rand()}
		next := tcp.NewCookieKeys(now, key)
		if old != nil {
			next = old.Rotate(now, key)
		}
		if s.cookies.CompareAndSwap(old, next) {
			return next
		}
	}
}

// cookieParams are those of a connection that begins with a cookie; its initial sequence number is the cookie.
func (l *Listener) cookieParams(now sched.Time, k *flowKey, m *ip.Meta) tcp.Params {
	return l.stack.params(now, k, l.stack.pathMTU(m), issFloor{}, l.options)
}

// sendCookie answers a SYN and keeps nothing of it.
func (l *Listener) sendCookie(now sched.Time, syn *tcp.Segment, k *flowKey, m *ip.Meta) {
	s := l.stack
	l.lastCookie().Store(int64(now.Add(tcp.CookieLife)))
	reply := s.segments.Get().(*tcp.Segment)
	s.cookieKeys(now).SynAck(s.cfg.TCP, now, syn, l.cookieParams(now, k, m), k.localAddr(), k.remoteAddr(), reply)
	w := s.manner(k, l.traffic, nil)
	s.reply(k, l.replyBy(m), reply, &w)
	s.segments.Put(reply)
	s.stats.cookiesSent.Add(1)
}

// lastCookie holds the instant at which the last cookie that was sent is too old. Listeners that share their port have one of all: when one
// is closed, another takes the ACKs of its cookies.
func (l *Listener) lastCookie() *atomic.Int64 {
	if l.bind.reusePort {
		return &l.stack.groupCookies
	}
	return &l.cookiesUntil
}

// cookieSent reports whether a cookie of the listener may be in flight. Only then is an ACK looked at for one.
func (l *Listener) cookieSent(now sched.Time) bool { return now < sched.Time(l.lastCookie().Load()) }

// awaitsCookie reports whether a segment that is refused may belong to a handshake by cookie whose ACK was lost or is late. All that a client
// sends until it has had an answer acknowledges the cookie, but only what begins right behind its SYN has all that checks it; what follows
// is met by silence, not by a RST, so that the retransmission of what is missing can complete the handshake. (Linux sends a RST.) For how
// long is bounded by the life of a cookie, as the echoed timestamp tells. Where there are none, a peer that has a connection which we have
// forgotten does not learn of that before the flood is over.
func (l *Listener) awaitsCookie(now sched.Time, seg *tcp.Segment, k *flowKey) bool {
	return seg.Flags&(wire.SYN|wire.RST|wire.ACK) == wire.ACK && seg.Len() > 0 && l.cookieSent(now) &&
		tcp.MayFollowCookie(l.stack.cfg.TCP, now, seg, l.stack.numbers.TSOffset(k.localAddr(), k.remoteAddr()))
}

// takeCookie makes a connection of an ACK to a listener, if it answers a cookie: false if not. It leaves the packet to the caller.
func (s *Stack) takeCookie(now sched.Time, seg *tcp.Segment, k *flowKey, m *ip.Meta, b *batch) bool {
	if seg.Flags&(wire.SYN|wire.RST|wire.ACK) != wire.ACK || s.closed.Load() {
		return false
	}
	l := s.listenerOf(k, m)
	if l == nil || !l.cookieSent(now) || l.guard(k) != nil || !s.admits(&manner{minTTL: l.traffic.MinTTL}, seg, m) {
		return false
	}
	var rec tcp.SynRecv
	if !s.cookieKeys(now).Check(s.cfg.TCP, now, seg, l.cookieParams(now, k, m), k.localAddr(), k.remoteAddr(), &rec) {
		s.stats.cookiesFailed.Add(1)
		return false
	}
	s.stats.cookiesReceived.Add(1)
	if !l.admit() {
		s.stats.backlogDrops.Add(1)
		return !s.cfg.TCP.AbortOnOverflow // what the peer sends next is looked at again
	}
	t := l.make()
	t.mu.Lock()
	t.init(s, *k, l.replyBy(m), m.Foreign)
	t.manner = s.manner(k, l.traffic, nil)
	t.inTable = s.flows.insert(&t.flow)
	if !t.inTable { // another goroutine was faster with the same cookie
		t.mu.Unlock()
		l.dismiss()
		return true
	}
	t.establish(now, &rec, seg, l.trace)
	l.accepted(t, b)
	return true
}

// establish makes t, which is in the flow table, the connection of a handshake that seg completes; t.mu is held and is released.
func (t *TCP) establish(now sched.Time, rec *tcp.SynRecv, seg *tcp.Segment, trace *tracer) {
	t.takeFirst(seg)
	ev := t.conn.Accept(t.stack.cfg.TCP, now, rec, seg)
	t.trace(trace)
	t.output(now)
	t.settle(now, ev)
	t.mu.Unlock()
}

// accepted gives the listener a connection that it has admitted; no lock is held.
func (l *Listener) accepted(t *TCP, b *batch) {
	s := l.stack
	s.stats.passiveOpens.Add(1)
	if s.closed.Load() { // Close may have met the record in the table, and not the connection
		t.shut()
	}
	l.push(t, b)
}

// refuse answers a segment that nobody takes: as LISTEN does, or CLOSED. It owns p.
func (s *Stack) refuse(now sched.Time, seg *tcp.Segment, k *flowKey, p *packet.Packet, m *ip.Meta) {
	defer p.Release() // the segment borrows from it
	reply := s.segments.Get().(*tcp.Segment)
	defer s.segments.Put(reply)
	answer := tcp.ResetFor
	l := s.listenerOf(k, m)
	if l != nil {
		answer = tcp.ResetFromListen
	}
	switch g := l.guard(k); {
	case l != nil && g == nil && l.awaitsCookie(now, seg, k):
		return
	case !answer(seg, reply):
		return
	case g == nil && seg.Options.AuthKind == 0:
		s.reply(k, m.Scope, reply, &manner{})
	case !s.refuseSigned(g, seg, reply, k, m):
		return
	}
	s.stats.resetsOut.Add(1)
}
