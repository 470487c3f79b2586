package stack

import (
	"cmp"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// TCP is a TCP socket: a tcp.Conn with its lock, timer and place in the flow table. Its owner (package weir) embeds it, sets the
// Notifier before first use, and has at most one goroutine in a read and one in a write at a time (its turns).
type TCP struct {
	mu       sync.Mutex
	conn     tcp.Conn
	flow     flow
	timer    sched.Node
	stack    *Stack
	notifier Notifier
	iface    *Interface // the way out, as of pathGen; nil: none
	next     txWaiter
	stage    *buffer.Buffer // the writer's: chunks being filled, and room behind what is queued
	sent     uint32         // bytes charged to the stack's memory for what is sent
	received uint32         // the same for what is received
	pathGen  uint32         // ip.Layer.Generation, modulo 2^32
	reserved int32          // of sent: by the writer that is filling stage
	hash     uint32         // of the flow: its transmit queue, at devices with several
	manner   manner
	bound    int32 // the interface that it keeps to: of its scope, or asked for; 0: by route
	pathMTU  uint16

	armed       bool // timer is: it may fire earlier than the deadline, never later
	inTable     bool
	orphan      bool  // counted as such
	fastPending bool  // a Fast Open request whose handshake is not complete: in stack.fast.pending
	leftBehind  bool  // in stack.left
	waiting     bool  // on a transmit queue's waiting list
	late        bool  // its output is to come at the end of a batch
	filling     bool  // stage is in a writer's hands, without the lock
	closed      bool  // by the application, or with the stack
	starved     uint8 // lists of the stack's memory that it is on
	errTaken    bool  // the error was reported; what follows is EOF and EPIPE, as with a kernel's socket
	transparent bool  // the local address need not be ours
}

// SetNotifier says who is told of readiness. Before first use.
func (t *TCP) SetNotifier(n Notifier) { t.notifier = n }

// Notifier returns what SetNotifier set.
func (t *TCP) Notifier() Notifier { return t.notifier }

// Stack returns the stack of a socket in use.
func (t *TCP) Stack() *Stack { return t.stack }

// Bound says how a socket is tied down before it connects.
type Bound struct {
	Local       netip.AddrPort // zero parts are chosen
	Iface       int            // 0: by route
	ReuseAddr   bool           // SO_REUSEADDR and SO_REUSEPORT: Local may be that of sockets which have the same set
	ReusePort   bool
	Exclusive   bool // TCP without SO_REUSEADDR: Local's port must not be that of another connection, be it in TIME-WAIT
	Transparent bool // Local may be an address that is not ours
	// TCP is what the connection starts with; nil: the defaults.
	TCP *tcp.Options
	// FastOpen uses TCP Fast Open (RFC 7413): the SYN asks for a cookie or, if one is known, carries the first data. It then waits for that,
	// unless there is Data; Connected reports success before it was sent.
	FastOpen bool
	// Data is queued before the SYN is sent.
	Data []byte
	// Trace is told of each event of a TCP connection, as SetTrace has it; nil: nobody is.
	Trace func(TraceEvent)
	// Traffic is what it asks of IP.
	Traffic Traffic
	// Keys are those by which segments of TCP are signed, if the peer has one; nil: none are.
	Keys tcp.Keys
}

// init makes t a socket of s for the flow of key. The caller has it to itself.
func (t *TCP) init(s *Stack, key flowKey, iface int, transparent bool) {
	t.stack = s
	t.flow = flow{key: key, owner: t}
	t.hash = s.flowHash(&key)
	t.timer.Owner = t
	t.bound = int32(cmp.Or(int(key.scope), iface))
	t.transparent = transparent
}

// ConnectTCP begins an active open; t's Notifier is told ConnReady when it is over (Connected says how). Errors: ENETUNREACH, ENETDOWN,
// EADDRNOTAVAIL (the local address is not ours, or no port is left), EADDRINUSE, net.ErrClosed.
func (s *Stack) ConnectTCP(t *TCP, remote netip.AddrPort, b Bound) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	gen := uint32(s.ip.Generation())
	path, err := s.ip.Path(b.Local.Addr(), remote.Addr(), b.Iface, b.Transparent)
	if err != nil {
		return err
	}
	if path.Dst.IsMulticast() || path.Dst == broadcast4 {
		return syscall.ENETUNREACH // RFC 9293 §3.9.1.1: "MUST reject"
	}
	local := netip.AddrPortFrom(path.Src, b.Local.Port())
	t.mu.Lock()
	t.init(s, makeKey(protoTCP, local, remote, s.scope(&path)), b.Iface, b.Transparent)
	floor, err := s.insertFlow(&t.flow, protoTCP, &b)
	if err != nil {
		t.mu.Unlock()
		return err
	}
	t.inTable = true
	t.hash = s.flowHash(&t.flow.key) // with the port, now that there is one
	t.manner = s.manner(&t.flow.key, b.Traffic, b.Keys)
	t.usePath(&path, gen)
	now := s.now()
	p := s.params(now, &t.flow.key, s.mtuOf(path.Iface), floor, b.TCP)
	p.AuthSpace = t.manner.guard.space()
	if b.FastOpen && t.manner.guard == nil {
		p.FastOpen = s.fastParams(now, &t.flow.key, len(b.Data) == 0)
	}
	t.conn.Connect(s.cfg.TCP, now, p)
	t.trace(newTracer(b.Trace))
	if p.MSS > int(t.pathMTU)-headerSize(t.flow.key.is4()) {
		t.conn.SetMSS(now, int(t.pathMTU)-headerSize(t.flow.key.is4())) // what is announced is the interface's: the way back may be another
	}
	t.queueFirst(now, b.Data)
	t.output(now)
	t.mu.Unlock()
	s.stats.activeOpens.Add(1)
	s.flushAll()
	if s.closed.Load() { // Close may have missed us
		t.shut()
	}
	return nil
}

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// params are what a new connection starts with.
func (s *Stack) params(now sched.Time, k *flowKey, mtu int, floor issFloor, o *tcp.Options) tcp.Params {
	local, remote := k.localAddr(), k.remoteAddr()
	iss := floor.raise(s.numbers.ISS(now, local, remote))
	if s.cfg.ISS != nil {
		iss = s.cfg.ISS()
	}
	return tcp.Params{
		ISS: iss, TSOffset: s.numbers.TSOffset(local, remote),
		MSS: mtu - headerSize(k.is4()), IPv6: !k.is4(), PeerMSS: minMTU(k.is4()) - headerSize(k.is4()), GSOMax: maxSuper, Options: o,
		Share: s.memory.received.fair(),
	}
}

