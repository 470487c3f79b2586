package buffer

// piece is a range of one chunk, with a reference to it held. A piece that may be extended belongs to the one rope that may write the
// chunk's bytes behind its end, or before its begin: nobody else has a piece there, nor the right to make one.
type piece struct {
	chunk *Chunk
	lo    uint32 // offset of the first byte; frontOwned if the bytes before it may be written
	hi    uint32 // offset behind the last byte; backOwned if the bytes from there on may be written
}

const (
	frontOwned = 1 << 31
	backOwned  = 1 << 31
	// maxChunk is how much of a chunk pieces can name; longer memory is cut into several chunks.
	maxChunk = 1<<31 - 1
)

func (p *piece) begin() int    { return int(p.lo &^ frontOwned) }
func (p *piece) end() int      { return int(p.hi &^ backOwned) }
func (p *piece) len() int      { return p.end() - p.begin() }
func (p *piece) bytes() []byte { return p.chunk.data[p.begin():p.end():p.end()] }

// sub returns the first byte offsets [from, to) of a piece's bytes. It may be extended where p may and its ends are p's.
func (p *piece) sub(from, to int) piece {
	s := piece{p.chunk, uint32(p.begin() + from), uint32(p.begin() + to)}
	if from == 0 {
		s.lo = p.lo
	}
	if to == p.len() {
		s.hi = p.hi
	}
	return s
}

// shared returns the same without the right to extend it.
func (p *piece) shared() piece {
	return piece{p.chunk, p.lo &^ frontOwned, p.hi &^ backOwned}
}

// backRoom returns the bytes behind the piece that it may be extended into.
func (p *piece) backRoom() []byte {
	if p.hi&backOwned == 0 {
		return nil
	}
	return p.chunk.data[p.end():]
}

// frontRoom returns the bytes before the piece that it may be extended into.
func (p *piece) frontRoom() []byte {
	if p.lo&frontOwned == 0 {
		return nil
	}
	return p.chunk.data[:p.begin()]
}

// trimFront drops n of the piece's bytes. The room that this makes is only its own if nobody else can have seen the bytes.
func (p *piece) trimFront(n int) {
	if p.lo&frontOwned != 0 && !p.claim() {
		p.lo &^= frontOwned
	}
	p.lo += uint32(n)
}

// trimBack is trimFront at the other end.
func (p *piece) trimBack(n int) {
	if p.hi&backOwned != 0 && !p.claim() {
		p.hi &^= backOwned
	}
	p.hi -= uint32(n)
}

// claim says whether p holds the only reference to its chunk, so that all that was published of it may be changed again.
func (p *piece) claim() bool {
	if !p.chunk.exclusive() {
		return false
	}
	if c := p.chunk; c.check != nil {
		c.pool.check.unpublish(c)
	}
	return true
}

// publish notes that the piece's bytes are shared from now on.
func (p *piece) publish() {
	if c := p.chunk; c.check != nil {
		c.pool.check.publish(c, p.begin(), p.end())
	}
}

// joins says whether q goes on where p ends.
func (p *piece) joins(q *piece) bool { return p.chunk == q.chunk && p.end() == q.begin() }

// slots returns the array that holds the pieces, at [head, tail).
func (b *Buffer) slots() []piece {
	if b.grown != nil {
		return b.grown
	}
	return b.inline[:]
}

// pieces returns the pieces in order, borrowed. There is one without bytes only if it is the only one: the room kept by Publish.
func (b *Buffer) pieces() []piece { return b.slots()[b.head:b.tail] }

// count returns the number of pieces.
func (b *Buffer) count() int { return int(b.tail - b.head) }

// last returns the last piece; nil if there is none.
func (b *Buffer) last() *piece {
	if b.head == b.tail {
		return nil
	}
	return &b.slots()[b.tail-1]
}

// pushBack sets p, with its reference, behind the last piece without joining them.
func (b *Buffer) pushBack(p piece) {
	s := b.slots()
	if int(b.tail) == len(s) {
		b.roomBack()
		s = b.slots()
	}
	if b.head == b.tail || s[b.tail-1].chunk != p.chunk {
		b.foot += p.chunk.Cap()
	}
	s[b.tail] = p
	b.tail++
	b.size += p.len()
}

// add sets p, with its reference, behind the last piece, or joins it to that one.
func (b *Buffer) add(p piece) {
	if l := b.last(); l != nil {
		if b.size > 0 && l.joins(&p) {
			l.hi = p.hi
			b.size += p.len()
			p.chunk.Release()
			return
		}
		b.dropRoom()
	}
	b.pushBack(p)
}

// dropRoom gives up the room kept by Publish, if b is nothing but that.
func (b *Buffer) dropRoom() {
	if b.size == 0 && b.head != b.tail {
		b.popBack()
	}
}

