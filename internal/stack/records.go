package stack

import (
	"encoding/binary"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// records are a shard's handshakes of listeners (SYN-RECEIVED) and connections in TIME-WAIT: 68 bytes each (32 more with IPv6), without
// pointers, in place of a connection's memory. They are known by numbers, so that a slot of the flow table, the neighbours in a list and the
// free ones need no more. The shard's lock guards them.
//
// Their timers are lists: all that is in one has been given the same time, so that it is in order as it comes, and one node of the wheel
// for the shard holds the earliest of the heads.
type records struct {
	stack *Stack
	shard *flowShard
	slab  slab[record]
	addrs slab[[32]byte]          // of IPv6, local first
	guard map[uint32]*guard       // of those that have one
	lists [recordLists]recordList // by record.list
	timer sched.Node
	armed bool
}

// recordLists: connections in TIME-WAIT, and each step of a handshake.
const (
	timeWaitList = 0
	recordLists  = 1 + tcp.SynSteps
)

// recordList is a list of records by deadline, ends given by number.
type recordList struct{ first, last uint32 }

// record is one at rest.
type record struct {
	local, remote         uint32 // addresses; with IPv6, the number of both in records.addrs, and the flow label in TIME-WAIT
	localPort, remotePort uint16
	iface                 int32  // which the flow keeps to: flowKey.scope with recordScoped, else TCP.bound
	next, prev            uint32 // in its list
	ref                   uint32 // Listener.id; in TIME-WAIT the manner
	state                 tcp.Packed
	flags                 recordFlags
}

// recordFlags has the number of the record's list in its upper half.
type recordFlags uint8

const (
	recordIPv6    recordFlags = 1 << iota
	recordScoped              // iface is the key's scope
	recordForeign             // the local address is ours only by AnyDestination
	recordGuarded             // records.guard has its guard

	recordListShift = 4
)

func (r *record) list() int { return int(r.flags >> recordListShift) }

func (r *record) timeWait() bool { return r.list() == timeWaitList }

// state is that of RFC 9293.
func (r *record) tcpState() tcp.State {
	if r.timeWait() {
		return tcp.TimeWaiting
	}
	return tcp.SynReceived
}

// key is the flow's.
func (r *record) key(all *records) (k flowKey) {
	k = flowKey{localPort: r.localPort, remotePort: r.remotePort, proto: protoTCP}
	if r.flags&recordScoped != 0 {
		k.scope = r.iface
	}
	if r.flags&recordIPv6 != 0 {
		a := all.addrs.at(r.local)
		k.local, k.remote = [16]byte(a[:16]), [16]byte(a[16:])
		return k
	}
	k.local, k.remote = mapped(r.local), mapped(r.remote)
	return k
}

// mapped is an IPv4 address as flowKey has it.
func mapped(a uint32) (b [16]byte) {
	b[10], b[11] = 0xff, 0xff
	binary.BigEndian.PutUint32(b[12:], a)
	return b
}

// is reports whether the record is the flow's.
func (r *record) is(all *records, k *flowKey) bool {
	return r.remotePort == k.remotePort && r.localPort == k.localPort && r.key(all) == *k
}

// new makes the record of a flow that the shard does not have as one; its state is the caller's to fill, then put lists it.
func (all *records) new(k *flowKey, iface int32, g *guard) (uint32, *record) {
	n, r := all.slab.take()
	*r = record{localPort: k.localPort, remotePort: k.remotePort, iface: iface}
	if k.scope != 0 {
		r.iface = k.scope
		r.flags |= recordScoped
	}
	if k.is4() {
		r.local, r.remote = binary.BigEndian.Uint32(k.local[12:]), binary.BigEndian.Uint32(k.remote[12:])
	} else {
		r.flags |= recordIPv6
		var a *[32]byte
		r.local, a = all.addrs.take()
		copy(a[:], k.local[:])
		copy(a[16:], k.remote[:])
	}
	if g != nil {
		r.flags |= recordGuarded
		if all.guard == nil {
			all.guard = make(map[uint32]*guard)
		}
		all.guard[n] = g
	}
	return n, r
}

// guardOf is the record's guard, nil if it has none.
func (all *records) guardOf(n uint32, r *record) *guard {
	if r.flags&recordGuarded == 0 {
		return nil
	}
	return all.guard[n]
}

// free gives back a record that is listed.
func (all *records) free(n uint32) {
	r := all.slab.at(n)
	all.unlink(r)
	if r.flags&recordGuarded != 0 {
		delete(all.guard, n)
	}
	if r.flags&recordIPv6 != 0 {
		all.addrs.give(r.local)
	}
	all.slab.give(n)
}

// put lists a record that is not listed by its deadline, and sets the timer.
func (all *records) put(n uint32, r *record, list int) {
	due := r.state.Deadline()
	r.flags = r.flags&(1<<recordListShift-1) | recordFlags(list)<<recordListShift
	l := &all.lists[list]
	// What was put before is due before: but for batches that race, and listeners that wait for data for different times.
	r.prev, r.next = l.last, 0
	for r.prev != 0 {
		p := all.slab.at(r.prev)
		if p.state.Deadline() <= due {
			break
		}
		r.next, r.prev = r.prev, p.prev
	}
	*all.after(l, r.prev) = n
	*all.before(l, r.next) = n
	all.arm(due)
}

// unlink takes a record out of its list.
func (all *records) unlink(r *record) {
	l := &all.lists[r.list()]
	*all.after(l, r.prev) = r.next
	*all.before(l, r.next) = r.prev
}

// after is where the number of what follows a record is kept; of 0, the list's first.
func (all *records) after(l *recordList, n uint32) *uint32 {
	if n == 0 {
		return &l.first
	}
	return &all.slab.at(n).next
}

func (all *records) before(l *recordList, n uint32) *uint32 {
	if n == 0 {
		return &l.last
	}
	return &all.slab.at(n).prev
}

// arm has the timer fire at due, or earlier.
func (all *records) arm(due sched.Time) {
	if !all.armed || due < all.timer.At() {
		all.armed = true
		all.stack.timers.Arm(&all.timer, due)
	}
}

// earliest is the first record of all lists, 0 if there is none.
func (all *records) earliest() (n uint32, due sched.Time) {
	due = sched.Never
	for i := range all.lists {
		if first := all.lists[i].first; first != 0 {
			if d := all.slab.at(first).state.Deadline(); n == 0 || d < due {
				n, due = first, d
			}
		}
	}
	return n, due
}

// maxExpired is for how many records at a time the shard's lock is held.
const maxExpired = 64

// Expire is the timer's call.
func (all *records) Expire(now sched.Time) {
	s := all.shard
	s.mu.Lock()
	all.armed = false
	for done := 1; ; done++ {
		n, due := all.earliest()
		if n == 0 {
			break
		}
		if due > now {
			all.arm(due)
			break
		}
		all.expire(now, n)
		if done%maxExpired == 0 {
			s.mu.Unlock()
			s.mu.Lock()
		}
	}
	s.mu.Unlock()
	all.stack.kickQueues()
}

// expire does what is due for a record: of TIME-WAIT it is over, of a handshake the SYN-ACK is sent again, or given up.
func (all *records) expire(now sched.Time, n uint32) {
	r := all.slab.at(n)
	k := r.key(all)
	if r.timeWait() {
		all.drop(n, &k)
		return
	}
	h := all.handshake(now, n, k)
	if h.expire(now) {
		h.end()
		all.drop(n, &k)
		return
	}
	all.rest(n, &h)
}

// shut ends all: the stack closes.
func (all *records) shut(now sched.Time) {
	all.shard.mu.Lock()
	defer all.shard.mu.Unlock()
	for {
		n, _ := all.earliest()
		if n == 0 {
			return
		}
		r := all.slab.at(n)
		k := r.key(all)
		if !r.timeWait() {
			h := all.handshake(now, n, k)
			h.refuse()
			h.end()
		}
		all.drop(n, &k)
	}
}

// drop takes a record out of the table.
func (all *records) drop(n uint32, k *flowKey) {
	s := all.shard
	i := s.lookup(k.hash(all.stack.flows.key), k)
	s.dropRecord(i)
}

// dropRecord frees slot i, which holds a record.
func (s *flowShard) dropRecord(i int) {
	s.forget(i)
	s.del(i)
}

// forget frees the record of slot i, which is then to be given to another, or freed.
func (s *flowShard) forget(i int) {
	all, n := s.records, s.slots[i].record
	if r := all.slab.at(n); r.timeWait() {
		k := r.key(all)
		all.stack.timeWaits.Add(-1)
		all.stack.flows.locals.add(&k, -1)
	}
	all.free(n)
	s.slots[i].record = 0
}

// recordsOf returns the shard's records, made at first need; it is locked.
func (s *Stack) recordsOf(sh *flowShard) *records {
	if sh.records == nil {
		sh.records = &records{stack: s, shard: sh}
		sh.records.timer.Owner = sh.records
	}
	return sh.records
}

// shutRecords ends all handshakes and what is in TIME-WAIT.
func (s *Stack) shutRecords() {
	now := s.now()
	for i := range s.flows.shards {
		sh := &s.flows.shards[i]
		sh.mu.Lock()
		all := sh.records
		sh.mu.Unlock()
		if all != nil {
			all.shut(now)
		}
	}
}

// eachRecord calls fn for every record, with no lock held.
func (t *flowTable) eachRecord(fn func(k *flowKey, state tcp.State)) {
	type found struct {
		key   flowKey
		state tcp.State
	}
	var all []found
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		all = all[:0]
		for i := range s.slots {
			if n := s.slots[i].record; n != 0 {
				r := s.records.slab.at(n)
				all = append(all, found{r.key(s.records), r.tcpState()})
			}
		}
		s.mu.Unlock()
		for i := range all {
			fn(&all[i].key, all[i].state)
		}
	}
}
