package sched

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func TestNodeSize(t *testing.T) {
	if s := unsafe.Sizeof(Node{}); s > 48 {
		t.Errorf("a Node has %d bytes, want at most 48: each connection has one", s)
	}
}

// modelEntry is an armed node of the model.
type modelEntry struct {
	node  int
	at    Time
	order int
}

// wheelModel is what a Wheel does, done with a sorted list.
type wheelModel struct {
	now    Time
	orders int
	armed  []modelEntry
}

func (m *wheelModel) cancel(node int) {
	m.armed = slices.DeleteFunc(m.armed, func(e modelEntry) bool { return e.node == node })
}

func (m *wheelModel) arm(node int, at Time) {
	m.cancel(node)
	if at == Never {
		return
	}
	m.orders++
	m.armed = append(m.armed, modelEntry{node, max(at, m.now), m.orders})
	slices.SortFunc(m.armed, func(a, b modelEntry) int { return cmp.Or(cmp.Compare(a.at, b.at), a.order-b.order) })
}

func (m *wheelModel) next() Time {
	if len(m.armed) == 0 {
		return Never
	}
	return m.armed[0].at
}

// pop returns the number of the node that expires first by now, -1 if none does.
func (m *wheelModel) pop() int {
	if len(m.armed) == 0 || m.armed[0].at > m.now {
		return -1
	}
	n := m.armed[0].node
	m.armed = m.armed[1:]
	return n
}

// instants draws instants at all distances from now, behind it too, often equal ones.
func instants(t *rapid.T, now Time) Time {
	bits := rapid.IntRange(0, 63).Draw(t, "bits")
	if bits < 48 {
		bits = 7 + bits%3 // many in the same few slots
	}
	switch bits {
	case 63:
		return Never
	case 62:
		return now - Time(rapid.Int64Range(0, 1<<40).Draw(t, "behind"))
	default:
		d := rapid.Int64Range(0, 1<<bits).Draw(t, "ahead")
		if rapid.Bool().Draw(t, "round") {
			d = d &^ (1<<(bits/2) - 1)
		}
		if s := now + Time(d); s > now {
			return s
		}
		return now
	}
}

func TestWheelAgainstSortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Wheel
		var m wheelModel
		nodes := make([]Node, rapid.IntRange(1, 40).Draw(t, "nodes"))
		t.Repeat(map[string]func(*rapid.T){
			"arm": func(t *rapid.T) {
				i := rapid.IntRange(0, len(nodes)-1).Draw(t, "node")
				at := instants(t, m.now)
				w.Arm(&nodes[i], at)
				m.arm(i, at)
			},
			"cancel": func(t *rapid.T) {
				i := rapid.IntRange(0, len(nodes)-1).Draw(t, "node")
				w.Cancel(&nodes[i])
				m.cancel(i)
			},
			"advance": func(t *rapid.T) {
				to := instants(t, m.now)
				if rapid.Bool().Draw(t, "exactly") {
					to = m.next()
				}
				if to == Never {
					to = m.now
				}
				w.Advance(to)
				m.now = max(m.now, to)
			},
			"pop": func(t *rapid.T) {
				want := m.pop()
				if got := w.Pop(); (got == nil) != (want < 0) || got != nil && got != &nodes[want] {
					t.Fatalf("popped another node than number %d", want)
				}
			},
			"": func(t *rapid.T) {
				if b := w.bound(); b > m.next() || m.next() > w.now && b <= w.now {
					t.Fatalf("bound %d, earliest is %d, now %d", b, m.next(), w.now)
				}
				if rapid.Bool().Draw(t, "ask") && w.Next() != m.next() {
					t.Fatalf("Next %d, want %d", w.Next(), m.next())
				}
				if w.Len() != len(m.armed) {
					t.Fatalf("Len %d, want %d", w.Len(), len(m.armed))
				}
			},
		})
		w.Advance(Never - 1)
		m.now = Never - 1
		for want := m.pop(); want >= 0; want = m.pop() {
			if got := w.Pop(); got != &nodes[want] {
				t.Fatalf("at the end: popped another node than number %d", want)
			}
		}
		if w.Pop() != nil || w.nonempty != 0 || w.occupied != [levels]uint64{} || w.loose != [levels]uint64{} {
			t.Fatalf("the empty wheel is not empty: %+v", w)
		}
	})
}