// maxSuper is the largest payload of a super-segment: what the largest packet that devices take leaves beside the largest headers.
const maxSuper = defaultGSOMax - wire.IPv6Len - 60

// minMTU is what every host can be sent: RFC 1122 §3.3.3 and RFC 8200 §5.
func minMTU(is4 bool) int {
	if is4 {
		return 576
	}
	return 1280
}

// headerSize is that of the IP and TCP headers without options.
func headerSize(is4 bool) int {
	if is4 {
		return 40
	}
	return 60
}

// usePath takes a look-up's answer. Gen is what the generation was before the look-up: a change meanwhile is then seen the next time.
func (t *TCP) usePath(p *ip.Path, gen uint32) {
	t.iface = t.stack.iface(p.Iface)
	t.pathMTU = uint16(min(p.MTU, 65535))
	if t.manner.pathMTU != PathMTUWant {
		t.pathMTU = uint16(min(t.stack.mtuOf(p.Iface), 65535))
	}
	t.pathGen = gen
}

// refreshPath looks the way up again if routes, addresses or path MTUs have changed since. Without a way, packets have none until the
// next change: the connection times out, as it should.
func (t *TCP) refreshPath(now sched.Time) {
	s := t.stack
	gen := uint32(s.ip.Generation())
	if gen == t.pathGen {
		return
	}
	k := &t.flow.key
	path, err := s.ip.Path(k.localAddr().Addr(), k.remoteAddr().Addr(), int(t.bound), t.transparent)
	if err != nil {
		t.iface, t.pathGen = nil, gen
		return
	}
	old := t.pathMTU
	t.usePath(&path, gen)
	if t.pathMTU != old {
		t.conn.SetMSS(now, int(t.pathMTU)-headerSize(k.is4()))
	}
}

