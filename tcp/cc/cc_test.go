package cc

import (
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/weirnet/weir/sched"
)

const (
	mss = 1000
	ms  = time.Millisecond
)

// windowed are the controls that have nothing but a window.
var windowed = []string{"cubic", "reno"}

// conn drives a Control as a connection with always enough to send does: round after round of a whole window, an ACK for two segments.
type conn struct {
	Control
	now   sched.Time
	rtt   time.Duration
	round bool
	a     Ack
}

func newConn(t *testing.T, name string) *conn {
	t.Helper()
	c, err := New(name, mss)
	if err != nil {
		t.Fatal(err)
	}
	return &conn{Control: c, now: sched.Time(time.Second), rtt: 100 * ms}
}

// ack acknowledges n bytes at the current instant.
func (c *conn) ack(n int) {
	c.a = Ack{Now: c.now, Acked: n, InFlight: max(c.Cwnd(), n), MSS: mss, RTT: c.rtt, MinRTT: c.rtt, SRTT: c.rtt, CwndLimited: true, Round: c.round}
	c.Acked(&c.a)
	c.round = false
}

// roundTrip delivers a window, evenly over a round trip.
func (c *conn) roundTrip() {
	window := c.Cwnd()
	c.round = true
	begin := c.now
	for done := 0; done < window; {
		n := min(2*mss, window-done)
		done += n
		c.now = begin.Add(c.rtt * time.Duration(done) / time.Duration(window))
		c.ack(n)
	}
}

func TestNew(t *testing.T) {
	for _, name := range Names() {
		c, err := New(name, mss)
		if err != nil {
			t.Fatal(err)
		}
		if c.Name() != name {
			t.Errorf("New(%q).Name() = %q", name, c.Name())
		}
		if c.Ssthresh() != Infinite || c.PacingRate() != 0 && !strings.HasPrefix(name, "bbr") {
			t.Errorf("%s: ssthresh %d, pacing %d at the start", name, c.Ssthresh(), c.PacingRate())
		}
	}
	_, err := New("vegas", mss)
	if err == nil || !strings.Contains(err.Error(), `"vegas"`) || !strings.Contains(err.Error(), "cubic, reno") {
		t.Errorf("New(vegas): %v", err)
	}
}

func TestSize(t *testing.T) {
	if n := unsafe.Sizeof(cubic{}); n > 128 {
		t.Errorf("cubic is %d bytes", n)
	}
	if n := unsafe.Sizeof(reno{}); n > 256 {
		t.Errorf("reno is %d bytes", n)
	}
	if n := unsafe.Sizeof(bbr{}); n > 256 {
		t.Errorf("bbr is %d bytes", n)
	}
}

// RFC 6928 §2: min (10*MSS, max (2*MSS, 14600)).
func TestInitialWindow(t *testing.T) {
	for _, tt := range []struct{ mss, want int }{{536, 5360}, {1460, 14600}, {1448, 14480}, {8960, 17920}, {65495, 130990}} {
		for _, name := range Names() {
			c, _ := New(name, 536)
			c.SetMSS(tt.mss)
			if c.Cwnd() != tt.want {
				t.Errorf("%s: mss %d: window %d, want %d", name, tt.mss, c.Cwnd(), tt.want)
			}
			c.SynLost()
			if c.Cwnd() != tt.mss {
				t.Errorf("%s: mss %d: window %d after a lost SYN, want one segment", name, tt.mss, c.Cwnd())
			}
		}
	}
}

func TestSetMSSLater(t *testing.T) {
	for _, name := range windowed {
		c := newConn(t, name)
		c.ack(mss)
		c.SetMSS(500)
		if c.Cwnd() != 11*500 {
			t.Errorf("%s: window %d after data and a smaller MSS, want 11 segments", name, c.Cwnd())
		}
		c.SetMSS(20000)
		if c.Cwnd() != 20000 {
			t.Errorf("%s: window %d is less than a segment", name, c.Cwnd())
		}
	}
}

