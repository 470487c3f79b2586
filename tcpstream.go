package weir

import (
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// WriteMore is Write of what is not the last of a message (MSG_MORE): bytes at its end that do not fill a segment wait for the next Write,
// but for no more than 200 ms.
func (c *TCPConn) WriteMore(p []byte) (int, error) { return c.write(p, tcp.MoreToCome) }

// WriteUrgent is Write whose last byte is marked as urgent (MSG_OOB; RFC 9293 §3.8.5). It is sent even where small segments are held back, and
// the peer hears of it even while its window is closed. New protocols should do without (RFC 6093 §5).
func (c *TCPConn) WriteUrgent(p []byte) (int, error) { return c.write(p, tcp.Urgent) }

// UrgentAhead is how many bytes are to be read up to and with the peer's latest urgent one, whether they have come or not; 0: it has sent
// none, or it was read. Urgent data is read in line with the rest, as RFC 6093 §6 wants it (SO_OOBINLINE): at 1, the next byte is the
// urgent one (SIOCATMARK).
func (c *TCPConn) UrgentAhead() (n int) {
	_ = c.sock.Configure(func(_ sched.Time, conn *tcp.Conn) error {
		n = conn.UrgentAhead()
		return nil
	})
	return n
}

// Peek is Read that leaves what it returns to be read (MSG_PEEK). It waits as long as there is nothing, and no longer: there may be less
// than p has room for.
func (c *TCPConn) Peek(p []byte) (n int, err error) {
	c.rd.acquire(c.stack)
	defer c.rd.release()
	if len(p) == 0 {
		err = c.open()
	} else {
		err = c.rd.await(c.stack, func() (err error) {
			n, err = c.sock.Peek(p, 0)
			return err
		})
	}
	return n, c.readError(err)
}

// SetCork says whether what does not fill a segment is held back (TCP_CORK), for 200 ms at most, until more is written, or until it is
// called with false: for a header and a body that are written one after the other. It is off at first, and independent of SetNoDelay.
func (c *TCPConn) SetCork(on bool) error {
	return c.configure(func(conn *tcp.Conn) { conn.SetCork(on) })
}

// SetQuickAck says how the next ACKs are sent: at once (true; one that is delayed now too), or when data goes the other way or after 40 ms at
// most (TCP_QUICKACK; RFC 9293 §3.8.6.3). It lasts until traffic shows which is better.
func (c *TCPConn) SetQuickAck(on bool) error {
	return c.configure(func(conn *tcp.Conn) { conn.SetQuickAck(on) })
}

// SetNotSentLowat makes Write wait while so many bytes have been written and not yet sent for the first time (TCP_NOTSENT_LOWAT), so that a
// program can decide late what to send, and nothing it has written is old. Who is below the mark may fill a segment, however low the mark is. 0: as
// Config.NotSentLowat says.
func (c *TCPConn) SetNotSentLowat(bytes int) error { return c.set(c.sock.SetNotSentLowat(bytes)) }

// SetReadLowat makes Read wait until so many bytes have come (SO_RCVLOWAT), or as many as it has room for if that is less, or until no more
// can come. At most half of the receive buffer; 0 or 1, the default: for any.
func (c *TCPConn) SetReadLowat(bytes int) error { return c.set(c.sock.SetReceiveLowat(bytes)) }

// SetWindowClamp bounds the receive window that is offered from now on, in bytes (TCP_WINDOW_CLAMP); 0: no bound but the receive buffer. What was
// offered stays offered: a window never shrinks (RFC 9293 §3.8.6).
func (c *TCPConn) SetWindowClamp(bytes int) error {
	return c.configure(func(conn *tcp.Conn) { conn.SetWindowClamp(bytes) })
}

// configure changes an option of the connection, under the socket's lock.
func (c *TCPConn) configure(fn func(conn *tcp.Conn)) error {
	return c.set(c.sock.Configure(func(_ sched.Time, conn *tcp.Conn) error {
		fn(conn)
		return nil
	}))
}