// output sends what may be sent now, as far as the transmit queue has room; t.mu is held. The flush is the caller's, after unlocking.
func (t *TCP) output(now sched.Time) {
	if t.waiting { // its turn comes, but a device may be stuck for longer than the connection has patience
		t.arm()
		return
	}
	s := t.stack
	t.refreshPath(now)
	var q *txQueue
	if t.iface != nil {
		q = t.iface.queue(t.hash)
	}
	seg := s.segments.Get().(*tcp.Segment)
	for left := txBurst; ; {
		if q != nil && (left <= 0 || !q.room()) && q.wait(t) {
			t.waiting = true
			t.conn.SetBacklogged(true)
			break
		}
		if !t.conn.Output(now, seg) {
			break
		}
		left -= seg.Payload.Size()
		s.push(q, &t.flow.key, seg, uint32(t.pathMTU), &t.manner)
	}
	s.segments.Put(seg)
	t.arm()
}

// resume is the transmit queue's word that there is room again.
func (t *TCP) resume(now sched.Time) {
	t.mu.Lock()
	t.waiting = false
	t.conn.SetBacklogged(false)
	t.output(now)
	r := t.settle(now, 0) // what waited here may be what the writer waits for (TCP_NOTSENT_LOWAT)
	t.mu.Unlock()
	t.notify(r)
}

func (t *TCP) nextWaiter() *txWaiter { return &t.next }

// arm sets the timer, unless it fires early enough already: then Expire arms it for the rest.
func (t *TCP) arm() {
	if d := t.conn.Deadline(); d < t.wake() {
		t.armed = true
		t.stack.timers.Arm(&t.timer, d)
	}
}

// wake is when the timer fires. Only arm changes it, with t.mu held, so that the wheel's lock is not needed.
func (t *TCP) wake() sched.Time {
	if !t.armed {
		return sched.Never
	}
	return t.timer.At()
}

// Expire is the timer's call.
func (t *TCP) Expire(now sched.Time) {
	t.mu.Lock()
	t.armed = false
	if t.conn.Deadline() > now || !t.inTable && t.closed {
		t.arm()
		t.mu.Unlock()
		return
	}
	timeouts := t.conn.Timeouts()
	ev := t.conn.Expire(now)
	if t.conn.Timeouts() != timeouts {
		t.manner.rehash()
	}
	t.output(now)
	r := t.settle(now, ev)
	t.mu.Unlock()
	t.notify(r)
	t.stack.relieve()
	t.stack.kickQueues()
}

// notify says what t has become ready for, with no lock held.
func (t *TCP) notify(r Ready) {
	if r != 0 && t.notifier != nil {
		t.notifier.Notify(r)
	}
}

// input takes a segment of the flow; false if t is no longer the flow's (look it up again).
func (t *TCP) input(now sched.Time, seg *tcp.Segment, m *ip.Meta, b *batch) bool {
	s := t.stack
	t.mu.Lock()
	if !t.inTable {
		t.mu.Unlock()
		return false
	}
	if !s.admits(&t.manner, seg, m) {
		t.mu.Unlock()
		return true
	}
	t.conn.SetShare(s.memory.shares())
	if seg.Payload.Size() > 0 && !t.mayTake(seg) {
		// The peer sends it again. What it acknowledges, and so gives back, counts all the same.
		t.conn.Refuse(seg)
		seg.Payload.Clear()
		seg.Flags &^= wire.FIN
		s.stats.memoryDrops.Add(1)
	}
	ev := t.conn.Input(now, seg)
	switch {
	case t.conn.Quiet():
		t.arm()
	case t.conn.Pressing() || !b.outputLater(t):
		t.output(now)
	}
	r := t.settle(now, ev)
	t.mu.Unlock()
	b.wake(t.notifier, r)
	return true
}

// takeFirst reserves memory for the data of the segment that makes the connection. What there is none for is taken off it: the peer sends
// it again.
func (t *TCP) takeFirst(seg *tcp.Segment) {
	least := leastFootprint(seg)
	if least == 0 || t.stack.memory.received.reserve(int(t.received), least) {
		t.received += uint32(least)
		return
	}
	seg.Payload.Clear()
	seg.Flags &^= wire.FIN
	t.stack.stats.memoryDrops.Add(1)
}