func TestWheelNextAfterTheEarliestWasCancelled(t *testing.T) {
	var w Wheel
	nodes := make([]Node, 3)
	for i := range nodes {
		w.Arm(&nodes[i], 1<<20+Time(i)*10) // one slot
	}
	w.Cancel(&nodes[0])
	if b := w.bound(); b > 1<<20+10 {
		t.Errorf("bound %d is later than the earliest", b)
	}
	if next := w.Next(); next != 1<<20+10 {
		t.Errorf("Next %d, want the second of the slot", next)
	}
	w.Arm(&nodes[1], 1<<20+100)
	if next := w.Next(); next != 1<<20+20 {
		t.Errorf("Next %d, want the third of the slot", next)
	}
}

func TestWheelMillionNodes(t *testing.T) {
	const n = 1_000_000
	r := rand.New(rand.NewPCG(1, 2))
	var w Wheel
	nodes := make([]Node, n)
	at := make([]Time, n)
	for i := range nodes {
		at[i] = Time(r.Int64N(1 << (10 + i%44))) // up to half a year
		w.Arm(&nodes[i], at[i])
	}
	for i := 0; i < n; i += 3 {
		w.Cancel(&nodes[i])
	}
	for i := 1; i < n; i += 3 {
		at[i] += 1_000_000
		w.Arm(&nodes[i], at[i])
	}
	var left []Time
	for i := range at {
		if i%3 != 0 {
			left = append(left, at[i])
		}
	}
	slices.Sort(left)
	for i, want := range left {
		if i%1000 == 0 && w.Next() != want {
			t.Fatalf("Next %d, want %d", w.Next(), want)
		}
		w.Advance(want)
		node := w.Pop()
		if node == nil || node.at != want {
			t.Fatalf("pop %d: %v, want instant %d", i, node, want)
		}
	}
	if w.Len() != 0 || w.Next() != Never {
		t.Errorf("%d left, next at %d", w.Len(), w.Next())
	}
}

func TestWheelFullSlotLateComesInOrder(t *testing.T) {
	var w Wheel
	nodes := make([]Node, 10_000)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range nodes {
		w.Arm(&nodes[i], 1<<40+Time(r.Int64N(1000)))
	}
	w.Advance(1 << 41)
	last := w.Pop()
	for n := w.Pop(); n != nil; n = w.Pop() {
		if !last.before(n) {
			t.Fatalf("instant %d (armed as %d) came before %d (%d)", last.at, last.order, n.at, n.order)
		}
		last = n
	}
}

func TestWheelAllocatesNothing(t *testing.T) {
	var w Wheel
	nodes := make([]Node, 100)
	if n := testing.AllocsPerRun(100, func() {
		for i := range nodes {
			w.Arm(&nodes[i], w.now+Time(i)<<i)
		}
		w.Advance(w.now + 1<<20)
		for w.Pop() != nil {
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWheelArmCancel(b *testing.B) {
	for _, armed := range []int{1, 1e3, 1e6} {
		b.Run(byCount(armed), func(b *testing.B) {
			var w Wheel
			nodes := make([]Node, armed)
			for i := range nodes {
				w.Arm(&nodes[i], Time(i)*1_000_003)
			}
			var n Node
			for i := 0; b.Loop(); i++ {
				w.Arm(&n, 200_000_000+Time(i)*1000)
				w.Cancel(&n)
			}
		})
	}
}

// BenchmarkWheelRearm pushes the deadlines of many nodes along as traffic on as many connections would, and lets time pass.
func BenchmarkWheelRearm(b *testing.B) {
	for _, armed := range []int{1, 1e3, 1e6} {
		b.Run(byCount(armed), func(b *testing.B) {
			var w Wheel
			nodes := make([]Node, armed)
			now := Time(0)
			for b.Loop() {
				now += 1000
				w.Arm(&nodes[int(now)*7919%armed], now+200_000_000)
				w.Advance(now)
				for w.Pop() != nil {
				}
				w.bound()
			}
		})
	}
}

func byCount(n int) string {
	return map[int]string{1: "1", 1e3: "1e3", 1e6: "1e6"}[n]
}
