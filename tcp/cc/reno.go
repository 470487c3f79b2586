package cc

import "github.com/weirnet/weir/sched"

// reno is the congestion control of RFC 5681 with byte counting.
type reno struct{ window }

func (r *reno) Name() string { return "reno" }

// Acked: see Control.
func (r *reno) Acked(a Ack) {
	r.started = true
	if r.recovering || !a.CwndLimited {
		return
	}
	n := r.climb(a, r.progress(a))
	r.grow(n, r.mss, r.cwnd) // RFC 5681 §3.1: one segment a round trip
}

// Congestion: see Control. RFC 5681 §3.2, steps 2 and 3, without the inflation: "additional data sent in limited transmit MUST NOT be
// included in this calculation", which is what is in flight beyond the window.
func (r *reno) Congestion(_ sched.Time, flight int) {
	r.reduce(min(flight, r.cwnd) / 2)
	r.cwnd = r.ssthresh
	r.recovering = true
}

// Timeout: see Control.
func (r *reno) Timeout(_ sched.Time, flight int, again bool) {
	if !again {
		r.reduce(flight / 2)
	}
	r.collapse()
}

// Undo: see Control.
func (r *reno) Undo(sched.Time) { r.restore() }