// leastFootprint is the memory that the data of a segment takes, after the copy of what fills less than a quarter of its chunk.
func leastFootprint(seg *tcp.Segment) int { return min(seg.Payload.Footprint(), 4*seg.Payload.Size()) }

// mayTake reserves memory for the data of a segment, if there is some: within the budget, or because the reader waits for just this.
func (t *TCP) mayTake(seg *tcp.Segment) bool {
	m := &t.stack.memory.received
	least := leastFootprint(seg)
	if m.reserve(int(t.received), least) || t.conn.ReadSize() == 0 && t.conn.InOrder(seg) && m.reserveLast(least) {
		t.received += uint32(least)
		return true
	}
	return false
}

// settle follows the connection out of the flow table, gives memory back, accounts for what is held, and returns whom to wake; t.mu is
// held.
func (t *TCP) settle(now sched.Time, ev tcp.Events) Ready {
	ev |= t.conn.TakeEvents()
	if ev&tcp.PathSuspect != 0 {
		t.pathGen-- // refreshPath looks the way up again
	}
	if ev&tcp.PathNarrowed != 0 {
		k := &t.flow.key
		t.stack.ip.SetPathMTU(now, k.remoteAddr().Addr(), int(k.scope), t.conn.NarrowedTo()+headerSize(k.is4()))
		t.refreshPath(now)
	}
	if ev&tcp.TimeWaitNow != 0 && t.inTable {
		t.inTable = false
		t.stack.enterTimeWait(now, t)
	}
	if ev&(tcp.Done|tcp.Failed) != 0 && t.inTable && t.conn.State() == tcp.Closed {
		t.inTable = false
		t.stack.flows.remove(&t.flow)
	}
	if !t.inTable && t.armed && t.conn.Deadline() == sched.Never {
		t.stack.timers.Cancel(&t.timer)
		t.armed = false
	}
	if t.fastPending || ev&(tcp.Connected|tcp.FastOpenCutOff|tcp.TimeWaitNow|tcp.Done) != 0 {
		t.settleFastOpen(now, ev)
	}
	if t.orphan && !t.inTable {
		t.orphan = false
		t.stack.orphans.Add(-1)
	}
	t.dropStage()
	t.account()
	if left := !t.inTable && t.sent+t.received > 0; left != t.leftBehind {
		t.leftBehind = left
		t.stack.left.set(t, left)
	}
	r := readiness(ev)
	if t.mayWake() {
		r |= WriteReady
	}
	if t.closed && t.drained() { // the owner's Close may linger
		r |= WriteReady
	}
	return r
}

// account charges what t holds, no more and no less, to the stack's memory; t.mu is held.
func (t *TCP) account() {
	sent := t.conn.SendFootprint()
	t.stack.memory.sent.account(&t.sent, sent+int(t.reserved))
	t.stack.memory.received.account(&t.received, t.conn.Footprint()-sent)
}

// dropStage gives the writer's chunk back when nothing is queued that it could extend: an idle connection holds none.
func (t *TCP) dropStage() {
	if t.stage != nil && !t.filling && t.conn.SendQueue() == 0 {
		t.stage.Clear()
		t.stack.ropes.Put(t.stage)
		t.stage = nil
	}
}

func readiness(ev tcp.Events) (r Ready) {
	if ev&(tcp.Readable|tcp.UrgentData) != 0 {
		r |= ReadReady
	}
	if ev&tcp.Writable != 0 {
		r |= WriteReady
	}
	if ev&tcp.Connected != 0 {
		r |= ConnReady | WriteReady
	}
	if ev&(tcp.Failed|tcp.Done) != 0 {
		r |= ConnReady | ReadReady | WriteReady
	}
	return r
}

// Connected reports how the handshake went: ErrWouldBlock while it goes on, nil, or why it failed. Of a socket that TCPRequest.Accept was
// given it says nothing before ConnReady.
func (t *TCP) Connected() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.conn.State() {
	case tcp.SynSent, tcp.SynReceived:
		if t.conn.Waits() {
			return nil // the handshake is the first data's
		}
		return ErrWouldBlock
	case tcp.Closed:
		if err := t.conn.Err(); err != nil {
			return err
		}
		return net.ErrClosed
	}
	return nil
}
