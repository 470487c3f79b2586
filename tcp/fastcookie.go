package tcp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/sched"
)

// fastCookieSize is the size of the Fast Open cookies that we give out, in bytes: that of RFC 7413 §4.1.2's example, and of Linux.
const fastCookieSize = 8

// fastRotation is for how long a key makes Fast Open cookies. It checks them for as long again.
const fastRotation = 4 * time.Hour

// FastOpenKeys are the secrets of a server's Fast Open cookies (RFC 7413 §4.1.2): that of now and that of before. Not changed once made.
type FastOpenKeys struct {
	current, previous siphash.Key
	since             sched.Time
	rotated           bool
}

// NewFastOpenKeys begins with a key.
func NewFastOpenKeys(now sched.Time, key siphash.Key) *FastOpenKeys {
	return &FastOpenKeys{current: key, since: now}
}

// Due reports whether the key has been used for long enough.
func (k *FastOpenKeys) Due(now sched.Time) bool { return now.Sub(k.since) >= fastRotation }

// Rotate returns keys that make cookies with a new key, and still know those of the present one.
func (k *FastOpenKeys) Rotate(now sched.Time, key siphash.Key) *FastOpenKeys {
	return &FastOpenKeys{current: key, previous: k.current, since: now, rotated: true}
}

// Cookie is that of a client: of its address and ours, so that a client may use it for all its connections, and nobody else for any.
func (k *FastOpenKeys) Cookie(local, remote netip.Addr) [fastCookieSize]byte {
	return fastCookie(k.current, local, remote)
}

func fastCookie(key siphash.Key, local, remote netip.Addr) (c [fastCookieSize]byte) {
	var b [33]byte
	l, r := local.As16(), remote.As16()
	copy(b[:], l[:])
	copy(b[16:], r[:])
	b[32] = numberFastOpen
	binary.BigEndian.PutUint64(c[:], key.Sum(b[:]))
	return c
}

// Check reports whether a client's cookie is good, and whether it should get a new one: its own was made with the key before.
func (k *FastOpenKeys) Check(cookie []byte, local, remote netip.Addr) (good, renew bool) {
	c := fastCookie(k.current, local, remote)
	if bytes.Equal(cookie, c[:]) {
		return true, false
	}
	c = fastCookie(k.previous, local, remote)
	good = k.rotated && bytes.Equal(cookie, c[:])
	return good, good
}

// pendingReset is for how long a pending request that was reset counts on: as long as its handshake could have gone on.
const pendingReset = 60 * time.Second

// FastOpenQueue counts the Fast Open requests of a listener whose handshake is not complete, and bounds them: for each the application
// works for a client that may be forged (RFC 7413 §5.1, "PendingFastOpenRequests").
type FastOpenQueue struct {
	Limit   int
	pending int
	resets  []sched.Time // when those that were reset stop to count, in order
}

// Reserve counts one more; false if there is no room: the handshake is to be one as always, without data.
func (q *FastOpenQueue) Reserve(now sched.Time) bool {
	n := 0
	for n < len(q.resets) && q.resets[n] <= now {
		n++
	}
	q.resets = append(q.resets[:0], q.resets[n:]...)
	if q.pending+len(q.resets) >= q.Limit {
		return false
	}
	q.pending++
	return true
}

// Done counts one less. One that a RST has ended still counts for a while (RFC 7413 §5.1): with the address of another, an attacker gets
// each request answered by a RST of that other, and would have the limit to itself.
func (q *FastOpenQueue) Done(now sched.Time, reset bool) {
	q.pending--
	if reset {
		q.resets = append(q.resets, now.Add(pendingReset))
	}
}

// Pending is how many count.
func (q *FastOpenQueue) Pending() int { return q.pending + len(q.resets) }

const (
	fastCacheSize = 4096             // destinations
	fastMaxBackup = 11               // doublings of a minute: one day and a half
	fastBlackhole = time.Hour        // the first time for which nobody tries, after a connection that was cut off
	fastPatience  = 3                // timeouts in a row after which it counts as cut off
	fastMaxTimes  = 6                // doublings of fastBlackhole
	fastLossUnit  = 60 * time.Second // see Note
)

