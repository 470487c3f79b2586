package tcp

import (
	"testing"
	"time"
)

const ms = time.Millisecond

// RFC 6298 §2: what is computed by hand from the rules.
func TestRTTEstimate(t *testing.T) {
	for _, test := range []struct {
		name              string
		samples           []time.Duration
		n                 int
		srtt, rttvar, rto time.Duration
	}{
		{"none: no RTO (§2.1 is the caller's)", nil, 1, 0, 0, 0},
		{"the first: SRTT = R, RTTVAR = R/2 (§2.2)", []time.Duration{100 * ms}, 1, 100 * ms, 50 * ms, 300 * ms},
		{"the second: β = 1/4, then α = 1/8 (§2.3)", []time.Duration{100 * ms, 180 * ms}, 1, 110 * ms, 57500 * time.Microsecond, 340 * ms},
		{"RTTVAR takes the old SRTT", []time.Duration{80 * ms, 80 * ms}, 1, 80 * ms, 30 * ms, 200 * ms},
		{"less than before", []time.Duration{100 * ms, 20 * ms}, 1, 90 * ms, 57500 * time.Microsecond, 320 * ms},
		{"two samples a round trip: half the factors (RFC 7323 appendix G)", []time.Duration{100 * ms, 180 * ms}, 2,
			105 * ms, 53750 * time.Microsecond, 320 * ms},
		{"nothing takes no time", []time.Duration{0, 0}, 1, leastRTT, 375 * time.Nanosecond, leastRTT + ms},
	} {
		var e rttEstimate
		for _, r := range test.samples {
			e.sample(r, test.n)
		}
		if e.srtt != test.srtt || e.rttvar != test.rttvar || e.rto(ms, 0) != test.rto {
			t.Errorf("%s: SRTT %v RTTVAR %v RTO %v, want %v %v %v", test.name, e.srtt, e.rttvar, e.rto(ms, 0), test.srtt, test.rttvar, test.rto)
		}
	}
}

func TestRTOFloor(t *testing.T) {
	e := rttEstimate{srtt: 100 * ms, rttvar: ms}
	if got := e.rto(ms, 200*ms); got != 300*ms {
		t.Errorf("RTO %v: the minimum comes on top of SRTT", got)
	}
	if got := e.rto(15*ms, 0); got != 115*ms {
		t.Errorf("RTO %v: K·RTTVAR counts as G if it is less (RFC 6298 §2.3)", got)
	}
	e.sample(10*ms, 1)
	if e.min != 10*ms {
		t.Errorf("least RTT %v", e.min)
	}
}

// RFC 6298 §5.5 and §2.5: doubled each time, up to the maximum; never an overflow.
func TestBackoff(t *testing.T) {
	c := Conn{cfg: &Config{MaxRTO: 60 * time.Second}, state: Established}
	f := &flight{}
	for want := time.Second; want <= 32*time.Second; want *= 2 {
		if got := c.rto(f); got != want {
			t.Errorf("backoff %d: %v, want %v", f.backoff, got, want)
		}
		f.backoff++
	}
	f.backoff = 255
	if got := c.rto(f); got != 60*time.Second {
		t.Errorf("RTO %v beyond its maximum", got)
	}
	c.rtt.sample(1000*time.Hour, 1)
	if got := c.rto(f); got != 60*time.Second {
		t.Errorf("RTO %v beyond its maximum", got)
	}
	c.rtt = rttEstimate{}
	c.set(synLost)
	if got := c.rto(nil); got != 3*time.Second {
		t.Errorf("RTO %v after a lost SYN (RFC 6298 §5.7)", got)
	}
}
