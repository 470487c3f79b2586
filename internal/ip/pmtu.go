package ip

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// Path-MTU discovery (RFC 1191, RFC 8201).
const (
	// minPathMTU4 is the least that a strangers' message can talk us into, if Config says nothing else. RFC 791 guarantees only 68 bytes, but a path of less than 576
	// is not seen any more, and 68 would be a weapon.
	minPathMTU4 = 552
	minPathMTU6 = wire.IPv6MinMTU

	pmtuAge  = 10 * time.Minute // after which the path may have become wider (RFC 1191 §6.3, RFC 8201 §5.3)
	pmtuSets = 256              // times pmtuWays destinations
	pmtuWays = 4
)

// pmtuEntry is what is known about one destination: immutable.
type pmtuEntry struct {
	dst     key
	scope   int // as Meta.Scope: what tenants learn on isolated interfaces is theirs
	mtu     int
	learned sched.Time
}

// pmtuCache remembers the path MTU of at most pmtuSets*pmtuWays destinations, placed by a keyed hash. Readers take no lock.
type pmtuCache struct {
	layer *Layer
	key   siphash.Key
	node  sched.Node
	used  atomic.Int32 // entries: mostly none, which makes limit free
	sets  [pmtuSets][pmtuWays]atomic.Pointer[pmtuEntry]
	mu    sync.Mutex // of writers
}

func (c *pmtuCache) init(l *Layer, k siphash.Key) {
	c.layer, c.key = l, k
	c.node.Owner = (*pmtuExpirer)(c)
}

// set is where dst may be.
func (c *pmtuCache) set(dst key) *[pmtuWays]atomic.Pointer[pmtuEntry] {
	return &c.sets[hashKey(c.key, dst)%pmtuSets]
}

// limit is mtu, or less if the path to dst is known to be narrower.
func (c *pmtuCache) limit(dst netip.Addr, scope, mtu int) int {
	if c.used.Load() == 0 {
		return mtu
	}
	k := keyOf(dst)
	set := c.set(k)
	for i := range set {
		if e := set[i].Load(); e != nil && e.dst == k && e.scope == scope {
			return min(mtu, e.mtu)
		}
	}
	return mtu
}

// SetPathMTU records what was learned about a destination in a scope (as Meta.Scope; the owner has checked that the news is plausible). It
// never raises what is known, nor goes below Config.MinPathMTU for IPv4 and 1280 for IPv6, and is forgotten after ten minutes. Generation
// changes if it is news.
func (l *Layer) SetPathMTU(now sched.Time, dst netip.Addr, scope, mtu int) {
	dst = dst.Unmap()
	if !dst.IsValid() {
		return
	}
	least := minPathMTU6
	if dst.Is4() {
		least = l.cfg.MinPathMTU
	}
	if l.pmtu.learn(pmtuEntry{dst: keyOf(dst), scope: scope, mtu: max(mtu, least), learned: now}) {
		l.generation.Add(1)
	}
}

// learn stores e and reports whether that makes a difference. A full set forgets what it has known longest.
func (c *pmtuCache) learn(e pmtuEntry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := c.set(e.dst)
	victim := &set[0] // the first that is free, else the oldest
	for i := range set {
		old, worst := set[i].Load(), victim.Load()
		switch {
		case old == nil:
			if worst != nil {
				victim = &set[i]
			}
		case old.dst == e.dst && old.scope == e.scope && old.mtu < e.mtu:
			return false
		case old.dst == e.dst && old.scope == e.scope:
			set[i].Store(&e) // the same again is confirmation
			return old.mtu != e.mtu
		case worst != nil && old.learned < worst.learned:
			victim = &set[i]
		}
	}
	if victim.Load() == nil && c.used.Add(1) == 1 {
		c.layer.timers.Arm(&c.node, e.learned.Add(pmtuAge))
	}
	victim.Store(&e)
	return true
}

// pmtuExpirer keeps Expire out of pmtuCache's own methods.
type pmtuExpirer pmtuCache

// Expire forgets what is too old.
func (x *pmtuExpirer) Expire(now sched.Time) {
	c := (*pmtuCache)(x)
	if c.age(now) {
		c.layer.generation.Add(1)
	}
}

// age drops old entries and sets the timer for the next. It reports whether there were any.
func (c *pmtuCache) age(now sched.Time) (some bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := sched.Never
	for i := range c.sets {
		for j := range c.sets[i] {
			e := c.sets[i][j].Load()
			switch {
			case e == nil:
			case e.learned.Add(pmtuAge) <= now:
				c.sets[i][j].Store(nil)
				c.used.Add(-1)
				some = true
			default:
				next = min(next, e.learned.Add(pmtuAge))
			}
		}
	}
	c.layer.timers.Arm(&c.node, next)
	return some
}

// hashKey is a keyed hash of an address.
func hashKey(k siphash.Key, a key) uint64 {
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(a.hi>>(8*i)), byte(a.lo>>(8*i))
	}
	return k.Sum(b[:])
}
