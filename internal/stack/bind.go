package stack

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/weirnet/weir/internal/order"
	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/wire"
)

// Family says which addresses a wildcard socket takes.
type Family uint8

const (
	Dual Family = iota // both
	IPv4
	IPv6
)

// bind is a socket that takes what no flow takes: a listener or an unconnected UDP socket.
type bind struct {
	_           [0]func() // no ==: its code would be in every program
	proto       wire.Protocol
	addr        netip.AddrPort // invalid or unspecified Addr: wildcard
	family      Family
	iface       int  // 0: any
	transparent bool // a wildcard takes addresses that are ours only by AnyDestination, too
	reuseAddr   bool
	reusePort   bool
	order       uint32 // of insertion
	owner       flowOwner
}

func (b *bind) wildcard() bool { return !b.addr.Addr().IsValid() || b.addr.Addr().IsUnspecified() }

// takes reports whether a packet to dst, come in by iface, is for b, and how exactly the binding fits (more is better).
func (b *bind) takes(dst netip.Addr, iface int, foreign bool) (score int, ok bool) {
	switch {
	case b.iface != 0 && b.iface != iface:
		return 0, false
	case !b.wildcard():
		if b.addr.Addr() != dst {
			return 0, false
		}
		score = 4
	case foreign && !b.transparent:
		return 0, false
	case b.family == IPv4 && !dst.Is4(), b.family == IPv6 && !dst.Is6():
		return 0, false
	case b.family != Dual:
		score = 1
	}
	if b.iface != 0 {
		score += 2
	}
	return score, true
}

// conflicts reports whether two bindings of one protocol and port cannot be at the same time, as on Linux: their addresses overlap, and not
// both have asked for SO_REUSEPORT nor, of UDP, for SO_REUSEADDR. (Of TCP, SO_REUSEADDR does not help against one that listens.)
func (b *bind) conflicts(o *bind) bool {
	if b.reusePort && o.reusePort || b.proto == protoUDP && b.reuseAddr && o.reuseAddr {
		return false
	}
	return b.overlaps(o)
}

// overlaps reports whether two bindings of one protocol and port would take the same packets.
func (b *bind) overlaps(o *bind) bool {
	if b.iface != 0 && o.iface != 0 && b.iface != o.iface {
		return false
	}
	if b.wildcard() || o.wildcard() {
		// A wildcard beside a specific address is a conflict, as with a kernel's sockets that have not asked for SO_REUSEADDR.
		return b.families()&o.families() != 0
	}
	return b.addr.Addr() == o.addr.Addr()
}

// families is the set of families whose packets b can take: 1 for IPv4, 2 for IPv6.
func (b *bind) families() int {
	switch {
	case b.wildcard() && b.family == Dual:
		return 3
	case b.wildcard() && b.family == IPv4, !b.wildcard() && b.addr.Addr().Is4():
		return 1
	}
	return 2
}

type bindKey struct {
	proto wire.Protocol
	port  uint16
}

func (k bindKey) compare(o bindKey) int {
	return cmp.Or(cmp.Compare(k.proto, o.proto), cmp.Compare(k.port, o.port))
}

// bindTable holds the bindings of every port.
type bindTable struct {
	key   siphash.Key // of spreading
	mu    sync.RWMutex
	m     map[bindKey][]*bind
	order uint32
}

// insert adds b; EADDRINUSE if another socket has the same claim, be it one that b would share if alone is not set.
func (t *bindTable) insert(b *bind, alone bool) error {
	k := bindKey{b.proto, b.addr.Port()}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.m[k] {
		if b.conflicts(o) || alone && b.overlaps(o) {
			return syscall.EADDRINUSE
		}
	}
	if t.m == nil {
		t.m = make(map[bindKey][]*bind)
	}
	t.order++
	b.order = t.order
	t.m[k] = append(t.m[k], b)
	return nil
}

func (t *bindTable) remove(b *bind) {
	k := bindKey{b.proto, b.addr.Port()}
	t.mu.Lock()
	defer t.mu.Unlock()
	// Readers hold no slice past their lock, so that the slice may change in place.
	for i, o := range t.m[k] {
		if o == b {
			t.m[k] = append(t.m[k][:i], t.m[k][i+1:]...)
			break
		}
	}
	if len(t.m[k]) == 0 {
		delete(t.m, k)
	}
}

// find returns the owner of the binding that fits best, nil if none does. Among several that fit equally well (SO_REUSEADDR of UDP) it is
// the last; of a group with SO_REUSEPORT, the one that src is for.
func (t *bindTable) find(proto wire.Protocol, dst, src netip.AddrPort, iface int, foreign bool) flowOwner {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var best *bind
	bestScore, group := -1, 0
	all := t.m[bindKey{proto, dst.Port()}]
	for _, b := range all {
		score, ok := b.takes(dst.Addr(), iface, foreign)
		if !ok || score < bestScore {
			continue
		}
		if score > bestScore || !b.reusePort {
			group = 0
		}
		best, bestScore = b, score
		group++
	}
	if best == nil {
		return nil
	}
	if best.reusePort && group > 1 {
		best = t.spread(all, best, bestScore, dst, src, iface, foreign)
	}
	return best.owner
}

// spread picks one of a group by rendezvous hashing: each member has a weight for the flow, and the heaviest gets it. So only the flows of a
// member that goes, or those that one that comes wins, change hands.
func (t *bindTable) spread(all []*bind, best *bind, want int, dst, src netip.AddrPort, iface int, foreign bool) *bind {
	k := makeKey(best.proto, dst, src, 0)
	flow := k.hash(t.key)
	var heaviest uint64
	for _, b := range all {
		if score, ok := b.takes(dst.Addr(), iface, foreign); !ok || score != want || !b.reusePort {
			continue
		}
		w := flow ^ uint64(b.order)*0x9e3779b97f4a7c15
		w = (w ^ w>>31) * 0xbf58476d1ce4e5b9
		if w ^= w >> 29; w >= heaviest {
			best, heaviest = b, w
		}
	}
	return best
}

// claimed reports whether a socket that is bound has a claim to what comes to addr which it does not share.
func (t *bindTable) claimed(proto wire.Protocol, addr netip.AddrPort, reuseAddr, reusePort bool) bool {
	want := bind{proto: proto, addr: addr, reuseAddr: reuseAddr, reusePort: reusePort}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.ContainsFunc(t.m[bindKey{proto, addr.Port()}], want.conflicts)
}

// used reports whether any socket is bound to the port.
func (t *bindTable) used(proto wire.Protocol, port uint16) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.m[bindKey{proto, port}]) > 0
}

// each calls fn for every binding, ordered by protocol and port, with no lock held.
func (t *bindTable) each(fn func(*bind)) {
	t.mu.RLock()
	var all []*bind
	keys := slices.Collect(maps.Keys(t.m))
	order.Stable(keys, func(a, b *bindKey) bool { return a.compare(*b) < 0 })
	for _, k := range keys {
		all = append(all, t.m[k]...)
	}
	t.mu.RUnlock()
	for _, b := range all {
		fn(b)
	}
}
