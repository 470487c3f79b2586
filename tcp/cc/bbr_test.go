package cc

import (
	"testing"
	"time"

	"github.com/weirnet/weir/sched"
)

// path drives a bbr as a connection over a path does: a bottleneck with a queue, in steps of a packet. It is the tests' own and knows
// nothing of TCP: every packet is acknowledged on its own, and a lost one is known to be when the next one is acknowledged.
type path struct {
	*bbr
	now     sched.Time
	rate    int64         // bytes per second
	rtt     time.Duration // without a queue
	queue   int           // bytes that wait before packets are lost
	limit   int64         // the application's rate; 0: it has always more
	loss    int           // every so many packets one is lost; 0: none
	flight  []sent
	pipe    int
	free    sched.Time // when the bottleneck has sent what it was given
	next    sched.Time // when the next packet may be sent
	appNext sched.Time
	sent    int
	// What rate.go keeps.
	total, lost            uint64
	deliveredAt, firstSent sched.Time
	appLimited             uint64
	full                   bool
	states                 []bbrState
	acked                  int
}

// sent is a packet on its way.
type sent struct {
	at, back               sched.Time // when it was sent, when its ACK arrives
	deliveredAt, firstSent sched.Time
	delivered, lost        uint64
	inFlight               int
	appLimited, gone       bool
}

func newPath(rate int64, rtt time.Duration, queue int) *path {
	p := &path{bbr: new(bbr), now: sched.Time(time.Second), rate: rate, rtt: rtt, queue: queue}
	p.init(mss, false)
	p.Idle(p.now, 0, rtt, false)
	p.states = []bbrState{p.state}
	return p
}

// send puts as many packets on the way as window and pacing allow at this instant.
func (p *path) send() {
	for p.pipe+mss <= p.Cwnd() && p.next <= p.now {
		if p.limit > 0 {
			if p.appNext > p.now {
				return
			}
			p.appLimited = max(p.total+uint64(p.pipe), 1) // it has nothing but this
		}
		if p.pipe == 0 {
			p.firstSent, p.deliveredAt = p.now, p.now
		}
		p.pipe += mss
		s := sent{at: p.now, deliveredAt: p.deliveredAt, firstSent: p.firstSent, delivered: p.total, lost: p.lost, inFlight: p.pipe,
			appLimited: p.appLimited != 0}
		p.sent++
		start := max(p.now, p.free)
		if int(int64(start.Sub(p.now))*p.rate/int64(time.Second)) > p.queue || p.loss > 0 && p.sent%p.loss == 0 {
			s.gone, s.back = true, start.Add(p.rtt)
		} else {
			p.free = start.Add(time.Duration(mss * int64(time.Second) / p.rate))
			s.back = p.free.Add(p.rtt)
		}
		p.flight = append(p.flight, s)
		p.next = p.now.Add(time.Duration(mss * int64(time.Second) / p.PacingRate()))
		if p.limit > 0 {
			p.appNext = max(p.appNext, p.now).Add(time.Duration(mss * int64(time.Second) / p.limit))
		}
	}
	p.full = p.full || p.pipe+mss > p.Cwnd()
}

// step goes on to the next event, and takes it.
func (p *path) step() {
	p.send()
	at := sched.Never
	if len(p.flight) > 0 {
		at = p.flight[0].back
	}
	if p.pipe+mss <= p.Cwnd() {
		at = min(at, max(p.next, p.appNext))
	}
	p.now = max(p.now, at)
	for len(p.flight) > 0 && p.flight[0].back <= p.now {
		s := p.flight[0]
		p.flight = p.flight[1:]
		p.take(s)
	}
	if p.state != p.states[len(p.states)-1] {
		p.states = append(p.states, p.state)
	}
}

