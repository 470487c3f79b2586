package cc

import (
	"time"

	"github.com/weirnet/weir/sched"
)

// probingBw is IsInAProbeBWState (§5.3.3.9).
func (b *bbr) probingBw() bool { return b.state >= bbrDown && b.state <= bbrUp }

// startDown is StartProbeBW_DOWN (§5.3.3.9).
func (b *bbr) startDown(now sched.Time) {
	b.resetCongestionSignals()
	b.probeUpPerInc = Infinite
	b.pickProbeWait(now)
	b.cycleAt = now
	b.acks = acksStopping
	b.startRound()
	b.state = bbrDown
}

// startRefill is StartProbeBW_REFILL (§5.3.3.9).
func (b *bbr) startRefill() {
	b.resetShortTermModel()
	b.probeUpRounds, b.probeUpAcked = 0, 0
	b.precautionary = false
	b.acks = acksRefilling
	b.startRound()
	b.state = bbrRefill
}

// startUp is StartProbeBW_UP (§5.3.3.9).
func (b *bbr) startUp(s *Sample) {
	b.acks = acksStarting
	b.startRound()
	b.resetFullBw()
	b.fullBw = s.Rate
	b.state = bbrUp
	b.raiseInflightLongSlope()
}

// updateProbeBwCyclePhase is UpdateProbeBWCyclePhase (§5.3.3.9).
func (b *bbr) updateProbeBwCyclePhase(a *Ack, s *Sample) {
	if !b.fullBwReached || b.adaptLongTermModel(a, s) {
		return
	}
	switch b.state {
	case bbrDown:
		if !b.timeToProbeBw(a.Now) && b.timeToCruise(a) {
			b.state = bbrCruise
		}
	case bbrCruise:
		b.timeToProbeBw(a.Now)
	case bbrRefill:
		if b.roundStart { // "After one round of REFILL, start UP"
			b.probeSample = true
			b.startUp(s)
		}
	case bbrUp:
		if b.timeToGoDown(a, s) {
			b.tooHigh = false // "no high loss (yet)"
			b.startDown(a.Now)
		}
	}
}

// timeToProbeBw is IsTimeToProbeBW (§5.3.3.8.3): it begins a probe if it is time.
func (b *bbr) timeToProbeBw(now sched.Time) bool {
	if now <= b.cycleAt.Add(b.probeWait) && !b.renoProbeTime() {
		return false
	}
	b.startRefill()
	return true
}

// renoProbeTime is IsRenoCoexistenceProbeTime (§5.3.3.8.3): a Reno flow with this window would have grown to where it loses by now.
func (b *bbr) renoProbeTime() bool {
	return int64(b.roundsSinceProbe) >= min(b.targetInflight()/int64(b.mss), 63)
}

// pickProbeWait is PickProbeWait (§5.3.3.8.3). What stands for chance is the instant, and how much was delivered, which no two flows have
// in common: a run replays exactly.
func (b *bbr) pickProbeWait(now sched.Time) {
	x := uint64(now) ^ b.total<<32
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	b.roundsSinceProbe = uint8(x & 1)
	b.probeWait = 2*time.Second + time.Duration(x>>1%uint64(time.Second))
}

// timeToCruise is IsTimeToCruise (§5.3.3.9).
func (b *bbr) timeToCruise(a *Ack) bool {
	return int64(a.Pipe) <= b.inflightWithHeadroom() && int64(a.Pipe) <= b.quantized(volume(b.maxBandwidth(), b.minRTT))
}

// timeToGoDown is IsTimeToGoDown (§5.3.3.9).
func (b *bbr) timeToGoDown(a *Ack, s *Sample) bool {
	if b.tooHigh && a.Pipe >= int(b.inflightLong) { // §5.3.3.6, "Precautionary Bandwidth Probing: Deceleration"
		b.precautionary = true
		return true
	}
	if a.CwndFull && b.cwnd >= b.inflightLong {
		b.resetFullBw() // the bandwidth is limited by inflight_longterm
		b.fullBw = s.Rate
		return false
	}
	return b.fullBwNow
}

// adaptLongTermModel is AdaptLongTermModel (§5.3.3.9). True: it has decided what the next state is.
func (b *bbr) adaptLongTermModel(a *Ack, s *Sample) bool {
	if b.acks == acksStarting && b.roundStart {
		b.acks = acksFeedback
	}
	if b.acks == acksStopping && b.roundStart {
		b.probeSample = false
		b.acks = acksInit
		if b.probingBw() && !s.AppLimited {
			b.advanceMaxBwFilter()
		}
		if b.probingBw() && b.precautionary && !b.tooHigh { // §5.3.3.6, "Precautionary Bandwidth Probing: Acceleration"
			b.startRefill()
			return true
		}
	}
	if !b.isInflightTooHigh(s.Lost, s.InFlight) && b.inflightLong != Infinite {
		b.inflightLong = int32(min(max(int(b.inflightLong), s.InFlight), maxCwnd))
		if b.state == bbrUp {
			b.probeInflightLongUpward(a)
		}
	}
	return false
}

// raiseInflightLongSlope is RaiseInflightLongtermSlope (§5.3.3.9).
func (b *bbr) raiseInflightLongSlope() {
	growth := int32(1) << b.probeUpRounds
	b.probeUpRounds = min(b.probeUpRounds+1, 30)
	b.probeUpPerInc = max(b.cwnd/growth, b.mss)
}

// probeInflightLongUpward is ProbeInflightLongtermUpward (§5.3.3.9).
func (b *bbr) probeInflightLongUpward(a *Ack) {
	if !a.CwndFull || b.cwnd < b.inflightLong {
		return // inflight_longterm is not in full use
	}
	b.probeUpAcked = int32(min(int64(b.probeUpAcked)+int64(a.Delivered), maxCwnd))
	if b.probeUpAcked >= b.probeUpPerInc {
		delta := b.probeUpAcked / b.probeUpPerInc
		b.probeUpAcked -= delta * b.probeUpPerInc
		b.inflightLong = int32(min(int64(b.inflightLong)+int64(delta)*int64(b.mss), maxCwnd))
	}
	if b.roundStart {
		b.raiseInflightLongSlope()
	}
}
