package stack

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// fastOpen is what a stack knows for TCP Fast Open (RFC 7413).
type fastOpen struct {
	keys atomic.Pointer[tcp.FastOpenKeys] // as a server

	mu      sync.Mutex         // a leaf
	cache   *tcp.FastOpenCache // as a client
	pending map[*TCP]*Listener // as a server: requests whose handshake is not complete
}

// setPending notes whose pending request t is, nil: that it is none any more. It returns whose it was.
func (f *fastOpen) setPending(t *TCP, l *Listener) (before *Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before = f.pending[t]
	switch {
	case l == nil:
		delete(f.pending, t)
	case f.pending == nil:
		f.pending = map[*TCP]*Listener{t: l}
	default:
		f.pending[t] = l
	}
	return before
}

// fastKeys returns the keys of Fast Open cookies, new ones if it is time.
func (s *Stack) fastKeys(now sched.Time) *tcp.FastOpenKeys {
	for {
		old := s.fast.keys.Load()
		if old != nil && !old.Due(now) {
			return old
		}
		key := siphash.Key{K0: s.cfg.Rand(), K1: s.cfg.Rand()}
		next := tcp.NewFastOpenKeys(now, key)
		if old != nil {
			next = old.Rotate(now, key)
		}
		if s.fast.keys.CompareAndSwap(old, next) {
			return next
		}
	}
}

// knownServers runs fn on the cache.
func (s *Stack) knownServers(fn func(*tcp.FastOpenCache)) {
	s.fast.mu.Lock()
	defer s.fast.mu.Unlock()
	if s.fast.cache == nil {
		s.fast.cache = tcp.NewFastOpenCache(0)
	}
	fn(s.fast.cache)
}

// fastServer is the server of a flow, as the cache knows it.
func (s *Stack) fastServer(k *flowKey) netip.Addr {
	return s.zoned(k.remoteAddr().Addr(), int(k.scope))
}

// fastParams is what a SYN of the flow begins with; nil: nothing.
func (s *Stack) fastParams(now sched.Time, k *flowKey, wait bool) (p *tcp.FastOpen) {
	s.knownServers(func(c *tcp.FastOpenCache) {
		if f, ok := c.Get(now, s.fastServer(k)); ok {
			f.Wait = wait
			p = &f
		}
	})
	return p
}

// FastOpenKnown reports whether a SYN to the server would carry data.
func (s *Stack) FastOpenKnown(server netip.Addr) (known bool) {
	s.knownServers(func(c *tcp.FastOpenCache) {
		f, ok := c.Get(s.now(), server)
		known = ok && len(f.Cookie) > 0
	})
	return known
}

// queueFirst queues what is to go with the SYN or right after the handshake; t.mu is held.
func (t *TCP) queueFirst(now sched.Time, data []byte) {
	if len(data) == 0 {
		return
	}
	rope := t.stack.ropes.Get().(*buffer.Buffer)
	rope.Append(data)
	_ = t.conn.Write(now, rope) // the connection has just begun: it takes it
	rope.Release()
	t.stack.ropes.Put(rope)
	t.account()
}

// start lets a SYN that waits for data go without: who reads first would wait for ever.
func (t *TCP) start() {
	_ = t.act(func(sched.Time) (tcp.Events, error) {
		t.conn.Start()
		return 0, nil
	})
}

// settleFastOpen follows a connection that opens with Fast Open; t.mu is held.
func (t *TCP) settleFastOpen(now sched.Time, ev tcp.Events) {
	s := t.stack
	if t.fastPending && t.conn.State() != tcp.SynReceived {
		t.fastPending = false
		s.fast.setPending(t, nil).fastDone(now, t.conn.State() == tcp.Closed && t.conn.Err() == syscall.ECONNRESET)
	}
	if ev&tcp.Connected != 0 {
		if r, ok := t.conn.FastOpenResult(); ok {
			s.knownServers(func(c *tcp.FastOpenCache) { c.Note(now, s.fastServer(&t.flow.key), r) })
			count(&s.stats.fastActive, r.Taken)
			count(&s.stats.fastActiveFail, r.Dropped)
		}
	}
	if ev&tcp.FastOpenCutOff != 0 {
		s.stats.fastBlackhole.Add(1)
		s.knownServers(func(c *tcp.FastOpenCache) { c.CutOff(now) })
	}
	if ev&(tcp.TimeWaitNow|tcp.Done) != 0 && ev&tcp.Failed == 0 && t.conn.FastOpenedByUs() {
		s.knownServers(func(c *tcp.FastOpenCache) { c.Works() })
	}
}