func (p *path) take(s sent) {
	before := p.pipe
	p.pipe -= mss
	if s.gone {
		p.lost += mss
		p.Lost(LostPacket{Now: p.now, Bytes: mss, InFlight: s.inFlight, Lost: int(p.lost - s.lost), Total: p.total, Prior: s.delivered,
			AppLimited: s.appLimited})
		if !p.recovering {
			p.Congestion(p.now, before, Loss)
		}
		return
	}
	p.total += mss
	p.acked += mss
	p.deliveredAt, p.firstSent = p.now, s.at
	if p.appLimited != 0 && p.total > p.appLimited {
		p.appLimited = 0
	}
	interval := max(s.at.Sub(s.firstSent), p.now.Sub(s.deliveredAt))
	delivered := int(p.total - s.delivered)
	p.Acked(&Ack{Now: p.now, Acked: mss, Delivered: mss, InFlight: before, Pipe: p.pipe, MSS: mss, RTT: p.now.Sub(s.at), SRTT: p.rtt,
		MinRTT: p.rtt, CwndFull: p.full, Total: p.total,
		Sample: Sample{Rate: int64(delivered) * int64(time.Second) / int64(interval), Delivered: delivered, Interval: interval,
			Prior: s.delivered, InFlight: s.inFlight, Lost: int(p.lost - s.lost), AppLimited: s.appLimited}})
	p.full = false
	if p.recovering && s.lost == p.lost {
		p.Recovered(p.now)
	}
}

// run lets time pass.
func (p *path) run(d time.Duration) {
	for end := p.now.Add(d); p.now < end; {
		p.step()
	}
}

// until runs until the state is reached.
func (p *path) until(t *testing.T, s bbrState) {
	t.Helper()
	for end := p.now.Add(20 * time.Second); p.state != s; {
		if p.now >= end {
			t.Fatalf("state %d was not reached, but %v", s, p.states)
		}
		p.step()
	}
}

const bdp = 250_000 // of 12.5 MB/s and 20 ms

func newBulk() *path { return newPath(12_500_000, 20*ms, 4*bdp) }

// §5.6.2: before a sample, the initial window in a round trip, times the gain. §5.3.1.1: the gain lets the rate double each round trip.
func TestBBRStartup(t *testing.T) {
	p := newBulk()
	if want := int64(10*mss) * 50 * 277 / 100; p.PacingRate() != want {
		t.Errorf("initial pacing rate %d, want %d", p.PacingRate(), want)
	}
	p.run(65 * ms)
	if p.state != bbrStartup || p.Cwnd() < 40*mss || p.Cwnd() > 90*mss {
		t.Errorf("after three round trips in state %d, window %d", p.state, p.Cwnd())
	}
}

// Appendix A.1, A.3: out of Startup after three round trips without growth, the estimate within 2 % of the path's, then Drain at half of
// it, until no more is in flight than the path holds, then ProbeBW.
func TestBBRPlateauAndDrain(t *testing.T) {
	p := newBulk()
	p.until(t, bbrDrain)
	if got := p.maxBandwidth(); got < p.rate*98/100 || got > p.rate*102/100 {
		t.Errorf("bandwidth %d, want %d", got, p.rate)
	}
	if !p.fullBwNow || !p.fullBwReached || p.fullBwCount != 3 {
		t.Errorf("full pipe: now %v, reached %v, count %d", p.fullBwNow, p.fullBwReached, p.fullBwCount)
	}
	if got, want := p.PacingRate(), p.bw*50/100*99/100; got != want && got != want-1 {
		t.Errorf("in Drain paced at %d of %d", got, p.bw)
	}
	p.until(t, bbrCruise)
	if int64(p.pipe) > p.inflight(100) {
		t.Errorf("Drain ended with %d in flight, the path holds %d", p.pipe, p.bdpMultiple(100))
	}
}

