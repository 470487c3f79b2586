package sim

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// plan is what the application at one end of a connection does.
type plan struct {
	messages int // that it sends
	size     int // bytes of a message
	await    int // bytes that must have been received before the first message, and await more before each further
	lead     int // messages that may go before await counts
	awaitEOF bool

	write    int           // bytes of a call at most; 0: as much as there is
	writeGap time.Duration // between calls
	read     int
	readGap  time.Duration
	readFrom time.Duration  // it does not read before
	hang     int            // it aborts when so many bytes have been sent and received; 0: never
	closes   bool           // when all is sent, it closes both directions: there is nothing more to come
	lingers  time.Duration  // it waits so long before it closes
	cork     bool           // each message is written under a cork
	flags    tcp.WriteFlags // of each write but the last of a message, or with Urgent of that
	buffer   int            // the limit that both of its buffers get when it has received something; 0: they stay
	drains   bool           // it closes only when the peer has all; else the stack may give up on a peer that takes nothing
}

// talker carries a plan out.
type talker struct {
	plan
	world                 *World
	conn                  *Conn
	server                *Host // that takes the connection; nil: nobody listens
	sent                  int   // of the message under way
	next                  int   // the message under way
	writes, reads         time.Duration
	closing               time.Duration
	open, eof, shut, over bool
	accepted              bool // by a listener
	err                   error
}

func (w *World) talk(p plan) *talker { return &talker{plan: p, world: w} }

// app is the talker as a Conn.App.
func (t *talker) app(c *Conn) {
	t.conn = c
	if t.over {
		return
	}
	if !t.open {
		if err := c.Connected(); err == ErrWouldBlock {
			return
		} else if err != nil {
			t.end(err)
			return
		}
		t.open = true
	}
	t.send() // first: with Fast Open it goes with the SYN
	t.receive()
	t.send()
	t.close()
}

// end is the end, by an error or nil.
func (t *talker) end(err error) {
	if t.over {
		return
	}
	t.over, t.err = true, err
	if err != nil {
		t.conn.Close() // what is unread would stay
	}
}

func (t *talker) receive() {
	c, now := t.conn, t.world.Now()
	if t.readFrom > now {
		t.wakeAt(&t.reads, t.readFrom)
		return
	}
	for !t.eof && !t.over && t.reads <= now {
		n := t.read
		if n == 0 {
			n = 1 << 20
		}
		got, err := c.Receive(n)
		if got > 0 && t.readGap > 0 {
			t.wakeAt(&t.reads, now+t.readGap)
		}
		if got > 0 && t.buffer > 0 {
			t.set(func(tc *tcp.Conn) { tc.SetBuffers(t.buffer, t.buffer) })
			t.buffer = 0
		}
		switch {
		case err == io.EOF:
			t.eof = true
		case err == ErrWouldBlock:
			return
		case err != nil:
			t.end(err)
		}
	}
}

// set changes an option of the connection. A connection that is over refuses, and is no worse for it.
func (t *talker) set(fn func(*tcp.Conn)) {
	_ = t.conn.Socket().Configure(func(_ sched.Time, tc *tcp.Conn) error {
		fn(tc)
		return nil
	})
}

func (t *talker) wakeAt(next *time.Duration, at time.Duration) {
	if *next != at {
		*next = at
		t.conn.WakeAt(at)
	}
}

// may reports whether the next message may go.
func (t *talker) may() bool {
	if t.awaitEOF {
		return t.eof
	}
	return t.next < t.lead || t.conn.Received >= int64(t.await)*int64(t.next+1-t.lead)
}

func (t *talker) send() {
	c, now := t.conn, t.world.Now()
	for !t.over && !t.shut && t.next < t.messages && t.writes <= now && t.may() {
		n := t.size - t.sent
		if t.write > 0 {
			n = min(n, t.write)
		}
		flags, last := t.flags, t.sent+n == t.size
		if last != (flags == tcp.Urgent) {
			flags = 0
		}
		if t.cork {
			t.set(func(tc *tcp.Conn) { tc.SetCork(true) })
		}
		k, err := c.SendWith(n, flags)
		t.sent += k
		if t.sent == t.size {
			if t.cork {
				t.set(func(tc *tcp.Conn) { tc.SetCork(false) })
			}
			t.next, t.sent = t.next+1, 0
		}
		if k > 0 && t.writeGap > 0 {
			t.wakeAt(&t.writes, now+t.writeGap)
		}
		if err != nil && err != ErrWouldBlock {
			t.end(err)
		}
		if err != nil {
			return
		}
	}
}

func (t *talker) close() {
	c, now := t.conn, t.world.Now()
	if t.hang > 0 && c.Sent+c.Received >= int64(t.hang) && !t.over {
		t.end(c.Abort())
		return
	}
	if t.over || t.next < t.messages {
		return
	}
	if t.lingers > 0 && t.closing == 0 {
		t.closing = now + t.lingers
		c.WakeAt(t.closing)
	}
	if now < t.closing {
		return
	}
	if t.closes {
		t.end(c.Close())
		return
	}
	if !t.shut {
		t.shut = true
		if err := c.CloseWrite(); err != nil {
			t.end(err)
			return
		}
	}
	switch {
	case !t.eof:
	case t.drains && !c.Socket().Drained():
		c.WakeAt(now + time.Second)
	default:
		t.end(c.Close())
	}
}

// lost reports whether a talker ended because its connection did.
func lost(err error) bool {
	for _, e := range []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT, syscall.ECONNREFUSED, syscall.EHOSTUNREACH,
		syscall.ENETUNREACH, syscall.ENOTCONN, net.ErrClosed, io.EOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
