package buffer

// Prependable is a block of fixed size that is filled from its end towards its front, as headers are: the last to be put on comes
// first. The zero Prependable has no room.
type Prependable struct {
	block []byte
	begin int // the used part is block[begin:]
}

// NewPrependable returns an empty block of n bytes; of none if n is negative.
func NewPrependable(n int) Prependable {
	n = max(n, 0)
	return Prependable{block: make([]byte, n), begin: n}
}

// Prepend takes n more bytes in front of those used and returns them, to be filled in by the caller. Nil, and nothing is taken, if
// there is no room for them or n is negative.
func (p *Prependable) Prepend(n int) []byte {
	if n < 0 || n > p.begin {
		return nil
	}
	end := p.begin
	p.begin -= n
	return p.block[p.begin:end:end]
}

// View returns the used part, borrowed: later Prepends do not change it.
func (p *Prependable) View() []byte { return p.block[p.begin:] }

// UsedLength returns the number of bytes taken so far.
func (p *Prependable) UsedLength() int { return len(p.block) - p.begin }

// AvailableLength returns the number of bytes that can still be taken.
func (p *Prependable) AvailableLength() int { return p.begin }
