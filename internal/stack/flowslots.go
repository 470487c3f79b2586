package stack

import "slices"

// flowSlots is the array of a flow table's shard: open addressing with linear probing, in which whoever is farther from its home goes
// first ("Robin Hood"). A look-up so reads one cache line of four slots, rarely the next one, whether the flow is there or not, and the
// owner's line only if 32 bits of the hash agree. Homes are in the order of hashes, so that the array may have any length and grows by an
// eighth: it is never much larger than what is in it, and what moves is moved in order.
type flowSlots struct {
	slots   []flowSlot
	count   int
	records *records // made when the first one is; stays
}

// flowSlot is 16 bytes. The zero slot is free.
type flowSlot struct {
	hash   uint32 // slotHash
	record uint32 // the number of one, if flow is nil
	flow   *flow
}

func (s *flowSlot) free() bool { return s.flow == nil && s.record == 0 }

// slotHash is the part of a flow's hash that its slot keeps. (The lowest bits choose the shard.)
func slotHash(h uint64) uint32 { return uint32(h >> 32) }

// home is where a flow of this hash is, if no other one is in its way.
func (s *flowSlots) home(hash uint32) int { return int(uint64(hash) * uint64(len(s.slots)) >> 32) }

// distance is how far from home the slot at i is.
func (s *flowSlots) distance(i int) int {
	d := i - s.home(s.slots[i].hash)
	if d < 0 {
		d += len(s.slots)
	}
	return d
}

// next is the slot that is tried after i.
func (s *flowSlots) next(i int) int {
	if i++; i == len(s.slots) {
		return 0
	}
	return i
}

// lookup returns the slot of a flow, negative if there is none.
func (s *flowSlots) lookup(h uint64, k *flowKey) int {
	if s.count == 0 {
		return -1
	}
	hash := slotHash(h)
	i := s.home(hash)
	for d := 0; ; d++ {
		e := &s.slots[i]
		switch {
		case e.free():
			return -1
		case e.hash == hash:
			if e.flow != nil && e.flow.key == *k || e.flow == nil && s.records.slab.at(e.record).is(s.records, k) {
				return i
			}
		case s.distance(i) < d:
			return -1 // it would be here
		}
		i = s.next(i)
	}
}

// add puts in what is not there yet.
func (s *flowSlots) add(e flowSlot) {
	if n := len(s.slots); 5*(s.count+1) > 4*n {
		s.resize(n + n/8 + 8)
	}
	s.count++
	s.put(e)
}

// put is add for which there is room.
func (s *flowSlots) put(e flowSlot) {
	i := s.home(e.hash)
	for d := 0; ; d++ {
		if s.slots[i].free() {
			s.slots[i] = e
			return
		}
		if there := s.distance(i); there < d {
			s.slots[i], e, d = e, s.slots[i], there
		}
		i = s.next(i)
	}
}

// del frees slot i. What is behind it, and not at home, moves up.
func (s *flowSlots) del(i int) {
	s.count--
	for {
		n := s.next(i)
		if s.slots[n].free() || s.distance(n) == 0 {
			break
		}
		s.slots[i] = s.slots[n]
		i = n
	}
	s.slots[i] = flowSlot{}
	if n := len(s.slots); n > 64 && s.count < n/4 {
		s.resize(n / 2)
	}
}

// resize makes it n slots, or what more the allocator has to give for them.
func (s *flowSlots) resize(n int) {
	old := s.slots
	s.slots = slices.Grow([]flowSlot(nil), n)
	s.slots = s.slots[:cap(s.slots)]
	for _, e := range old {
		if !e.free() {
			s.put(e)
		}
	}
}
