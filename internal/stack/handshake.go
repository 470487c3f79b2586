package stack

import (
	"cmp"
	"sync"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// handshake is a passive open of a listener's for the time of one step. Between steps it rests in a record of the flow table's shard, whose
// lock is held during a step.
type handshake struct {
	stack    *Stack
	key      flowKey
	listener *Listener // another one of the group if one is closed; nil: it is gone
	rec      tcp.SynRecv
	manner   manner
	foreign  bool // the local address is ours only by AnyDestination
}

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
	if !l.begin(now, seg, k, m, floor, w, offer) {
		l.release()
	}
	if s.closed.Load() { // Close may have missed it
		s.shutRecords()
	}
}

// begin sends the SYN-ACK, with a Fast Open cookie if one is to be offered, and makes the record; false if there is somebody in the flow table.
func (l *Listener) begin(now sched.Time, seg *tcp.Segment, k *flowKey, m *ip.Meta, floor issFloor, w manner, offer bool) bool {
	s := l.stack
	h := handshake{stack: s, key: *k, listener: l, manner: w, foreign: m.Foreign}
	p := s.params(now, k, s.pathMTU(m), floor, l.options)
	p.AuthSpace = w.guard.space()
	h.rec.Init(s.cfg.TCP, now, seg, p)
	sh, hash, i := s.flows.lock(k)
	defer sh.mu.Unlock()
	if i >= 0 || l.closed.Load() { // another goroutine was faster with the same SYN; or there is nobody any more
		return false
	}
	h.trace(tcp.EventReceived, seg)
	h.send(func(reply *tcp.Segment) bool {
		h.rec.Open(now, reply)
		if offer {
			s.offerCookie(now, k, reply)
		}
		return true
	})
	all := s.recordsOf(sh)
	n, r := all.new(k, 0, w.guard)
	if m.Foreign {
		r.flags |= recordForeign
	}
	h.pack(r)
	all.put(n, r, 1+h.rec.Step())
	sh.add(flowSlot{hash: slotHash(hash), record: n})
	return true
}

// pack puts it to rest.
func (h *handshake) pack(r *record) {
	r.ref = 0
	if h.listener != nil {
		r.ref = h.listener.id
	}
	h.rec.Pack(&r.state)
}

// rest puts it back into its record.
func (all *records) rest(n uint32, h *handshake) {
	r := all.slab.at(n)
	all.unlink(r)
	h.pack(r)
	all.put(n, r, 1+h.rec.Step())
}

// handshake takes it out of its record for a step.
func (all *records) handshake(now sched.Time, n uint32, k flowKey) handshake {
	s, r := all.stack, all.slab.at(n)
	h := handshake{stack: s, key: k, listener: s.listeners.get(r.ref), foreign: r.flags&recordForeign != 0}
	with := tcp.Params{TSOffset: s.numbers.TSOffset(k.localAddr(), k.remoteAddr()), GSOMax: maxSuper, IPv6: !k.is4()}
	if h.listener != nil {
		h.manner.use(s, &k, h.listener.traffic)
		with.Options = h.listener.options
	}
	h.manner.guard = all.guardOf(n, r)
	with.AuthSpace = h.manner.guard.space()
	h.rec.Unpack(s.cfg.TCP, now, &r.state, with)
	return h
}

// iface is that by which replies go: of the scope, or the listener's; 0: by route.
func (h *handshake) iface() int {
	if h.listener == nil {
		return int(h.key.scope)
	}
	return cmp.Or(int(h.key.scope), h.listener.bind.iface)
}

// send sends what fill made, if it says so.
func (h *handshake) send(fill func(reply *tcp.Segment) bool) {
	reply := h.stack.segments.Get().(*tcp.Segment)
	if fill(reply) {
		h.trace(tcp.EventSent, reply)
		h.stack.reply(&h.key, h.iface(), reply, &h.manner)
	}
	h.stack.segments.Put(reply)
}

// refuse resets it.
func (h *handshake) refuse() {
	h.send(func(reply *tcp.Segment) bool { h.rec.Refuse(reply); return true })
}

// end is for one whose record goes.
func (h *handshake) end() {
	if h.listener != nil {
		h.listener.leave()
	}
	h.stack.openings.Add(-1)
}

// recordInput takes a segment for the record of a flow; false: there is none any more, and what is to begin has this floor.
func (s *Stack) recordInput(now sched.Time, seg *tcp.Segment, k *flowKey, m *ip.Meta, b *batch) (taken bool, floor issFloor) {
	sh, _, i := s.flows.lock(k)
	if i < 0 || sh.slots[i].flow != nil {
		sh.mu.Unlock()
		return false, issFloor{}
	}
	n := sh.slots[i].record
	if sh.records.slab.at(n).timeWait() {
		taken, floor = s.timeWaitInput(now, seg, k, m, sh, i)
		sh.mu.Unlock()
		return taken, floor
	}
	h := sh.records.handshake(now, n, *k)
	switch h.input(now, seg, m) {
	case tcp.SynAccept:
		h.accept(now, seg, b, sh, i) // unlocks
		return true, issFloor{}
	case tcp.SynDrop, tcp.SynReset:
		h.end()
		sh.dropRecord(i)
	default:
		sh.records.rest(n, &h)
	}
	sh.mu.Unlock()
	return true, issFloor{}
}

