package stack

import (
	"math"
	"sync"
	"sync/atomic"
)

// pressedRoom is what a socket may hold although the memory budget is nearly used up, so that it can make progress, in bytes.
const pressedRoom = 16 << 10

// memory keeps what all socket queues hold together within a budget, in bytes of chunk capacity. It grows tight in three steps, so that
// those who are ahead never take what those behind need to go on:
//
//   - up to soft (three quarters) everybody may hold as much as its own limits allow;
//   - from there to firm (seven eighths) only sockets that hold less than pressedRoom may take more;
//   - the last eighth is for data that a reader is waiting for, for when it is read, memory is given back: without it senders could fill
//     the budget with what their peers on the same stack then have no memory to receive.
//
// Writers reserve before they copy. What is received is looked at before it is taken, and so the budget may be exceeded by a packet for
// each goroutine that delivers.
type memory struct {
	used   atomic.Int64
	budget int64

	starving atomic.Bool // somebody is on a list (a hint to relieve; changes under mu)

	mu    sync.Mutex // a leaf: nothing is locked under it
	lists [2][]*TCP  // writers that were refused: those that held more than pressedRoom, and the others
}

func (m *memory) soft() int64 { return m.budget - m.budget/4 }
func (m *memory) firm() int64 { return m.budget - m.budget/8 }

// charge adds to what is held, or with a negative delta gives it back; relieve is then the caller's to call.
func (m *memory) charge(delta int) {
	if delta != 0 {
		m.used.Add(int64(delta))
	}
}

// allowance is how many bytes more a socket may hold that holds held; 0 if none.
func (m *memory) allowance(held int) int {
	used := m.used.Load()
	free := max(m.soft()-used, min(int64(pressedRoom-held), m.firm()-used), 0)
	return int(min(free, math.MaxInt32))
}

// forReader reports whether data may be taken that a reader is waiting for.
func (m *memory) forReader() bool { return m.used.Load() < m.budget }

// starvedClass is the list on which a writer waits that holds held.
func starvedClass(held int) int {
	if held >= pressedRoom {
		return 0
	}
	return 1
}

// starve puts t on the list of its class, if it is not there; t.mu is held. The caller then looks again whether there is memory: it may
// have been given back before t was on the list.
func (m *memory) starve(t *TCP) {
	class := starvedClass(t.charged)
	if t.starved&(1<<class) != 0 {
		return
	}
	t.starved |= 1 << class
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists[class] = append(m.lists[class], t)
	m.starving.Store(true)
}

// take empties a list.
func (m *memory) take(class int) []*TCP {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.lists[class]
	m.lists[class] = nil
	m.starving.Store(len(m.lists[0])+len(m.lists[1]) > 0)
	return all
}

// relieve wakes the writers for whom there is memory again. Whoever has given some back calls it, with no lock held. While nobody is
// refused it costs a load.
func (s *Stack) relieve() {
	m := &s.memory
	if !m.starving.Load() {
		return
	}
	for class, limit := range [...]int64{m.soft(), m.firm()} {
		if m.used.Load() >= limit {
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
	if t.notifier != nil {
		t.notifier.Notify(WriteReady)
	}
}

// Memory returns the chunk capacity, in bytes, that socket queues hold, and the budget.
func (s *Stack) Memory() (used, budget int64) { return s.memory.used.Load(), s.memory.budget }
