package weir

import (
	"io"
	"net"

	"github.com/weirnet/weir/buffer"
)

const (
	sliceSize = 256 << 10 // bytes moved between a rope and a socket at once
	leastRead = 2 << 10   // bytes that ReadFrom asks for at first
	mostRead  = 64 << 10
)

func (s *Stack) rope() *buffer.Buffer { return s.ropes.Get().(*buffer.Buffer) }

// putRope gives a rope back, with what is left in it.
func (s *Stack) putRope(b *buffer.Buffer) {
	b.Release()
	s.ropes.Put(b)
}

// writeRope queues all of rope without copying; it waits for room. On an error some or all of it is still in rope, or lost.
func (c *TCPConn) writeRope(rope *buffer.Buffer) error {
	return c.wr.await(c.stack, func() error { return c.sock.WriteRope(rope) })
}

// ReadFrom writes what r gives until it ends: r reads straight into the memory from which it is sent. It is io.ReaderFrom. The write
// turn is held for one piece at a time, not while r is read. The error is r's, unless it is io.EOF, or the connection's.
func (c *TCPConn) ReadFrom(r io.Reader) (int64, error) {
	if src, ok := r.(*TCPConn); ok {
		return src.WriteTo(c)
	}
	rope := c.stack.rope()
	defer c.stack.putRope(rope)
	pool := c.stack.inner.Packets().Buffers()
	var done int64
	for size := leastRead; ; {
		chunk := pool.Get(size)
		room := chunk.Data()[:size]
		n, err := r.Read(room)
		if n > 0 {
			rope.AppendChunk(chunk, 0, n, true)
			if werr := c.sendRope(rope); werr != nil {
				return done, c.fail("readfrom", "write", werr)
			}
			done += int64(n)
		} else {
			chunk.Release()
		}
		if err == io.EOF {
			return done, nil
		} else if err != nil {
			return done, c.fail("readfrom", "read", err)
		}
		switch { // as much as comes at once, so that neither a stream costs many reads nor one that is idle much memory
		case n == size:
			size = min(8*size, mostRead)
		case n < size/4:
			size = max(size/2, leastRead)
		}
	}
}

// sendRope is writeRope in a turn of its own.
func (c *TCPConn) sendRope(rope *buffer.Buffer) error {
	n := rope.Size()
	c.stack.streams.begin(n)
	c.wr.acquire(c.stack)
	err := c.writeRope(rope)
	c.wr.release()
	c.stack.streams.end(n, n)
	return err
}

// WriteTo writes what comes to w until the peer has sent all: w gets the very memory in which it came, another TCPConn without a copy,
// a *net.TCPConn many pieces in one system call. It is io.WriterTo. The read turn is held for one piece at a time, not while w is
// written. What w did not take is lost, as with io.Copy.
func (c *TCPConn) WriteTo(w io.Writer) (int64, error) {
	rope := c.stack.rope()
	defer c.stack.putRope(rope)
	sink := newSink(w)
	var done int64
	for {
		n, err := c.readRope(rope)
		if err == io.EOF && !c.stack.inner.Closed() {
			return done, nil
		} else if err != nil {
			return done, c.fail("writeto", "read", err)
		}
		m, err := sink.take(rope)
		done += m
		rope.Release()
		c.sock.ReadDone(n)
		if err != nil {
			return done, c.fail("writeto", "write", err)
		}
	}
}

// readRope detaches what can be read, in a turn of its own.
func (c *TCPConn) readRope(rope *buffer.Buffer) (n int, err error) {
	c.rd.acquire(c.stack)
	defer c.rd.release()
	err = c.rd.await(c.stack, func() (err error) {
		n, err = c.sock.ReadRope(rope, sliceSize)
		return err
	})
	return n, err
}

// sink is where WriteTo writes: one of three.
type sink struct {
	conn *TCPConn
	host *net.TCPConn
	w    io.Writer
	vec  buffer.Vec
}

func newSink(w io.Writer) *sink {
	s := &sink{w: w}
	switch w := w.(type) {
	case *TCPConn:
		s.conn = w
	case *net.TCPConn:
		s.host = w
	}
	return s
}

// take writes rope and returns how many bytes were written. What is left in rope is the caller's to release.
func (s *sink) take(rope *buffer.Buffer) (int64, error) {
	size := int64(rope.Size())
	switch {
	case s.conn != nil:
		if err := s.conn.sendRope(rope); err != nil {
			return 0, s.conn.fail("write", "write", err)
		}
		return size, nil
	case s.host != nil:
		s.vec = rope.Vec(s.vec[:0])
		v := net.Buffers(s.vec) // WriteTo moves v along, and clears the entries that it has written
		return v.WriteTo(s.host)
	}
	return rope.ReadToWriter(s.w, size)
}

// WriteBuffers writes all of v, of which it copies the bytes, as one Write of them joined together would, and returns how many bytes
// were queued.
func (c *TCPConn) WriteBuffers(v net.Buffers) (int64, error) {
	rope := c.stack.rope()
	defer c.stack.putRope(rope)
	c.wr.acquire(c.stack)
	defer c.wr.release()
	var done int64
	queue := func() error {
		size := int64(rope.Size())
		if err := c.writeRope(rope); err != nil {
			return c.fail("write", "write", err)
		}
		done += size
		return nil
	}
	for _, p := range v {
		for len(p) > 0 {
			n := min(len(p), sliceSize-rope.Size())
			rope.Append(p[:n])
			p = p[n:]
			if rope.Size() == sliceSize {
				if err := queue(); err != nil {
					return done, err
				}
			}
		}
	}
	return done, queue()
}

// WriteOwned writes all of b without copying: the memory is the connection's from now on, and must not be changed by anybody. On an
// error what was not queued stays in b, the caller's. It returns how many bytes were queued.
func (c *TCPConn) WriteOwned(b *buffer.Buffer) (int64, error) {
	rope := c.stack.rope()
	defer c.stack.putRope(rope)
	c.wr.acquire(c.stack)
	defer c.wr.release()
	var done int64
	for {
		n := int64(b.MoveTo(rope, sliceSize))
		if err := c.writeRope(rope); err != nil {
			rope.Merge(b)
			b.Merge(rope)
			return done, c.fail("write", "write", err)
		}
		if done += n; b.Size() == 0 {
			return done, nil
		}
	}
}