// The window that a smaller MSS has reduced grows from where it is then; CUBIC's estimates of before do not put it back.
func TestSetMSSInAvoidance(t *testing.T) {
	for _, name := range windowed {
		c := newConn(t, name)
		c.rtt = 5 * ms // CUBIC is then in its Reno-friendly region
		for range 5 {
			c.roundTrip()
		}
		c.Congestion(c.now, c.Cwnd(), Loss)
		c.Recovered(c.now)
		for range 400 { // to more than twice the threshold
			c.roundTrip()
		}
		want := c.Cwnd() / 2
		c.SetMSS(mss / 2)
		for range 3 {
			c.ack(mss / 2)
		}
		if got := c.Cwnd(); got < want || got > want+2*mss {
			t.Errorf("%s: window %d, want %d and little more", name, got, want)
		}
	}
}

func TestSlowStart(t *testing.T) {
	for _, name := range windowed {
		c := newConn(t, name)
		for want := 20 * mss; want <= 640*mss; want *= 2 {
			c.roundTrip()
			if c.Cwnd() != want {
				t.Fatalf("%s: window %d after a round trip, want %d", name, c.Cwnd(), want)
			}
		}
		before := c.Cwnd()
		c.Acked(&Ack{Now: c.now, Acked: 2 * mss, InFlight: 3 * mss, MSS: mss})
		if c.Cwnd() != before {
			t.Errorf("%s: the window grew though it was not used", name)
		}
		c.Acked(&Ack{Now: c.now, Acked: 50 * mss, InFlight: 2 * mss, MSS: mss, CwndLimited: true})
		if c.Cwnd() != before+2*mss {
			t.Errorf("%s: the window grew by %d for 50 segments of which 2 were in flight", name, c.Cwnd()-before)
		}
	}
}

// RFC 5681 §3.1: in congestion avoidance, one segment a round trip.
func TestRenoAvoidance(t *testing.T) {
	c := newConn(t, "reno")
	c.roundTrip()
	c.roundTrip()
	c.Congestion(c.now, 42*mss, Loss) // two of them by limited transmit
	c.Recovered(c.now)
	if c.Cwnd() != 20*mss || c.Ssthresh() != 20*mss {
		t.Fatalf("window %d, ssthresh %d after a loss with 40 segments in flight", c.Cwnd(), c.Ssthresh())
	}
	for i := 1; i <= 50; i++ {
		c.roundTrip()
		if want := (20 + i) * mss; c.Cwnd() < want-want/50 || c.Cwnd() > want {
			t.Fatalf("window %d after %d round trips, want about %d", c.Cwnd(), i, want)
		}
	}
}

// Bytes that cross the threshold count for slow start up to it, and for congestion avoidance beyond.
func TestCrossThreshold(t *testing.T) {
	c := newConn(t, "reno")
	c.Timeout(c.now, 8*mss, false)
	c.ack(mss)
	c.ack(mss)
	if c.Cwnd() != 3*mss || c.Ssthresh() != 4*mss {
		t.Fatalf("window %d, ssthresh %d", c.Cwnd(), c.Ssthresh())
	}
	c.ack(3 * mss)
	if want := 4*mss + 2*mss*mss/(4*mss); c.Cwnd() != want {
		t.Errorf("window %d, want %d", c.Cwnd(), want)
	}
}

func TestReduction(t *testing.T) {
	for _, tt := range []struct {
		name         string
		flight, want int
	}{
		{"reno", 10 * mss, 5 * mss}, {"reno", 3 * mss, 2 * mss}, {"reno", 0, 2 * mss},
		{"cubic", 10 * mss, 7 * mss}, {"cubic", 2 * mss, 2 * mss}, {"cubic", 0, 2 * mss},
	} {
		c := newConn(t, tt.name)
		c.Congestion(c.now, tt.flight, Loss)
		if c.Cwnd() != tt.want || c.Ssthresh() != tt.want {
			t.Errorf("%s: window %d, ssthresh %d after a loss with %d in flight, want %d", tt.name, c.Cwnd(), c.Ssthresh(), tt.flight, tt.want)
		}
		c.ack(tt.flight)
		if c.Cwnd() != tt.want {
			t.Errorf("%s: the window grew in recovery", tt.name)
		}
		c.Recovered(c.now)
		c.roundTrip()
		if c.Cwnd() <= tt.want {
			t.Errorf("%s: the window did not grow after recovery", tt.name)
		}
	}
}

