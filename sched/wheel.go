package sched

import "math/bits"

// An Expirer is called when its Node expires, with no lock of the wheel held.
type Expirer interface{ Expire(now Time) }

// Node is one timer of a Wheel, embedded in what it times. The zero Node is not armed. It must not be copied while it is armed.
type Node struct {
	_ [0]func() // not comparable: nothing that holds one needs a function that compares it in the binary

	next, prev *Node // ring of the nodes in one slot
	at         Time
	Owner      Expirer // set once, before the first Arm
	order      uint32  // of the Arm, compared as RFC 1982 does: it tells equal instants apart
	slot       uint16  // 1 + index into Wheel.slots; 0: not armed
}

// At is the instant that the latest Arm has set, or when the wheel stood if that had passed.
func (n *Node) At() Time { return n.at }

const (
	digitBits = 6 // of the instant, that one level of the wheel resolves
	digits    = 1 << digitBits
	levels    = (63 + digitBits - 1) / digitBits
	dueSlot   = levels * digits // holds what has expired and is not popped, in order
)

// slot is a ring of nodes. Its tail is head.prev.
type slot struct {
	head *Node
	min  Time // nothing in the slot is earlier; something is exactly then unless the slot is marked in Wheel.loose
}

// Wheel is a hierarchical timer wheel as plain data: no clock, no lock, not safe for concurrent use. The zero Wheel stands at instant
// 0 and is ready.
//
// Instants are numbers of eleven digits to the base 64. A node is kept at the level of the highest digit in which its instant differs
// from the instant at which the wheel stands, in the slot which that digit numbers. So level 0 has a slot per nanosecond and each
// further level 64 times as wide ones, every node of a level is earlier than every node of the levels above it, and slots are in order.
// Arm and Cancel are O(1). When the wheel moves into a slot, the slot's nodes go to lower levels, which a node does once for each of the
// levels at most, and in practice rarely more than once: most nodes are cancelled first or go straight to the expired ones.
type Wheel struct {
	now      Time
	armed    int
	arms     uint32
	nonempty uint16         // bit per level
	occupied [levels]uint64 // bit per slot
	loose    [levels]uint64 // bit per slot whose earliest node was taken out, so that slot.min is only a bound
	slots    [dueSlot + 1]slot
}

// Arm sets n to expire at the given instant, in place of any earlier setting. An instant that the wheel has passed is taken as the one
// at which it stands; Never is Cancel.
func (w *Wheel) Arm(n *Node, at Time) {
	w.Cancel(n)
	if at == Never {
		return
	}
	w.arms++
	n.at, n.order = max(at, w.now), w.arms
	w.armed++
	w.insert(n)
}

// Cancel disarms n. The zero and the expired Node are fine.
func (w *Wheel) Cancel(n *Node) {
	if n.slot == 0 {
		return
	}
	w.armed--
	w.remove(n)
}

// Len returns the number of armed nodes: those not cancelled and not popped.
func (w *Wheel) Len() int { return w.armed }

// Next returns the exact earliest expiry, or Never.
func (w *Wheel) Next() Time {
	i, level := w.first()
	if level >= 0 && w.loose[level]&(1<<(i%digits)) != 0 {
		s := &w.slots[i]
		s.min = s.head.at
		for n := s.head.next; n != s.head; n = n.next {
			s.min = min(s.min, n.at)
		}
		w.loose[level] &^= 1 << (i % digits)
	}
	return w.bound()
}

// bound returns Next, or an earlier instant if what was earliest has been cancelled: at that instant the wheel moves into the slot
// concerned and sorts it. It is O(1) always, where Next may have to look at all nodes of a slot.
func (w *Wheel) bound() Time {
	i, level := w.first()
	switch {
	case level >= 0:
		return w.slots[i].min
	case w.slots[dueSlot].head != nil:
		return w.slots[dueSlot].head.at
	}
	return Never
}

// first returns the earliest occupied slot and its level; level -1 if that is the slot of expired nodes or there is none.
func (w *Wheel) first() (i, level int) {
	if w.slots[dueSlot].head != nil || w.nonempty == 0 {
		return dueSlot, -1
	}
	level = bits.TrailingZeros16(w.nonempty)
	return level*digits + bits.TrailingZeros64(w.occupied[level]), level
}

// Advance moves the wheel to now. What expires by then, that instant included, is ready for Pop. It does nothing if now has passed.
func (w *Wheel) Advance(now Time) {
	if now <= w.now {
		return
	}
	top := (bits.Len64(uint64(now^w.now)) - 1) / digitBits
	w.now = now
	// Below the highest digit that changes all has passed, and of that level the slots before the new digit.
	for level := range top {
		w.expire(level, ^uint64(0))
	}
	digit := uint(now>>(top*digitBits)) % digits
	w.expire(top, 1<<digit-1)
	w.spread(top, digit)
}

