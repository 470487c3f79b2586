package buffer

import (
	"errors"
	"io"
)

// copyAt copies from off on and returns how many bytes; off is inside b.
func (b *Buffer) copyAt(p []byte, off int) int {
	if off >= b.size || len(p) == 0 {
		return 0
	}
	n := 0
	i, in := b.find(off)
	for s := b.pieces(); n < len(p) && i < len(s); i++ {
		n += copy(p[n:], s[i].bytes()[in:])
		in = 0
	}
	return n
}

// ReadAt is io.ReaderAt: it copies from off on, takes nothing out, and returns io.EOF if b ends before p is full.
func (b *Buffer) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("buffer: ReadAt at a negative offset")
	}
	if off > int64(b.size) {
		return 0, io.EOF
	}
	n := b.copyAt(p, int(off))
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Read is io.Reader: it copies from the front and drops what it copied. It returns io.EOF if b is empty and p is not.
func (b *Buffer) Read(p []byte) (int, error) {
	if b.size == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	// Taking a header off the first piece is what this is mostly for.
	if first := &b.slots()[b.head]; len(p) < first.len() {
		n := copy(p, first.bytes())
		first.trimFront(n)
		b.size -= n
		return n, nil
	}
	n := b.copyAt(p, 0)
	b.TrimFront(n)
	return n, nil
}

// errInvalidRead and errInvalidWrite are about readers and writers that break their contract.
var (
	errInvalidRead  = errors.New("buffer: reader returned an impossible count; its Read must return 0 <= n <= len(p)")
	errInvalidWrite = errors.New("buffer: writer returned an impossible count; its Write must return 0 <= n <= len(p)")
)

// maxEmptyReads is how many reads in a row may give neither a byte nor an error.
const maxEmptyReads = 100

// WriteFromReader appends n bytes read from r, which reads straight into chunks. It returns how many were read and, if fewer than n, why:
// io.EOF when r ended first (as io.CopyN does). Bytes that were read are kept in any case. n <= 0 reads nothing.
func (b *Buffer) WriteFromReader(r io.Reader, n int64) (int64, error) {
	var done int64
	for empty := 0; done < n; {
		m, err := b.readOnce(r, int(min(n-done, class64K)))
		done += int64(m)
		if err != nil {
			if done == n {
				return done, nil
			}
			return done, err
		}
		if m > 0 {
			empty = 0
		} else if empty++; empty >= maxEmptyReads {
			return done, io.ErrNoProgress
		}
	}
	return done, nil
}

// readOnce appends what one Read of at most limit bytes (at least 1) gives.
func (b *Buffer) readOnce(r io.Reader, limit int) (int, error) {
	if l := b.last(); l != nil && len(l.backRoom()) > 0 {
		m, err := read(r, l.backRoom(), limit)
		l.hi += uint32(m)
		b.size += m
		return m, err
	}
	c := b.pool.Get(b.growth(limit))
	m, err := read(r, c.data, limit)
	if m == 0 {
		c.Release()
		return 0, err
	}
	b.dropRoom()
	b.pushBack(piece{c, frontOwned, uint32(m) | backOwned})
	return m, err
}

// read is one Read of at most limit bytes into room, with a count that can be trusted.
func read(r io.Reader, room []byte, limit int) (int, error) {
	room = room[:min(len(room), limit)]
	m, err := r.Read(room)
	if m < 0 || m > len(room) {
		return 0, errInvalidRead
	}
	return m, err
}

// ReadFrom is io.ReaderFrom: it appends what r gives until it ends. The chunks grow with what has come.
func (b *Buffer) ReadFrom(r io.Reader) (int64, error) {
	var done int64
	limit := class2K
	for empty := 0; empty < maxEmptyReads; {
		m, err := b.readOnce(r, limit)
		done += int64(m)
		switch {
		case err == io.EOF:
			return done, nil
		case err != nil:
			return done, err
		case m == 0:
			empty++
			continue
		}
		empty = 0
		if m == limit && limit < class64K {
			limit = min(4*limit, class64K)
		}
	}
	return done, io.ErrNoProgress
}

// ReadToWriter writes the first n bytes (all, if there are fewer) to w, piece by piece, and returns how many w took. It takes nothing
// out of b: TrimFront what was written.
func (b *Buffer) ReadToWriter(w io.Writer, n int64) (int64, error) {
	left := int(min(max(n, 0), int64(b.size)))
	var done int64
	for i, s := 0, b.pieces(); left > 0; i++ {
		part := s[i].bytes()
		part = part[:min(left, len(part)):min(left, len(part))]
		m, err := w.Write(part)
		if m < 0 || m > len(part) {
			return done, errInvalidWrite
		}
		done += int64(m)
		left -= m
		if err == nil && m < len(part) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// WriteTo is io.WriterTo: it writes all bytes to w, and takes those that w took out of b.
func (b *Buffer) WriteTo(w io.Writer) (int64, error) {
	n, err := b.ReadToWriter(w, int64(b.size))
	b.TrimFront(int(n))
	return n, err
}
