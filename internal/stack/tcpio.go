package stack

import (
	"io"
	"net"
	"syscall"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

const (
	writeSlice = 256 << 10 // bytes copied between two publications, so that the network starts before a large Write ends
	copyLocked = 4 << 10   // reads and writes up to this size are copied under the lock: cheaper than taking it twice
)

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
	if !t.conn.CanRead(len(p)) || t.over() {
		return 0, t.nothing()
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
	rope.Clear()
}

// over reports whether the application, or the stack, has closed t; t.mu is held. (The stack's Close does not come by a socket that has
// left the flow table.)
func (t *TCP) over() bool { return t.closed || t.stack != nil && t.stack.closed.Load() }

// whyEmpty says why there is nothing to read; t.mu is held.
func (t *TCP) whyEmpty() error {
	switch {
	case t.over():
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

// nothing unlocks t.mu and says why there is nothing to read.
func (t *TCP) nothing() error {
	err, waits := t.whyEmpty(), t.conn.Waits()
	t.mu.Unlock()
	if waits && err == ErrWouldBlock {
		t.start()
	}
	return err
}

// readDone gives the window back and unlocks t.mu.
func (t *TCP) readDone(n int) {
	var now sched.Time // read only if it is needed: without an ACK to send nothing depends on it
	t.conn.SetShare(t.stack.memory.shares())
	send := t.conn.ReadDone(now, n)
	if send {
		now = t.stack.now()
		t.output(now)
	}
	r := t.settle(now, 0)
	t.mu.Unlock()
	t.notify(r)
	t.stack.relieve()
	if send {
		t.stack.flushAll()
	}
}

// Peek copies what can be read from the byte off on, and leaves it to be read (MSG_PEEK). Errors are as Read's.
func (t *TCP) Peek(p []byte, off int) (int, error) {
	t.mu.Lock()
	if t.conn.ReadSize() <= off || t.over() {
		return 0, t.nothing()
	}
	defer t.mu.Unlock()
	rope := t.stack.ropes.Get().(*buffer.Buffer)
	n := t.conn.Peek(rope, off, len(p))
	copyOut(p, rope)
	t.stack.ropes.Put(rope)
	return n, nil
}

// Discard throws away up to n bytes that can be read (MSG_TRUNC), and returns how many.
func (t *TCP) Discard(n int) (int, error) {
	t.mu.Lock()
	if !t.conn.CanRead(n) || t.over() {
		return 0, t.nothing()
	}
	rope := t.stack.ropes.Get().(*buffer.Buffer)
	n = t.conn.Read(rope, n)
	rope.Clear()
	t.stack.ropes.Put(rope)
	t.readDone(n)
	return n, nil
}

// ReadRope detaches up to n readable bytes to the end of dst without copying; ReadDone, when they are used up, gives the window back.
func (t *TCP) ReadRope(dst *buffer.Buffer, n int) (int, error) {
	t.mu.Lock()
	if t.conn.ReadSize() == 0 || t.over() {
		return 0, t.nothing()
	}
	defer t.mu.Unlock()
	return t.conn.Read(dst, n), nil
}

// ReadDone gives back the window for n bytes that ReadRope detached.
func (t *TCP) ReadDone(n int) {
	t.mu.Lock()
	t.readDone(n)
}

// sendSpace is how many bytes the send queue has room for, or why none may be queued; t.mu is held.
func (t *TCP) sendSpace() (int, error) {
	if t.over() {
		return 0, net.ErrClosed
	}
	if t.conn.Err() != nil || t.conn.State() == tcp.Closed {
		return 0, t.fail(syscall.EPIPE)
	}
	if !t.conn.CanWrite() {
		return 0, syscall.EPIPE
	}
	t.conn.SetShare(t.stack.memory.shares())
	if space := t.conn.SendSpace(); space > 0 {
		return space, nil
	}
	if t.conn.Squeezed() {
		t.stack.memory.squeeze(t)
		t.conn.SetShare(t.stack.memory.shares()) // it may have become more before t was on the list
		if space := t.conn.SendSpace(); space > 0 {
			return space, nil
		}
	}
	return 0, ErrWouldBlock
}

// reserve charges the memory for n more bytes in stage, or for fewer if there is not so much, and returns how many; 0: none now, and
// the writer will be woken. t.mu is held.
func (t *TCP) reserve(n int) int {
	if k := t.tryReserve(n); k > 0 {
		return k
	}
	t.stack.memory.starve(t)
	return t.tryReserve(n)
}

func (t *TCP) tryReserve(n int) int {
	for ; n > 0; n /= 4 {
		cost := t.stage.AppendCost(n)
		if t.stack.memory.sent.reserve(int(t.sent), cost) {
			t.sent += uint32(cost)
			return n
		}
	}
	return 0
}

// Write queues as much of p as there is space for. n < len(p) comes with an error: ErrWouldBlock, or why nothing more can be sent.
func (t *TCP) Write(p []byte) (n int, err error) { return t.Send(p, 0) }

// Send is Write with flags: tcp.MoreToCome, tcp.Urgent.
func (t *TCP) Send(p []byte, flags tcp.WriteFlags) (n int, err error) {
	if len(p) == 0 {
		return 0, t.writeError()
	}
	for n < len(p) {
		k, err := t.writeSome(p[n:], flags)
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
func (t *TCP) writeSome(p []byte, flags tcp.WriteFlags) (int, error) {
	s := t.stack
	t.mu.Lock()
	space, err := t.sendSpace()
	if err != nil {
		t.mu.Unlock()
		return 0, err
	}
	if t.stage == nil {
		t.stage = s.ropes.Get().(*buffer.Buffer)
	}
	before := t.sent
	n := t.reserve(min(len(p), space, writeSlice))
	if n == 0 {
		t.mu.Unlock()
		return 0, ErrWouldBlock
	}
	if n > copyLocked {
		t.filling, t.reserved = true, int32(t.sent-before)
		t.mu.Unlock()
		t.stage.Append(p[:n])
		t.mu.Lock()
		t.filling, t.reserved = false, 0
	} else {
		t.stage.Append(p[:n])
	}
	if n < len(p) {
		flags = tcp.Unfinished
	}
	err = t.publish(t.stage, flags)
	t.mu.Unlock()
	if err != nil {
		return 0, err
	}
	s.flushAll()
	return n, nil
}

// publish queues a rope's bytes and sends what may be sent; t.mu is held. On an error the rope is emptied.
func (t *TCP) publish(rope *buffer.Buffer, flags tcp.WriteFlags) error {
	now := t.stack.now()
	err := net.ErrClosed
	if !t.over() {
		err = t.conn.WriteWith(now, rope, flags)
	}
	if err != nil {
		rope.Release()
		t.settle(now, 0)
		if t.conn.Err() != nil && !t.over() {
			return t.fail(syscall.EPIPE)
		}
		return err
	}
	t.output(now)
	t.settle(now, 0)
	return nil
}

// reserveRope charges what a rope pins. That memory is there in any case: a socket that holds nothing else may have more than is left.
func (t *TCP) reserveRope(n int) bool {
	m := &t.stack.memory
	for range 2 {
		if m.sent.reserve(int(t.sent), n) || t.sent == 0 && m.sent.reserveLast(n) {
			t.sent += uint32(n)
			return true
		}
		m.starve(t)
	}
	return false
}

// WriteRope queues a rope's bytes, which are the socket's then, without copying; all of them, or none with ErrWouldBlock (when the
// send queue is full) or why nothing more can be sent.
func (t *TCP) WriteRope(rope *buffer.Buffer) error {
	t.mu.Lock()
	_, err := t.sendSpace()
	if err == nil && !t.reserveRope(rope.Footprint()) {
		err = ErrWouldBlock
	}
	if err == nil {
		err = t.publish(rope, 0)
		rope.Release() // what room Publish left behind
	}
	t.mu.Unlock()
	if err == nil {
		t.stack.flushAll()
	}
	return err
}
