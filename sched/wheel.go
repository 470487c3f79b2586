package sched

// An Expirer is called when its Node expires, with no lock of the wheel held.
type Expirer interface{ Expire(now Time) }

// Node is one timer of a Wheel, embedded in what it times. The zero Node is not armed. Arm and Cancel are O(1).
type Node struct {
	next, prev *Node
	at         Time
	Owner      Expirer // set once, before the first Arm
	slot       uint16
}

// Timers is a timer wheel driven by a Clock: safe for concurrent use, one clock timer for all nodes, no tick while nothing is due.
// Expired nodes are taken off under the lock; their owners are called after it is released. A node that was armed again or cancelled
// between the two may still be called: the owner compares with its own deadline (the call is a hint that time has come).
type Timers struct{}

func NewTimers(c Clock) *Timers { panic("stub") }

// Arm sets n to expire at the given instant, in place of any earlier setting. It never expires before that instant.
func (t *Timers) Arm(n *Node, at Time) { panic("stub") }

// Cancel disarms n. The zero and the expired Node are fine.
func (t *Timers) Cancel(n *Node) { panic("stub") }

// Next returns the exact earliest expiry, or Never.
func (t *Timers) Next() Time { panic("stub") }

// Len returns the number of armed nodes.
func (t *Timers) Len() int { panic("stub") }

// Stop disarms the clock timer and waits for a running expiry to end (unless called from inside one). Nothing is called after it.
func (t *Timers) Stop() { panic("stub") }
