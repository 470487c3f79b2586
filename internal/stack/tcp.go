package stack

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

const (
	writeSlice  = 256 << 10 // bytes copied between two publications, so that the network starts before a large Write ends
	copyLocked  = 4 << 10   // reads up to this size are copied under the lock: cheaper than taking it twice
	pressedRoom = 16 << 10  // what a socket may hold although the memory budget is used up, so that it can make progress
)

// TCP is a TCP socket: a tcp.Conn with its lock, timer and place in the flow table. Its owner (package weir) embeds it, sets the
// Notifier before first use, and has at most one goroutine in a read and one in a write at a time (its turns).
type TCP struct {
	mu       sync.Mutex
	conn     tcp.Conn
	flow     flow
	timer    sched.Node
	armedAt  sched.Time // when timer fires; it may be earlier than the deadline, never later
	stack    *Stack
	notifier Notifier
	iface    *Interface // the way out, as of pathGen; nil: none
	next     txWaiter
	stage    *buffer.Buffer // the writer's: chunks being filled, and room behind what is queued
	listener *Listener      // whose accept queue it came by
	charged  int            // of the stack's memory budget
	pathGen  uint64
	pathMTU  uint32
	hash     uint32

	inTable     bool
	waiting     bool // on a transmit queue's waiting list
	writing     bool // stage is in a writer's hands
	closed      bool // by the application
	starved     bool // a writer was refused because the memory budget was used up
	errTaken    bool // the error was reported; what follows is EOF and EPIPE, as with a kernel's socket
	transparent bool // the local address need not be ours
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
	Transparent bool           // Local may be an address that is not ours
	// Setup sets options of a TCP connection before its SYN is sent; nil: none. It is called under the socket's lock.
	Setup func(now sched.Time, c *tcp.Conn) error
}

// init makes t a socket of s for the flow of key. The caller has it to itself.
func (t *TCP) init(s *Stack, key flowKey, transparent bool) {
	t.stack = s
	t.flow = flow{key: key, owner: t}
	t.timer.Owner = t
	t.armedAt = sched.Never
	t.transparent = transparent
}

// ConnectTCP begins an active open; t's Notifier is told ConnReady when it is over (Err says how).
func (s *Stack) ConnectTCP(t *TCP, remote netip.AddrPort, b Bound) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	path, err := s.ip.Path(b.Local.Addr(), remote.Addr().Unmap(), b.Iface, b.Transparent)
	if err != nil {
		return err
	}
	local := netip.AddrPortFrom(path.Src, b.Local.Port())
	t.mu.Lock()
	t.init(s, makeKey(protoTCP, local, remote, s.scope(path.Dst, path.Iface)), b.Transparent)
	floor, err := s.insertFlow(&t.flow, protoTCP)
	if err != nil {
		t.mu.Unlock()
		return err
	}
	t.inTable = true
	t.usePath(&path)
	now := s.now()
	t.conn.Connect(s.cfg.TCP, now, s.params(now, &t.flow.key, path.MTU, floor))
	if b.Setup != nil {
		if err := b.Setup(now, &t.conn); err != nil {
			t.inTable = false
			s.flows.remove(&t.flow)
			t.mu.Unlock()
			return err
		}
	}
	t.output(now)
	t.mu.Unlock()
	s.stats.activeOpens.Add(1)
	s.flushAll()
	if s.closed.Load() { // Close may have missed us
		t.shut()
	}
	return nil
}

// params are what a new connection starts with.
func (s *Stack) params(now sched.Time, k *flowKey, mtu int, floor issFloor) tcp.Params {
	local, remote := k.localAddr(), k.remoteAddr()
	return tcp.Params{
		ISS: floor.raise(s.numbers.ISS(now, local, remote)), TSOffset: s.numbers.TSOffset(local, remote),
		MSS: mtu - headerSize(k.is4()), GSOMax: maxSuper,
	}
}

// maxSuper is the largest payload of a super-segment: what the 16-bit length of IPv4 leaves beside the largest headers.
const maxSuper = 65535 - 20 - 60

// headerSize is that of the IP and TCP headers without options.
func headerSize(is4 bool) int {
	if is4 {
		return 40
	}
	return 60
}

