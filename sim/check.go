package sim

import (
	"fmt"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// progress is what the invariant against stalls remembers of a connection.
//
// The invariant: a connection owes its peer something when it has data queued or in flight, or an open or a close that is not
// acknowledged. While it does, let T be the latest instant of
//
//   - when it began to;
//   - when something was acknowledged, the peer's window changed, or a sample of the round trip ended the backoff of the RTO;
//   - with nothing in flight, when its deadline came: pacing had it wait, and now let it go on;
//   - when something that the peer must acknowledge was sent: SYN, data (new or again), FIN, or a probe.
//
// Then the connection's deadline, and the timer of its socket, are no later than T + RTO. The RTO is that of RFC 6298 §2 with its
// backoff and maximum, the largest that was in force since the retransmission timer was last set: by an acknowledgment of something new
// (§5.3), by its expiry (§5.6), by whatever ends the backoff, or, with nothing in flight, by a change of the window or the first
// transmission (§5.1). It keeps its time when the estimate changes or more is sent. (With Config.Batches, several acknowledgments may come in one event, and what the RTO was in
// between is not seen: for that, what it was before is allowed, and an eighth more.) The probe of RFC 8985 §7.2 and the persist timer of RFC 9293 §3.8.6.1 are no later than that.
//
// So whatever was lost, there is something new from the sender within an RTO, or what it waited for.
type progress struct {
	owes     bool
	inFlight bool
	opening  bool // SYN-SENT or SYN-RECEIVED
	acked    uint64
	timeouts uint64
	wnd      int
	backoff  int
	at       sched.Time    // T
	rto      time.Duration // the largest since the timer was set
	due      sched.Time    // its deadline, then
	last     time.Duration // the RTO when it was looked at last
	over     bool          // CLOSED or TIME-WAIT: no longer looked at
}

// touch has c checked after the step.
func (c *Conn) touch() {
	if !c.marked && c.watch != nil {
		c.marked = true
		c.host.world.dirty = append(c.host.world.dirty, c)
	}
}

// checkedPerStep is how many connections are looked at after a step beside those that something happened to.
const checkedPerStep = 4

// lastPackets is by how many bytes the budget of a stack may be exceeded: a packet in each half of it, for readers and writers who have
// nothing (see internal/stack's share).
const lastPackets = 2 * 65 << 10

// check holds the world to its invariants.
func (w *World) check() {
	for _, c := range w.dirty {
		c.marked = false
		w.checkConn(c)
	}
	w.dirty = w.dirty[:0]
	for range min(checkedPerStep, len(w.live)) {
		if w.next >= len(w.live) {
			w.next = 0
		}
		c := w.live[w.next]
		w.checkConn(c)
		if c.over {
			w.live[w.next] = w.live[len(w.live)-1]
			w.live = w.live[:len(w.live)-1]
		}
		w.next++
	}
	for _, h := range w.hosts {
		if used, budget := h.stack.Memory(); used > budget+lastPackets {
			w.Fail("%s: %d bytes in use, of a budget of %d", h.Name, used, budget)
		}
	}
}

func (w *World) checkConn(c *Conn) {
	if c.over {
		return
	}
	if err := c.check(); err != nil {
		w.Fail("%v: %w", c, err)
	}
}

// owes reports whether something is to be sent, or to be acknowledged.
func (c *Conn) owes(tc *tcp.Conn) bool {
	switch tc.State() {
	case tcp.Closed, tcp.TimeWaiting:
		return false
	case tcp.SynSent, tcp.SynReceived:
		return c.watch.started // with Fast Open the SYN waits for data
	}
	return tc.SendQueue() > 0 || owesFIN(tc.State())
}

// check is the invariants of one connection.
func (c *Conn) check() (err error) {
	c.sock.View(func(tc *tcp.Conn, wake sched.Time, waiting bool) { err = c.checkProgress(tc, wake, waiting) })
	return err
}

func (c *Conn) checkProgress(tc *tcp.Conn, wake sched.Time, waiting bool) error {
	p := &c.progress
	state := tc.State()
	if state == tcp.Closed || state == tcp.TimeWaiting {
		p.over = true
		return nil
	}
	deadline, now := tc.Deadline(), c.host.world.clock.Now()
	if tick := max(sched.Time(c.host.config.Granularity), 1); deadline <= now-tick {
		return fmt.Errorf("%v: the deadline was %v ago", state, now.Sub(deadline))
	}
	if wake > deadline {
		return fmt.Errorf("%v: the timer fires %v after the deadline", state, wake.Sub(deadline))
	}
	if err := c.checkQuiet(tc, deadline, waiting); err != nil {
		return err
	}
	if !c.owes(tc) {
		p.owes = false
		return nil
	}
	p.update(c, tc, now)
	p.due = deadline
	rto := p.rto
	if c.host.world.config.Batches {
		rto += rto / 8
	}
	if limit := p.at.Add(rto); deadline > limit && !waiting {
		return fmt.Errorf("a stall: in %v with %d bytes to deliver, %d of them never sent, a window of %d, nothing is due before %v; something "+
			"happened last at %v, and the RTO is %v", state, tc.SendQueue(), tc.Unsent(), p.wnd, c.host.world.ago(deadline),
			c.host.world.ago(p.at), p.rto)
	}
	return nil
}

// checkQuiet: what a connection may send now it has sent, or it waits for room in a transmit queue. Asking a connection that has nothing
// to send changes at most its deadline.
func (c *Conn) checkQuiet(tc *tcp.Conn, deadline sched.Time, waiting bool) error {
	now := c.host.clock.Now()
	if waiting || deadline <= now || !c.host.world.config.Check {
		return nil
	}
	var seg tcp.Segment
	if !tc.Output(now, &seg) {
		return nil
	}
	defer seg.Payload.Release()
	return fmt.Errorf("%v: a segment of %d bytes (%v) could have been sent", tc.State(), seg.Payload.Size(), seg.Flags)
}

// update notes what has happened to a connection that owes something.
func (p *progress) update(c *Conn, tc *tcp.Conn, now sched.Time) {
	info := tc.Info()
	opening := info.State == tcp.SynSent || info.State == tcp.SynReceived
	window := info.SendWindow != p.wnd
	ended := info.Backoff == 0 && p.backoff > 0
	set := !p.owes || ended || info.BytesAcked != p.acked || opening != p.opening || info.RTOs != p.timeouts || window && !p.inFlight
	if set || window || !p.inFlight && p.due <= now {
		p.at = now
	}
	if c.watch.lastSent > p.at {
		p.at = c.watch.lastSent
		set = set || !p.inFlight
	}
	switch {
	case set && c.host.world.config.Batches:
		p.rto = p.last
	case set:
		p.rto = 0
	}
	p.rto, p.last = max(p.rto, info.RTO), info.RTO
	p.owes, p.acked, p.timeouts, p.wnd, p.opening = true, info.BytesAcked, info.RTOs, info.SendWindow, opening
	p.backoff = info.Backoff
	p.inFlight = tc.SendQueue() > tc.Unsent() || tc.Unsent() == 0 && owesFIN(info.State)
}

// owesFIN reports whether a FIN is to be sent, or to be acknowledged.
func owesFIN(s tcp.State) bool { return s == tcp.FinWait1 || s == tcp.Closing || s == tcp.LastAck }

// ago is an instant as the time since the world began.
func (w *World) ago(t sched.Time) time.Duration {
	if t == sched.Never {
		return time.Duration(t)
	}
	return t.Sub(w.begin)
}
