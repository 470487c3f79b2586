package stack

import (
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// maxTimeWaits bounds the memory of connections that are over, to some 12 MB. One more ends at once: better a small risk for its flow
// (RFC 1337) than none for new ones.
const maxTimeWaits = 128 << 10

// enterTimeWait puts a record in t's place; t.mu is held.
func (s *Stack) enterTimeWait(now sched.Time, t *TCP) {
	if s.timeWaits.Add(1) > maxTimeWaits {
		s.timeWaits.Add(-1)
		s.flows.remove(&t.flow)
		return
	}
	k := &t.flow.key
	w := tcp.NewTimeWait(now, &t.conn)
	m := t.manner.clone()
	sh, _, i := s.flows.lock(k)
	defer sh.mu.Unlock()
	if i < 0 || sh.slots[i].flow != &t.flow {
		s.timeWaits.Add(-1)
		return
	}
	all := s.recordsOf(sh)
	n, r := all.new(k, t.bound, m.guard)
	r.ref = uint32(m.ttl) | uint32(m.tos)<<8 | uint32(m.minTTL)<<16 | uint32(m.pathMTU)<<24
	if r.flags&recordIPv6 != 0 {
		r.remote = m.label
	}
	w.Pack(&r.state)
	all.put(n, r, timeWaitList)
	sh.slots[i].flow, sh.slots[i].record = nil, n
}

// timeWaitManner is the manner of a record in TIME-WAIT.
func (all *records) timeWaitManner(n uint32, r *record) manner {
	m := manner{ttl: uint8(r.ref), tos: uint8(r.ref >> 8), minTTL: uint8(r.ref >> 16), pathMTU: PathMTU(r.ref >> 24), guard: all.guardOf(n, r)}
	if r.flags&recordIPv6 != 0 {
		m.label = r.remote
	}
	return m
}

// timeWaitInput takes a segment for the record in slot i of a shard, which is locked; false: the record has made way for a connection that
// begins anew, with this floor.
func (s *Stack) timeWaitInput(now sched.Time, seg *tcp.Segment, k *flowKey, m *ip.Meta, sh *flowShard, i int) (taken bool, floor issFloor) {
	all, n := sh.records, sh.slots[i].record
	r := all.slab.at(n)
	manner := all.timeWaitManner(n, r)
	if !s.admits(&manner, seg, m) {
		return true, issFloor{}
	}
	var w tcp.TimeWait
	w.Unpack(s.cfg.TCP, now, &r.state)
	reply := s.segments.Get().(*tcp.Segment)
	defer s.segments.Put(reply)
	verdict := w.Input(now, seg, reply)
	switch {
	case verdict == tcp.TimeWaitReopen && s.listens(k, m):
		sh.dropRecord(i)
		return false, issFloor{w.NextISS(), true}
	case verdict == tcp.TimeWaitReopen:
		// There is nobody to reopen it for, and so any SYN, forged or not, would only end TIME-WAIT before its time (RFC 1337). As Linux
		// does, it is answered as one that is not new.
		verdict = w.Challenge(now, reply)
	case verdict == tcp.TimeWaitDrop:
		sh.dropRecord(i)
		return true, issFloor{}
	}
	if verdict == tcp.TimeWaitReply {
		s.reply(k, int(r.iface), reply, &manner)
	}
	all.unlink(r) // 2MSL may have begun anew
	w.Pack(&r.state)
	all.put(n, r, timeWaitList)
	return true, issFloor{}
}

// listens reports whether somebody may want what a SYN asks for.
func (s *Stack) listens(k *flowKey, m *ip.Meta) bool {
	return s.handlers.tcp.Load() != nil || s.listenerOf(k, m) != nil
}

// claimFlow puts f into the flow table, if need be in the place of a connection in TIME-WAIT that allows it.
func (s *Stack) claimFlow(f *flow) (floor issFloor, ok bool) {
	sh, h, i := s.flows.lock(&f.key)
	defer sh.mu.Unlock()
	if i < 0 {
		sh.add(flowSlot{hash: slotHash(h), flow: f})
		s.flows.count(f, 1)
		return issFloor{}, true
	}
	e := &sh.slots[i]
	if e.flow != nil || !sh.records.slab.at(e.record).timeWait() {
		return issFloor{}, false
	}
	var w tcp.TimeWait
	now := s.now()
	w.Unpack(s.cfg.TCP, now, &sh.records.slab.at(e.record).state)
	if !w.Reusable(now) {
		return issFloor{}, false
	}
	sh.forget(i)
	e.flow = f
	s.flows.count(f, 1)
	return issFloor{w.NextISS(), true}, true
}

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