// usePath takes a look-up's answer.
func (t *TCP) usePath(p *ip.Path) {
	t.iface = t.stack.iface(p.Iface)
	t.pathMTU = uint32(p.MTU)
	t.pathGen = t.stack.ip.Generation()
}

// refreshPath looks the way up again if routes, addresses or path MTUs have changed since. Without a way, packets have none until the
// next change: the connection times out, as it should.
func (t *TCP) refreshPath(now sched.Time) {
	s := t.stack
	gen := s.ip.Generation()
	if gen == t.pathGen {
		return
	}
	k := &t.flow.key
	path, err := s.ip.Path(k.localAddr().Addr(), k.remoteAddr().Addr(), int(k.scope), t.transparent)
	if err != nil {
		t.iface, t.pathGen = nil, gen
		return
	}
	old := t.pathMTU
	t.usePath(&path)
	if t.pathMTU != old {
		t.conn.SetMSS(now, path.MTU-headerSize(k.is4()))
	}
}

// output sends what may be sent now, as far as the transmit queue has room; t.mu is held. The flush is the caller's, after unlocking.
func (t *TCP) output(now sched.Time) {
	if t.waiting {
		return // its turn comes
	}
	s := t.stack
	t.refreshPath(now)
	var q *txQueue
	if t.iface != nil {
		q = t.iface.queue(t.hash)
	}
	seg := s.segments.Get().(*tcp.Segment)
	for left := txBurst; ; {
		if q != nil && (left <= 0 || !q.room()) {
			t.waiting = true
			q.wait(t)
			break
		}
		if !t.conn.Output(now, seg) {
			break
		}
		left -= seg.Payload.Size()
		s.push(q, &t.flow.key, seg, t.pathMTU)
	}
	s.segments.Put(seg)
	t.arm()
}

// resume is the transmit queue's word that there is room again.
func (t *TCP) resume(now sched.Time) {
	t.mu.Lock()
	t.waiting = false
	t.output(now)
	t.mu.Unlock()
}

func (t *TCP) nextWaiter() *txWaiter { return &t.next }

// arm sets the timer, unless it fires early enough already: then Expire arms it for the rest.
func (t *TCP) arm() {
	if d := t.conn.Deadline(); d < t.armedAt {
		t.armedAt = d
		t.stack.timers.Arm(&t.timer, d)
	}
}

// Expire is the timer's call.
func (t *TCP) Expire(now sched.Time) {
	t.mu.Lock()
	t.armedAt = sched.Never
	if t.conn.Deadline() > now || !t.inTable && t.closed {
		t.arm()
		t.mu.Unlock()
		return
	}
	ev := t.conn.Expire(now)
	t.output(now)
	r := t.settle(now, ev)
	t.mu.Unlock()
	if r != 0 && t.notifier != nil {
		t.notifier.Notify(r)
	}
	t.stack.kickQueues()
}

// input takes a segment of the flow; false if t is no longer the flow's (look it up again).
func (t *TCP) input(now sched.Time, seg *tcp.Segment, b *batch) bool {
	s := t.stack
	t.mu.Lock()
	if !t.inTable {
		t.mu.Unlock()
		return false
	}
	if seg.Payload.Size() > 0 && t.overBudget() && t.conn.ReadSize() > 0 {
		seg.Payload.Release() // the peer sends it again; the memory is for those who read
		s.stats.memoryDrops.Add(1)
		t.mu.Unlock()
		return true
	}
	ev := t.conn.Input(now, seg)
	t.output(now)
	r := t.settle(now, ev)
	t.mu.Unlock()
	b.wake(t.notifier, r)
	return true
}

// settle follows the connection out of the flow table, gives memory back, accounts for what is held, and returns whom to wake; t.mu is
// held.
func (t *TCP) settle(now sched.Time, ev tcp.Events) Ready {
	if ev&tcp.TimeWaitNow != 0 && t.inTable {
		t.inTable = false
		t.stack.enterTimeWait(now, t)
	}
	if ev&(tcp.Done|tcp.Failed) != 0 && t.inTable && t.conn.State() == tcp.Closed {
		t.inTable = false
		t.stack.flows.remove(&t.flow)
	}
	if !t.inTable && t.armedAt != sched.Never && t.conn.Deadline() == sched.Never {
		t.stack.timers.Cancel(&t.timer)
		t.armedAt = sched.Never
	}
	t.dropStage()
	if held := t.conn.Footprint(); held != t.charged {
		t.stack.charge(held - t.charged)
		t.charged = held
	}
	r := readiness(ev)
	if t.starved && !t.overBudget() {
		t.starved = false
		r |= WriteReady
	}
	return r
}

