package cc

import (
	"time"

	"github.com/weirnet/weir/sched"
)

// window is what Reno and CUBIC have in common: the window itself, slow start, and what to restore if a congestion event was none.
type window struct {
	_              [0]func() // no ==: its code would be in every program
	cwnd, ssthresh int       // bytes
	mss            int       // bytes
	part           int64     // of the next byte of growth in congestion avoidance: see grow
	recovering     bool
	started        bool // something was acknowledged, or lost: SetMSS no longer sets the initial window
	synLost        bool
	start          hystart
	validAt        sched.Time // when the window was last in use

	priorCwnd, priorSsthresh int32 // before the latest congestion event, for Undo; priorCwnd 0: nothing to restore
}

func (w *window) init(mss int) {
	*w = window{mss: max(mss, 1), ssthresh: Infinite}
	w.cwnd = InitialWindow(w.mss)
}

func (w *window) Cwnd() int         { return w.cwnd }
func (w *window) Ssthresh() int     { return w.ssthresh }
func (w *window) PacingRate() int64 { return 0 }
func (w *window) OwnRecovery() bool { return false }
func (w *window) Lost(LostPacket)   {}

func (w *window) slowStart() bool { return w.cwnd < w.ssthresh }

// progress is how many bytes of a may open the window. Byte counting (RFC 3465) without its limit L of segments per ACK, because one
// ACK for a whole super-segment is the normal case here; but never more than was in flight, which keeps what lies behind a hole
// that a retransmission has just filled from being counted as progress (RFC 3465 §2.3).
func (w *window) progress(a *Ack) int {
	return min(a.Acked, max(a.InFlight, w.mss))
}

// climb grows the window by slow start for n delivered bytes and returns how many are left for congestion avoidance.
func (w *window) climb(a *Ack, n int) int {
	if !w.slowStart() {
		return n
	}
	if w.ssthresh == Infinite { // RFC 9406 §4.3: only in the first slow start
		w.start.acked(a)
	}
	room := w.ssthresh - w.cwnd
	step := n
	if w.start.conservative() {
		step = max(n/cssGrowthDivisor, 1)
	}
	w.cwnd = min(w.cwnd+min(step, room), maxCwnd)
	if w.ssthresh == Infinite && w.start.ended() {
		w.ssthresh = w.cwnd // RFC 9406 §4.2: to congestion avoidance
	}
	return max(step-room, 0)
}

// grow adds num/den bytes to the window for each of n delivered bytes, exactly in the long run.
func (w *window) grow(n, num, den int) {
	w.part += int64(n) * int64(num)
	w.cwnd = int(min(int64(w.cwnd)+w.part/int64(den), maxCwnd))
	w.part %= int64(den)
}

// reduce is what every congestion event does first: it keeps the windows for Undo, and sets the threshold.
func (w *window) reduce(ssthresh int) {
	w.priorCwnd, w.priorSsthresh = int32(w.cwnd), int32(w.ssthresh)
	w.ssthresh = max(ssthresh, 2*w.mss)
	w.part = 0
	w.start.reset()
}

// collapse sets the loss window of one segment (RFC 5681 §3.1). The caller has set the threshold.
func (w *window) collapse() {
	w.cwnd = w.mss
	w.recovering = false // slow start runs during loss recovery
}

// Recovered: see Control.
func (w *window) Recovered(sched.Time) { w.recovering = false }

// restore undoes the latest event; false if there is none.
func (w *window) restore() bool {
	if w.priorCwnd == 0 {
		return false
	}
	w.cwnd, w.ssthresh = max(w.cwnd, int(w.priorCwnd)), max(w.ssthresh, int(w.priorSsthresh))
	w.priorCwnd, w.recovering, w.part = 0, false, 0
	return true
}

// Idle: see Control. RFC 5681 §4.1: the restart window is min(IW, cwnd). The threshold remembers what the path has taken (RFC 7661 §4.4.3).
func (w *window) Idle(_ sched.Time, _, _ time.Duration, restart bool) {
	if !restart {
		return
	}
	w.remember()
	w.cwnd = min(w.cwnd, InitialWindow(w.mss))
	w.part, w.priorCwnd = 0, 0
}

// remember keeps three quarters of the window in the threshold, which slow start may reach again.
func (w *window) remember() { w.ssthresh = max(w.ssthresh, w.cwnd/4*3) }

// maxUnvalidated is for how long a window may stay that is not used (RFC 7661 §4.3: the non-validated phase; §5).
const maxUnvalidated = 5 * time.Minute

// validate is congestion window validation (RFC 7661): whether the window may grow with this ACK. A window that is not used does not grow
// (§4.3), and says less and less about the path. After five minutes half of it is given up (§4.4.3).
func (w *window) validate(a *Ack) bool {
	switch {
	case w.validAt == 0 || a.CwndLimited || 2*a.InFlight >= w.cwnd: // §4.2: the validated phase
		w.validAt = a.Now
	case a.Now.Sub(w.validAt) >= maxUnvalidated:
		w.remember()
		w.cwnd = max(w.cwnd/2, min(w.cwnd, InitialWindow(w.mss)))
		w.part, w.validAt = 0, a.Now
	}
	return a.CwndLimited
}

// SynLost: see Control.
func (w *window) SynLost() {
	w.synLost = true
	w.SetMSS(w.mss)
}

// SetMSS: see Control. Later, RFC 5681 §3.1: if "the MSS being used is found to be too large, the congestion window cwnd SHOULD be
// reduced to prevent large bursts of smaller segments. Specifically, cwnd SHOULD be reduced by the ratio of the old segment size to the
// new segment size." If it grows, the window keeps its bytes, but is never less than a segment.
func (w *window) SetMSS(mss int) {
	old := w.mss
	w.mss = max(mss, 1)
	switch {
	case !w.started:
		w.cwnd = InitialWindow(w.mss)
		if w.synLost {
			w.cwnd = w.mss
		}
	case w.mss < old:
		w.cwnd = int(int64(w.cwnd) * int64(w.mss) / int64(old))
	}
	w.cwnd = max(w.cwnd, w.mss)
}