// input takes a segment, and answers it. SynAccept: the connection is admitted to the accept queue, too.
func (h *handshake) input(now sched.Time, seg *tcp.Segment, m *ip.Meta) (verdict tcp.SynVerdict) {
	if !h.stack.admits(&h.manner, seg, m) {
		return tcp.SynKeep
	}
	h.trace(tcp.EventReceived, seg)
	if (h.listener == nil || h.listener.closed.Load()) && !h.inherit() {
		h.send(func(reply *tcp.Segment) bool { return tcp.ResetFor(seg, reply) })
		return tcp.SynDrop
	}
	h.send(func(reply *tcp.Segment) bool {
		verdict = h.rec.Input(now, seg, reply)
		return verdict == tcp.SynReply || verdict == tcp.SynReset
	})
	if verdict != tcp.SynAccept || h.listener.admit() {
		return verdict
	}
	// The accept queue has no room. The ACK is ignored, so that the SYN-ACK comes again and with it the next ACK, or the peer is told at once.
	h.stack.stats.backlogDrops.Add(1)
	if !h.stack.cfg.TCP.AbortOnOverflow {
		return tcp.SynKeep
	}
	h.send(func(reply *tcp.Segment) bool { return tcp.ResetFor(seg, reply) })
	return tcp.SynReset
}

// inherit gives the handshake of a closed listener to another of its group; false if there is none.
func (h *handshake) inherit() bool {
	if h.listener == nil {
		return false
	}
	for {
		heir := h.listener.heir(&h.key)
		if heir == nil {
			return false
		}
		heir.opening.Add(1)
		if !heir.closed.Load() {
			h.listener.leave()
			h.listener = heir
			return true
		}
		heir.leave() // it was closed meanwhile, and is no heir any more
	}
}

// accept makes a connection of it, which takes the place of the record in slot i; the shard is locked, and is unlocked.
func (h *handshake) accept(now sched.Time, seg *tcp.Segment, b *batch, sh *flowShard, i int) {
	s, l := h.stack, h.listener
	t := l.make()
	t.mu.Lock() // it is new: nobody has it
	t.init(s, h.key, h.iface(), h.foreign)
	t.manner = h.manner
	sh.forget(i)
	sh.slots[i].flow = &t.flow
	s.flows.locals.add(&h.key, 1)
	t.inTable = true
	sh.mu.Unlock()
	t.establish(now, &h.rec, seg, l.trace)
	l.release()
	l.accepted(t, b)
}

// expire sends the SYN-ACK again; true if it is given up.
func (h *handshake) expire(now sched.Time) (over bool) {
	h.send(func(reply *tcp.Segment) bool {
		v := h.rec.Expire(now, reply)
		over = v == tcp.SynDrop || v == tcp.SynReset
		return v == tcp.SynReply || v == tcp.SynReset
	})
	return over
}

// recordICMP takes an ICMP error for the record of a flow, as opening.icmp does.
func (s *Stack) recordICMP(now sched.Time, k *flowKey, e *ip.Error) {
	sh, _, i := s.flows.lock(k)
	defer sh.mu.Unlock()
	if i < 0 || sh.slots[i].flow != nil || sh.records.slab.at(sh.slots[i].record).timeWait() {
		return
	}
	h := sh.records.handshake(now, sh.slots[i].record, *k)
	if h.manner.ignoresICMP() || e.MTU > 0 || !e.HasSeq || !h.rec.Quoted(tcp.Seq(e.Seq)) {
		return
	}
	h.end()
	sh.dropRecord(i)
}

// replyBy is the interface by which a listener's packets go: of the scope, or the listener's; 0: by route.
func (l *Listener) replyBy(m *ip.Meta) int { return cmp.Or(m.Scope, l.bind.iface) }

// reserve counts one more handshake in progress, if there is room for it.
func (l *Listener) reserve() bool {
	if l.opening.Add(1) <= int64(l.backlog) {
		if l.stack.openings.Add(1) <= maxOpenings {
			return true
		}
		l.stack.openings.Add(-1)
	}
	l.leave() // it may be closed meanwhile
	return false
}

// release is the end of a handshake in progress.
func (l *Listener) release() {
	l.leave()
	l.stack.openings.Add(-1)
}

// leave counts one handshake less. With the last one, nothing knows a closed listener by its number any more.
func (l *Listener) leave() {
	if l.opening.Add(-1) == 0 && l.closed.Load() {
		l.stack.listeners.remove(l)
	}
}

// listenerTable knows listeners by number, as records do.
type listenerTable struct {
	mu   sync.RWMutex
	m    map[uint32]*Listener
	last uint32
}

// add gives a listener its number, which none had before.
func (t *listenerTable) add(l *Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[uint32]*Listener)
	}
	t.last++
	l.id = t.last
	t.m[l.id] = l
}

func (t *listenerTable) remove(l *Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, l.id)
}

// get returns the listener of a number, nil if it is gone.
func (t *listenerTable) get(id uint32) *Listener {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[id]
}
