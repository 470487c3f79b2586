package stack

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

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
	t.notify(r)
	t.stack.relieve()
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
		ev := t.conn.Close(now)
		if t.inTable && t.conn.State() != tcp.Closed && t.conn.State() != tcp.TimeWaiting {
			ev |= t.leaveOrphan(now)
		}
		return ev | tcp.Readable | tcp.Writable, nil
	})
}

// leaveOrphan counts a connection that was closed and goes on: one too many is reset, so that peers that never let go cannot hold all the
// memory; t.mu is held.
func (t *TCP) leaveOrphan(now sched.Time) tcp.Events {
	t.orphan = true
	if t.stack.orphans.Add(1) <= int64(t.stack.cfg.MaxOrphans) {
		return 0
	}
	t.stack.stats.orphanDrops.Add(1)
	return t.conn.Abort(now, net.ErrClosed)
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
// The Notifier of a closed socket is told WriteReady when that comes about.
func (t *TCP) Drained() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.drained()
}

func (t *TCP) drained() bool {
	switch t.conn.State() {
	case tcp.FinWait1, tcp.Closing, tcp.LastAck:
		return false
	}
	return t.conn.SendQueue() == 0
}

// LocalAddr names our end.
func (t *TCP) LocalAddr() netip.AddrPort {
	return t.stack.zonedPort(t.flow.key.localAddr(), int(t.flow.key.scope))
}

// RemoteAddr names the far end.
func (t *TCP) RemoteAddr() netip.AddrPort {
	return t.stack.zonedPort(t.flow.key.remoteAddr(), int(t.flow.key.scope))
}

// Info is the connection's state.
func (t *TCP) Info() tcp.Info {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stack == nil {
		return tcp.Info{}
	}
	i := t.conn.InfoAt(t.stack.now())
	i.PathMTU = int(t.pathMTU)
	return i
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
	return t.limit(func() tcp.Events { return t.conn.SetBuffers(send, receive) })
}

// SetNotSentLowat limits what is queued and never sent, in bytes; 0: as the stack's configuration says.
func (t *TCP) SetNotSentLowat(n int) error {
	return t.limit(func() tcp.Events { return t.conn.SetNotSentLowat(n) })
}

// SetReceiveLowat is how many bytes a read waits for.
func (t *TCP) SetReceiveLowat(n int) error {
	return t.limit(func() tcp.Events { return t.conn.SetReceiveLowat(n) })
}

// limit is option for what may wake a reader or a writer.
func (t *TCP) limit(fn func() tcp.Events) error {
	return t.act(func(sched.Time) (tcp.Events, error) {
		if t.closed {
			return 0, net.ErrClosed
		}
		return fn(), nil
	})
}

// SetUserTimeout bounds how long sent data may stay unacknowledged; 0: the default.
func (t *TCP) SetUserTimeout(d time.Duration) error {
	return t.option(func(sched.Time) error { t.conn.SetUserTimeout(d); return nil })
}

// SetMaxSegment bounds the payload of segments sent from now on, options counted.
func (t *TCP) SetMaxSegment(n int) error {
	return t.option(func(now sched.Time) error { t.conn.SetMaxSegment(now, n); return nil })
}

// SetCongestion chooses the congestion control by name.
func (t *TCP) SetCongestion(name string) error {
	return t.option(func(sched.Time) error { return t.conn.SetCongestion(name) })
}

// SetMaxPacingRate bounds the rate at which data is sent, in bytes per second; 0: no limit.
func (t *TCP) SetMaxPacingRate(rate int64) error {
	return t.option(func(sched.Time) error {
		t.conn.SetMaxPacingRate(rate)
		return nil
	})
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
	if !t.inTable || t.manner.ignoresICMP() || !e.HasSeq || !t.conn.InFlight(tcp.Seq(e.Seq)) {
		t.mu.Unlock()
		return
	}
	var ev tcp.Events
	if e.MTU > 0 {
		if t.manner.pathMTU == PathMTUWant && t.conn.TooBig(now, tcp.Seq(e.Seq), e.MTU-headerSize(t.flow.key.is4())) {
			s.ip.SetPathMTU(now, e.Dst, e.Scope, e.MTU)
		}
	} else {
		// Destination unreachable ends a dial whatever its code, as on Linux (RFC 5461 §4.1): who dials may have another address to try.
		// Time exceeded and parameter problem are about one packet, whose hop limit or header may have been spoiled on its way: the next
		// SYN may get through, and "TCP implementation MUST NOT abort the connection" (RFC 9293 MUST-56) holds.
		ev = t.conn.ICMPError(now, tcp.Seq(e.Seq), e.Errno, e.Unreachable)
	}
	t.output(now)
	r := t.settle(now, ev)
	t.mu.Unlock()
	b.wake(t.notifier, r)
}
