package buffer

// ShareTo appends references to the range [off, off+n) to dst, copying nothing. It returns false, and does nothing, if that is not
// inside b. The bytes are published by it: they may not change while anybody shares them. b keeps the right to extend its pieces.
// dst may be b.
func (b *Buffer) ShareTo(dst *Buffer, off, n int) bool {
	if !within(off, n, b.size) {
		return false
	}
	if n == 0 {
		return true
	}
	i, in := b.find(off)
	for n > 0 {
		p := b.pieces()[i].shared() // dst may be b, and its array a new one after each step
		part := p.sub(in, min(p.len(), in+n))
		part.publish()
		dst.addShared(part)
		n -= part.len()
		in = 0
		i++
	}
	return true
}

// addShared is add for a piece without a reference of its own: it takes one only if the piece does not join the last.
func (b *Buffer) addShared(p piece) {
	if l := b.last(); l != nil {
		if b.size > 0 && l.joins(&p) {
			l.hi = p.hi
			b.size += p.len()
			return
		}
		b.dropRoom()
	}
	p.chunk.Retain()
	b.pushBack(p)
}

// Clone returns a new Buffer with the same bytes and pool, copying nothing.
func (b *Buffer) Clone() *Buffer {
	c := &Buffer{pool: b.pool}
	b.ShareTo(c, 0, b.size)
	return c
}

// Merge moves all bytes of o to the end of b, copying nothing. o is empty then, and holds nothing. Merging b into itself does nothing.
func (b *Buffer) Merge(o *Buffer) {
	if b != o {
		o.MoveTo(b, o.size)
		o.dropRoom()
	}
}

// MoveTo detaches the first n bytes (all, if there are fewer) to the end of dst, copying nothing, and returns how many. The right to
// extend the last piece goes with it if all of the piece does. Moving b to itself does nothing, and is 0.
func (b *Buffer) MoveTo(dst *Buffer, n int) int {
	if dst == b || n <= 0 || b.size == 0 {
		return 0
	}
	moved := min(n, b.size)
	for n = moved; n > 0; {
		p := &b.slots()[b.head]
		l := p.len()
		if n < l {
			first, rest := p.sub(0, n), p.sub(n, l)
			dst.addShared(first)
			*p = rest
			b.size -= n
			break
		}
		dst.add(b.takeFront())
		n -= l
	}
	return moved
}

// Publish moves all bytes to the end of dst, but the room behind the last byte stays b's to fill: the next Append to b goes into the
// same chunk, and the next Publish joins it to the piece in dst. It is how a writer fills a chunk of which earlier parts are already
// queued or sent. While b keeps room it holds the chunk: Release gives it up.
func (b *Buffer) Publish(dst *Buffer) {
	if dst == b || b.size == 0 {
		return
	}
	for b.count() > 1 {
		dst.add(b.takeFront())
	}
	p := &b.slots()[b.head]
	if len(p.backRoom()) == 0 {
		dst.add(b.takeFront())
		return
	}
	p.publish()
	n := p.len()
	dst.addShared(p.shared())
	*p = piece{p.chunk, uint32(p.end()), p.hi}
	b.size -= n
}

// Queue moves src to the end of b as a socket queue wants it: a piece that fills less than a quarter of its chunk is copied (into the
// room of b's last piece if b may extend it, else into a chunk of the right size), so that little data never pins much memory; others
// are moved. What continues the chunk of b's last piece costs nothing and is joined to it; and the first piece of a queue is moved if its
// chunk is of the smallest size, for a copy would take as much.
func (b *Buffer) Queue(src *Buffer) {
	if src == b {
		return
	}
	for src.size > 0 {
		p := &src.slots()[src.head]
		if l := b.last(); 4*p.len() >= p.chunk.Cap() || b.size > 0 && l.joins(p) || b.size == 0 && p.chunk.Cap() <= class256 {
			b.add(src.takeFront())
			continue
		}
		b.Append(p.bytes())
		src.popFront()
	}
	src.dropRoom()
}
