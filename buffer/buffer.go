// Package buffer is pooled, counted memory (Chunk) and the rope made of it (Buffer).
//
// Payload is written once and then referenced: a sender's bytes lie in chunks that its send queue, the packets under way and the peer's
// receive queue on an in-memory link all refer to. So bytes that have been published (queued, sent or shared) never change. Room in a
// chunk belongs to at most one rope, which is the only one to extend its piece; whoever must change published bytes asks for Writable,
// which copies what others can see.
package buffer

import "github.com/weirnet/weir/checksum"

// Buffer is a rope of pieces, ranges of chunks. The zero Buffer is empty and ready, and takes its memory from the heap (see SetPool).
// It must not be copied once used and is not safe for concurrent use; the chunks may be shared between ropes of different goroutines.
// It holds a reference to each piece's chunk, and owes a Release. Adjacent ranges of one chunk join into one piece.
//
// Offsets and counts are in bytes. Operations touch only the pieces that they concern, and those between them and the nearer end.
// Slices that a Buffer gives out are borrowed: valid until its next change.
type Buffer struct {
	pool       *Pool
	grown      []piece // the pieces' array, len == cap, once inline has become too small
	head, tail uint32  // the pieces are slots()[head:tail]
	size       int
	foot       int
	inline     [2]piece
}

// SetPool says where new chunks come from. Chunks that b has keep the pool that they came from.
func (b *Buffer) SetPool(p *Pool) { b.pool = p }

// Size returns the number of bytes.
func (b *Buffer) Size() int { return b.size }

// Footprint returns the capacity, in bytes, of the chunks that b refers to: what a queue charges for it. Consecutive pieces of one chunk
// count once. It is O(1).
func (b *Buffer) Footprint() int { return b.foot }

// Release drops every reference and all memory of b's own, room kept by Publish too. b is empty and ready again, its pool the same.
func (b *Buffer) Release() {
	b.Clear()
	b.grown = nil
}

// maxKept is how many slots for pieces Clear keeps.
const maxKept = 64

// Clear is Release for a Buffer about to be used again: it keeps a small array for pieces, if b has one.
func (b *Buffer) Clear() {
	s := b.pieces()
	for i := range s {
		s[i].chunk.Release()
		s[i] = piece{}
	}
	b.head, b.tail, b.size, b.foot = 0, 0, 0, 0
	if len(b.grown) > maxKept {
		b.grown = nil
	}
}

// TrimFront drops n bytes from the front; all, if there are fewer; none if n is not positive. Once it has dropped the last byte b holds
// no chunk.
func (b *Buffer) TrimFront(n int) {
	if n >= b.size {
		if n > 0 && b.size > 0 {
			for b.head != b.tail {
				b.popFront()
			}
		}
		return
	}
	for n > 0 {
		p := &b.slots()[b.head]
		l := p.len()
		if n < l {
			p.trimFront(n)
			b.size -= n
			return
		}
		b.popFront()
		n -= l
	}
}

// Truncate shortens b to its first n bytes. It does nothing if there are no more than that, or n is negative.
func (b *Buffer) Truncate(n int) {
	if n < 0 {
		return
	}
	for b.size > n {
		p := b.last()
		if drop := b.size - n; drop < p.len() {
			p.trimBack(drop)
			b.size -= drop
			return
		}
		b.popBack()
	}
}

// Remove cuts the range [off, off+n) out. It returns false, and does nothing, if that is not inside b.
func (b *Buffer) Remove(off, n int) bool {
	switch {
	case !within(off, n, b.size):
		return false
	case n == 0:
	case off == 0:
		b.TrimFront(n)
	case off+n == b.size:
		b.Truncate(off)
	default:
		b.replace(off, n)
	}
	return true
}