// RFC 8511 §3.1: after a mark Reno keeps 0.8 of the window, CUBIC 0.85.
func TestMark(t *testing.T) {
	for name, want := range map[string]int{"reno": 80 * mss, "cubic": 85 * mss} {
		c := newConn(t, name)
		for c.Cwnd() < 100*mss {
			c.roundTrip()
		}
		c.Congestion(c.now, 100*mss, Mark)
		if c.Cwnd() != want || c.Ssthresh() != want {
			t.Errorf("%s: window %d, ssthresh %d after a mark with 100 segments in flight, want %d", name, c.Cwnd(), c.Ssthresh(), want)
		}
		c.ack(mss)
		if c.Cwnd() != want {
			t.Errorf("%s: the window grew in the round trip of the mark", name)
		}
		c.Recovered(c.now)
		c.Congestion(c.now, 2*mss, Mark)
		if c.Ssthresh() != 2*mss {
			t.Errorf("%s: ssthresh %d, want at least two segments", name, c.Ssthresh())
		}
	}
}

func TestTimeout(t *testing.T) {
	for name, ssthresh := range map[string]int{"reno": 5 * mss, "cubic": 7 * mss} {
		c := newConn(t, name)
		c.Timeout(c.now, 10*mss, false)
		if c.Cwnd() != mss || c.Ssthresh() != ssthresh {
			t.Errorf("%s: window %d, ssthresh %d after a timeout", name, c.Cwnd(), c.Ssthresh())
		}
		c.Timeout(c.now, 10*mss, true)
		if c.Cwnd() != mss || c.Ssthresh() != ssthresh {
			t.Errorf("%s: window %d, ssthresh %d after a second timeout: RFC 5681 §3.1 holds ssthresh", name, c.Cwnd(), c.Ssthresh())
		}
		c.ack(mss)
		if c.Cwnd() != 2*mss {
			t.Errorf("%s: window %d after the first ACK: no slow start in loss recovery", name, c.Cwnd())
		}
	}
}

func TestUndo(t *testing.T) {
	for _, name := range windowed {
		c := newConn(t, name)
		c.roundTrip()
		cwnd := c.Cwnd()
		c.Congestion(c.now, cwnd, Loss)
		c.Undo(c.now)
		if c.Cwnd() != cwnd || c.Ssthresh() != Infinite {
			t.Errorf("%s: window %d, ssthresh %d after undoing recovery", name, c.Cwnd(), c.Ssthresh())
		}
		c.ack(mss)
		if c.Cwnd() != cwnd+mss {
			t.Errorf("%s: no slow start after undo", name)
		}
		c.Timeout(c.now, cwnd, false)
		c.Timeout(c.now, cwnd, true)
		c.ack(mss)
		c.Undo(c.now)
		if c.Cwnd() != cwnd+mss || c.Ssthresh() != Infinite {
			t.Errorf("%s: window %d, ssthresh %d after undoing two timeouts", name, c.Cwnd(), c.Ssthresh())
		}
		c.Undo(c.now)
		if c.Cwnd() != cwnd+mss {
			t.Errorf("%s: an Undo of nothing changed the window", name)
		}
	}
}