// Appendix A.4: Drain ends after three round trips though there is more in flight.
func TestBBRDrainEndsInTime(t *testing.T) {
	p := newBulk()
	p.until(t, bbrDrain)
	for range 4 {
		p.checkDrainDone(&Ack{Now: p.now, Pipe: 2 * bdp})
		if p.state != bbrDrain {
			t.Fatalf("Drain ended after %d round trips with twice of what the path holds in flight", p.rounds-p.drainStart)
		}
		p.rounds++
	}
	p.checkDrainDone(&Ack{Now: p.now, Pipe: 2 * bdp})
	if p.state != bbrDown {
		t.Error("Drain has not ended after more than three round trips")
	}
}

// Appendix A.2: losses end Startup though the application limits the rate; §5.3.1.3 says which.
func TestBBRStartupLoss(t *testing.T) {
	p := newBulk()
	p.limit = 5_000_000
	p.run(200 * ms)
	if p.state != bbrStartup {
		t.Fatalf("state %d: application-limited samples ended Startup", p.state)
	}
	p.loss = 10
	p.until(t, bbrDown) // Drain has nothing to do
	if !p.fullBwReached || p.inflightLong == Infinite || p.undoState != bbrStartup {
		t.Errorf("reached %v, inflight_longterm %d, undo %d", p.fullBwReached, p.inflightLong, p.undoState)
	}
	p.Undo(p.now) // Appendix A.18
	if p.state != bbrStartup || p.fullBwReached || p.inflightLong != Infinite {
		t.Errorf("after undo: state %d, reached %v, inflight_longterm %d", p.state, p.fullBwReached, p.inflightLong)
	}
}

// A few losses do not end Startup, however high their share of a small window.
func TestBBRStartupFewLosses(t *testing.T) {
	p := newPath(125_000, 20*ms, 100*mss)
	p.loss = 40
	p.run(150 * ms)
	if p.fullBwReached && p.inflightLong != Infinite {
		t.Error("five losses ended Startup")
	}
}

// Appendix A.7: without losses, what the application limits ends neither Startup nor a probe.
func TestBBRAppLimited(t *testing.T) {
	p := newBulk()
	p.limit = 1_000_000
	p.run(4 * time.Second)
	if p.state != bbrStartup {
		t.Errorf("state %d after four seconds of little to send", p.state)
	}
}

// §5.3.3: the phases of a cycle come in turn, each with its gains (§5.6.1).
func TestBBRCycle(t *testing.T) {
	p := newBulk()
	p.until(t, bbrCruise) // there was no queue left for DOWN to drain
	gains := map[bbrState][2]int64{bbrDown: {90, 200}, bbrCruise: {100, 200}, bbrRefill: {100, 200}, bbrUp: {125, 225}}
	for _, s := range []bbrState{bbrRefill, bbrUp, bbrDown, bbrCruise} {
		p.until(t, s)
		if g := gains[s]; p.pacingGain() != g[0] || p.cwndGain() != g[1] {
			t.Errorf("state %d: gains %d and %d", s, p.pacingGain(), p.cwndGain())
		}
	}
	want := []bbrState{bbrStartup, bbrDrain, bbrCruise, bbrRefill, bbrUp, bbrDown, bbrCruise}
	for i := range want {
		if i >= len(p.states) || p.states[i] != want[i] {
			t.Fatalf("states %v, want %v", p.states, want)
		}
	}
}

// §5.3.3.8: a probe comes after two to three seconds or, to leave a Reno flow its share, as many round trips as the window has segments,
// but no more than 63.
func TestBBRProbeWait(t *testing.T) {
	for _, tt := range []struct {
		rtt         time.Duration
		least, most time.Duration
	}{{20 * ms, 62 * 20 * ms, 66 * 24 * ms}, {100 * ms, 2 * time.Second, 3*time.Second + 200*ms}} {
		p := newPath(12_500_000, tt.rtt, 4*bdp)
		p.until(t, bbrCruise)
		begin := p.cycleAt
		p.until(t, bbrRefill)
		if d := p.now.Sub(begin); d < tt.least || d > tt.most {
			t.Errorf("round trip %v: a probe after %v, want %v to %v", tt.rtt, d, tt.least, tt.most)
		}
	}
}