// overBudget reports whether t must not hold more, because the stack's memory is used up and t has its minimum.
func (t *TCP) overBudget() bool { return t.charged > pressedRoom && t.stack.pressed() }

// dropStage gives the writer's chunk back when nothing is queued that it could extend: an idle connection holds none.
func (t *TCP) dropStage() {
	if t.stage != nil && !t.writing && t.conn.SendQueue() == 0 {
		t.stage.Release()
		t.stack.ropes.Put(t.stage)
		t.stage = nil
	}
}

func readiness(ev tcp.Events) (r Ready) {
	if ev&tcp.Readable != 0 {
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

// Connected reports how the handshake went: ErrWouldBlock while it goes on, nil, or why it failed.
func (t *TCP) Connected() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.conn.State() {
	case tcp.SynSent, tcp.SynReceived:
		return ErrWouldBlock
	case tcp.Closed:
		if err := t.conn.Err(); err != nil {
			return err
		}
		return net.ErrClosed
	}
	return nil
}

// fail returns the error that ended the connection, once; then the given one. t.mu is held.
func (t *TCP) fail(after error) error {
	if err := t.conn.Err(); err != nil && !t.errTaken {
		t.errTaken = true
		return err
	}
	return after
}

// Read copies what can be read. With nothing there: io.EOF after the peer's FIN, the error that ended the connection (once), or
// ErrWouldBlock.
func (t *TCP) Read(p []byte) (int, error) {
	t.mu.Lock()
	if t.conn.ReadSize() == 0 || t.closed {
		defer t.mu.Unlock()
		return 0, t.whyEmpty()
	}
	if len(p) == 0 {
		t.mu.Unlock()
		return 0, nil
	}
	rope := t.stack.ropes.Get().(*buffer.Buffer)
	n := t.conn.Read(rope, len(p))
	if n > copyLocked {
		t.mu.Unlock()
		copyOut(p, rope)
		t.mu.Lock()
	} else {
		copyOut(p, rope)
	}
	t.stack.ropes.Put(rope)
	t.readDone(n)
	return n, nil
}

// copyOut empties rope into p, which is large enough.
func copyOut(p []byte, rope *buffer.Buffer) {
	_, _ = rope.ReadAt(p[:rope.Size()], 0)
	rope.Release()
}

// whyEmpty says why there is nothing to read; t.mu is held.
func (t *TCP) whyEmpty() error {
	switch {
	case t.closed:
		return net.ErrClosed
	case t.conn.Err() != nil:
		return t.fail(io.EOF)
	case t.conn.EOF():
		return io.EOF
	case t.conn.State() == tcp.Closed:
		return net.ErrClosed
	}
	return ErrWouldBlock
}

// readDone gives the window back and unlocks t.mu.
func (t *TCP) readDone(n int) {
	now := t.stack.now()
	send := t.conn.ReadDone(now, n)
	if send {
		t.output(now)
	}
	r := t.settle(now, 0)
	t.mu.Unlock()
	if r != 0 && t.notifier != nil {
		t.notifier.Notify(r)
	}
	if send {
		t.stack.flushAll()
	}
}

// ReadRope detaches up to n readable bytes to the end of dst without copying; ReadDone, when they are used up, gives the window back.
func (t *TCP) ReadRope(dst *buffer.Buffer, n int) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn.ReadSize() == 0 || t.closed {
		return 0, t.whyEmpty()
	}
	return t.conn.Read(dst, n), nil
}

// ReadDone gives back the window for n bytes that ReadRope detached.
func (t *TCP) ReadDone(n int) {
	t.mu.Lock()
	t.readDone(n)
}

