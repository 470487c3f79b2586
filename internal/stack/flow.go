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
func (k *flowKey) is4() bool { return netip.AddrFrom16(k.remote).Is4In6() }

func (k *flowKey) hash(key siphash.Key) uint64 {
	var b [41]byte
	copy(b[:], k.local[:])
	copy(b[16:], k.remote[:])
	binary.LittleEndian.PutUint16(b[32:], k.localPort)
	binary.LittleEndian.PutUint16(b[34:], k.remotePort)
	binary.LittleEndian.PutUint32(b[36:], uint32(k.scope))
	b[40] = byte(k.proto)
	return key.Sum(b[:])
}

// flowOwner is what stands in the flow table: a connection, or a record of one beginning, ending or asking.
type flowOwner interface {
	// shut ends it because the stack closes.
	shut()
}

// flow is one entry of the table, embedded in its owner.
type flow struct {
	key   flowKey
	owner flowOwner
	next  *flow
}

const flowShards = 64

// flowTable finds flows by key. Chained buckets in shards; entries are the owners' own memory, so that an entry costs one pointer.
type flowTable struct {
	key    siphash.Key
	shards [flowShards]flowShard
}

type flowShard struct {
	mu      sync.Mutex
	buckets []*flow
	count   int
	_       [24]byte // a cache line to itself
}

func (t *flowTable) init(key siphash.Key) { t.key = key }

func (t *flowTable) shard(h uint64) *flowShard { return &t.shards[h%flowShards] }

func (s *flowShard) slot(h uint64) **flow { return &s.buckets[(h/flowShards)&uint64(len(s.buckets)-1)] }

// find returns the owner of a flow, nil if there is none.
func (t *flowTable) find(k *flowKey) flowOwner {
	h := k.hash(t.key)
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.lookup(h, k); f != nil {
		return f.owner
	}
	return nil
}

func (s *flowShard) lookup(h uint64, k *flowKey) *flow {
	if len(s.buckets) == 0 {
		return nil
	}
	for f := *s.slot(h); f != nil; f = f.next {
		if f.key == *k {
			return f
		}
	}
	return nil
}

// insert adds f; false if its key is taken.
func (t *flowTable) insert(f *flow) bool {
	h := f.key.hash(t.key)
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lookup(h, &f.key) != nil {
		return false
	}
	s.add(t.key, h, f)
	return true
}

// add links f in; the shard is locked.
func (s *flowShard) add(key siphash.Key, h uint64, f *flow) {
	if s.count >= len(s.buckets) {
		s.resize(key, max(4, 2*len(s.buckets)))
	}
	slot := s.slot(h)
	f.next = *slot
	*slot = f
	s.count++
}

func (s *flowShard) resize(key siphash.Key, n int) {
	old := s.buckets
	s.buckets = make([]*flow, n)
	for _, f := range old {
		for f != nil {
			next := f.next
			slot := s.slot(f.key.hash(key))
			f.next = *slot
			*slot = f
			f = next
		}
	}
}

// unlink takes f out; false if it is not in. The shard is locked.
func (s *flowShard) unlink(h uint64, f *flow) bool {
	if len(s.buckets) == 0 {
		return false
	}
	for p := s.slot(h); *p != nil; p = &(*p).next {
		if *p == f {
			*p = f.next
			f.next = nil
			s.count--
			return true
		}
	}
	return false
}

// remove takes f out; false if it is not in.
func (t *flowTable) remove(f *flow) bool {
	h := f.key.hash(t.key)
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unlink(h, f) {
		return false
	}
	if n := len(s.buckets); n > 64 && s.count < n/8 {
		s.resize(t.key, n/4)
	}
	return true
}

// replace puts new in old's place in one step (same key); false, and nothing done, if old is not in.
func (t *flowTable) replace(old, new *flow) bool {
	h := old.key.hash(t.key)
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unlink(h, old) {
		return false
	}
	s.add(t.key, h, new)
	return true
}

// each calls fn for every flow that is in the table when its shard's turn comes, with no lock held.
func (t *flowTable) each(fn func(*flow)) {
	var all []*flow
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		all = all[:0]
		for _, f := range s.buckets {
			for ; f != nil; f = f.next {
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