// replace puts the pieces with, references and all, in the place of the range [off, off+n), which is not empty and inside b.
func (b *Buffer) replace(off, n int, with ...piece) {
	i, from := b.find(off)
	j, to := b.find(off + n - 1)
	to++
	s := b.pieces()
	head, tail := s[i].sub(0, from), s[j].sub(to, s[j].len())
	// One more reference for each end that stays, then none for what was there.
	var all [4]piece
	new := all[:0]
	if head.len() > 0 {
		head.chunk.Retain()
		new = append(new, head)
	}
	new = append(new, with...)
	if tail.len() > 0 {
		tail.chunk.Retain()
		new = append(new, tail)
	}
	for k := i; k <= j; k++ {
		s[k].chunk.Release()
	}
	b.splice(i, j+1, new...)
}

// PullUp makes the range [off, off+n) contiguous and returns it, borrowed and not to be changed; false, and nothing done, if it is not
// inside b. It is free when the range lies in one piece; else the range is copied into a chunk of its own, and only it.
func (b *Buffer) PullUp(off, n int) ([]byte, bool) {
	if !within(off, n, b.size) {
		return nil, false
	}
	if n == 0 {
		return []byte{}, true
	}
	i, in := b.find(off)
	if p := &b.pieces()[i]; in+n <= p.len() {
		at := p.begin() + in
		return p.chunk.data[at : at+n : at+n], true
	}
	b.replace(off, n, b.copyOut(off, n))
	i, in = b.find(off)
	return b.pieces()[i].bytes()[in : in+n : in+n], true
}

// copyOut returns a piece of a new chunk with the bytes of the range [off, off+n).
func (b *Buffer) copyOut(off, n int) piece {
	c := b.pool.Get(n)
	b.copyAt(c.data[:n], off)
	return piece{c, frontOwned, uint32(n) | backOwned}
}

// Flatten returns all bytes as one slice, borrowed and not to be changed. It is PullUp of everything: free when they lie in one piece.
func (b *Buffer) Flatten() []byte {
	all, _ := b.PullUp(0, b.size)
	return all
}

// Writable makes the range [off, off+n) safe to change in place, copying the parts of it that others can see; false, and nothing done,
// if it is not inside b. The bytes are then had by PullUp or SubApply (a range that lay in one piece still does), and may be changed
// until they are shared again.
func (b *Buffer) Writable(off, n int) bool {
	if !within(off, n, b.size) {
		return false
	}
	for n > 0 {
		i, in := b.find(off)
		p := &b.pieces()[i]
		part := min(n, p.len()-in)
		if !p.claim() {
			b.replace(off, part, b.copyOut(off, part))
		}
		off += part
		n -= part
	}
	return true
}

// Apply calls fn with each piece's bytes in order, borrowed.
func (b *Buffer) Apply(fn func([]byte)) {
	for i, s := 0, b.pieces(); i < len(s); i++ {
		if s[i].len() > 0 {
			fn(s[i].bytes())
		}
	}
}

// SubApply is Apply for the range [off, off+n). It returns false, and calls nothing, if that is not inside b.
func (b *Buffer) SubApply(off, n int, fn func([]byte)) bool {
	if !within(off, n, b.size) {
		return false
	}
	if n == 0 {
		return true
	}
	i, in := b.find(off)
	for s := b.pieces(); n > 0; i++ {
		part := s[i].bytes()[in:]
		part = part[:min(n, len(part)):min(n, len(part))]
		fn(part)
		n -= len(part)
		in = 0
	}
	return true
}

// Sum returns checksum.Sum over the range [off, off+n), at any split into pieces. What of the range is not inside b counts for nothing.
func (b *Buffer) Sum(off, n int, initial uint16) uint16 {
	if off < 0 || off >= b.size || n <= 0 {
		return initial
	}
	n = min(n, b.size-off)
	i, in := b.find(off)
	s := b.pieces()
	for done := 0; done < n; i++ {
		part := s[i].bytes()[in:]
		part = part[:min(n-done, len(part))]
		initial = checksum.Combine(initial, done, checksum.Sum(part, 0))
		done += len(part)
		in = 0
	}
	return initial
}

// Vec appends the pieces to v, borrowed: valid until the next change of b.
func (b *Buffer) Vec(v Vec) Vec {
	for i, s := 0, b.pieces(); i < len(s); i++ {
		if s[i].len() > 0 {
			v = append(v, s[i].bytes())
		}
	}
	return v
}
