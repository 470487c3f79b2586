package buffer

// growth returns the capacity to ask for when n more bytes (at least 1) are to be put behind b and the last piece has no room: what
// they need, but more with each chunk that b has filled, so that many small Appends end up in few chunks.
func (b *Buffer) growth(n int) int {
	if l := b.last(); l != nil && l.hi&backOwned != 0 {
		return growth(l.chunk.Cap(), n)
	}
	return growth(0, n)
}

// growth is that behind a full chunk of the given capacity; 0: behind none that could be extended.
func growth(full, n int) int {
	if n > class16K {
		// Two chunks of 16 KiB hold less unused memory than one of 64 KiB, up to there.
		if n <= 2*class16K {
			return class16K
		}
		return class64K
	}
	if full > 0 {
		if class := classOf(full + 1); class != notPooled {
			return max(n, min(classSize[class], class16K))
		}
		return class16K
	}
	return n
}

// AppendCost returns by how much Append of n bytes would raise Footprint.
func (b *Buffer) AppendCost(n int) (cost int) {
	full := 0
	if l := b.last(); l != nil && l.hi&backOwned != 0 {
		full = l.chunk.Cap()
		n -= len(l.backRoom())
	}
	for n > 0 {
		full = classSize[classOf(growth(full, n))]
		cost += full
		n -= full
	}
	return cost
}

// Append copies p to the end, first into the room of the last piece if b may extend that.
func (b *Buffer) Append(p []byte) {
	if l := b.last(); l != nil {
		b.extend(copy(l.backRoom(), p), &p)
	}
	for len(p) > 0 {
		b.addRoom(b.growth(len(p)))
		b.extend(copy(b.last().backRoom(), p), &p)
	}
}

// extend makes the last piece longer by n bytes, which stand in its room, and takes them off p.
func (b *Buffer) extend(n int, p *[]byte) {
	if n > 0 {
		b.last().hi += uint32(n)
		b.size += n
		*p = (*p)[n:]
	}
}

// addRoom sets an empty piece that may be extended, of a new chunk of at least n bytes, behind the last.
func (b *Buffer) addRoom(n int) {
	b.dropRoom()
	b.pushBack(piece{b.pool.Get(n), frontOwned, backOwned})
}

// AppendOwned puts p, which the caller gives up, behind the last byte. It copies only what is small and fits the room that is there.
func (b *Buffer) AppendOwned(p []byte) {
	if l := b.last(); l != nil && len(p) <= class256 && len(p) <= len(l.backRoom()) {
		b.Append(p)
		return
	}
	for len(p) > 0 {
		n := min(len(p), maxChunk)
		b.add(piece{b.pool.adopt(p[:n:n]), 0, uint32(n)})
		p = p[n:]
	}
}

// AppendChunk appends c.Data()[off:off+n] and takes over one reference of the caller's. Room behind the range becomes b's to extend
// only if owned is true: the caller says that nobody else may fill it. A range that is not inside c panics, as slicing it would.
func (b *Buffer) AppendChunk(c *Chunk, off, n int, owned bool) {
	if !within(off, n, min(c.Cap(), maxChunk)) {
		panic("buffer: AppendChunk of a range that is not inside the chunk")
	}
	if n == 0 {
		c.Release()
		return
	}
	p := piece{c, uint32(off), uint32(off + n)}
	if owned {
		p.hi |= backOwned
	}
	b.add(p)
}

// Prepend copies p to the front, first into the room of the first piece if b may extend that.
func (b *Buffer) Prepend(p []byte) {
	b.dropRoom()
	if b.size > 0 {
		first := &b.slots()[b.head]
		room := first.frontRoom()
		n := min(len(room), len(p))
		copy(room[len(room)-n:], p[len(p)-n:])
		first.lo -= uint32(n)
		b.size += n
		p = p[:len(p)-n]
	}
	for len(p) > 0 {
		n := min(len(p), class64K)
		c := b.pool.Get(n)
		end := c.Cap()
		if b.size == 0 {
			// Nothing follows: leave room at both ends.
			end -= (end - n) / 2
		}
		copy(c.data[end-n:end], p[len(p)-n:])
		b.pushFront(piece{c, uint32(end-n) | frontOwned, uint32(end) | backOwned})
		p = p[:len(p)-n]
	}
}

// Grow lengthens b to n bytes; it does nothing if b has as many. The new bytes are zero if zero is true, else whatever the memory held:
// for a caller that is about to write all of them (they are b's own until shared).
func (b *Buffer) Grow(n int, zero bool) {
	for b.size < n {
		more := n - b.size
		l := b.last()
		if l == nil || len(l.backRoom()) == 0 {
			b.addRoom(b.growth(more))
			l = b.last()
		}
		room := l.backRoom()
		room = room[:min(len(room), more)]
		if zero {
			clear(room)
		}
		l.hi += uint32(len(room))
		b.size += len(room)
	}
}