// §5.5.10.2: a probe that loses more than a fiftieth of what is in flight has gone too high: the volume is remembered, and the next probe
// goes no further than that (§5.3.3.6).
func TestBBRProbeTooHigh(t *testing.T) {
	p := newPath(12_500_000, 20*ms, bdp/10)
	p.until(t, bbrCruise)
	p.until(t, bbrUp)
	p.inflightLong = Infinite
	p.until(t, bbrDown)
	if !p.tooHigh || p.inflightLong < bdp*95/100 || p.inflightLong > bdp*130/100 {
		t.Errorf("too high: %v; inflight_longterm %d with room for %d", p.tooHigh, p.inflightLong, bdp*11/10)
	}
	p.startUp(&Sample{})
	if p.timeToGoDown(&Ack{Pipe: int(p.inflightLong) - 1}, &Sample{}) {
		t.Error("the next probe ends before it has come to where the last was too high")
	}
	p.updateProbeBwCyclePhase(&Ack{Now: p.now, Pipe: int(p.inflightLong)}, &Sample{})
	if p.state != bbrDown || !p.precautionary {
		t.Errorf("the next probe goes on where the last was too high: state %d, precautionary %v", p.state, p.precautionary)
	}
	p.roundStart = true
	p.updateProbeBwCyclePhase(&Ack{Now: p.now}, &Sample{})
	if p.state != bbrRefill {
		t.Errorf("state %d after a precautionary probe without loss, want another probe", p.state)
	}
}

// §5.3.3.1, Appendix A.8: down to what leaves headroom, if losses have told how much there is room for.
func TestBBRHeadroom(t *testing.T) {
	p := newBulk()
	p.inflightLong = 100 * mss
	if got := p.inflightWithHeadroom(); got != 85*mss {
		t.Errorf("%d with headroom of 100 segments, want 85", got)
	}
	p.state = bbrCruise
	if got := p.boundCwndForModel(200 * mss); got != 85*mss {
		t.Errorf("window %d in CRUISE", got)
	}
	p.state = bbrRefill
	if got := p.boundCwndForModel(200 * mss); got != 100*mss {
		t.Errorf("window %d in REFILL", got)
	}
	p.inflightLong = 2 * mss
	if got := p.inflightWithHeadroom(); got != 4*mss {
		t.Errorf("%d with headroom of 2 segments, want at least 4", got)
	}
}

// Appendix A.9: DOWN goes straight to REFILL if what is in flight does not come down in time.
func TestBBRDownEndsInTime(t *testing.T) {
	p := newBulk()
	p.until(t, bbrDown)
	p.inflightLong = bdp / 4 // the window is bounded by this, but what is needed for CRUISE is less
	a := &Ack{Now: p.cycleAt.Add(p.probeWait) + 1, Pipe: bdp}
	p.updateProbeBwCyclePhase(a, &Sample{Interval: 1})
	if p.state != bbrRefill {
		t.Errorf("state %d after the time for a probe", p.state)
	}
}

// §5.3.3.5: inflight_longterm grows by 1, 2, 4, … segments in successive round trips of a probe that it limits.
func TestBBRProbeUpward(t *testing.T) {
	p := newBulk()
	p.until(t, bbrCruise)
	p.inflightLong, p.cwnd = 100*mss, 100*mss
	p.startUp(&Sample{})
	for want := int32(1); want <= 8; want *= 2 {
		before := p.inflightLong
		p.roundStart = false
		for range 100 {
			p.cwnd = p.inflightLong
			p.probeInflightLongUpward(&Ack{Delivered: mss, CwndFull: true})
		}
		if got := (p.inflightLong - before) / mss; got < want-1 || got > want+1 {
			t.Errorf("%d segments more in a round trip, want %d", got, want)
		}
		p.roundStart, p.cwnd = true, p.inflightLong
		p.probeInflightLongUpward(&Ack{CwndFull: true})
	}
	before := p.inflightLong
	p.probeInflightLongUpward(&Ack{Delivered: 1000 * mss})
	if p.inflightLong != before {
		t.Error("it grew though the window was not full")
	}
}

