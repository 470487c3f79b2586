package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp/cc"
)

// pace is when what may be sent: the connection sends at most so much at once as a millisecond takes, and the next of it when the time
// that this takes at the pacing rate has passed (draft-ietf-ccwg-bbr-06 §5.6.2). Only a connection that is paced has it.
type pace struct {
	next   sched.Time // C.next_send_time
	most   int64      // bytes per second that the application allows; 0: no limit
	behind bool       // the latest segment left later than its time by more than its gap
}

// Factors of the rate at which a window is paced if congestion control has no rate of its own, in percent: as Linux has them.
const (
	paceSlowStart = 200 // for as long as the window is to double
	paceAvoidance = 120
)

// pacingRate is the rate in bytes per second at which to send; 0: as the window allows.
func (c *Conn) pacingRate() int64 {
	if !c.is(mayPace) {
		return 0
	}
	r, most := c.cc.PacingRate(), c.maxPacingRate()
	if r == 0 {
		if most == 0 && !c.cfg.Pacing {
			return 0
		}
		r = c.windowRate()
	}
	switch {
	case most == 0:
		return r
	case r == 0:
		return most
	}
	return min(r, most)
}

// choosePacing finds out whether anything asks for pacing. A control that does so does it from the beginning.
func (c *Conn) choosePacing() {
	c.clear(mayPace)
	if c.cfg.Pacing || c.maxPacingRate() > 0 || c.cc.PacingRate() > 0 {
		c.set(mayPace)
	}
}

// maxPacingRate is what SetMaxPacingRate has set.
func (c *Conn) maxPacingRate() int64 {
	if c.rare == nil {
		return 0
	}
	return c.rare.pace.most
}

// windowRate is the rate at which a window is sent in less than a round trip; 0 before the first sample of one.
func (c *Conn) windowRate() int64 {
	if c.rtt.srtt == 0 {
		return 0
	}
	cwnd, factor := c.cc.Cwnd(), int64(paceAvoidance)
	if cwnd < c.cc.Ssthresh()/2 {
		factor = paceSlowStart
	}
	return max(perSecond(cwnd, c.rtt.srtt)*factor/100, 1)
}

// paced reports whether the next segment has to wait for its time. Deadline is then that time at the latest.
func (c *Conn) paced(f *flight) bool {
	held := f.held
	f.held = false
	if c.rare == nil || !c.is(mayPace) {
		return false
	}
	p := &c.rare.pace
	behind := p.behind
	p.behind = false
	if p.next <= c.now {
		if !held && !behind {
			p.next = c.now // what was not used is lost
		}
		return false
	}
	if c.pacingRate() == 0 {
		return false
	}
	if p.most == 0 {
		// A model that thinks little of the path makes nobody wait for longer than a loss would.
		if p.next = min(p.next, c.lastSent.Add(c.rto(f))); p.next <= c.now {
			return false
		}
	}
	if f.phase == phaseLoss && f.pipe() == 0 {
		return false // the retransmission timer has waited long enough
	}
	f.held = f.board.toResend() || c.Unsent() > 0 || c.finPending()
	if f.held {
		f.limited = false
	}
	return f.held
}

// mostLate is the lateness of a timer that is made good, on paths whose round trip is four times that; on others it is less.
const mostLate = 5 * time.Millisecond

// spend sets when the next segment may be sent after one of n bytes. If this one had to wait and then left late, that is made good: a
// timer is never exact, and on a busy machine it is milliseconds late, which would else be the rate that a model of the path measures next.
func (c *Conn) spend(n int) {
	r := c.pacingRate()
	if r == 0 {
		return
	}
	if c.rare == nil {
		c.seldom().pace.next = c.now
	}
	p := &c.rare.pace
	gap := time.Duration(int64(n) * int64(time.Second) / r)
	late := max(c.now.Sub(p.next), 0)
	p.next = c.now.Add(gap - min(late, max(gap/2, min(mostLate, c.rtt.min/4))))
	p.behind = p.next <= c.now
}

// quantum is the largest super-segment at the pacing rate, in bytes.
func (c *Conn) quantum(mss int) int {
	if r := c.pacingRate(); r > 0 {
		return min(cc.Quantum(r, mss), int(c.gsoMax))
	}
	return int(c.gsoMax)
}

// SetMaxPacingRate bounds the rate at which the connection sends, in bytes per second (SO_MAX_PACING_RATE): it is paced then, whatever
// its congestion control. 0: no limit.
func (c *Conn) SetMaxPacingRate(r int64) {
	if r <= 0 && c.rare == nil {
		return
	}
	p := &c.seldom().pace
	p.most = max(r, 0)
	p.next = min(p.next, c.now) // what was sent so far went by another rate
	c.choosePacing()
}
