package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// initialRTO is the RTO before there is a sample (RFC 6298 §2.1), and lossyRTO the same after a SYN or SYN-ACK timed out (§5.7).
const (
	initialRTO = time.Second
	lossyRTO   = 3 * time.Second
)

// leastRTT keeps measurements above zero: in one process a round trip may be quicker than the clock.
const leastRTT = time.Microsecond

// rttEstimate is the smoothed round trip time of RFC 6298 §2. The zero value has seen no sample.
type rttEstimate struct {
	srtt, rttvar, min time.Duration
}

// sample takes a measurement. n is how many of them a round trip gives: with more than one, the smoothing factors α = 1/8 and β = 1/4
// are divided by it, so that the estimate remembers round trips, not ACKs (RFC 7323 appendix G).
func (e *rttEstimate) sample(r time.Duration, n int) {
	r = max(r, leastRTT)
	if e.min == 0 || r < e.min {
		e.min = r
	}
	if e.srtt == 0 { // §2.2
		e.srtt, e.rttvar = r, r/2
		return
	}
	// §2.3, in this order.
	d := e.srtt - r
	if d < 0 {
		d = -d
	}
	w := time.Duration(max(n, 1))
	e.rttvar += (d - e.rttvar) / (4 * w)
	e.srtt = max(e.srtt+(r-e.srtt)/(8*w), leastRTT)
}

// adapt makes the timer more conservative after a spurious timeout (RFC 4015 §3.1, step 11): SRTT is no less than the sample, RTTVAR no less
// than half of it. The samples that follow bring it down again.
func (e *rttEstimate) adapt(r time.Duration) {
	e.srtt, e.rttvar = max(e.srtt, r), max(e.rttvar, r/2)
}

// rto is SRTT + max(G, 4·RTTVAR) (RFC 6298 §2.3), with floor in place of G where it is more: as Linux does, the minimum is kept for
// what comes on top of the round trip, so that a peer's delayed ACK does not look like a loss on a long path. 0 without a sample.
func (e *rttEstimate) rto(granularity, floor time.Duration) time.Duration {
	if e.srtt == 0 {
		return 0
	}
	return e.srtt + max(granularity, floor, 4*e.rttvar)
}

// sampleEcho takes a measurement from an echoed timestamp (RFC 7323 §4.1), which is only as fine as the timestamps: for when the times of
// sending say nothing, because some of what is acknowledged was sent more than once. What is echoed is the timestamp of what came at the
// left edge of the window (§4.3), which was sent last at sent. An echo from before that is of an earlier transmission, whose ACK was lost
// or slow: what it would measure is not the round trip. False if there is no sample.
func (c *Conn) sampleEcho(o *wire.TCPOptions, sent sched.Time) bool {
	if !o.TS || int32(o.TSEcr-timestamp(sent, c.tsOffset)) < 0 {
		return false
	}
	ms := int32(timestamp(c.now, c.tsOffset) - o.TSEcr)
	if ms < 0 {
		return false
	}
	c.rtt.sample(max(time.Duration(ms)*time.Millisecond, time.Millisecond), 1)
	return true
}