// §5.5.10.3: a round trip with a loss that is no probe takes rate and volume down to what was delivered, but by no more than 0.7; REFILL
// forgets that.
func TestBBRLowerBounds(t *testing.T) {
	p := newBulk()
	p.until(t, bbrCruise)
	bw, cwnd := p.maxBandwidth(), p.cwnd
	p.sentGain, p.ackedGain, p.inflightShort = 100, 100, Infinite
	p.bwShort = infiniteRate
	p.lossInRound, p.bwLatest, p.inflightLatest = true, bw*9/10, cwnd/10
	p.adaptLowerBounds()
	if want := bw * 9 / 10 * 100 / 99; p.bwShort < want-1 || p.bwShort > want+1 {
		t.Errorf("bw_shortterm %d of %d, want what was delivered and the margin", p.bwShort, bw)
	}
	if want := cwnd * 7 / 10; p.inflightShort < want-1 || p.inflightShort > want+1 {
		t.Errorf("inflight_shortterm %d, want β of %d", p.inflightShort, cwnd)
	}
	p.bwShort, p.bwLatest, p.sentGain = bw, bw*88/100, 90
	p.adaptLowerBounds()
	if want := bw * 98765 / 100000; p.bwShort < want*999/1000 || p.bwShort > want*1001/1000 {
		t.Errorf("bw_shortterm %d of %d after 0.88 of it was delivered in DOWN", p.bwShort, bw)
	}
	p.bwLatest = 0
	p.adaptLowerBounds()
	if want := bw * 69135 / 100000; p.bwShort < want*999/1000 || p.bwShort > want*1001/1000 {
		t.Errorf("bw_shortterm %d, want β of %d", p.bwShort, bw)
	}
	p.bwLatest = bw * 8 / 10
	p.adaptLowerBounds()
	if p.bwShort != p.bwLatest {
		t.Errorf("bw_shortterm %d, want the %d that were delivered: it rises, too", p.bwShort, p.bwLatest)
	}
	p.boundBwForModel()
	if p.bw != p.bwShort {
		t.Error("the rate is not bounded")
	}
	p.startRefill()
	if p.bwShort != infiniteRate || p.inflightShort != Infinite {
		t.Error("REFILL has not forgotten")
	}
	p.lossInRound = true
	p.adaptLowerBounds()
	if p.bwShort != infiniteRate {
		t.Error("a loss while probing has lowered the rate")
	}
}

// §5.3.4, Appendix A.10: if the least round trip is not seen for five seconds, half of the window for 200 ms and a round trip, and then
// CRUISE.
func TestBBRProbeRTT(t *testing.T) {
	p := newBulk()
	p.until(t, bbrCruise)
	p.rtt += 5 * ms // which nothing will be below
	p.until(t, bbrProbeRTT)
	begin := p.now
	if d := begin.Sub(p.states0()); d < 5*time.Second {
		t.Errorf("ProbeRTT after %v", d)
	}
	for p.probeRTTDone == 0 {
		p.step()
	}
	if int64(p.Cwnd()) > p.bdpMultiple(50) {
		t.Errorf("window %d in ProbeRTT, half of the path is %d", p.Cwnd(), p.bdpMultiple(50))
	}
	p.until(t, bbrCruise)
	if d := p.now.Sub(begin); d < 200*ms || d > 300*ms {
		t.Errorf("ProbeRTT took %v", d)
	}
	if int64(p.Cwnd()) < p.bdpMultiple(100) {
		t.Errorf("window %d after ProbeRTT", p.Cwnd())
	}
	p.run(11 * time.Second)
	if p.minRTT < 24*ms {
		t.Errorf("least round trip %v is still remembered after ten seconds", p.minRTT)
	}
}

