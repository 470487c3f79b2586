package stack

import (
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// View shows the connection to fn under the socket's lock: with when the socket's timer fires, and whether it waits for room in a transmit
// queue. Fn may ask it everything, and call Output as long as that gives nothing.
func (t *TCP) View(fn func(c *tcp.Conn, wake sched.Time, waiting bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(&t.conn, t.wake(), t.waiting)
	if t.inTable {
		t.arm()
	}
}