// FastOpenCache is what a client knows of servers (RFC 7413 §4.1.3): their cookies, and where SYNs with data get lost. It is bounded: who
// was not asked for the longest time is forgotten.
type FastOpenCache struct {
	entries map[netip.Addr]*fastEntry
	ring    fastEntry // of the list: next is who was used last
	limit   int

	pausedUntil sched.Time // nobody tries
	pauses      uint8
}

// fastEntry is what is known of one server.
type fastEntry struct {
	prev, next *fastEntry
	addr       netip.Addr
	cookie     [maxCookie]byte
	size       uint8
	losses     uint8 // in a row
	mss        uint16
	lostAt     sched.Time
}

// NewFastOpenCache makes one for so many servers; 0: fastCacheSize.
func NewFastOpenCache(limit int) *FastOpenCache {
	c := &FastOpenCache{entries: make(map[netip.Addr]*fastEntry), limit: limit}
	if limit <= 0 {
		c.limit = fastCacheSize
	}
	c.ring.prev, c.ring.next = &c.ring, &c.ring
	return c
}

// Get is what a SYN to a server begins with: with a cookie, or asking for one. False: the option is not to be used now, because it was
// lost before, or lately cost a connection its life.
func (c *FastOpenCache) Get(now sched.Time, server netip.Addr) (f FastOpen, ok bool) {
	if now < c.pausedUntil {
		return f, false
	}
	e := c.entries[server]
	if e == nil {
		return f, true
	}
	c.use(e)
	if e.losses > 1 && now.Sub(e.lostAt) < fastLossUnit<<min(e.losses, fastMaxBackup) {
		return f, false
	}
	return FastOpen{Cookie: bytes.Clone(e.cookie[:e.size]), MSS: e.mss}, true // a copy: others may Note another one meanwhile
}

// Note takes the result of an attempt. What was lost twice in a row is not tried again for four minutes, and each time more for twice as
// long: the option costs a retransmission timeout then.
func (c *FastOpenCache) Note(now sched.Time, server netip.Addr, r FastOpenResult) {
	e := c.entries[server]
	if e == nil {
		if len(r.Cookie) == 0 && !r.Dropped {
			return // nothing to remember: a server without Fast Open
		}
		e = c.add(server)
	}
	c.use(e)
	if len(r.Cookie) > 0 {
		e.size = uint8(copy(e.cookie[:], r.Cookie))
	}
	if r.MSS > 0 {
		e.mss = r.MSS
	}
	if !r.Dropped {
		e.losses = 0
		return
	}
	e.losses = min(e.losses+1, fastMaxBackup)
	e.lostAt = now
}

// CutOff notes that a connection was opened in this way and then never heard of again: some middleboxes drop what follows. Nobody tries
// for an hour, the next time two, and so on.
func (c *FastOpenCache) CutOff(now sched.Time) {
	if now < c.pausedUntil {
		return
	}
	c.pausedUntil = now.Add(fastBlackhole << c.pauses)
	c.pauses = min(c.pauses+1, fastMaxTimes)
}

// Works notes that a connection that was opened in this way has been heard of.
func (c *FastOpenCache) Works() { c.pauses = 0 }

// Len is how many servers are known.
func (c *FastOpenCache) Len() int { return len(c.entries) }

// add makes room for one more.
func (c *FastOpenCache) add(server netip.Addr) *fastEntry {
	if len(c.entries) >= c.limit {
		oldest := c.ring.prev
		oldest.unlink()
		delete(c.entries, oldest.addr)
	}
	e := &fastEntry{addr: server}
	e.prev, e.next = e, e
	c.entries[server] = e
	return e
}

// use puts e in front.
func (c *FastOpenCache) use(e *fastEntry) {
	e.unlink()
	e.prev, e.next = &c.ring, c.ring.next
	e.next.prev = e
	c.ring.next = e
}

func (e *fastEntry) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = e, e
}