// Pop takes off the earliest expired node, nil if there is none. Nodes of one instant come in the order in which they were armed.
func (w *Wheel) Pop() *Node {
	n := w.slots[dueSlot].head
	if n != nil {
		w.armed--
		w.remove(n)
	}
	return n
}

// expire moves the slots of a level that mask names to the expired nodes.
func (w *Wheel) expire(level int, mask uint64) {
	for m := w.occupied[level] & mask; m != 0; m &= m - 1 {
		i := level*digits + bits.TrailingZeros64(m)
		w.due(w.detach(i))
	}
}

// spread empties a slot that the wheel has moved into: to the expired nodes what is due, to lower levels the rest.
func (w *Wheel) spread(level int, digit uint) {
	if w.occupied[level]&(1<<digit) == 0 {
		return
	}
	var due *Node
	last := &due
	for n := w.detach(level*digits + int(digit)); n != nil; {
		next := n.next
		if n.at > w.now {
			w.insert(n)
		} else {
			*last, n.next = n, nil
			last = &n.next
		}
		n = next
	}
	w.due(due)
}

// due appends a chain of nodes, sorted, to the expired ones.
func (w *Wheel) due(chain *Node) {
	for n := sortNodes(chain); n != nil; {
		next := n.next
		w.put(n, dueSlot)
		n = next
	}
}

// insert puts n, whose instant is set and not before w.now, into its slot.
func (w *Wheel) insert(n *Node) {
	if n.at == w.now {
		w.put(n, dueSlot)
		return
	}
	level := (bits.Len64(uint64(n.at^w.now)) - 1) / digitBits
	digit := uint(n.at>>(level*digitBits)) % digits
	s := &w.slots[level*digits+int(digit)]
	if s.head == nil || n.at <= s.min {
		s.min = n.at
		w.loose[level] &^= 1 << digit
	}
	w.occupied[level] |= 1 << digit
	w.nonempty |= 1 << level
	w.put(n, level*digits+int(digit))
}

// put appends n to the ring of slot i.
func (w *Wheel) put(n *Node, i int) {
	n.slot = uint16(i) + 1
	s := &w.slots[i]
	if s.head == nil {
		s.head, n.next, n.prev = n, n, n
		return
	}
	n.next, n.prev = s.head, s.head.prev
	n.prev.next, n.next.prev = n, n
}

// remove takes n out of its slot.
func (w *Wheel) remove(n *Node) {
	i := int(n.slot) - 1
	s := &w.slots[i]
	switch {
	case n.next == n:
		w.detach(i)
	default:
		n.prev.next, n.next.prev = n.next, n.prev
		if s.head == n {
			s.head = n.next
		}
		if i != dueSlot && n.at == s.min {
			w.loose[i/digits] |= 1 << (i % digits)
		}
	}
	n.next, n.prev, n.slot = nil, nil, 0
}

// detach empties slot i and returns what was in it as a chain that ends with nil.
func (w *Wheel) detach(i int) *Node {
	head := w.slots[i].head
	head.prev.next = nil
	w.slots[i].head = nil
	if level := i / digits; i != dueSlot {
		w.occupied[level] &^= 1 << (i % digits)
		w.loose[level] &^= 1 << (i % digits)
		if w.occupied[level] == 0 {
			w.nonempty &^= 1 << level
		}
	}
	return head
}

// before is the order of expiry.
func (n *Node) before(o *Node) bool {
	if n.at != o.at {
		return n.at < o.at
	}
	return int32(n.order-o.order) < 0
}

// sortNodes sorts a chain by order of expiry: a merge sort of the ascending runs found in it, which for a slot filled in order is one.
func sortNodes(chain *Node) *Node {
	var runs [32]*Node // runs[i] is nil, or the merger of 2^i runs; earlier nodes of the chain lie at higher i
	for chain != nil {
		run := chain
		for chain.next != nil && chain.before(chain.next) {
			chain = chain.next
		}
		chain, chain.next = chain.next, nil
		i := 0
		for ; runs[i] != nil && i < len(runs)-1; i++ {
			run = mergeNodes(runs[i], run)
			runs[i] = nil
		}
		runs[i] = mergeNodes(runs[i], run)
	}
	var sorted *Node
	for _, run := range runs {
		sorted = mergeNodes(run, sorted)
	}
	return sorted
}

func mergeNodes(a, b *Node) *Node {
	var merged *Node
	last := &merged
	for a != nil && b != nil {
		if b.before(a) {
			a, b = b, a
		}
		*last, last, a = a, &a.next, a.next
	}
	if a == nil {
		a = b
	}
	*last = a
	return merged
}
