package buffer

// Vec is a borrowed scatter list: byte slices whose concatenation is meant. It is what writev takes and what Buffer.Vec gives. Its
// methods change the list, never the bytes; whoever made the list owns its array.
type Vec [][]byte

// Size returns the number of bytes in all slices.
func (v Vec) Size() int {
	n := 0
	for _, s := range v {
		n += len(s)
	}
	return n
}

// First returns the first slice that is not empty; nil if there is none.
func (v Vec) First() []byte {
	for _, s := range v {
		if len(s) > 0 {
			return s
		}
	}
	return nil
}

// TrimFront drops n bytes from the front (all, if there are fewer; none if n is not positive), and the slices that this empties.
func (v *Vec) TrimFront(n int) {
	for n > 0 && len(*v) > 0 {
		if first := (*v)[0]; n < len(first) {
			(*v)[0] = first[n:]
			return
		}
		n -= len((*v)[0])
		*v = (*v)[1:]
	}
}

// PullUp returns the first n bytes as one slice; false if there are fewer, or n is negative. It is free when they lie in one slice.
// Else they are copied into a new one, which takes their place in v, so that the same call is free the next time.
func (v *Vec) PullUp(n int) ([]byte, bool) {
	if n < 0 || n > v.Size() {
		return nil, false
	}
	if n == 0 {
		return []byte{}, true
	}
	for len((*v)[0]) == 0 {
		*v = (*v)[1:]
	}
	if first := (*v)[0]; n <= len(first) {
		return first[:n:n], true
	}
	joined := make([]byte, 0, n)
	rest := *v
	for len(joined) < n {
		part := rest[0][:min(len(rest[0]), n-len(joined))]
		joined = append(joined, part...)
		if len(part) < len(rest[0]) {
			rest[0] = rest[0][len(part):]
			break
		}
		rest = rest[1:]
	}
	// At least two slices were touched and at most one of them remains, so there is room for the joined one before rest.
	i := len(*v) - len(rest) - 1
	*v = (*v)[i:]
	(*v)[0] = joined
	return joined, true
}