// What ProbeRTT holds back is not taken for what the path delivers, where every round trip has a loss (§5.3.3.8.3: "a non-application-limited
// round trip").
func TestBBRLossAfterProbeRTT(t *testing.T) {
	p := newBulk()
	p.until(t, bbrProbeRTT)
	p.loss = 50
	p.until(t, bbrCruise)
	for range 3 * bdp / mss {
		p.step()
		if p.bwShort < p.maxBandwidth()*9/10 {
			t.Fatalf("bw_shortterm %d of %d after ProbeRTT", p.bwShort, p.maxBandwidth())
		}
	}
}

// states0 is when the path began.
func (p *path) states0() sched.Time { return sched.Time(time.Second) }

// §5.4.1, Appendix A.11: after idle time the window is as it was, the pace is that of the path, and idleness stands for ProbeRTT.
func TestBBRIdle(t *testing.T) {
	p := newBulk()
	p.until(t, bbrCruise)
	cwnd := p.Cwnd()
	for p.flight = nil; p.pipe > 0; p.pipe = 0 {
	}
	p.now = p.now.Add(6 * time.Second)
	p.Idle(p.now, 6*time.Second, p.rtt, true)
	if p.Cwnd() != cwnd || p.PacingRate() != p.bw*99/100 {
		t.Errorf("window %d of %d, pace %d of %d", p.Cwnd(), cwnd, p.PacingRate(), p.bw)
	}
	p.appLimited = p.total
	p.next = p.now
	states := len(p.states)
	p.run(25 * ms)
	for _, s := range p.states[states:] {
		if s == bbrProbeRTT {
			t.Error("ProbeRTT right after idle time")
		}
	}
}

// §5.6.4.4: a timeout leaves a segment; the window is back when all is repaired.
func TestBBRTimeout(t *testing.T) {
	p := newBulk()
	p.until(t, bbrCruise)
	cwnd := p.Cwnd()
	p.Timeout(p.now, p.pipe, false)
	if p.Cwnd() != mss {
		t.Errorf("window %d after a timeout", p.Cwnd())
	}
	p.Timeout(p.now, p.pipe, true)
	p.Recovered(p.now)
	if p.Cwnd() != cwnd {
		t.Errorf("window %d after recovery, was %d", p.Cwnd(), cwnd)
	}
}

// §3.7: a mark is congestion: it ends Startup and a probe, and in CRUISE counts as a loss.
func TestBBRMark(t *testing.T) {
	p := newBulk()
	p.run(100 * ms)
	p.Congestion(p.now, p.pipe, Mark)
	p.Recovered(p.now)
	p.until(t, bbrDrain)
	if p.inflightLong == Infinite {
		t.Error("a mark in Startup has not bounded the volume")
	}
	p.until(t, bbrUp)
	for !p.probeSample {
		p.step()
	}
	p.Congestion(p.now, p.pipe, Mark)
	if p.state != bbrDown || !p.tooHigh {
		t.Errorf("state %d after a mark in a probe", p.state)
	}
	p.Recovered(p.now)
	p.until(t, bbrCruise)
	p.Congestion(p.now, p.pipe, Mark)
	if !p.lossInRound {
		t.Error("a mark in CRUISE does not count")
	}
}

// Appendix A.14: four segments at least, however little the path holds, and the pace is still the path's.
func TestBBRSubPacket(t *testing.T) {
	p := newPath(20_000, ms, 100*mss)
	p.run(10 * time.Second)
	if p.Cwnd() < 4*mss {
		t.Errorf("window %d", p.Cwnd())
	}
	before := p.acked
	p.run(10 * time.Second)
	if got := p.acked - before; got < 180_000 || got > 201_000 {
		t.Errorf("%d bytes in ten seconds of 20 kB/s", got)
	}
}