// RFC 5681 §4.1.
func TestIdle(t *testing.T) {
	for _, name := range windowed {
		c := newConn(t, name)
		c.roundTrip()
		c.Congestion(c.now, c.Cwnd(), Loss)
		c.Recovered(c.now)
		ssthresh := c.Ssthresh()
		c.Idle(c.now, time.Second, c.rtt, true)
		if c.Cwnd() != 10*mss || c.Ssthresh() != ssthresh {
			t.Errorf("%s: window %d, ssthresh %d after idle time, want %d, %d", name, c.Cwnd(), c.Ssthresh(), 10*mss, ssthresh)
		}
		c.Timeout(c.now, 4*mss, false)
		c.Idle(c.now, time.Second, c.rtt, true)
		if c.Cwnd() != mss {
			t.Errorf("%s: idle time made the window grow to %d", name, c.Cwnd())
		}
	}
}

// wCubic of RFC 9438 §4.2 in floating point, windows in segments.
func closedForm(t, wMax, start float64) float64 {
	const c = 0.4
	k := math.Cbrt((wMax - start) / c)
	return c*math.Pow(t-k, 3) + wMax
}

func TestCubicCurve(t *testing.T) {
	for _, tt := range []struct {
		wMax, mss int
	}{{100, 1460}, {1000, 1460}, {10000, 536}, {16000, 65495}, {500000, 1448}} {
		c := &cubic{}
		c.init(tt.mss)
		start := tt.wMax * 7 / 10
		c.cwnd, c.wMax = start*tt.mss, tt.wMax*tt.mss
		c.begin(sched.Time(time.Hour))
		for t100 := 0; t100 <= 6000; t100 += 7 {
			sec := float64(t100) / 100
			want := closedForm(sec, float64(tt.wMax), float64(start)) * float64(tt.mss)
			got := float64(c.wCubic(time.Duration(t100) * 10 * ms))
			if want < maxCwnd && math.Abs(got-want) > 2+want/1e5 {
				t.Fatalf("W_max %d, mss %d: W_cubic(%v s) = %.0f, want %.0f", tt.wMax, tt.mss, sec, got, want)
			}
		}
		if got := c.wCubic(1 << 62); got > maxCwnd {
			t.Errorf("W_cubic(a very long time) = %d", got)
		}
	}
}

// The window of a long connection follows W_cubic(t) from the loss on, by ACKs.
func TestCubicGrowth(t *testing.T) {
	c := newConn(t, "cubic")
	c.rtt = 200 * ms // where the cubic curve, not the Reno-friendly one, decides
	cubic := c.Control.(*cubic)
	cubic.cwnd = 1000 * mss
	c.Congestion(c.now, 1000*mss, Loss)
	c.Recovered(c.now)
	if c.Cwnd() != 700*mss {
		t.Fatalf("window %d after the loss", c.Cwnd())
	}
	begin := c.now
	for c.now.Sub(begin) < 14*time.Second {
		c.roundTrip()
		want := closedForm(c.now.Sub(begin).Seconds(), 1000, 700) * mss
		if got := float64(c.Cwnd()); math.Abs(got-want) > want*0.03 {
			t.Fatalf("window %.0f after %v, want about %.0f", got, c.now.Sub(begin), want)
		}
	}
	if c.Cwnd() <= 1000*mss {
		t.Errorf("window %d: never passed W_max", c.Cwnd())
	}
}

// RFC 9438 §4.3: where Reno would be faster, the window grows by α = 9/17 segment a round trip, and by one from cwnd_prior on.
func TestCubicRenoFriendly(t *testing.T) {
	c := newConn(t, "cubic")
	c.rtt = 10 * ms
	c.Congestion(c.now, 10*mss, Loss)
	c.Recovered(c.now)
	trips := 0
	for ; c.Cwnd() < 10*mss; trips++ {
		c.roundTrip()
	}
	if trips < 5 || trips > 7 { // 3 segments at 9/17 each
		t.Errorf("%d round trips from 7 to 10 segments", trips)
	}
	for range 10 {
		c.roundTrip()
	}
	if got := c.Cwnd(); got < 19*mss || got > 21*mss {
		t.Errorf("window %d ten round trips later, want about %d", got, 20*mss)
	}
}

