package cc

import "github.com/weirnet/weir/sched"

// reno is the congestion control of RFC 5681 with byte counting.
type reno struct{ window }

func (r *reno) Name() string { return "reno" }

// Acked: see Control.
func (r *reno) Acked(a *Ack) {
	r.started = true
	if !r.validate(a) || r.recovering {
		return
	}
	n := r.climb(a, r.progress(a))
	r.grow(n, r.mss, r.cwnd) // RFC 5681 §3.1: one segment a round trip
}

// What of the window Reno keeps: half after a loss (RFC 5681 §3.1, Eq. 4), and 0.8 = 4/5 after a mark (RFC 8511 §3.1).
const (
	renoLossNum, renoLossDen = 1, 2
	renoMarkNum, renoMarkDen = 4, 5
)

// Congestion: see Control. RFC 5681 §3.2, steps 2 and 3, without the inflation: "additional data sent in limited transmit MUST NOT be
// included in this calculation", which is what is in flight beyond the window. A queue that marks is short, and there is no need to
// leave so much room to drain it (Alternative Backoff with ECN, RFC 8511).
func (r *reno) Congestion(_ sched.Time, flight int, cause Cause) {
	num, den := renoLossNum, renoLossDen
	if cause == Mark {
		num, den = renoMarkNum, renoMarkDen
	}
	r.reduce(min(flight, r.cwnd) * num / den)
	r.cwnd = r.ssthresh
	r.recovering = true
}

// Timeout: see Control.
func (r *reno) Timeout(_ sched.Time, flight int, again bool) {
	if !again {
		r.reduce(flight / 2)
	}
	r.started = true
	r.collapse()
}

// Undo: see Control.
func (r *reno) Undo(sched.Time) { r.restore() }
