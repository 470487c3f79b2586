package stack

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// leastMemory is the least budget with which the steps below are larger than chunks, in bytes.
	leastMemory = 512 << 10
	// pressedRoom is what a socket may hold of a share that is nearly used up, so that it can make progress, in bytes.
	pressedRoom = 16 << 10
)

// memory keeps what all socket queues hold together within a budget, in bytes of chunk capacity. Half of it is for what is sent, half for
// what is received: who has memory for the one waits for nobody who holds the other.
type memory struct {
	budget         int64
	sent, received share

	starving atomic.Bool // somebody is on a list (a hint to relieve; changes under mu)

	mu    sync.Mutex // a leaf: nothing is locked under it
	lists [3][]*TCP  // writers that were refused: those that hold pressedRoom, the others, and those that hold their fair share

	// The third list is gone through when so little is in use, at most: noticeably less than when the last was put on it, so that its
	// many writers are not asked at each ACK.
	squeezedBelow atomic.Int64
}

func (m *memory) init(budget int64) {
	m.budget = max(budget, leastMemory)
	m.sent.budget, m.received.budget = m.budget/2, m.budget/2
}

// share is half of the memory. It grows tight in steps, so that those who are ahead never take what those behind need to go on:
//
//   - up to soft (three quarters) everybody may hold as much as its own limits allow;
//   - from there to firm (seven eighths) only sockets may take more that then hold no more than pressedRoom;
//   - the last eighth is for what somebody waits for who holds nothing: data in order for a reader, for when it is read, memory is given
//     back.
//
// Who takes memory reserves it before: only the last step may be exceeded, by a packet (or rope) for each goroutine that is at it.
type share struct {
	used   atomic.Int64
	budget int64
}

func (m *share) soft() int64 { return m.budget - m.budget/4 }
func (m *share) firm() int64 { return m.budget - m.budget/8 }

// charge adds to what is held, or with a negative delta gives it back; relieve is then the caller's to call.
func (m *share) charge(delta int) {
	if delta != 0 {
		m.used.Add(int64(delta))
	}
}

// fair is how much one socket may come to hold: as much as is left. So one may hold half of all, n of them a part in n+1 each, there is
// always some left for the next, and nobody has to count them (the dynamic threshold of shared-memory switches: Choudhury and Hahne,
// 1998).
func (m *share) fair() int { return int(max(m.soft()-m.used.Load(), 0)) }

// shares is what tcp.Conn.SetShare wants to know.
func (m *memory) shares() (send, receive int) { return m.sent.fair(), m.received.fair() }

// reserve charges n bytes for a socket that holds held, if it may take so much.
func (m *share) reserve(held, n int) bool {
	limit := m.soft()
	if held+n <= pressedRoom {
		limit = m.firm()
	}
	if m.used.Add(int64(n)) <= limit {
		return true
	}
	m.used.Add(-int64(n))
	return false
}

// reserveLast charges n bytes unless all of the share is used.
func (m *share) reserveLast(n int) bool {
	if m.used.Load() >= m.budget {
		return false
	}
	m.used.Add(int64(n))
	return true
}

// account charges what a side of t holds, no more and no less.
func (m *share) account(charged *uint32, held int) {
	m.charge(held - int(*charged))
	*charged = uint32(held)
}

// wakeBelow is how much must be in use, at most, for the writers of a list to be woken: room for a chunk, so that they are not in vain.
func (m *memory) wakeBelow(class int) int64 {
	switch class {
	case 0:
		return m.sent.soft() - pressedRoom
	case squeezed:
		return m.squeezedBelow.Load()
	}
	return m.sent.firm() - pressedRoom
}

// starve puts t on the list of its class, if it is not there; t.mu is held. The caller then tries again: memory may have been given back
// before t was on the list.
func (m *memory) starve(t *TCP) { m.enlist(t, t.starvedClass()) }

// squeezed is the list of those that hold their fair share.
const squeezed = 2

// squeeze is starve for a writer that would hold more than its fair share.
func (m *memory) squeeze(t *TCP) {
	m.enlist(t, squeezed)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.squeezedBelow.Store(max(m.squeezedBelow.Load(), m.sent.used.Load()-m.sent.budget/64))
}

func (m *memory) enlist(t *TCP, class int) {
	if t.starved&(1<<class) != 0 {
		return
	}
	t.starved |= 1 << class
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists[class] = append(m.lists[class], t)
	m.starving.Store(true)
}

// starvedClass is the list on which t's writer waits; t.mu is held.
func (t *TCP) starvedClass() int {
	if t.sent >= pressedRoom {
		return 0
	}
	return 1
}

// mayWake reports whether a writer that was refused can go on; t.mu is held.
func (t *TCP) mayWake() bool {
	m := &t.stack.memory
	return t.starved&^(1<<squeezed) != 0 && m.sent.used.Load() <= m.wakeBelow(t.starvedClass())
}

// take empties a list.
func (m *memory) take(class int) []*TCP {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.lists[class]
	m.lists[class] = nil
	if class == squeezed {
		m.squeezedBelow.Store(0)
	}
	m.starving.Store(len(m.lists[0])+len(m.lists[1])+len(m.lists[squeezed]) > 0)
	return all
}

// relieve wakes the writers for whom there is memory again. Whoever may have given some back calls it, with no lock held. While nobody is
// refused it costs a load.
func (s *Stack) relieve() {
	m := &s.memory
	if !m.starving.Load() {
		return
	}
	for class := range m.lists {
		if m.sent.used.Load() > m.wakeBelow(class) {
			continue
		}
		for _, t := range m.take(class) {
			t.fed(class)
		}
	}
}

// fed wakes t's writer, which is no longer on the list of a class.
func (t *TCP) fed(class int) {
	t.mu.Lock()
	t.starved &^= 1 << class
	t.mu.Unlock()
	t.notify(WriteReady)
}

// Memory returns the chunk capacity, in bytes, that socket queues hold, and the budget.
func (s *Stack) Memory() (used, budget int64) {
	m := &s.memory
	return m.sent.used.Load() + m.received.used.Load(), m.budget
}

// leftovers are the sockets that are in no table any more and hold memory all the same: connections that were reset with data unread. Close
// takes it from them.
type leftovers struct {
	mu      sync.Mutex // a leaf
	sockets map[*TCP]struct{}
}

// set puts t in, or takes it out; t.mu is held.
func (l *leftovers) set(t *TCP, in bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !in:
		delete(l.sockets, t)
	case l.sockets == nil:
		l.sockets = map[*TCP]struct{}{t: {}}
	default:
		l.sockets[t] = struct{}{}
	}
}

// shut ends all of them.
func (l *leftovers) shut() {
	l.mu.Lock()
	all := slices.Collect(maps.Keys(l.sockets))
	l.mu.Unlock()
	for _, t := range all {
		t.shut()
	}
}
