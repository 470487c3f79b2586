package stack

import "github.com/weirnet/weir/sched"

// batch collects what the packets of one delivery make necessary and what is then done once for all of them: first the output of
// connections, which is one ACK for all that came, then wake-ups, then the flush.
type batch struct {
	_      [0]func() // no ==: its code would be in every program
	late   [32]*TCP
	nlate  int
	wakes  [32]wake
	nwakes int
	udp    lastUDP
}

type wake struct {
	_     [0]func() // no ==: its code would be in every program
	n     Notifier
	ready Ready
}

// outputLater leaves the output of t, whose lock is held, to the end of the batch; false if it cannot.
func (b *batch) outputLater(t *TCP) bool {
	if t.late {
		return true // this batch's, or another's whose end finds out what there is to send now
	}
	if b == nil || b.nlate == len(b.late) {
		return false
	}
	t.late = true
	b.late[b.nlate] = t
	b.nlate++
	return true
}

// wake notes a wake-up for the end of the batch; no lock may be held when b is nil or full.
func (b *batch) wake(n Notifier, r Ready) {
	if n == nil || r == 0 {
		return
	}
	if b == nil || b.nwakes == len(b.wakes) {
		n.Notify(r)
		return
	}
	if b.nwakes > 0 && b.wakes[b.nwakes-1].n == n {
		b.wakes[b.nwakes-1].ready |= r
		return
	}
	b.wakes[b.nwakes] = wake{n: n, ready: r}
	b.nwakes++
}

// finish does what a batch has collected, and gives b back.
func (s *Stack) finish(now sched.Time, b *batch, depth uint8) {
	for k, t := range b.late[:b.nlate] {
		b.late[k] = nil
		t.mu.Lock()
		t.late = false
		t.output(now)
		r := t.settle(now, 0)
		t.mu.Unlock()
		b.wake(t.notifier, r)
	}
	b.nlate = 0
	for k := range b.wakes[:b.nwakes] {
		w := &b.wakes[k]
		w.n.Notify(w.ready)
		w.n = nil
	}
	b.nwakes = 0
	s.batches.Put(b)
	s.relieve()
	s.flushQueues(depth)
}