// sendSpace is how many bytes may be queued now, or why none may; t.mu is held.
func (t *TCP) sendSpace() (int, error) {
	if t.closed {
		return 0, net.ErrClosed
	}
	if t.conn.Err() != nil || t.conn.State() == tcp.Closed {
		return 0, t.fail(syscall.EPIPE)
	}
	if !t.conn.CanWrite() {
		return 0, syscall.EPIPE
	}
	if t.overBudget() {
		t.starved = true
		return 0, ErrWouldBlock
	}
	space := t.conn.SendSpace()
	if space <= 0 {
		return 0, ErrWouldBlock
	}
	return space, nil
}

// Write queues as much of p as there is space for. n < len(p) comes with an error: ErrWouldBlock, or why nothing more can be sent.
func (t *TCP) Write(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, t.writeError()
	}
	for n < len(p) {
		k, err := t.writeSome(p[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// writeError says why nothing can be sent, other than for want of space.
func (t *TCP) writeError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.sendSpace(); err != ErrWouldBlock {
		return err
	}
	return nil
}

// writeSome queues one slice of p: it reserves under the lock, copies without it, publishes under it.
func (t *TCP) writeSome(p []byte) (int, error) {
	s := t.stack
	t.mu.Lock()
	space, err := t.sendSpace()
	if err != nil {
		t.mu.Unlock()
		return 0, err
	}
	n := min(len(p), space, writeSlice)
	if t.stage == nil {
		t.stage = s.ropes.Get().(*buffer.Buffer)
	}
	if n > copyLocked {
		t.writing = true
		t.mu.Unlock()
		t.stage.Append(p[:n])
		t.mu.Lock()
		t.writing = false
	} else {
		t.stage.Append(p[:n])
	}
	err = t.publish(t.stage)
	t.mu.Unlock()
	if err != nil {
		return 0, err
	}
	s.flushAll()
	return n, nil
}

// publish queues a rope's bytes and sends what may be sent; t.mu is held. On an error the rope is emptied.
func (t *TCP) publish(rope *buffer.Buffer) error {
	now := t.stack.now()
	err := net.ErrClosed
	if !t.closed {
		err = t.conn.Write(now, rope)
	}
	if err != nil {
		rope.Release()
		t.settle(now, 0)
		if t.conn.Err() != nil {
			return t.fail(syscall.EPIPE)
		}
		return err
	}
	t.output(now)
	t.settle(now, 0)
	return nil
}

// WriteRope queues a rope's bytes, which are the socket's then, without copying; all of them, or none with ErrWouldBlock (when the
// send queue is full) or why nothing more can be sent.
func (t *TCP) WriteRope(rope *buffer.Buffer) error {
	t.mu.Lock()
	_, err := t.sendSpace()
	if err == nil {
		err = t.publish(rope)
		rope.Release() // what room Publish left behind
	}
	t.mu.Unlock()
	if err == nil {
		t.stack.flushAll()
	}
	return err
}

// act runs one change of the connection under the lock, sends what it makes due, and flushes.
func (t *TCP) act(fn func(now sched.Time) (tcp.Events, error)) error {
	t.mu.Lock()
	if t.stack == nil {
		t.mu.Unlock()
		return syscall.ENOTCONN
	}
	now := t.stack.now()
	ev, err := fn(now)
	t.output(now)
	r := t.settle(now, ev)
	t.mu.Unlock()
	if r != 0 && t.notifier != nil {
		t.notifier.Notify(r)
	}
	t.stack.flushAll()
	return err
}

// connected reports whether there is a direction left to close; t.mu is held.
func (t *TCP) connected() bool {
	return t.conn.State() != tcp.Closed && t.conn.State() != tcp.TimeWaiting
}

// CloseWrite sends a FIN after what is queued.
func (t *TCP) CloseWrite() error {
	return t.act(func(now sched.Time) (tcp.Events, error) {
		if t.closed {
			return 0, net.ErrClosed
		}
		if !t.connected() {
			return 0, syscall.ENOTCONN
		}
		return tcp.Writable, t.conn.CloseWrite(now)
	})
}

// CloseRead discards what is unread and what comes.
func (t *TCP) CloseRead() error {
	return t.act(func(now sched.Time) (tcp.Events, error) {
		if t.closed {
			return 0, net.ErrClosed
		}
		if !t.connected() {
			return 0, syscall.ENOTCONN
		}
		t.conn.CloseRead(now)
		return tcp.Readable, nil
	})
}

// Close closes both directions; what is queued is still sent. Every later operation answers net.ErrClosed.
func (t *TCP) Close() error {
	return t.act(func(now sched.Time) (tcp.Events, error) {
		if t.closed {
			return 0, net.ErrClosed
		}
		t.closed = true
		return t.conn.Close(now) | tcp.Readable | tcp.Writable, nil
	})
}

// Abort closes with a RST.
func (t *TCP) Abort() error {
	return t.act(func(now sched.Time) (tcp.Events, error) {
		if t.closed {
			return 0, net.ErrClosed
		}
		t.closed = true
		return t.conn.Abort(now, net.ErrClosed) | tcp.Readable | tcp.Writable, nil
	})
}

// shut ends the socket because the stack closes; also a closed one that still lingers in the table.
func (t *TCP) shut() {
	_ = t.act(func(now sched.Time) (tcp.Events, error) {
		t.closed = true
		return t.conn.Abort(now, net.ErrClosed) | tcp.Readable | tcp.Writable, nil
	})
}

// Drained reports whether everything written was acknowledged, and the FIN too if one was sent; or the connection is over.
func (t *TCP) Drained() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conn.SendQueue() == 0 && t.conn.State() != tcp.FinWait1 && t.conn.State() != tcp.Closing && t.conn.State() != tcp.LastAck
}

// LocalAddr and RemoteAddr name the ends.
func (t *TCP) LocalAddr() netip.AddrPort { return t.flow.key.localAddr() }

// RemoteAddr names the far end.
func (t *TCP) RemoteAddr() netip.AddrPort { return t.flow.key.remoteAddr() }

// Info is the connection's state.
func (t *TCP) Info() tcp.Info {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conn.Info()
}

// SetNoDelay turns Nagle's algorithm off (the default) or on.
func (t *TCP) SetNoDelay(on bool) error {
	return t.option(func(sched.Time) error { t.conn.SetNoDelay(on); return nil })
}

// SetKeepAlive sets idle time, interval and number of probes; idle 0 turns them off.
func (t *TCP) SetKeepAlive(idle, interval time.Duration, count int) error {
	return t.option(func(now sched.Time) error { t.conn.SetKeepAlive(now, idle, interval, count); return nil })
}

// SetBuffers sets the limits of the send and receive queues in bytes of chunk capacity; 0 keeps one.
func (t *TCP) SetBuffers(send, receive int) error {
	return t.option(func(sched.Time) error { t.conn.SetBuffers(send, receive); return nil })
}

// SetUserTimeout bounds how long sent data may stay unacknowledged; 0: the default.
func (t *TCP) SetUserTimeout(d time.Duration) error {
	return t.option(func(sched.Time) error { t.conn.SetUserTimeout(d); return nil })
}

// SetCongestion chooses the congestion control by name.
func (t *TCP) SetCongestion(name string) error {
	return t.option(func(sched.Time) error { return t.conn.SetCongestion(name) })
}

// Configure changes options by fn, which is called under the socket's lock.
func (t *TCP) Configure(fn func(now sched.Time, c *tcp.Conn) error) error {
	return t.option(func(now sched.Time) error { return fn(now, &t.conn) })
}

func (t *TCP) option(fn func(now sched.Time) error) error {
	return t.act(func(now sched.Time) (tcp.Events, error) {
		if t.closed {
			return 0, net.ErrClosed
		}
		return 0, fn(now)
	})
}

// icmp takes an ICMP error about one of our segments.
func (t *TCP) icmp(now sched.Time, e *ip.Error, b *batch) {
	s := t.stack
	t.mu.Lock()
	if !t.inTable || !e.HasSeq || !t.conn.InFlight(tcp.Seq(e.Seq)) {
		t.mu.Unlock()
		return
	}
	var ev tcp.Events
	if e.MTU > 0 {
		s.ip.SetPathMTU(now, e.Dst, e.MTU)
	} else {
		ev = t.conn.ICMPError(now, tcp.Seq(e.Seq), e.Errno, e.Hard)
	}
	t.output(now)
	r := t.settle(now, ev)
	t.mu.Unlock()
	b.wake(t.notifier, r)
}