// RFC 9438 §4.7.
func TestCubicFastConvergence(t *testing.T) {
	c := newConn(t, "cubic")
	cubic := c.Control.(*cubic)
	cubic.cwnd = 100 * mss
	c.Congestion(c.now, 100*mss, Loss)
	c.Recovered(c.now)
	if cubic.wMax != 100*mss {
		t.Fatalf("W_max %d after the first loss", cubic.wMax)
	}
	c.Congestion(c.now, 70*mss, Loss)
	if want := 70 * mss * 17 / 20; cubic.wMax != want {
		t.Errorf("W_max %d after a loss below it, want %d", cubic.wMax, want)
	}
	c.Undo(c.now)
	if cubic.wMax != 100*mss || c.Cwnd() != 70*mss {
		t.Errorf("W_max %d, window %d after undoing that", cubic.wMax, c.Cwnd())
	}
}

// RFC 9438 §4.8: the first congestion avoidance after a timeout has K 0 and W_max where the window stands.
func TestCubicAfterTimeout(t *testing.T) {
	c := newConn(t, "cubic")
	cubic := c.Control.(*cubic)
	cubic.cwnd = 100 * mss
	c.Timeout(c.now, 100*mss, false)
	c.ack(mss)
	c.Recovered(c.now)
	for c.Cwnd() <= 70*mss {
		c.roundTrip()
	}
	if cubic.k != 0 || cubic.wMax < 70*mss || cubic.wMax > 71*mss {
		t.Errorf("K %v, W_max %d", cubic.k, cubic.wMax)
	}
}

// RFC 9438 §5.8: time in which the application sends too little does not count.
func TestCubicApplicationLimited(t *testing.T) {
	c := newConn(t, "cubic")
	cubic := c.Control.(*cubic)
	cubic.cwnd = 200 * mss
	c.Congestion(c.now, 200*mss, Loss)
	c.Recovered(c.now)
	c.roundTrip()
	before := c.Cwnd()
	for range 600 {
		c.now = c.now.Add(100 * ms)
		c.Acked(&Ack{Now: c.now, Acked: mss, InFlight: mss, MSS: mss, SRTT: c.rtt})
	}
	c.roundTrip()
	if got := c.Cwnd(); got > before+before/10 {
		t.Errorf("window %d, %d before a minute of little to send", got, before)
	}
}

// RFC 9406: a round trip time that grows by an eighth from one round to the next ends slow start after five rounds of growth by a
// quarter; if it falls again, slow start goes on.
func TestHyStart(t *testing.T) {
	for _, name := range windowed {
		c := newConn(t, name)
		c.roundTrip()
		c.roundTrip()
		c.rtt += 14 * ms // an eighth of 100 ms is 12.5
		c.roundTrip()
		before := c.Cwnd()
		if before >= 80*mss {
			t.Fatalf("%s: window %d: the growth of the round trip time went unnoticed", name, before)
		}
		for i := range 5 {
			if c.Ssthresh() != Infinite {
				t.Fatalf("%s: slow start ended after %d rounds of CSS", name, i)
			}
			c.roundTrip()
		}
		if c.Ssthresh() == Infinite || c.Cwnd() > before*4 {
			t.Errorf("%s: ssthresh %d, window %d after CSS from %d", name, c.Ssthresh(), c.Cwnd(), before)
		}
	}
	c := newConn(t, "cubic")
	c.roundTrip()
	c.roundTrip()
	c.rtt += 14 * ms
	c.roundTrip()
	c.rtt -= 10 * ms
	c.roundTrip()
	before := c.Cwnd()
	c.roundTrip()
	if c.Cwnd() != 2*before || c.Ssthresh() != Infinite {
		t.Errorf("window %d of %d: slow start did not go on after a spurious growth", c.Cwnd(), before)
	}
}

func TestNoAllocation(t *testing.T) {
	for _, name := range Names() {
		c := newConn(t, name)
		c.Congestion(c.now, 100*mss, Loss)
		c.Recovered(c.now)
		if n := testing.AllocsPerRun(100, func() { c.now++; c.ack(mss) }); n != 0 {
			t.Errorf("%s: %v allocations an ACK", name, n)
		}
	}
}