// pushFront sets p, with its reference, before the first piece.
func (b *Buffer) pushFront(p piece) {
	if b.head == 0 {
		b.roomFront()
	}
	s := b.slots()
	if b.head == b.tail || s[b.head].chunk != p.chunk {
		b.foot += p.chunk.Cap()
	}
	b.head--
	s[b.head] = p
	b.size += p.len()
}

// popFront drops the first piece and its reference.
func (b *Buffer) popFront() {
	p := b.takeFront()
	p.chunk.Release()
}

// takeFront takes the first piece out, and its reference with it.
func (b *Buffer) takeFront() piece {
	s := b.slots()
	p := s[b.head]
	s[b.head] = piece{}
	b.head++
	b.size -= p.len()
	if b.head == b.tail {
		b.foot -= p.chunk.Cap()
		b.head, b.tail = 0, 0
	} else if s[b.head].chunk != p.chunk {
		b.foot -= p.chunk.Cap()
	}
	return p
}

// popBack drops the last piece and its reference.
func (b *Buffer) popBack() {
	s := b.slots()
	b.tail--
	p := s[b.tail]
	s[b.tail] = piece{}
	b.size -= p.len()
	if b.head == b.tail {
		b.foot -= p.chunk.Cap()
		b.head, b.tail = 0, 0
	} else if s[b.tail-1].chunk != p.chunk {
		b.foot -= p.chunk.Cap()
	}
	p.chunk.Release()
}

// roomBack makes a free slot behind the last piece. Pieces only slide down when at least half of the slots are free, which that many
// takings from the front have paid for.
func (b *Buffer) roomBack() {
	if n := b.count(); n <= len(b.slots())/2 {
		b.slide(0)
	} else {
		b.regrow(2*n, 0)
	}
}

// slide moves the pieces to the slots from to on.
func (b *Buffer) slide(to int) {
	n, from, s := b.count(), int(b.head), b.slots()
	copy(s[to:], s[from:from+n])
	if to < from {
		clear(s[max(to+n, from) : from+n])
	} else {
		clear(s[from:min(to, from+n)])
	}
	b.head, b.tail = uint32(to), uint32(to+n)
}

// regrow moves the pieces to a new array of at least n slots, with spare slots before them.
func (b *Buffer) regrow(n, spare int) {
	grown := make([]piece, max(8, n))
	k := copy(grown[spare:], b.pieces())
	clear(b.pieces())
	b.grown = grown
	b.head, b.tail = uint32(spare), uint32(spare+k)
}

// roomFront makes a free slot before the first piece, where all pieces begin at slot 0, and leaves as many to spare there as can be.
func (b *Buffer) roomFront() {
	if n, all := b.count(), len(b.slots()); n < all {
		b.slide(all - n)
	} else {
		b.regrow(2*n, n)
	}
}

// splice puts the pieces with, references and all, in the place of pieces [i, j), whose references the caller has dealt with, and joins
// what has come to touch. It is for changes in the middle: it looks at every piece.
func (b *Buffer) splice(i, j int, with ...piece) {
	n := b.count()
	grow := len(with) - (j - i)
	if int(b.tail)+grow > len(b.slots()) {
		if n+grow <= len(b.slots()) {
			b.slide(0)
		} else {
			b.regrow(2*(n+grow), 0)
		}
	}
	s := b.slots()[b.head:]
	copy(s[j+grow:n+grow], s[j:n])
	copy(s[i:], with)
	if grow < 0 {
		clear(s[n+grow : n])
	}
	b.tail = uint32(int(b.tail) + grow)
	b.settle()
}

// settle joins pieces that touch, and counts size and footprint anew.
func (b *Buffer) settle() {
	s := b.pieces()
	kept := s[:0]
	b.size, b.foot = 0, 0
	for _, p := range s {
		b.size += p.len()
		if len(kept) > 0 {
			l := &kept[len(kept)-1]
			if l.joins(&p) {
				l.hi = p.hi
				p.chunk.Release()
				continue
			}
			if l.chunk == p.chunk {
				kept = append(kept, p)
				continue
			}
		}
		b.foot += p.chunk.Cap()
		kept = append(kept, p)
	}
	clear(s[len(kept):])
	b.tail = b.head + uint32(len(kept))
}

// find returns the index of the piece that holds the byte at off, and the byte's offset in it; off is less than the size. It walks
// from the nearer end.
func (b *Buffer) find(off int) (i, in int) {
	s := b.pieces()
	if off <= b.size/2 {
		for i := range s {
			if l := s[i].len(); off >= l {
				off -= l
				continue
			}
			return i, off
		}
	}
	behind := b.size - off // bytes from off to the end
	for i = len(s) - 1; ; i-- {
		l := s[i].len()
		if behind <= l {
			return i, l - behind
		}
		behind -= l
	}
}