func count(c *atomic.Uint64, yes bool) {
	if yes {
		c.Add(1)
	}
}

// SetFastOpen changes ListenOptions.FastOpen.
func (l *Listener) SetFastOpen(limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fast.Limit = limit
}

// fastOpens reports whether Fast Open is on.
func (l *Listener) fastOpens() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fast.Limit > 0
}

// fastDone ends a pending request.
func (l *Listener) fastDone(now sched.Time, reset bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fast.Done(now, reset)
}

// fastReserve counts a request, if there is room.
func (l *Listener) fastReserve(now sched.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fast.Reserve(now)
}

// fastHandshake makes a connection of a SYN with a Fast Open option, if its cookie is good and there is room (RFC 7413 §4.2.2): taken. Else
// the handshake goes on as always, and offer says whether the SYN-ACK is to have a cookie.
func (l *Listener) fastHandshake(now sched.Time, syn *tcp.Segment, k *flowKey, m *ip.Meta, floor issFloor) (taken, offer bool) {
	s := l.stack
	cookie := syn.Options.FastOpen
	if len(cookie) == 0 {
		s.stats.fastRequests.Add(1)
		return false, true
	}
	local, remote := k.localAddr().Addr(), k.remoteAddr().Addr()
	good, renew := s.fastKeys(now).Check(cookie, local, remote)
	if !good {
		s.stats.fastPassiveFail.Add(1)
		return false, true
	}
	size := syn.Payload.Footprint()
	if !l.fastReserve(now) {
		s.stats.fastOverflow.Add(1)
		return false, renew
	}
	if !s.memory.received.reserve(0, size) {
		s.stats.memoryDrops.Add(1)
		l.fastDone(now, false)
		return false, renew
	}
	if !l.admit() { // others were faster since the SYN was let in
		s.memory.received.charge(-size)
		s.stats.backlogDrops.Add(1)
		l.fastDone(now, false)
		return false, renew
	}
	var fresh []byte
	if renew {
		c := s.fastKeys(now).Cookie(local, remote)
		fresh = c[:]
	}
	l.fastAccept(now, syn, k, m, floor, size, fresh)
	return true, false
}

// fastAccept makes the connection, which is admitted, and for whose data size bytes are reserved.
func (l *Listener) fastAccept(now sched.Time, syn *tcp.Segment, k *flowKey, m *ip.Meta, floor issFloor, size int, cookie []byte) {
	s := l.stack
	t := l.make()
	t.mu.Lock()
	t.init(s, *k, l.replyBy(m), m.Foreign)
	t.manner = s.manner(k, l.traffic, nil) // with keys there is no Fast Open
	t.received = uint32(size)
	t.inTable = s.flows.insert(&t.flow)
	if !t.inTable { // another goroutine was faster with the same SYN
		s.memory.received.account(&t.received, 0)
		t.mu.Unlock()
		l.dismiss()
		l.fastDone(now, false)
		return
	}
	var rec tcp.SynRecv
	rec.Init(s.cfg.TCP, now, syn, s.params(now, k, s.pathMTU(m), floor, l.options))
	ev := t.conn.AcceptFastOpen(s.cfg.TCP, now, &rec, syn, cookie)
	t.trace(l.trace)
	t.fastPending = true
	s.fast.setPending(t, l)
	t.output(now)
	t.settle(now, ev)
	t.mu.Unlock()
	s.stats.fastPassive.Add(1)
	b, _ := m.Batch.(*batch)
	l.accepted(t, b)
}

// offerCookie puts a Fast Open cookie on a SYN-ACK.
func (s *Stack) offerCookie(now sched.Time, k *flowKey, reply *tcp.Segment) {
	c := s.fastKeys(now).Cookie(k.localAddr().Addr(), k.remoteAddr().Addr())
	reply.Options.HasFastOpen, reply.Options.FastOpen = true, c[:]
}
