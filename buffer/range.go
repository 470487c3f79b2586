package buffer

// Range is the half-open range of offsets [Begin, End).
type Range struct{ Begin, End int }

// Len returns the number of offsets in r; 0 if r is empty or inverted.
func (r Range) Len() int { return max(r.End-r.Begin, 0) }

// Offset returns r shifted by n: to the right if n is positive, to the left if it is negative.
func (r Range) Offset(n int) Range { return Range{r.Begin + n, r.End + n} }

// Intersect returns the offsets that are in both r and s. If there are none it returns the zero Range.
func (r Range) Intersect(s Range) Range {
	i := Range{max(r.Begin, s.Begin), min(r.End, s.End)}
	if i.Begin >= i.End {
		return Range{}
	}
	return i
}

// within says whether off and n name a range that lies inside size bytes, without overflow for any values of the three.
func within(off, n, size int) bool { return off >= 0 && n >= 0 && off <= size && n <= size-off }
