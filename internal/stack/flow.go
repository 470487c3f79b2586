package stack

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/wire"
)

// flowKey names one flow. Addresses are 16 bytes, IPv4 as v4-mapped; scope is the interface for link-local addresses and isolated
// interfaces, else 0.
type flowKey struct {
	local, remote         [16]byte
	localPort, remotePort uint16
	scope                 int32
	proto                 wire.Protocol
}

func makeKey(proto wire.Protocol, local, remote netip.AddrPort, scope int) flowKey {
	return flowKey{local.Addr().As16(), remote.Addr().As16(), local.Port(), remote.Port(), int32(scope), proto}
}

func (k *flowKey) localAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(k.local).Unmap(), k.localPort)
}

func (k *flowKey) remoteAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(k.remote).Unmap(), k.remotePort)
}

// is4 reports whether the flow is IPv4's.
func (k *flowKey) is4() bool {
	return binary.BigEndian.Uint64(k.remote[:]) == 0 && binary.BigEndian.Uint32(k.remote[8:]) == 0xffff
}

func (k *flowKey) hash(key siphash.Key) uint64 {
	var b [41]byte
	if k.is4() && [12]byte(k.local[:]) == [12]byte(k.remote[:]) { // what is the same in all of them is left out
		copy(b[:], k.local[12:])
		copy(b[4:], k.remote[12:])
		binary.LittleEndian.PutUint16(b[8:], k.localPort)
		binary.LittleEndian.PutUint16(b[10:], k.remotePort)
		binary.LittleEndian.PutUint32(b[12:], uint32(k.scope)^uint32(k.proto)<<24)
		return key.Sum(b[:16])
	}
	copy(b[:], k.local[:])
	copy(b[16:], k.remote[:])
	binary.LittleEndian.PutUint16(b[32:], k.localPort)
	binary.LittleEndian.PutUint16(b[34:], k.remotePort)
	binary.LittleEndian.PutUint32(b[36:], uint32(k.scope))
	b[40] = byte(k.proto)
	return key.Sum(b[:])
}

// flowOwner is what stands in the flow table, where there is no record instead: a connection, or one that asks to be.
type flowOwner interface {
	// shut ends it because the stack closes.
	shut()
}

// flow is what the table knows of an owner, embedded in it.
type flow struct {
	_     [0]func() // no ==: its code would be in every program
	key   flowKey
	owner flowOwner
}

const flowShards = 64

// flowTable finds flows by key. Handshakes of listeners and connections in TIME-WAIT are records of the shard (see records), under its lock.
type flowTable struct {
	key    siphash.Key
	locals localPorts // of connections
	shards [flowShards]flowShard
}

type flowShard struct {
	mu sync.Mutex
	flowSlots
	_ [16]byte // a cache line to itself
}

func (t *flowTable) init(key siphash.Key) { t.key = key }

func (t *flowTable) shard(h uint64) *flowShard { return &t.shards[h%flowShards] }

// find returns the owner of a flow, nil if there is none. Recorded: there is a record instead.
func (t *flowTable) find(k *flowKey) (owner flowOwner, recorded bool) {
	h := k.hash(t.key)
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.lookup(h, k)
	switch {
	case i < 0:
		return nil, false
	case s.slots[i].flow == nil:
		return nil, true
	}
	return s.slots[i].flow.owner, false
}

// lock returns the shard of a flow, locked, with the flow's hash and slot: negative if it is not in.
func (t *flowTable) lock(k *flowKey) (s *flowShard, h uint64, i int) {
	h = k.hash(t.key)
	s = t.shard(h)
	s.mu.Lock()
	return s, h, s.lookup(h, k)
}

// insert adds f; false if its key is taken.
func (t *flowTable) insert(f *flow) bool {
	h := f.key.hash(t.key)
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lookup(h, &f.key) >= 0 {
		return false
	}
	s.add(flowSlot{hash: slotHash(h), flow: f})
	t.count(f, 1)
	return true
}

// count counts a connection in locals; other flows it does not.
func (t *flowTable) count(f *flow, n int) {
	if _, ok := f.owner.(*TCP); ok {
		t.locals.add(&f.key, n)
	}
}

// remove takes f out; false if it is not in.
func (t *flowTable) remove(f *flow) bool {
	h := f.key.hash(t.key)
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.lookup(h, &f.key)
	if i < 0 || s.slots[i].flow != f {
		return false
	}
	s.del(i)
	t.count(f, -1)
	return true
}

// replace puts new in old's place in one step (same key); false, and nothing done, if old is not in.
func (t *flowTable) replace(old, new *flow) bool {
	h := old.key.hash(t.key)
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.lookup(h, &old.key)
	if i < 0 || s.slots[i].flow != old {
		return false
	}
	s.slots[i].flow = new
	t.count(old, -1)
	t.count(new, 1)
	return true
}

// each calls fn for every flow that has an owner and is in the table when its shard's turn comes, with no lock held.
func (t *flowTable) each(fn func(*flow)) {
	var all []*flow
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		all = all[:0]
		for i := range s.slots {
			if f := s.slots[i].flow; f != nil {
				all = append(all, f)
			}
		}
		s.mu.Unlock()
		for _, f := range all {
			fn(f)
		}
	}
}

// len returns the number of flows.
func (t *flowTable) len() int {
	n := 0
	for i := range t.shards {
		t.shards[i].mu.Lock()
		n += t.shards[i].count
		t.shards[i].mu.Unlock()
	}
	return n
}
