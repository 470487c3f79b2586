package stack

// slabChunk is how many Ts a chunk has: as many records as fill one of the allocator's size classes (2048 bytes), as few as keep the last
// chunk's empty half small.
const slabChunk = 30

// slab holds Ts by number, from 1. The zero slab is empty.
type slab[T any] struct {
	chunks []*[slabChunk]T
	freed  []uint32 // numbers to be used again
	used   int
}

func (s *slab[T]) at(n uint32) *T { return &s.chunks[(n-1)/slabChunk][(n-1)%slabChunk] }

// take returns one that is free, as it was left.
func (s *slab[T]) take() (uint32, *T) {
	s.used++
	if last := len(s.freed) - 1; last >= 0 {
		n := s.freed[last]
		s.freed = s.freed[:last]
		return n, s.at(n)
	}
	n := uint32(s.used)
	if int(n) > len(s.chunks)*slabChunk {
		s.chunks = append(s.chunks, new([slabChunk]T))
	}
	return n, s.at(n)
}

// give gives one back. With the last one the memory goes too, but for a chunk: handshakes may come one at a time.
func (s *slab[T]) give(n uint32) {
	s.used--
	switch {
	case s.used > 0:
		s.freed = append(s.freed, n)
	case len(s.chunks) > 1:
		*s = slab[T]{chunks: []*[slabChunk]T{s.chunks[0]}}
	default:
		s.freed = s.freed[:0]
	}
}
