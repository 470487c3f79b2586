package cc

import (
	"math/bits"
	"sort"
	"time"

	"github.com/weirnet/weir/sched"
)

// CUBIC's constants (RFC 9438 §5): C = 0.4 = 2/5 segments per second cubed, β = 0.7 = 7/10, and what follows from β:
// fast convergence keeps (1+β)/2 = 17/20 of W_max (§4.7), the Reno-friendly estimate grows by α = 3(1-β)/(1+β) = 9/17 (§4.3).
const (
	betaNum, betaDen   = 7, 10
	markNum, markDen   = 17, 20 // instead of β after a mark (RFC 8511 §3.1)
	fastNum, fastDen   = 17, 20
	alphaNum, alphaDen = 9, 17
	estFraction        = 10 // wEst counts 2^-10 bytes
)

// cubic is the congestion control of RFC 9438.
type cubic struct {
	window
	epoch   sched.Time // when this stage of congestion avoidance began, moved along while the application sends too little; 0: not in one
	lastAck sched.Time
	wMax    int           // bytes: W_max, the plateau of this epoch
	k       time.Duration // from epoch until W_cubic reaches wMax
	prior   int           // bytes: cwnd_prior, the window before the latest reduction
	wEst    int64         // 2^-estFraction bytes: W_est, the window that Reno would have

	undoMax, undoPrior int32 // wMax and prior before the latest reduction
}

func (c *cubic) Name() string { return "cubic" }

// Acked: see Control.
func (c *cubic) Acked(a *Ack) {
	c.started = true
	last := c.lastAck
	c.lastAck = a.Now
	limited := c.validate(a)
	if c.recovering {
		return
	}
	if !limited {
		if c.epoch != 0 {
			c.epoch += a.Now - last // RFC 9438 §5.8: time in which the window was not used does not make it grow
		}
		return
	}
	if n := c.climb(a, c.progress(a)); n > 0 && !c.slowStart() {
		c.avoid(a, n)
	}
}

// avoid is congestion avoidance for n delivered bytes (RFC 9438 §4.2 to §4.5).
func (c *cubic) avoid(a *Ack, n int) {
	if c.epoch == 0 {
		c.begin(a.Now)
	}
	t := a.Now.Sub(c.epoch)
	alpha := int64(alphaDen) // §4.3: α is 1 once W_est has reached cwnd_prior
	if c.wEst>>estFraction < int64(c.prior) {
		alpha = alphaNum
	}
	c.wEst += int64(c.mss) << estFraction * int64(n) / int64(c.cwnd) * alpha / alphaDen
	est := min(int(c.wEst>>estFraction), maxCwnd)
	if c.wCubic(t) < est {
		c.cwnd = max(c.cwnd, est) // §4.3: the Reno-friendly region
		return
	}
	// §4.4, §4.5: toward what W_cubic will be a round trip from now, at most half as much again.
	target := min(max(c.wCubic(t+a.SRTT), c.cwnd), c.cwnd+c.cwnd/2)
	c.grow(n, target-c.cwnd, c.cwnd)
}

// begin starts a stage of congestion avoidance (RFC 9438 §4.2). If the window is at W_max already, or there has been no loss to tell
// one, W_max is where it stands and K is 0 (§4.8, §4.10).
func (c *cubic) begin(now sched.Time) {
	c.epoch = max(now, 1)
	c.wEst = int64(c.cwnd) << estFraction
	c.k = 0
	if c.wMax <= c.cwnd {
		c.wMax = c.cwnd
		return
	}
	c.k = cubicRoot(c.wMax-c.cwnd, c.mss)
}

// wCubic is W_cubic(t) = C(t-K)^3 + W_max (RFC 9438 §4.2, Eq. 1) in bytes.
func (c *cubic) wCubic(t time.Duration) int {
	if t < c.k {
		return c.wMax - cubicBytes(c.k-t, c.mss)
	}
	return min(c.wMax+cubicBytes(t-c.k, c.mss), maxCwnd)
}

// cubicBytes is C·t³ in bytes, for t >= 0: with t in microseconds, 2·mss·t³ / (5·10^18), in 128 bits.
func cubicBytes(t time.Duration, mss int) int {
	us := uint64(min(t.Microseconds(), 1<<30))
	hi, lo := bits.Mul64(us*us, us*2*uint64(mss))
	q, _ := bits.Div64(hi, lo, 5e18)
	return int(min(q, maxCwnd))
}

// cubicRoot is the least t for which cubicBytes is at least n: K of RFC 9438 §4.2, Eq. 2. To a microsecond.
func cubicRoot(n, mss int) time.Duration {
	us := sort.Search(1<<30, func(us int) bool { return cubicBytes(time.Duration(us)*time.Microsecond, mss) >= n })
	return time.Duration(us) * time.Microsecond
}

// Congestion: see Control. RFC 9438 §4.6; after a mark with the β of RFC 8511.
func (c *cubic) Congestion(_ sched.Time, flight int, cause Cause) {
	num, den := int64(betaNum), int64(betaDen)
	if cause == Mark {
		num, den = markNum, markDen
	}
	c.lose(flight, num, den)
	c.cwnd = c.ssthresh
	c.recovering = true
}

// Timeout: see Control. RFC 9438 §4.8: as Reno, but with β, and the next epoch has no W_max.
func (c *cubic) Timeout(_ sched.Time, flight int, again bool) {
	if !again {
		c.lose(flight, betaNum, betaDen)
	}
	c.started = true
	c.wMax = 0
	c.epoch = 0
	c.collapse()
}

// lose sets the threshold to num/den of the window, and W_max, at a loss. A W_max that is less than the last one means that another flow is taking its share:
// fast convergence then leaves it more (RFC 9438 §4.7).
func (c *cubic) lose(flight int, num, den int64) {
	c.undoMax, c.undoPrior = int32(c.wMax), int32(c.prior)
	c.prior = c.cwnd
	if c.cwnd < c.wMax {
		c.wMax = int(int64(c.cwnd) * fastNum / fastDen)
	} else {
		c.wMax = c.cwnd
	}
	c.reduce(int(int64(min(flight, c.cwnd)) * num / den))
	c.epoch = 0
}

// Undo: see Control. RFC 9438 §4.9.
func (c *cubic) Undo(sched.Time) {
	if c.restore() {
		c.wMax, c.prior = int(c.undoMax), int(c.undoPrior)
		c.epoch = 0
	}
}

// SetMSS: see Control. A window that it reduces begins an epoch anew: the estimates of this one would undo that with the next ACK.
func (c *cubic) SetMSS(mss int) {
	before := c.cwnd
	c.window.SetMSS(mss)
	if c.cwnd < before {
		c.epoch = 0
	}
}

// Idle: see Control. The next ACK in congestion avoidance begins an epoch anew after a restart; else the idle time does not count (RFC
// 9438 §5.8).
func (c *cubic) Idle(now sched.Time, idle, srtt time.Duration, restart bool) {
	c.window.Idle(now, idle, srtt, restart)
	switch {
	case restart:
		c.epoch = 0
	case c.epoch != 0:
		c.epoch += now - c.lastAck
		c.lastAck = now
	}
}