// Appendix A.15, A.16: ten times as much bandwidth is found, and a tenth of it accepted.
func TestBBRBandwidthChanges(t *testing.T) {
	p := newBulk()
	p.until(t, bbrCruise)
	p.rate *= 10
	p.run(20 * time.Second)
	if got := p.maxBandwidth(); got < p.rate*9/10 {
		t.Errorf("bandwidth %d of %d", got, p.rate)
	}
	p.rate /= 10
	p.run(20 * time.Second)
	if got := p.maxBandwidth(); got > p.rate*11/10 {
		t.Errorf("bandwidth %d of %d", got, p.rate)
	}
}

// §5.5.9: what is acknowledged beyond what the bandwidth explains is added to the window, and forgotten after ten round trips.
func TestBBRAggregation(t *testing.T) {
	p := newBulk()
	p.until(t, bbrCruise)
	p.extraAt, p.extraDelivered = p.now, 0
	p.updateACKAggregation(&Ack{Now: p.now, Delivered: 50 * mss})
	if got := p.extraAcked(); got != 50*mss {
		t.Errorf("extra %d, want 50 segments", got)
	}
	for i := range 12 {
		p.roundStart = true
		p.now += sched.Time(100 * ms)
		p.updateACKAggregation(&Ack{Now: p.now, Delivered: mss})
		if i == 2 && p.extraAcked() != 50*mss {
			t.Error("forgotten after three round trips")
		}
	}
	if got := p.extraAcked(); got > mss {
		t.Errorf("extra %d after twelve round trips", got)
	}
}

// §5.5.10.2: where in a burst the losses became too many.
func TestInflightAtLoss(t *testing.T) {
	// 98 segments before the burst of 10, all of which is lost: 2 of them may be, of 100.
	if got := inflightAtLoss(&LostPacket{Bytes: 10 * mss, InFlight: 108 * mss, Lost: 10 * mss}); got != 100*mss {
		t.Errorf("%d, want 100 segments", got)
	}
	// Too many were lost before it already.
	if got := inflightAtLoss(&LostPacket{Bytes: 10 * mss, InFlight: 108 * mss, Lost: 20 * mss}); got != 98*mss {
		t.Errorf("%d, want 98 segments", got)
	}
}

// A steady flow without loss takes the path but for the margin, ProbeRTT, and what DOWN gives up.
func TestBBRSteady(t *testing.T) {
	p := newBulk()
	p.run(3 * time.Second)
	before := p.acked
	p.run(30 * time.Second)
	if share := (p.acked - before) * 100 / (30 * 12_500_000); share < 95 {
		t.Errorf("%d %% of the path", share)
	}
}

// "bbr-tolerant" keeps its rate when less than a fiftieth of a round trip is lost, and gives way when it is more.
func TestBBRTolerant(t *testing.T) {
	for _, tolerant := range []bool{false, true} {
		p := newBulk()
		p.tolerant = tolerant
		p.until(t, bbrCruise)
		bw := p.maxBandwidth()
		s := &Sample{Rate: bw * 9 / 10, Delivered: bdp, Interval: p.rtt, Prior: p.total, InFlight: bdp, Lost: 4 * mss}
		p.sentGain, p.ackedGain, p.bwLatest = 100, 100, 0
		p.lossInRound, p.lossRoundStart = true, true
		p.updateCongestionSignals(s)
		if slower := p.bwShort < bw; slower == tolerant {
			t.Errorf("tolerant %v: bw_shortterm %d of %d after a round trip that lost 1.6 %%", tolerant, p.bwShort, bw)
		}
		s.Lost = 20 * mss
		p.lossInRound, p.lossRoundStart = true, true
		p.updateCongestionSignals(s)
		if p.bwShort >= bw {
			t.Errorf("tolerant %v: bw_shortterm %d of %d after a round trip that lost 8 %%", tolerant, p.bwShort, bw)
		}
	}
}
